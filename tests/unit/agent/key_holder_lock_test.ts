import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { encodeHex, utf8 } from "../../../src/bytes.ts";
import { sha256 } from "../../../src/crypto/held_key.ts";
import { HARDWARE, LOCKED, memoryOf, ONE, place, TWO, uses } from "../../support/key_holder_place.ts";

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
