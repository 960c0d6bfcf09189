import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { test } from "node:test";
import { calculateJwkThumbprint, importJWK } from "jose";
import { utf8 } from "../../../src/bytes.ts";
import { openIdentity, parsePublicKey } from "../../../src/mod.ts";
import { ameshPlace, identityOf } from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";

const FLOOR = await identityOf("floor");
const key = await parsePublicKey(FLOOR.fields.publicKey);

test("parsePublicKey() reads every form that a public key writes", async () => {
  const { pem, jwk, der, compressed, uncompressed } = key;
  const set = { keys: [jwk] };
  for (
    const form of [
      pem,
      jwk,
      set,
      JSON.stringify(jwk),
      der,
      await key.ssh(),
      compressed.toHex(),
      uncompressed.toBase64(),
    ]
  ) {
    const read = await parsePublicKey(form as string);
    assert.ok(read.equals(key));
    assert.equal(read.deviceId, FLOOR.fields.deviceId);
  }
});

test("a public key is what other programs read", async () => {
  const byNode = createPublicKey(key.pem).export({ format: "jwk" });
  assert.deepEqual([byNode.x, byNode.y], [key.jwk.x, key.jwk.y]);
  assert.equal(await calculateJwkThumbprint({ ...key.jwk }), key.thumbprint);
  assert.equal(key.jwk.kid, key.thumbprint);
  assert.match(await key.ssh("who"), /^ecdsa-sha2-nistp256 [A-Za-z0-9+/=]+ who$/);
  await importJWK({ ...key.jwk });
});

test("nobody changes a public key through what it gives", async () => {
  using here = ameshPlace("floor");
  using identity = await openIdentity({ directory: here.layout.directory });
  const signature = await identity.sign("x");
  for (const bytes of [key.compressed, key.uncompressed, key.der]) bytes.fill(0);
  assert.equal(await key.verify(signature, "x"), true);
  assert.deepEqual(key.compressed, FLOOR.publicKey);
});

test("verify() reads signatures in every spelling, and takes nothing else for one", async () => {
  using here = ameshPlace("floor");
  using identity = await openIdentity({ directory: here.layout.directory });
  const raw = await identity.sign("x");
  const der = await identity.sign("x", { format: "der" });
  for (const signature of [raw, der, raw.toBase64(), der.toHex(), raw.toBase64({ alphabet: "base64url" })]) {
    assert.equal(await key.verify(signature, "x"), true);
  }
  const flipped = Uint8Array.from(raw, (byte, i) => i === 40 ? byte ^ 1 : byte);
  for (
    const signature of [flipped, raw.subarray(1), "", "signature", new Uint8Array(64), new Uint8Array(10_000)]
  ) {
    assert.equal(await key.verify(signature, "x"), false);
  }
  const other = await parsePublicKey((await identityOf("floor-other")).fields.publicKey);
  assert.equal(await other.verify(raw, "x"), false);
  assert.equal(other.equals(key), false);
});

test("parsePublicKey() refuses private keys, other curves and points that lie beside the curve", async () => {
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, [
    "sign",
    "verify",
  ]);
  const privateJwk = await crypto.subtle.exportKey("jwk", pair.privateKey);
  await assert.rejects(parsePublicKey(privateJwk), ameshError("ERR_CORRUPT", /it is a private key/));
  const beside = key.uncompressed;
  beside[64]! ^= 1;
  const bad = ["", "no key", "{}", { kty: "OKP" }, utf8("x"), beside.toHex()];
  for (const input of bad) await assert.rejects(parsePublicKey(input), ameshError("ERR_CORRUPT"));
});
