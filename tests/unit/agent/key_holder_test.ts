import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileStamp } from "../../../src/agent/stamp.ts";
import { utf8 } from "../../../src/bytes.ts";
import { sha256 } from "../../../src/crypto/held_key.ts";
import { send } from "../../../src/platform/socket.ts";
import { HARDWARE, memoryOf, ONE, place, PROBLEM, TWO, uses } from "../../support/key_holder_place.ts";

test("a key that came open is used at once, and its message is wiped", () => {
  const open = memoryOf(ONE);
  using here = place({ open });
  assert.deepEqual(open.scalar, new Uint8Array(32));
  assert.deepEqual(uses(here.keys), ["am_one"]);
  assert.ok(here.keys.isOpen && here.keys.use() !== null && here.keys.isSettled);
  assert.deepEqual(here.types(), []);
});

test("a key that is not open is opened by its first use, once for all who wait", () => {
  using here = place({ open: null });
  assert.equal(here.keys.use(), null);
  const told = [uses(here.keys), uses(here.keys), uses(here.keys)];
  assert.deepEqual(here.types(), ["open"]);
  assert.deepEqual(told, [[], [], []]);
  assert.equal(here.keys.isSettled, false);
  here.keys.hear({ type: "state", state: here.state({ open: memoryOf(ONE) }) });
  assert.deepEqual(told, [["am_one"], ["am_one"], ["am_one"]]);
  assert.deepEqual(uses(here.keys), ["am_one"]);
  assert.deepEqual(here.types(), []);
});

test("a key that cannot be opened is asked for again, but not at once", async () => {
  using here = place({ open: null });
  const first = uses(here.keys);
  assert.deepEqual(here.types(), ["open"]);
  here.keys.hear({ type: "state", state: here.state({ problem: PROBLEM }) });
  assert.deepEqual(first, [PROBLEM.message]);
  assert.equal(here.keys.journal.last, PROBLEM.message);
  assert.deepEqual(here.logged(), [PROBLEM.message]);
  assert.deepEqual(uses(here.keys), [PROBLEM.message]);
  assert.deepEqual(here.types(), []);
  await new Promise((resolve) => setTimeout(resolve, 1_050));
  assert.deepEqual(uses(here.keys), []);
  assert.deepEqual(here.types(), ["open"]);
});

test("a use that finds no open key is never told that there is one", () => {
  // The key could not be opened, and a moment later there is another identity, whose key is not open either.
  using here = place({ open: null });
  uses(here.keys);
  here.keys.hear({ type: "state", state: here.state({ problem: PROBLEM }) });
  writeFileSync(here.identity, "another");
  here.keys.watch();
  here.keys.hear({ type: "state", state: here.state({ facts: TWO.facts }) });
  here.types();
  const told = uses(here.keys);
  assert.ok(told.length === 0 || told[0] === PROBLEM.message, `${told}`);
  if (told.length > 0) return;
  assert.deepEqual(here.types(), ["open"]);
  here.keys.hear({ type: "state", state: here.state({ facts: TWO.facts, open: memoryOf(TWO) }) });
  assert.deepEqual(told, ["am_two"]);
});

test("watch() asks about an identity that was replaced, once, and all that follows waits", () => {
  using here = place();
  here.keys.watch();
  assert.deepEqual(here.types(), []);
  writeFileSync(here.identity, "another");
  here.keys.watch();
  here.keys.watch();
  assert.deepEqual(here.types(), ["changed"]);
  assert.equal(here.keys.isSettled, false);
  let known: string | null | undefined;
  here.keys.withIdentity(() => known = here.keys.facts?.deviceId ?? null);
  const told = uses(here.keys);
  assert.deepEqual([known, told], [undefined, []]);
  here.keys.hear({ type: "state", state: here.state({ facts: TWO.facts, open: memoryOf(TWO) }) });
  assert.deepEqual([known, told], ["am_two", ["am_two"]]);
  here.keys.watch();
  assert.deepEqual(here.types(), []);
});

test("all who waited for another identity, whose key is closed, have it opened once", () => {
  using here = place({ open: null });
  writeFileSync(here.identity, "another");
  here.keys.watch();
  const told = [uses(here.keys), uses(here.keys)];
  assert.deepEqual(here.types(), ["changed"]);
  here.keys.hear({ type: "state", state: here.state({ facts: TWO.facts }) });
  assert.deepEqual(here.types(), ["open"]);
  here.keys.hear({ type: "state", state: here.state({ facts: TWO.facts, open: memoryOf(TWO) }) });
  assert.deepEqual(told, [["am_two"], ["am_two"]]);
  assert.deepEqual(here.types(), []);
});

test("an identity that was written again with the same key stays open", () => {
  using here = place();
  writeFileSync(here.identity, "written again");
  here.keys.watch();
  const told = uses(here.keys);
  here.keys.hear({ type: "same", stamp: fileStamp(here.identity) });
  assert.deepEqual(told, ["am_one"]);
  here.types();
  here.keys.watch();
  assert.deepEqual(here.types(), []);
});

test("an identity that is gone leaves no key, and one that comes is noticed", () => {
  using here = place();
  rmSync(here.identity);
  here.keys.watch();
  assert.deepEqual(here.types(), ["changed"]);
  const told = uses(here.keys);
  const gone = { code: "ERR_NO_IDENTITY", message: "cannot find an identity", hint: "" };
  here.keys.hear({ type: "state", state: here.state({ facts: null, problem: gone }) });
  // It may be tried once more, or not.
  if (told.length === 0) here.keys.hear({ type: "state", state: here.state({ facts: null, problem: gone }) });
  assert.deepEqual(told, [gone.message]);
  assert.deepEqual([here.keys.facts, here.keys.memory, here.keys.isOpen], [null, null, false]);
  here.types();
  writeFileSync(here.identity, "new");
  here.keys.watch();
  assert.deepEqual(here.types(), ["changed"]);
});

test("orders go to the chip one at a time and in order, and each gets its own answer", () => {
  using here = place({ open: HARDWARE });
  const answers: string[] = [];
  const order = (name: string, isVoid = () => false) =>
    here.keys.order({
      digest: sha256(utf8(name)),
      bytes: utf8(name),
      isVoid,
      done: (answer) =>
        void answers.push(`${name} ${answer instanceof Uint8Array ? answer[0] : answer.code}`),
    });
  for (const name of ["a", "b", "c"]) order(name);
  for (const [index, name] of ["a", "b", "c"].entries()) {
    assert.deepEqual(here.sent(), [{ type: "sign", digest: sha256(utf8(name)), bytes: utf8(name) }]);
    const answer = name === "b" ? PROBLEM : new Uint8Array(64).fill(index);
    here.keys.hear({ type: "signed", answer });
  }
  assert.deepEqual(here.sent(), []);
  assert.deepEqual(answers, ["a 0", "b ERR_UNLOCK_FAILED", "c 2"]);
});

test("orders that nobody waits for any more are left out; one that is under way ends", () => {
  using here = place({ open: HARDWARE });
  const answers: string[] = [];
  const voids = new Set<string>();
  for (const name of ["a", "b", "c", "d"]) {
    here.keys.order({
      digest: sha256(utf8(name)),
      bytes: null,
      isVoid: () => voids.has(name),
      done: () => void answers.push(name),
    });
  }
  for (const name of ["a", "b", "c"]) voids.add(name);
  here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  const digests = here.sent().map((message) => message.type === "sign" ? message.digest : null);
  assert.deepEqual(digests, [sha256(utf8("a")), sha256(utf8("d"))]);
  here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  assert.ok(answers.includes("d") && !answers.includes("b") && !answers.includes("c"));
});

test("orders for an identity that has been replaced meanwhile are not signed by the next one's key", () => {
  using here = place({ open: HARDWARE });
  const answers: string[] = [];
  const order = (name: string) =>
    here.keys.order({
      digest: sha256(utf8(name)),
      bytes: null,
      isVoid: () => false,
      done: (answer) => void answers.push(`${name} ${answer instanceof Uint8Array ? "signed" : answer.code}`),
    });
  for (const name of ["a", "b"]) order(name);
  writeFileSync(here.identity, "another");
  here.keys.watch();
  here.keys.hear({ type: "state", state: here.state({ facts: TWO.facts, open: HARDWARE }) });
  order("c");
  here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  assert.deepEqual(answers.slice(1), ["b ERR_BUSY", "c signed"]);
  assert.deepEqual(here.types().filter((type) => type === "sign").length, 2);
});

test("an order that is given while another one is answered is not lost", () => {
  using here = place({ open: HARDWARE });
  const answers: string[] = [];
  const order = (name: string, then = () => {}) =>
    here.keys.order({
      digest: sha256(utf8(name)),
      bytes: null,
      isVoid: () => false,
      done: () => {
        answers.push(name);
        then();
      },
    });
  order("a", () => order("b"));
  order("c");
  for (let i = 0; i < 3; i++) {
    assert.equal(here.types().length, 1);
    here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  }
  assert.deepEqual(answers, ["a", "c", "b"]);
  assert.deepEqual(here.types(), []);
});

test("a key in hardware is not in memory, and a failure of it makes the next use open it again", () => {
  using here = place({ open: HARDWARE });
  assert.deepEqual([here.keys.isOpen, here.keys.memory, here.keys.use()], [true, null, null]);
  assert.deepEqual(uses(here.keys), ["not in memory"]);
  here.keys.order({ digest: sha256(utf8("a")), bytes: null, isVoid: () => false, done: () => {} });
  here.keys.hear({ type: "signed", answer: PROBLEM });
  here.types();
  assert.deepEqual(uses(here.keys), []);
  assert.deepEqual(here.types(), ["open"]);
});

test("a key that nobody uses for so long is closed, and opened again by its next use", async () => {
  using here = place({ idle: 1 });
  assert.ok(here.keys.idleMs() > 900 && here.keys.idleMs() <= 1_000, `${here.keys.idleMs()}`);
  here.keys.closeIdle();
  assert.deepEqual(here.types(), []);
  await new Promise((resolve) => setTimeout(resolve, 600));
  // Both ways of use begin the time anew.
  uses(here.keys);
  assert.ok(here.keys.idleMs() > 900);
  await new Promise((resolve) => setTimeout(resolve, 600));
  here.keys.closeIdle();
  assert.ok(here.keys.use() !== null);
  assert.ok(here.keys.idleMs() > 900);
  await new Promise((resolve) => setTimeout(resolve, 1_020));
  assert.equal(here.keys.idleMs(), 0);
  here.keys.closeIdle();
  assert.deepEqual(here.types(), ["closed"]);
  assert.deepEqual([here.keys.isOpen, here.keys.memory, here.keys.idleMs()], [false, null, -1]);
  here.keys.closeIdle();
  assert.deepEqual(here.types(), []);
  assert.equal(here.keys.facts?.deviceId, "am_one");
  uses(here.keys);
  assert.deepEqual(here.types(), ["open"]);
});

test("a key is not closed while the chip signs with it", async () => {
  using here = place({ idle: 1, open: HARDWARE });
  here.keys.order({ digest: sha256(utf8("a")), bytes: null, isVoid: () => false, done: () => {} });
  await new Promise((resolve) => setTimeout(resolve, 1_050));
  here.keys.closeIdle();
  assert.deepEqual(here.types(), ["sign"]);
  assert.equal(here.keys.idleMs(), -1);
  here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  // From then on it is idle.
  here.keys.closeIdle();
  assert.deepEqual(here.types(), []);
  assert.ok(here.keys.idleMs() > 500);
});

test("looking at a key is no use of it", async () => {
  using here = place({ idle: 1 });
  await new Promise((resolve) => setTimeout(resolve, 300));
  here.keys.withIdentity(() => {});
  here.keys.watch();
  assert.ok(here.keys.facts !== null && here.keys.memory !== null && here.keys.isOpen);
  assert.ok(here.keys.idleMs() < 750, `${here.keys.idleMs()}`);
});

test("the wait for an idle key fits into what poll(2) takes, and without a time there is none", () => {
  for (const [idle, expected] of [[0, -1], [25 * 86_400, 2 ** 31], [999_999 * 86_400, 2 ** 31]] as const) {
    using here = place({ idle });
    const ms = here.keys.idleMs();
    assert.ok(expected === -1 ? ms === -1 : ms > 0 && ms < expected, `${idle}: ${ms}`);
  }
});

test("takeWakes() counts the messages that are announced", () => {
  using here = place();
  assert.equal(here.keys.takeWakes(), 0);
  send(here.pipe.write, new Uint8Array(3));
  assert.equal(here.keys.takeWakes(), 3);
  send(here.pipe.write, new Uint8Array(100));
  let count = 0;
  for (let more; (more = here.keys.takeWakes()) > 0;) count += more;
  assert.equal(count, 100);
});

test("disposing of the holder wipes its key", () => {
  using here = place();
  const key = here.keys.memory!;
  here.keys[Symbol.dispose]();
  assert.deepEqual(key.copyScalar(), new Uint8Array(32));
  assert.equal(here.keys.memory, null);
});
