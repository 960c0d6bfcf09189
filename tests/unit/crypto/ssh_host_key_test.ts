import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Bytes, concatBytes } from "../../../src/bytes.ts";
import { verifyHostSignature } from "../../../src/crypto/ssh_host_key.ts";
import { sshMpint, SshReader, sshString } from "../../../src/formats/ssh_wire.ts";

interface Vector {
  readonly name: string;
  readonly hostKey: Bytes;
  readonly signature: Bytes;
}

const path = join(import.meta.dirname!, "..", "..", "vectors", "ssh_host_keys.json");
const file = JSON.parse(readFileSync(path, "utf8"));
const SESSION_ID = Uint8Array.fromHex(file.sessionId);
const VECTORS: readonly Vector[] = file.vectors.map((vector: Record<string, string>) => ({
  name: vector["name"],
  hostKey: Uint8Array.fromHex(vector["hostKey"]!),
  signature: Uint8Array.fromHex(vector["signature"]!),
}));
const vector = (name: string) => VECTORS.find((vector) => vector.name === name)!;
const ED25519 = vector("ed25519 ssh-ed25519");
const ECDSA = vector("ecdsa 256 ecdsa-sha2-nistp256");
const RSA = vector("rsa 2048 rsa-sha2-256");
const SHORT_RSA = vector("rsa 1016 rsa-sha2-256");
const isRefused = ({ name }: Vector) => / ssh-rsa|1016/.test(name);
const verifies = (hostKey: Uint8Array, signature: Uint8Array) =>
  verifyHostSignature(hostKey, signature, SESSION_ID);

/** The strings of a blob: all of these are made of nothing else. */
function stringsOf(blob: Uint8Array): Uint8Array[] {
  const reader = new SshReader(blob);
  const strings: Uint8Array[] = [];
  while (reader.rest.length > 0) strings.push(reader.string());
  return strings;
}
const blobOf = (...strings: readonly (Uint8Array | string)[]) => concatBytes(...strings.map(sshString));
/** The blob with one of its strings replaced. */
function changed(blob: Uint8Array, index: number, by: Uint8Array | string): Bytes {
  const strings: (Uint8Array | string)[] = stringsOf(blob);
  strings[index] = by;
  return blobOf(...strings);
}

test("the vectors have keys of every type, their certificates, and what is to be refused", () => {
  assert.equal(VECTORS.length, 27);
  assert.equal(VECTORS.filter(isRefused).length, 7);
});

for (const vector of VECTORS) {
  const { name, hostKey, signature } = vector;
  if (isRefused(vector)) {
    test(`the host's signature is refused: ${name}`, () => {
      assert.equal(verifies(hostKey, signature), false);
    });
    continue;
  }
  test(`the host's signature verifies, over nothing else: ${name}`, () => {
    assert.equal(verifies(hostKey, signature), true);
    for (const other of [new Uint8Array(0), new Uint8Array(32), SESSION_ID.subarray(1)]) {
      assert.equal(verifyHostSignature(hostKey, signature, other), false);
    }
  });

  test(`no bit of the signature can be another one: ${name}`, () => {
    for (let at = 0; at < signature.length; at += 3) {
      const flipped = Uint8Array.from(signature);
      flipped[at]! ^= 1 << at % 8;
      assert.equal(verifies(hostKey, flipped), false, `${at}`);
    }
  });

  test(`a signature or a key that is cut or goes on is refused: ${name}`, () => {
    for (let length = 0; length < signature.length; length += 5) {
      assert.equal(verifies(hostKey, signature.subarray(0, length)), false);
    }
    assert.equal(verifies(hostKey, concatBytes(signature, Uint8Array.of(0))), false);
    // What stands behind the key in a certificate is not looked at: the key counts.
    if (name.endsWith("certificate")) return;
    for (let length = 0; length < hostKey.length; length += 3) {
      assert.equal(verifies(hostKey.subarray(0, length), signature), false);
    }
    assert.equal(verifies(concatBytes(hostKey, Uint8Array.of(0)), signature), false);
  });
}

test("a signature is no other key's of the same type", () => {
  for (const one of VECTORS) {
    const own = VECTORS.filter(({ signature }) => verifies(one.hostKey, signature));
    const expected = isRefused(one) ? [] : [one];
    assert.ok(expected.every((vector) => own.includes(vector)), one.name);
    // The same key with another digest, or in a certificate.
    const size = one.name.split(" ").slice(0, 2).join(" ");
    assert.ok(own.every(({ name }) => name.startsWith(size)), one.name);
  }
});

test("the algorithm of a signature must be the key's", () => {
  const algorithms = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "ssh-rsa",
    "ssh-dss",
    "sk-ssh-ed25519@openssh.com",
    "",
  ];
  for (const { hostKey, signature } of [ED25519, ECDSA, RSA]) {
    const accepted = algorithms.filter((name) => verifies(hostKey, changed(signature, 0, name)));
    assert.deepEqual(accepted, [new TextDecoder().decode(stringsOf(signature)[0])]);
  }
});

test("a key must be of the type that it names, and its names agree", () => {
  for (const type of ["ssh-rsa", "ssh-dss", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp192", "ssh-ed448", ""]) {
    assert.equal(verifies(changed(ED25519.hostKey, 0, type), ED25519.signature), false, type);
  }
  for (const curve of ["nistp384", "nistp521", "nistp192", "P-256", "constructor", ""]) {
    assert.equal(verifies(changed(ECDSA.hostKey, 1, curve), ECDSA.signature), false, curve);
    const both = changed(changed(ECDSA.hostKey, 1, curve), 0, `ecdsa-sha2-${curve}`);
    assert.equal(verifies(both, ECDSA.signature), false, curve);
  }
});

test("the mark of a certificate stands at the end of a name, not somewhere in it", () => {
  const mark = "-cert-v01@openssh.com";
  for (const type of [`ssh${mark}-ed25519`, `${mark}ssh-ed25519`, `ssh-ed25519${mark}${mark}`]) {
    const [, point] = stringsOf(ED25519.hostKey);
    assert.equal(verifies(blobOf(type, new Uint8Array(32), point!), ED25519.signature), false, type);
  }
});

test("a point must be uncompressed, of the length of its curve, and on it", () => {
  const point = Uint8Array.from(stringsOf(ECDSA.hostKey)[2]!);
  const offCurve = Uint8Array.from(point);
  offCurve[64]! ^= 1;
  const hybrid = Uint8Array.from(point);
  hybrid[0] = 6 + (point[64]! & 1);
  const compressed = concatBytes(Uint8Array.of(2 + (point[64]! & 1)), point.subarray(1, 33));
  const padded = concatBytes(point, Uint8Array.of(0));
  const none = new Uint8Array(65);
  const zero = concatBytes(Uint8Array.of(4), new Uint8Array(64));
  for (const [name, other] of Object.entries({ offCurve, hybrid, compressed, padded, none, zero })) {
    assert.equal(verifies(changed(ECDSA.hostKey, 2, other), ECDSA.signature), false, name);
  }
  assert.equal(verifies(changed(ECDSA.hostKey, 2, point), ECDSA.signature), true);
});

test("an Ed25519 key has 32 bytes, and its signature 64", () => {
  const [, point] = stringsOf(ED25519.hostKey);
  for (const length of [0, 31, 33, 64]) {
    const other = new Uint8Array(length);
    other.set(point!.subarray(0, length));
    assert.equal(verifies(changed(ED25519.hostKey, 1, other), ED25519.signature), false, `${length}`);
  }
  const [, signature] = stringsOf(ED25519.signature);
  for (const other of [signature!.subarray(0, 63), concatBytes(signature!, Uint8Array.of(0))]) {
    assert.equal(verifies(ED25519.hostKey, changed(ED25519.signature, 1, other)), false);
  }
});

/** The two numbers of an ECDSA signature, each 32 bytes. */
const NUMBERS = stringsOf(stringsOf(ECDSA.signature)[1]!).map((mpint) => {
  const bytes = new Uint8Array(33);
  bytes.set(mpint, 33 - mpint.length);
  return bytes.subarray(1);
}) as [Bytes, Bytes];
const withNumbers = (...mpints: readonly Uint8Array[]) => changed(ECDSA.signature, 1, concatBytes(...mpints));

test("r and s are two positive numbers in the range, and nothing is behind them", () => {
  const [r, s] = NUMBERS.map(sshMpint) as [Bytes, Bytes];
  assert.equal(verifies(ECDSA.hostKey, withNumbers(r, s)), true);
  const order = Uint8Array.fromHex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
  const zero = sshMpint(new Uint8Array(0));
  const wrong: [string, Uint8Array[]][] = [
    ["swapped", [s, r]],
    ["one", [r]],
    ["three", [r, s, s]],
    ["a byte more", [r, s, Uint8Array.of(0)]],
    ["zero r", [zero, s]],
    ["zero s", [r, zero]],
    ["both zero", [zero, zero]],
    ["the order", [r, sshMpint(order)]],
    ["too long", [r, sshString(concatBytes(Uint8Array.of(0, 1), NUMBERS[1]))]],
    ["negative", [sshString(Uint8Array.of(0x80)), s]],
    ["negative by its first bit", [r, sshString(concatBytes(Uint8Array.of(0xff), NUMBERS[1]))]],
  ];
  for (const [name, numbers] of wrong) {
    assert.equal(verifies(ECDSA.hostKey, withNumbers(...numbers)), false, name);
  }
});

test("a number whose first bit is set is negative without a zero before it", () => {
  // s or n - s: one of the two signatures that verify has such a number, or r has it.
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const [r, s] = NUMBERS;
  const other = Uint8Array.fromHex((order - BigInt(`0x${s.toHex()}`)).toString(16).padStart(64, "0"));
  const high = [s, other].find((number) => number[0]! >= 0x80);
  assert.ok(high !== undefined, "make the vectors again");
  assert.equal(verifies(ECDSA.hostKey, withNumbers(sshMpint(r), sshMpint(high))), true);
  assert.equal(verifies(ECDSA.hostKey, withNumbers(sshMpint(r), sshString(high))), false);
});

test("an RSA key has positive numbers, and none of 1016 bits is long enough, however it is written", () => {
  const [, exponent, modulus] = stringsOf(RSA.hostKey) as [Uint8Array, Uint8Array, Uint8Array];
  assert.equal(verifies(blobOf("ssh-rsa", exponent, modulus), RSA.signature), true);
  // Without its zero it is negative.
  assert.equal(verifies(blobOf("ssh-rsa", exponent, modulus.subarray(1)), RSA.signature), false);
  assert.equal(verifies(blobOf("ssh-rsa", Uint8Array.of(0x81, 1), modulus), RSA.signature), false);
  assert.equal(verifies(blobOf("ssh-rsa", new Uint8Array(0), modulus), RSA.signature), false);
  assert.equal(verifies(blobOf("ssh-rsa", exponent, new Uint8Array(0)), RSA.signature), false);
  const [, , short] = stringsOf(SHORT_RSA.hostKey) as [Uint8Array, Uint8Array, Uint8Array];
  assert.equal(short.length, 128);
  for (const zeros of [1, 2, 129]) {
    const padded = concatBytes(new Uint8Array(zeros), short);
    assert.equal(verifies(blobOf("ssh-rsa", exponent, padded), SHORT_RSA.signature), false, `${zeros}`);
  }
});

test("an RSA signature has the length of the modulus", () => {
  const [, signature] = stringsOf(RSA.signature);
  for (const other of [signature!.subarray(1), signature!.subarray(0, 255), new Uint8Array(256)]) {
    assert.equal(verifies(RSA.hostKey, changed(RSA.signature, 1, other)), false);
  }
  assert.equal(
    verifies(RSA.hostKey, changed(RSA.signature, 1, concatBytes(Uint8Array.of(0), signature!))),
    false,
  );
});

test("a key in hardware is refused, also when its signature is right (PROTOCOL.u2f)", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const point = Buffer.from(publicKey.export({ format: "jwk" }).x as string, "base64url");
  const type = "sk-ssh-ed25519@openssh.com";
  const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest();
  const flagsAndCounter = Uint8Array.of(1, 0, 0, 0, 5);
  const signed = concatBytes(sha256("ssh:"), flagsAndCounter, sha256(SESSION_ID));
  const key = createPrivateKey({ key: privateKey.export({ format: "jwk" }), format: "jwk" });
  const signature = concatBytes(sshString(type), sshString(sign(null, signed, key)), flagsAndCounter);
  assert.equal(verifies(blobOf(type, point, "ssh:"), signature), false);
  // As a plain key's it is none either, whatever is left out.
  const plain = blobOf(type, sign(null, SESSION_ID, key));
  for (const hostKey of [blobOf(type, point, "ssh:"), blobOf(type, point)]) {
    assert.equal(verifies(hostKey, plain), false);
  }
  assert.equal(
    verifies(blobOf("ssh-ed25519", point), blobOf("ssh-ed25519", sign(null, SESSION_ID, key))),
    true,
  );
});
