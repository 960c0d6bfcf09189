import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes } from "../../../src/bytes.ts";
import { open, seal } from "../../../src/crypto/aes_gcm.ts";

const ofLength = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((b) => Uint8Array.from(b));
const anyBytes = fc.uint8Array({ maxLength: 100 }).map((b) => Uint8Array.from(b));
const inputs = [ofLength(32), ofLength(12), anyBytes, anyBytes] as const;

test("seal() writes what node:crypto writes, tag last, and open() reads it", () => {
  fc.assert(fc.property(...inputs, (key, nonce, plaintext, associatedData) => {
    const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(associatedData);
    const expected = concatBytes(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
    const sealed = seal(key, nonce, plaintext, associatedData);
    assert.deepEqual(sealed, expected);
    assert.deepEqual(Uint8Array.from(open(key, nonce, sealed, associatedData) as Uint8Array), plaintext);
  }));
});

const key = new Uint8Array(32).fill(1);
const nonce = new Uint8Array(12).fill(2);
const plaintext = new Uint8Array(32).fill(3);
const associatedData = new Uint8Array(20).fill(4);
const sealed = seal(key, nonce, plaintext, associatedData);

/** Each copy of the bytes that differs in one bit. */
function* flips(bytes: Uint8Array): Generator<Uint8Array<ArrayBuffer>> {
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Uint8Array.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    yield changed;
  }
}

test("open() gives null for every flipped bit of ciphertext, tag, key, nonce and associated data", () => {
  for (const changed of flips(sealed)) assert.equal(open(key, nonce, changed, associatedData), null);
  for (const changed of flips(key)) assert.equal(open(changed, nonce, sealed, associatedData), null);
  for (const changed of flips(nonce)) assert.equal(open(key, changed, sealed, associatedData), null);
  for (const changed of flips(associatedData)) assert.equal(open(key, nonce, sealed, changed), null);
});

test("open() gives null for associated data that is missing or was not there", () => {
  const none = new Uint8Array(0);
  assert.equal(open(key, nonce, sealed, none), null);
  assert.equal(open(key, nonce, seal(key, nonce, plaintext, none), associatedData), null);
});

test("open() and seal() leave their inputs as they were", () => {
  const copies = [key, nonce, plaintext, associatedData, sealed].map((bytes) => Uint8Array.from(bytes));
  seal(key, nonce, plaintext, associatedData);
  open(key, nonce, sealed, associatedData);
  assert.deepEqual([key, nonce, plaintext, associatedData, sealed], copies);
});

test("seal() and open() throw for a key or nonce of another length, which is a bug of the caller", () => {
  for (const length of [0, 33]) {
    assert.throws(() => seal(new Uint8Array(length), nonce, plaintext, associatedData));
    assert.throws(() => open(new Uint8Array(length), nonce, sealed, associatedData));
  }
  assert.throws(() => seal(key, new Uint8Array(0), plaintext, associatedData));
});
