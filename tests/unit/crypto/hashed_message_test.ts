import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { type Bytes, utf8 } from "../../../src/bytes.ts";
import {
  generateKeyPair,
  hashMessage,
  importPrivateKey,
  sign,
  verifyHashed,
} from "../../../src/crypto/p256.ts";
import { ameshError } from "../../support/errors.ts";

const ONE_MIB = 1 << 20;
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** The message in pieces; the buffer is used again for every piece. */
async function* pieces(message: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(size);
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
  }
}

const messageOf = (length: number) => Uint8Array.from({ length }, (_, i) => i * 31 + (i >> 8));

for (const length of [0, 1, 1000, ONE_MIB, ONE_MIB + 1, 3 * ONE_MIB + 7]) {
  test(`hashMessage() of ${length} bytes is their SHA-256, and keeps them up to 1 MiB`, async () => {
    const message = messageOf(length);
    for (const size of [4096, 65_536, 1_000_003]) {
      const { digest, bytes } = await hashMessage(pieces(message, size));
      assert.equal(digest.toHex(), createHash("sha256").update(message).digest("hex"));
      assert.deepEqual(bytes, length <= ONE_MIB ? message : null);
    }
  });

  test(`verifyHashed() of ${length} bytes takes the key's signature, high-S too, and no other`, async () => {
    const { scalar, publicKey } = await generateKeyPair();
    const key = (await importPrivateKey(scalar, publicKey))!;
    const hashed = await hashMessage(pieces(messageOf(length), 65_536));
    const signature = await sign(key, pieces(messageOf(length), 65_536));
    assert.ok(await verifyHashed(publicKey, signature, hashed));
    const high: Bytes = Uint8Array.from(signature);
    const s = ORDER - BigInt(`0x${signature.subarray(32).toHex()}`);
    high.set(Uint8Array.fromHex(s.toString(16).padStart(64, "0")), 32);
    assert.ok(await verifyHashed(publicKey, high, hashed));
    const wrong: Bytes = Uint8Array.from(signature);
    wrong[63]! ^= 1;
    assert.equal(await verifyHashed(publicKey, wrong, hashed), false);
    const other = await generateKeyPair();
    assert.equal(await verifyHashed(other.publicKey, signature, hashed), false);
    const another = await hashMessage(pieces(messageOf(length + 1), 65_536));
    assert.equal(await verifyHashed(publicKey, signature, another), false);
  });
}

test("verifyHashed() refuses a point that is not on the curve", async () => {
  const hashed = await hashMessage(pieces(utf8("x"), 10));
  const bad: Bytes = new Uint8Array(33);
  bad[0] = 2;
  bad.fill(0xff, 1);
  await assert.rejects(verifyHashed(bad, new Uint8Array(64), hashed), ameshError("ERR_CORRUPT"));
});
