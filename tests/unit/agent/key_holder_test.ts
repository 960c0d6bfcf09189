import assert from "node:assert/strict";
import { verify } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { KeyHolder } from "../../../src/agent/key_holder.ts";
import type { FromServer, KeyFacts, KeyState, ServerOptions } from "../../../src/agent/messages.ts";
import { fileStamp } from "../../../src/agent/stamp.ts";
import { type Bytes, encodeBase64, encodeHex, utf8 } from "../../../src/bytes.ts";
import { sha256 } from "../../../src/crypto/held_key.ts";
import { expandPoint, generateKeyPair } from "../../../src/crypto/p256.ts";
import type { Refusal } from "../../../src/formats/agent_message.ts";
import { encodeSshKey } from "../../../src/formats/public_key.ts";
import { closeFd, makePipe, send } from "../../../src/platform/socket.ts";
import { publicKeyObject } from "../../support/p256_key.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

interface TestKey {
  readonly scalar: Bytes;
  readonly facts: KeyFacts;
}

async function makeKey(deviceId: string): Promise<TestKey> {
  const { scalar, publicKey } = await generateKeyPair();
  const facts = {
    deviceId,
    backend: "encrypted-file",
    name: deviceId,
    publicKey: encodeBase64(publicKey),
    blob: encodeSshKey(await expandPoint(publicKey)),
  };
  return { scalar, facts };
}

const ONE = await makeKey("am_one");
const TWO = await makeKey("am_two");
const PROBLEM: Refusal = { code: "ERR_UNLOCK_FAILED", message: "cannot unlock the key", hint: "" };
const LOCKED = /the agent is locked/;

/** A holder whose main thread is the test; its identity.json says nothing and is only looked at from outside. */
function place(
  how: { idle?: number; open?: KeyState["open"]; facts?: KeyFacts | null; problem?: Refusal } = {},
) {
  const directory = temporaryDirectory();
  const identity = directory.file("identity.json");
  writeFileSync(identity, "1");
  const pipe = makePipe();
  const options: ServerOptions = {
    listener: -1,
    stamp: "",
    wake: pipe.read,
    socket: directory.file("s"),
    identity,
    askpass: null,
    idleTimeoutSeconds: how.idle ?? 0,
    isWatched: true,
  };
  const posted: FromServer[] = [];
  const state = (changes: Partial<KeyState> = {}): KeyState => ({
    stamp: fileStamp(identity),
    facts: ONE.facts,
    open: null,
    problem: null,
    ...changes,
  });
  const { open = memoryOf(ONE), facts = ONE.facts, problem = null } = how;
  const keys = new KeyHolder(
    options,
    state({ open, facts, problem }),
    (message) => void posted.push(message),
  );
  return {
    keys,
    identity,
    pipe,
    state,
    /** The messages to the main thread since the last call, without those to the log. */
    sent: () => posted.splice(0).filter(({ type }) => type !== "log"),
    types: () => posted.splice(0).map(({ type }) => type).filter((type) => type !== "log"),
    logged: () => posted.splice(0).flatMap((message) => message.type === "log" ? [message.line] : []),
    [Symbol.dispose]: () => {
      keys[Symbol.dispose]();
      closeFd(pipe.read);
      closeFd(pipe.write);
      directory[Symbol.dispose]();
    },
  };
}

/** A scalar that can be wiped. */
function memoryOf(key: TestKey) {
  return { in: "memory" as const, scalar: Uint8Array.from(key.scalar) };
}
const HARDWARE = { in: "hardware" } as const;

/** What a use is told: the key's device, or why there is none. */
function uses(keys: KeyHolder): string[] {
  const told: string[] = [];
  keys.withOpenKey((refusal) => {
    if (refusal !== null) return void told.push(refusal.message);
    const message = utf8("a message");
    const signature = keys.memory?.sign(message);
    if (signature === undefined) return void told.push("not in memory");
    const signer = [ONE, TWO].find(({ facts }) =>
      verify(
        "sha256",
        message,
        { key: publicKeyObject(facts.publicKey), dsaEncoding: "ieee-p1363" },
        signature,
      )
    );
    told.push(signer?.facts.deviceId ?? "another key");
  });
  return told;
}

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

test("locking gives the main thread passphrase and scalar, and takes the key away when that is done", () => {
  using here = place();
  const done: boolean[] = [];
  here.keys.lock(utf8("secret"), (isDone) => void done.push(isDone));
  assert.deepEqual(here.sent(), [{ type: "lock", passphrase: utf8("secret"), scalar: ONE.scalar }]);
  assert.equal(done.length, 0);
  // A second one at the same time is refused.
  here.keys.lock(utf8("other"), (isDone) => void done.push(isDone));
  here.keys.unlock(utf8("other"), (isDone) => void done.push(isDone));
  assert.deepEqual(done, [false, false]);
  here.keys.hear({ type: "locked", done: true });
  assert.deepEqual(done, [false, false, true]);
  assert.deepEqual([here.keys.isLocked, here.keys.isOpen, here.keys.memory], [true, false, null]);
  assert.match(uses(here.keys)[0]!, LOCKED);
  here.keys.lock(utf8("again"), (isDone) => void done.push(isDone));
  assert.deepEqual(done, [false, false, true, false]);
  assert.deepEqual(here.types(), []);
});

test("a lock that could not be made leaves the key open", () => {
  using here = place();
  const done: boolean[] = [];
  here.keys.lock(utf8("secret"), (isDone) => void done.push(isDone));
  here.keys.hear({ type: "locked", done: false });
  assert.deepEqual(done, [false]);
  assert.equal(here.keys.isLocked, false);
  assert.deepEqual(uses(here.keys), ["am_one"]);
});

test("unlocking with the right passphrase brings the key back, with another one nothing changes", () => {
  using here = place();
  const done: boolean[] = [];
  const told = (isDone: boolean) => void done.push(isDone);
  here.keys.unlock(utf8("early"), told);
  here.keys.lock(utf8("secret"), told);
  here.keys.hear({ type: "locked", done: true });
  here.types();
  here.keys.unlock(utf8("wrong"), told);
  assert.deepEqual(here.sent(), [{ type: "unlock", passphrase: utf8("wrong") }]);
  here.keys.hear({ type: "unlocked", done: false, scalar: null });
  assert.match(uses(here.keys)[0]!, LOCKED);
  here.keys.unlock(utf8("secret"), told);
  const scalar = Uint8Array.from(ONE.scalar);
  here.keys.hear({ type: "unlocked", done: true, scalar });
  assert.deepEqual(scalar, new Uint8Array(32));
  assert.deepEqual(uses(here.keys), ["am_one"]);
  assert.deepEqual(done, [false, true, false, true]);
});

test("unlocking without a scalar leaves the key closed, and the next use opens it", () => {
  using here = place({ open: HARDWARE });
  here.keys.lock(utf8("secret"), () => {});
  assert.deepEqual(here.sent(), [{ type: "lock", passphrase: utf8("secret"), scalar: null }]);
  here.keys.hear({ type: "locked", done: true });
  here.keys.unlock(utf8("secret"), () => {});
  here.keys.hear({ type: "unlocked", done: true, scalar: null });
  here.types();
  assert.deepEqual(uses(here.keys), []);
  assert.deepEqual(here.types(), ["open"]);
});

test("who waits for the key when it is locked is told that it is", () => {
  using here = place({ open: null });
  const told = uses(here.keys);
  here.keys.lock(utf8("secret"), () => {});
  here.keys.hear({ type: "locked", done: true });
  here.keys.hear({ type: "state", state: here.state() });
  assert.match(told[0]!, LOCKED);
});

test("a key that is about to be another one is not locked as that one's", () => {
  using here = place();
  writeFileSync(here.identity, "another");
  here.keys.watch();
  here.keys.lock(utf8("secret"), () => {});
  const before = here.sent();
  here.keys.hear({ type: "state", state: here.state({ facts: TWO.facts, open: memoryOf(TWO) }) });
  const lock = [...before, ...here.sent()].find((message) => message.type === "lock");
  assert.equal(encodeHex(lock?.scalar ?? new Uint8Array(0)), encodeHex(TWO.scalar));
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

test("orders that still wait when the agent is locked are not signed any more", () => {
  using here = place({ open: HARDWARE });
  const answers: string[] = [];
  for (const name of ["a", "b", "c"]) {
    here.keys.order({
      digest: sha256(utf8(name)),
      bytes: null,
      isVoid: () => false,
      done: (answer) => void answers.push(`${name} ${answer instanceof Uint8Array ? "signed" : answer.code}`),
    });
  }
  here.keys.lock(utf8("secret"), () => {});
  assert.deepEqual(here.types(), ["sign", "lock"]);
  // The main thread signs what came before the lock.
  here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  here.keys.hear({ type: "locked", done: true });
  if (here.types().includes("sign")) here.keys.hear({ type: "signed", answer: new Uint8Array(64) });
  assert.deepEqual(here.types(), []);
  assert.ok(answers.includes("c ERR_UNLOCK_FAILED"), answers.join(", "));
});
