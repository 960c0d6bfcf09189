import assert from "node:assert/strict";
import { lstatSync, mkdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import type { Bytes } from "../../../src/bytes.ts";
import { type ContinuityStatement, parseContinuity } from "../../../src/formats/continuity.ts";
import {
  isValidStatement,
  saveStatement,
  signContinuity,
  statementPath,
  verifyChain,
} from "../../../src/identity/continuity.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import { ameshPlace, identityOf, namesIn } from "../../support/amesh_place.ts";
import {
  isValidByWebCrypto,
  makeStatement,
  makeTestKey,
  statementMessage,
} from "../../support/continuity.ts";
import { ameshError } from "../../support/errors.ts";

const KEYS = Array.from({ length: 7 }, makeTestKey);
const FIRST = KEYS[0]!;
/** Each follows the one before it. */
const CHAIN = KEYS.slice(1).map((key, i) => makeStatement(KEYS[i]!, key));
const one = CHAIN[0]!;

const refused = ameshError("ERR_SIGNATURE_INVALID", /^the rotation is not valid: /);

test("isValidStatement() accepts what both keys have signed", async () => {
  assert.equal(await isValidStatement(one), true);
});

const flipped = (bytes: Bytes, at: number) => {
  const changed = Uint8Array.from(bytes);
  changed[at]! ^= 1;
  return changed;
};
const [, , third] = KEYS;
const forgeries: [name: string, make: (statement: ContinuityStatement) => ContinuityStatement][] = [
  ["a flipped bit in the old signature", (s) => ({ ...s, oldSignature: flipped(s.oldSignature, 0) })],
  ["a flipped bit in the new signature", (s) => ({ ...s, newSignature: flipped(s.newSignature, 63) })],
  ["the signatures in each other's place", (s) => ({
    ...s,
    oldSignature: s.newSignature,
    newSignature: s.oldSignature,
  })],
  ["the old key's signature twice", (s) => ({ ...s, newSignature: s.oldSignature })],
  ["the new key's signature twice", (s) => ({ ...s, oldSignature: s.newSignature })],
  ["no signature of the old key", (s) => ({ ...s, oldSignature: new Uint8Array(64) })],
  ["another time", (s) => ({ ...s, createdAt: "2026-03-01T09:00:00.001Z" })],
  ["another tier of the new key", (s) => ({ ...s, new: { ...s.new, backend: "tpm2" } })],
  ["another tier of the old key", (s) => ({ ...s, old: { ...s.old, backend: "tpm2" } })],
  ["the keys in each other's place", (s) => ({ ...s, old: s.new, new: s.old })],
  ["another new key", (s) => ({ ...s, new: makeStatement(FIRST, third!).new })],
  ["another old key", (s) => ({ ...s, old: makeStatement(third!, FIRST).old })],
];
for (const [name, make] of forgeries) {
  test(`isValidStatement() and verifyChain() refuse a statement with ${name}`, async () => {
    const forged = make(one);
    assert.equal(await isValidStatement(forged), false);
    await assert.rejects(verifyChain([forged], forged.old.publicKey), refused);
  });
}

test("signContinuity() says what the file format says, as WebCrypto reads it, and each role its own", async () => {
  using here = ameshPlace("floor");
  const { publicKey, fields } = await identityOf("floor");
  const party = { deviceId: fields.deviceId, publicKey, backend: "encrypted-file" } as const;
  const continuity = { old: party, new: one.new, createdAt: one.createdAt };
  using opened = await openIdentity(here.layout, here.warn, false);
  for (const role of ["old", "new"] as const) {
    const signature = await signContinuity(opened.signer, role, continuity);
    assert.equal(signature.length, 64);
    for (const said of ["old", "new"] as const) {
      const message = statementMessage(said, continuity);
      assert.equal(await isValidByWebCrypto(publicKey, signature, message), role === said);
    }
  }
});

test("verifyChain() puts a chain of any length, given in any order, into the order of its keys", async () => {
  const shuffled = fc.integer({ min: 1, max: CHAIN.length }).chain((length) =>
    fc.shuffledSubarray(CHAIN.slice(0, length), { minLength: length, maxLength: length })
  );
  await fc.assert(
    fc.asyncProperty(shuffled, async (statements) => {
      const given = [...statements];
      const chain = await verifyChain(statements, FIRST.publicKey);
      assert.deepEqual(chain, CHAIN.slice(0, statements.length));
      assert.deepEqual(statements, given);
    }),
    { numRuns: 60 },
  );
});

test("verifyChain() begins at any key of a chain, and leaves nothing of it out", async () => {
  for (let at = 0; at < CHAIN.length; at++) {
    assert.deepEqual(await verifyChain(CHAIN.slice(at), KEYS[at]!.publicKey), CHAIN.slice(at));
    if (at > 0) await assert.rejects(verifyChain(CHAIN, KEYS[at]!.publicKey), refused);
  }
});

test("verifyChain() refuses every chain that lacks a statement in its midst, in any order", async () => {
  const broken = fc.integer({ min: 0, max: CHAIN.length - 2 }).chain((missing) => {
    const rest = CHAIN.filter((_, i) => i !== missing);
    return fc.shuffledSubarray(rest, { minLength: rest.length, maxLength: rest.length });
  });
  await fc.assert(
    fc.asyncProperty(
      broken,
      (statements) => assert.rejects(verifyChain(statements, FIRST.publicKey), refused),
    ),
    { numRuns: 40 },
  );
});

test("verifyChain() refuses a chain in which one statement is forged, wherever", async () => {
  for (let at = 0; at < CHAIN.length; at++) {
    const forged = CHAIN.map((s, i) => i === at ? { ...s, newSignature: flipped(s.newSignature, 5) } : s);
    await assert.rejects(
      verifyChain(forged.toReversed(), FIRST.publicKey),
      ameshError(
        "ERR_SIGNATURE_INVALID",
        new RegExp(`${KEYS[at]!.deviceId} about ${KEYS[at + 1]!.deviceId} is not signed by both keys$`),
      ),
    );
  }
});

const noChains: [name: string, statements: readonly ContinuityStatement[], first: Bytes, message: RegExp][] =
  [
    [
      "that begins at another key",
      CHAIN,
      makeTestKey().publicKey,
      /no statement leads from the given key to am_/,
    ],
    ["that begins at the newest key", CHAIN, KEYS.at(-1)!.publicKey, /from the given key/],
    [
      "with a statement twice",
      [one, one],
      FIRST.publicKey,
      new RegExp(`two statements are about what follows ${FIRST.deviceId}$`),
    ],
    [
      "with two successors of one key",
      [one, makeStatement(FIRST, makeTestKey())],
      FIRST.publicKey,
      /two statements are about what follows/,
    ],
    [
      "with a statement of strangers",
      [one, makeStatement(makeTestKey(), makeTestKey())],
      FIRST.publicKey,
      /no state/,
    ],
  ];
for (const [name, statements, first, message] of noChains) {
  test(`verifyChain() refuses a chain ${name}, with a hint`, async () => {
    for (const given of [statements, statements.toReversed()]) {
      await assert.rejects(verifyChain(given, first), (error) => {
        ameshError("ERR_SIGNATURE_INVALID", message)(error);
        assert.match((error as { hint: string }).hint, /every statement between the old key and the new one/);
        return true;
      });
    }
  });
}

test("saveStatement() writes a file 0600 that parseContinuity() reads, and replaces one", async () => {
  using here = ameshPlace("floor");
  mkdirSync(here.layout.history, { mode: 0o700 });
  const path = statementPath(here.layout, one.old.deviceId, one.new.deviceId);
  assert.equal(path, `${here.layout.directory}/history/${one.old.deviceId}.${one.new.deviceId}.json`);
  saveStatement(here.layout, { ...one, oldSignature: one.newSignature });
  saveStatement(here.layout, one);
  saveStatement(here.layout, CHAIN[1]!);
  assert.deepEqual(await parseContinuity(readFileSync(path), path), one);
  assert.equal(lstatSync(path).mode & 0o7777, 0o600);
  assert.equal(namesIn(here.layout.history).length, 2);
});

test("saveStatement() needs a history", () => {
  using here = ameshPlace("floor");
  assert.throws(
    () => saveStatement(here.layout, one),
    ameshError("ERR_SYSTEM", /no such file or directory$/),
  );
});
