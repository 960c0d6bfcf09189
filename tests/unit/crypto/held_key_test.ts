import assert from "node:assert/strict";
import { createECDH, createPublicKey, verify } from "node:crypto";
import { test } from "node:test";
import { p256 } from "@noble/curves/nist.js";
import { type Bytes, encodeBase64Url, encodeHex, utf8 } from "../../../src/bytes.ts";
import { openMemoryKey, sha256 } from "../../../src/crypto/held_key.ts";
import { generateKeyPair } from "../../../src/crypto/p256.ts";

const HALF_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n / 2n;
const numberOf = (bytes: Uint8Array) => BigInt(`0x${encodeHex(bytes)}`);
const { scalar: SCALAR } = await generateKeyPair();

/** The public key of a scalar, by other code than the one under test. */
function publicKeyOf(scalar: Bytes) {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(scalar);
  const point = Uint8Array.from(ecdh.getPublicKey());
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map(encodeBase64Url) as [string, string];
  return {
    point,
    key: createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" }),
  };
}
const { key: PUBLIC, point: POINT } = publicKeyOf(SCALAR);
const isValid = (message: Uint8Array, signature: Uint8Array) =>
  verify("sha256", message, { key: PUBLIC, dsaEncoding: "ieee-p1363" }, signature);

test("sign() makes 64 bytes that node:crypto verifies, for messages of any length", () => {
  using key = openMemoryKey(SCALAR);
  for (const length of [0, 1, 32, 1000, 300_000]) {
    const message = Uint8Array.from({ length }, (_, index) => index * 7);
    const signature = key.sign(message);
    assert.equal(signature.length, 64);
    assert.ok(isValid(message, signature), `${length}`);
    assert.ok(!isValid(utf8("another message"), signature));
  }
});

test("signDigest() signs the digest as it is, always low-S, never twice the same", () => {
  using key = openMemoryKey(SCALAR);
  const message = utf8("message");
  const signatures = Array.from({ length: 30 }, () => key.signDigest(sha256(message)));
  for (const signature of signatures) {
    assert.equal(signature.length, 64);
    assert.ok(isValid(message, signature));
    assert.ok(p256.verify(signature, sha256(message), POINT, { prehash: false }));
    assert.ok(numberOf(signature.subarray(32)) <= HALF_ORDER, "s is high");
  }
  assert.equal(new Set(signatures.map(encodeHex)).size, 30);
});

test("sha256() is SHA-256", () => {
  const expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  assert.equal(encodeHex(sha256(utf8("abc"))), expected);
});

test("copyScalar() gives a copy each time, which says nothing of the key when it is changed", () => {
  using key = openMemoryKey(SCALAR);
  const first = key.copyScalar();
  assert.deepEqual(first, SCALAR);
  first.fill(0);
  assert.deepEqual(key.copyScalar(), SCALAR);
  assert.ok(isValid(utf8("a"), key.signDigest(sha256(utf8("a")))));
});

test("the caller's scalar can be wiped at once", () => {
  const own = Uint8Array.from(SCALAR);
  using key = openMemoryKey(own);
  assert.deepEqual(own, SCALAR);
  own.fill(0);
  assert.deepEqual(key.copyScalar(), SCALAR);
  assert.ok(isValid(utf8("a"), key.sign(utf8("a"))));
  assert.ok(isValid(utf8("a"), key.signDigest(sha256(utf8("a")))));
});

test("a scalar with zeros in front is one too", () => {
  const scalar = new Uint8Array(32);
  scalar[31] = 1;
  using key = openMemoryKey(scalar);
  const { key: verifier } = publicKeyOf(scalar);
  const signature = key.sign(utf8("a"));
  assert.ok(verify("sha256", utf8("a"), { key: verifier, dsaEncoding: "ieee-p1363" }, signature));
});

test("disposing of a key wipes its scalar, and no digest is signed after that", () => {
  const key = openMemoryKey(SCALAR);
  key[Symbol.dispose]();
  assert.deepEqual(key.copyScalar(), new Uint8Array(32));
  assert.throws(() => key.signDigest(sha256(utf8("a"))));
});

test("what is no scalar is no key", () => {
  const order = Uint8Array.fromHex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
  for (const scalar of [new Uint8Array(32), order]) {
    assert.throws(() => {
      using key = openMemoryKey(scalar);
      key.signDigest(sha256(utf8("a")));
    });
  }
});
