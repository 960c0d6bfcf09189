import assert from "node:assert/strict";
import { createECDH, createPublicKey, verify as nodeVerify } from "node:crypto";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import { type Bytes, concatBytes, decodeHex, encodeHex } from "../../../src/bytes.ts";
import { expandPoint, generateKeyPair, importPrivateKey, sign, verify } from "../../../src/crypto/p256.ts";
import { compressPoint, encodeSpki } from "../../../src/formats/public_key.ts";
import { ameshError } from "../../support/errors.ts";

const ORDER = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const HALF_ORDER = BigInt(`0x${ORDER}`) / 2n;
const hex = (text: string) => decodeHex(text) as Bytes;

// RFC 6979 A.2.5: a private key with its public key.
const SCALAR = hex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
const X = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
const Y = "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
const POINT = hex(`04${X}${Y}`);
const COMPRESSED = hex(`03${X}`);

/** The bytes in pieces of that size, in one buffer that every piece overwrites: the Message contract allows it. */
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(size);
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
    buffer.fill(0xee);
  }
}

function pointOf(scalar: Uint8Array): Bytes {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(scalar);
  return Uint8Array.from(ecdh.getPublicKey());
}

async function opened(): Promise<CryptoKey> {
  return await importPrivateKey(SCALAR, COMPRESSED) as CryptoKey;
}

test("generateKeyPair() gives scalar and point of one new key", async () => {
  const [a, b] = [await generateKeyPair(), await generateKeyPair()];
  assert.notDeepEqual(a.scalar, b.scalar);
  for (const { scalar, publicKey } of [a, b]) {
    assert.deepEqual([scalar.length, publicKey.length], [32, 33]);
    assert.deepEqual(publicKey, compressPoint(pointOf(scalar)));
    assert.notEqual(await importPrivateKey(scalar, publicKey), null);
  }
});

test("importPrivateKey() takes the key of RFC 6979, compressed or not", async () => {
  assert.notEqual(await importPrivateKey(SCALAR, COMPRESSED), null);
  assert.notEqual(await importPrivateKey(SCALAR, POINT), null);
});

test("importPrivateKey() takes scalars with leading zeros and leaves them as they were", async () => {
  for (const short of [1n, 0xffn, 1n << 128n, HALF_ORDER >> 9n]) {
    const scalar = hex(short.toString(16).padStart(64, "0"));
    const before = Uint8Array.from(scalar);
    assert.notEqual(await importPrivateKey(scalar, pointOf(scalar)), null, `${short}`);
    assert.deepEqual(scalar, before);
  }
});

test("importPrivateKey() gives null for the point of another key, also for its mirror image", async () => {
  const { publicKey } = await generateKeyPair();
  assert.equal(await importPrivateKey(SCALAR, publicKey), null);
  assert.equal(await importPrivateKey(SCALAR, hex(`02${X}`)), null);
});

const noScalars: [name: string, scalar: string][] = [
  ["0", "00".repeat(32)],
  ["n", ORDER],
  ["n + 1", `${ORDER.slice(0, -1)}2`],
  ["2^256 - 1", "ff".repeat(32)],
];
for (const [name, scalar] of noScalars) {
  test(`importPrivateKey() gives null for ${name}, which is no scalar`, async () => {
    assert.equal(await importPrivateKey(hex(scalar), COMPRESSED), null);
  });
}

const onePiece = 1 << 20;
const lengths = [
  0,
  1,
  55,
  64,
  128 * 1024,
  onePiece - 1,
  onePiece,
  onePiece + 1,
  onePiece + 300_000,
  3 * onePiece,
];
for (const length of lengths) {
  test(`sign() and verify() agree with node:crypto on ${length} bytes in pieces`, async () => {
    const message = Buffer.alloc(length, "amesh");
    const signature = await sign(await opened(), pieces(message, 100_000));
    assert.equal(signature.length, 64);
    const key = createPublicKey({ key: Buffer.from(encodeSpki(POINT)), format: "der", type: "spki" });
    assert.ok(nodeVerify("sha256", message, { key, dsaEncoding: "ieee-p1363" }, signature));
    assert.equal(await verify(COMPRESSED, [signature], pieces(message, 65_536)), true);
    assert.equal(
      await verify(COMPRESSED, [signature], pieces(Buffer.concat([message, Buffer.of(0)]), 65_536)),
      false,
    );
  });
}

test("sign() makes low-S signatures of both ways that a message can go", async () => {
  const key = await opened();
  const long = new Uint8Array(onePiece + 1);
  for (let i = 0; i < 40; i++) {
    const message = i < 32 ? Uint8Array.of(i) : long;
    const signature = await sign(key, pieces(message, 1 << 19));
    assert.ok(BigInt(`0x${encodeHex(signature.subarray(32))}`) <= HALF_ORDER);
  }
});

test("sign() waits for the key until the message has been read", async () => {
  const order: string[] = [];
  const key = new Promise<CryptoKey>((resolve) =>
    setTimeout(() => resolve(opened().then((k) => (order.push("key"), k))), 20)
  );
  const message = (async function* () {
    yield Uint8Array.of(1);
    order.push("message");
  })();
  const signature = await sign(key, message);
  assert.deepEqual(order, ["message", "key"]);
  assert.ok(await verify(POINT, [signature], pieces(Uint8Array.of(1), 1)));
});

for (const length of [1, onePiece + 1]) {
  test(`sign() and verify() hand on what reading a message of ${length} bytes throws`, async () => {
    const failing = async function* () {
      yield new Uint8Array(length);
      throw new Error("disk on fire");
    };
    await assert.rejects(sign(opened(), failing()), /disk on fire/);
    await assert.rejects(verify(POINT, [new Uint8Array(64)], failing()), /disk on fire/);
  });

  test(`verify() tries every candidate for a message of ${length} bytes, and high-S`, async () => {
    const message = new Uint8Array(length);
    const signature = await sign(await opened(), pieces(message, 1 << 18));
    const s = BigInt(`0x${ORDER}`) - BigInt(`0x${encodeHex(signature.subarray(32))}`);
    const highS = concatBytes(signature.subarray(0, 32), hex(s.toString(16).padStart(64, "0")));
    const wrong = new Uint8Array(64).fill(1);
    const check = (candidates: Bytes[]) => verify(COMPRESSED, candidates, pieces(message, 1 << 18));
    assert.equal(await check([signature]), true);
    assert.equal(await check([highS]), true);
    assert.equal(await check([wrong, signature]), true);
    assert.equal(await check([signature, wrong]), true);
    assert.equal(await check([wrong]), false);
    assert.equal(await check([]), false);
  });

  test(`verify() says no to r or s out of range over ${length} bytes`, async () => {
    const good = await sign(await opened(), pieces(new Uint8Array(length), 1 << 18));
    const [r, s] = [good.subarray(0, 32), good.subarray(32)];
    const [zero, order, big] = [new Uint8Array(32), hex(ORDER), new Uint8Array(32).fill(255)];
    for (
      const bad of [[zero, s], [r, zero], [zero, zero], [order, s], [r, order], [big, s], [r, big]] as const
    ) {
      assert.equal(
        await verify(POINT, [concatBytes(...bad)], pieces(new Uint8Array(length), 1 << 18)),
        false,
      );
    }
  });
}

test("verify() says no when one bit of signature or message is another", async () => {
  const message = Uint8Array.of(1, 2, 3);
  const signature = await sign(await opened(), pieces(message, 3));
  const bit = fc.nat({ max: 511 });
  await fc.assert(fc.asyncProperty(bit, async (at) => {
    const changed = Uint8Array.from(signature);
    changed[at >> 3] = (changed[at >> 3] as number) ^ (1 << (at & 7));
    assert.equal(await verify(POINT, [changed], pieces(message, 3)), false);
  }));
  assert.equal(await verify(POINT, [signature], pieces(Uint8Array.of(1, 2, 2), 3)), false);
});

test("expandPoint() finds y", async () => {
  assert.deepEqual(await expandPoint(COMPRESSED), POINT);
  assert.deepEqual(await expandPoint(POINT), POINT);
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 32, maxLength: 32 }).filter((b) => b[0] !== 255 && b.some((x) => x > 0)),
      async (scalar) => {
        const point = pointOf(scalar);
        assert.deepEqual(await expandPoint(compressPoint(point)), point);
      },
    ),
    { numRuns: 40 },
  );
});

const noPoints: [name: string, point: string][] = [
  ["a compressed x that is on no point", `02${"00".repeat(31)}07`],
  ["x = p", "02ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"],
  ["x above p", `02${"ff".repeat(32)}`],
  ["a y that does not fit x", `04${X}${Y.slice(0, -1)}8`],
  ["zeros", `04${"00".repeat(64)}`],
  ["the point at infinity", "00"],
  ["a hybrid point", `07${X}${Y}`],
  ["another prefix", `05${X}`],
  ["a byte too few", `04${X}${Y.slice(2)}`],
  ["nothing", ""],
];
for (const [name, point] of noPoints) {
  test(`expandPoint(), verify() and importPrivateKey() refuse ${name}`, async () => {
    const refused = ameshError("ERR_CORRUPT", /not a point of P-256$/);
    await assert.rejects(expandPoint(hex(point)), refused);
    await assert.rejects(verify(hex(point), [new Uint8Array(64)], pieces(Uint8Array.of(1), 1)), refused);
    await assert.rejects(importPrivateKey(SCALAR, hex(point)), refused);
  });
}
