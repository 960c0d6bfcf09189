import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { test } from "node:test";
import { Keeper } from "../../../src/agent/keeper.ts";
import { refusalOf } from "../../../src/agent/refusal.ts";
import type { KeyState } from "../../../src/agent/messages.ts";
import { fileStamp } from "../../../src/agent/stamp.ts";
import { utf8 } from "../../../src/bytes.ts";
import { openMemoryKey, sha256 } from "../../../src/crypto/held_key.ts";
import { expandPoint } from "../../../src/crypto/p256.ts";
import { AmeshError } from "../../../src/errors.ts";
import { encodeSshKey } from "../../../src/formats/public_key.ts";
import { deleteIdentity } from "../../../src/identity/delete.ts";
import { rotateIdentity } from "../../../src/identity/rotate.ts";
import type { PassphraseInput } from "../../../src/passphrase/passphrases.ts";
import {
  addKey,
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  OTHER_PASSPHRASE,
  writeAs,
} from "../../support/amesh_place.ts";
import { accepts } from "../../contract/keystore_contract.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { ameshError } from "../../support/errors.ts";
import { fixtureIdentity } from "../../support/fixture.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");

function keeperOf({ layout, warn }: AmeshPlace, input: PassphraseInput = {}): Keeper {
  return new Keeper(layout, warn, input);
}

/** That the state has this identity's key open, in memory: what it signs verifies. */
async function isOpenOf(state: KeyState, identity: typeof FLOOR): Promise<void> {
  assert.equal(state.problem, null);
  assert.equal(state.facts?.deviceId, identity.fields.deviceId);
  assert.ok(state.open?.in === "memory");
  assert.ok(await signsFor(state.open.scalar, identity));
}

async function signsFor(scalar: Uint8Array<ArrayBuffer>, { publicKey }: typeof FLOOR): Promise<boolean> {
  using key = openMemoryKey(scalar);
  return await accepts(publicKey, key.signDigest(sha256(utf8("m"))) as Uint8Array<ArrayBuffer>, utf8("m"));
}

/** Puts the identity of `floor-other` in the place of the one in force, as `init --force` does. */
function replaceByOther({ layout }: AmeshPlace): void {
  addKey(layout, "floor-other");
  writeAs(layout.passphrase, `${OTHER_PASSPHRASE}\n`, 0o400);
  writeAs(layout.identity, JSON.stringify(fixtureIdentity("floor-other")), 0o600);
}

test("open() gives the key of the identity and what everybody may know of it", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  const state = await keeper.open();
  await isOpenOf(state, FLOOR);
  const { fields, publicKey } = FLOOR;
  assert.equal(state.stamp, fileStamp(here.layout.identity));
  const { blob, ...facts } = state.facts!;
  assert.deepEqual(facts, {
    deviceId: fields.deviceId,
    backend: "encrypted-file",
    name: fields.friendlyName,
    publicKey: publicKey.toBase64(),
  });
  assert.equal(blob.length, 104);
  assert.deepEqual(blob, encodeSshKey(await expandPoint(publicKey)));
  assert.deepEqual(here.warnings, []);
});

test("open() and tryOpen() say why there is no key, each in its way", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  writeAs(here.layout.passphrase, "another passphrase\n", 0o400);
  await assert.rejects(keeper.open(), ameshError("ERR_UNLOCK_FAILED"));
  const state = await keeper.tryOpen();
  assert.deepEqual([state.open, state.problem?.code], [null, "ERR_UNLOCK_FAILED"]);
  assert.equal(state.facts?.deviceId, FLOOR.fields.deviceId);
  rmSync(here.layout.identity);
  await assert.rejects(keeper.open(), ameshError("ERR_NO_IDENTITY"));
  const gone = await keeper.tryOpen();
  assert.deepEqual([gone.open, gone.facts, gone.problem?.code], [null, null, "ERR_NO_IDENTITY"]);
  assert.equal(gone.stamp, "ENOENT");
  replaceByOther(here);
  await isOpenOf(await keeper.tryOpen(), OTHER);
});

test("a passphrase that came once opens the key once", async () => {
  using here = ameshPlace("floor", { AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE });
  rmSync(here.layout.passphrase);
  using keeper = keeperOf(here);
  await isOpenOf(await keeper.open(), FLOOR);
  const again = await keeper.tryOpen();
  assert.deepEqual([again.open, again.problem?.code], [null, "ERR_UNLOCK_FAILED"]);
  assert.match(again.problem!.message, /there is no passphrase/);
});

test("a descriptor is read once, and nobody is asked when the key is opened again", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  writeAs(here.file("given"), FLOOR_PASSPHRASE, 0o400);
  using descriptor = openDescriptor(here.file("given"));
  using keeper = keeperOf(here, {
    descriptor: descriptor.fd,
    ask: () => assert.fail("a person is asked"),
  });
  await isOpenOf(await keeper.open(), FLOOR);
  assert.equal((await keeper.tryOpen()).problem?.code, "ERR_UNLOCK_FAILED");
  // What is there for all commands is used.
  writeAs(here.layout.passphrase, FLOOR_PASSPHRASE, 0o400);
  await isOpenOf(await keeper.tryOpen(), FLOOR);
});

test("follow() tells nothing but the stamp when identity.json names the same key", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  await keeper.open();
  writeAs(here.layout.identity, JSON.stringify({ ...fixtureIdentity("floor"), note: 1 }), 0o600);
  assert.equal(await keeper.follow(true), fileStamp(here.layout.identity));
  assert.equal(await keeper.follow(false), fileStamp(here.layout.identity));
});

test("follow() opens the key that a rotation has made, where the old one was open", async () => {
  using here = ameshPlace("floor");
  const { layout, warn } = here;
  using keeper = keeperOf(here);
  await keeper.open();
  for (const isOpen of [true, false, true]) {
    const { identity } = await rotateIdentity({
      layout,
      backend: undefined,
      now: new Date(),
      input: {},
      warn,
    });
    const state = await keeper.follow(isOpen);
    assert.ok(typeof state === "object");
    assert.equal(state.stamp, fileStamp(layout.identity));
    if (isOpen) await isOpenOf(state, identity);
    else assert.deepEqual([state.facts?.deviceId, state.open], [identity.fields.deviceId, null]);
  }
});

test("follow() has no key after a deletion, and that of the next identity", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  using keeper = keeperOf(here);
  await keeper.open();
  await deleteIdentity({ layout, confirm: () => Promise.resolve(), warn: here.warn });
  for (const isOpen of [true, false]) {
    const state = await keeper.follow(isOpen);
    assert.ok(typeof state === "object");
    assert.deepEqual([state.facts, state.open, state.problem?.code], [null, null, "ERR_NO_IDENTITY"]);
  }
  replaceByOther(here);
  const state = await keeper.follow(true);
  assert.ok(typeof state === "object");
  await isOpenOf(state, OTHER);
});

test("unlock() gives back what lock() took, for the same passphrase only, and both wipe what they were given", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  const state = await keeper.open();
  assert.ok(state.open?.in === "memory");
  const scalar = Uint8Array.from(state.open.scalar);
  const passphrase = utf8("a secret");
  assert.equal(await keeper.unlock(utf8("a secret")), null, "it is not locked");
  assert.equal(await keeper.lock(passphrase, scalar), true);
  assert.ok(passphrase.every((byte) => byte === 0) && scalar.every((byte) => byte === 0));
  for (const wrong of ["", "a secre", "a secret ", "A secret"]) {
    const given = utf8(wrong);
    assert.equal(await keeper.unlock(given), null, wrong);
    assert.ok(given.every((byte) => byte === 0));
  }
  const unlocked = await keeper.unlock(utf8("a secret"));
  assert.deepEqual(unlocked?.scalar, state.open.scalar);
  assert.equal(await keeper.unlock(utf8("a secret")), null, "twice");
});

test("a locked keeper opens nothing", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  await keeper.open();
  assert.equal(await keeper.lock(utf8("x"), null), true);
  const state = await keeper.tryOpen();
  assert.deepEqual([state.open, state.problem], [null, null]);
  assert.deepEqual(await keeper.unlock(utf8("x")), { scalar: null });
  await isOpenOf(await keeper.tryOpen(), FLOOR);
});

test("an empty passphrase locks nothing, as in ssh-agent", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  await keeper.open();
  assert.equal(await keeper.lock(new Uint8Array(0), null), false);
  await isOpenOf(await keeper.tryOpen(), FLOOR);
  assert.deepEqual(here.warnings, []);
});

test("a key that was locked is not given back to another identity", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  const state = await keeper.open();
  assert.ok(state.open?.in === "memory");
  await keeper.lock(utf8("a secret"), Uint8Array.from(state.open.scalar));
  replaceByOther(here);
  const followed = await keeper.follow(false);
  assert.ok(typeof followed === "object" && followed.open === null);
  assert.deepEqual(await keeper.unlock(utf8("a secret")), { scalar: null });
  await isOpenOf(await keeper.tryOpen(), OTHER);
});

test("sign() of a key in software is refused: it lies elsewhere", async () => {
  using here = ameshPlace("floor");
  using keeper = keeperOf(here);
  await keeper.open();
  const answer = await keeper.sign({ digest: sha256(utf8("m")), bytes: null });
  assert.ok(!(answer instanceof Uint8Array));
  assert.equal(answer.code, "ERR_TIER_UNAVAILABLE");
});

test("refusalOf() tells an error of amesh as it is, and calls every other one a defect", () => {
  const known = new AmeshError("ERR_BUSY", "cannot wait", { hint: "try again" });
  assert.deepEqual(refusalOf(known), { code: "ERR_BUSY", message: "cannot wait", hint: "try again" });
  assert.equal(refusalOf(new AmeshError("ERR_BUSY", "cannot wait")).hint, "");
  for (const error of [new TypeError("x is null"), "x is null", null, undefined]) {
    const { code, message, hint } = refusalOf(error);
    assert.equal(code, "ERR_INTERNAL");
    assert.match(message, /^unexpected /);
    assert.match(hint, /report it/);
  }
});
