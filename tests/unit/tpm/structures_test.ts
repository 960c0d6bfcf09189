import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { concatBytes, u32be } from "../../../src/bytes.ts";
import * as structures from "../../../src/tpm/structures.ts";

const { parseEccPublic, isStorageParent, isSigningKey, canHoldSalt, parseEcdsaSignature, parseProperties } =
  structures;
const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(" ", ""));

test("SRK_TEMPLATE is the public area that OpenSSL's tpm2 provider makes its parent from", () => {
  const want = "001a 0023 000b 00030472 0000 0006 0080 0043 0010 0003 0010 0000 0000";
  assert.deepEqual(structures.SRK_TEMPLATE, bytes(want));
});

test("KEY_TEMPLATE signs and does nothing else", () => {
  assert.deepEqual(
    structures.KEY_TEMPLATE,
    bytes("0016 0023 000b 00040472 0000 0010 0010 0003 0010 0000 0000"),
  );
});

test("EK_TEMPLATE is the template L-2 of the TCG's EK credential profile", () => {
  const policy = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
  const unique = `0020 ${"00".repeat(32)}`;
  const area = bytes(`0023 000b 000300b2 0020 ${policy} 0006 0080 0043 0010 0003 0010 ${unique} ${unique}`);
  assert.deepEqual(structures.EK_TEMPLATE, structures.sized(area));
});

const SRK = 0x00030472;
const KEY = 0x00040472;

/** TPM2B_PUBLIC of an ECC key. */
function eccPublic(
  attributes: number,
  symmetric: string,
  x: Uint8Array,
  y: Uint8Array,
  scheme = "0010",
  curve = "0003",
) {
  const { sized } = structures;
  const head = concatBytes(
    bytes("0023000b"),
    u32be(attributes),
    bytes("0000"),
    bytes(symmetric),
    bytes(scheme),
  );
  return sized(concatBytes(head, bytes(curve), bytes("0010"), sized(x), sized(y)));
}
const X = new Uint8Array(32).fill(1);
const Y = new Uint8Array(32).fill(2);
const AES = "000600800043";

test("parseEccPublic() reads a key and pads coordinates that the TPM stripped", () => {
  const area = parseEccPublic(eccPublic(KEY, "0010", X.subarray(3), Y.subarray(31)))!;
  assert.equal(area.attributes, KEY);
  assert.equal(area.point.toHex(), `04000000${"01".repeat(29)}${"00".repeat(31)}02`);
});

const others: [string, Uint8Array][] = [
  ["RSA", bytes("0012 0001 000b 00030472 0000 0006 0080 0043 0010 0800 00000000 0000")],
  ["another curve", eccPublic(KEY, "0010", X, Y, "0010", "0004")],
  ["a coordinate of 33 bytes", eccPublic(KEY, "0010", new Uint8Array(33), Y)],
  ["a byte too many", concatBytes(eccPublic(KEY, "0010", X, Y), Uint8Array.of(0))],
  ["nothing", new Uint8Array(0)],
];
for (const [what, wire] of others) {
  test(`parseEccPublic() gives null for ${what}`, () => assert.equal(parseEccPublic(wire), null));
}

test("parsers give null for every truncation and never throw", () => {
  const wire = eccPublic(SRK, AES, X, Y);
  for (let end = 0; end < wire.length; end++) assert.equal(parseEccPublic(wire.subarray(0, end)), null);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (any) => {
    for (const parse of [parseEccPublic, parseEcdsaSignature, parseProperties]) parse(any);
  }));
  fc.assert(fc.property(fc.nat(wire.length - 1), fc.nat(7), (at, bit) => {
    const changed = Uint8Array.from(wire);
    changed[at]! ^= 1 << bit;
    parseEccPublic(changed);
  }));
});

test("isStorageParent() needs every attribute of a storage key that cannot leave, and AES-128-CFB", () => {
  const fits = (attributes: number, symmetric = AES) =>
    isStorageParent(parseEccPublic(eccPublic(attributes, symmetric, X, Y))!);
  assert.ok(fits(SRK));
  const { noDA, ...needed } = structures.OBJECT;
  assert.ok(fits(SRK & ~noDA), "an SRK that is subject to lockout");
  for (const [name, bit] of Object.entries(needed)) {
    if ((SRK & bit) !== 0) assert.ok(!fits(SRK & ~bit), `without ${name}`);
  }
  for (const symmetric of ["000601000043", "000600800044", "001300800043", "0010"]) {
    assert.ok(!fits(SRK, symmetric), symmetric);
  }
  const otherName = eccPublic(SRK, AES, X, Y);
  otherName[5] = 0x0c;
  assert.ok(!isStorageParent(parseEccPublic(otherName)!), "Name by SHA-384");
});

test("isSigningKey() takes a key that is free to sign by ECDSA with SHA-256", () => {
  const signs = (attributes: number, scheme?: string) =>
    isSigningKey(parseEccPublic(eccPublic(attributes, "0010", X, Y, scheme))!);
  assert.ok(signs(KEY));
  assert.ok(signs(0x00060072), "one of OpenSSL");
  assert.ok(signs(KEY, "0018000b"));
  assert.ok(!signs(KEY, "0018000c"), "SHA-384");
  assert.ok(!signs(KEY, "001b000b"), "SM2");
  assert.ok(!signs(KEY | structures.OBJECT.restricted));
  assert.ok(!signs(KEY & ~structures.OBJECT.sign));
});

test("canHoldSalt() asks for decrypt", () => {
  const holds = (attributes: number) => canHoldSalt(parseEccPublic(eccPublic(attributes, "0010", X, Y))!);
  assert.deepEqual([holds(0x00060072), holds(KEY)], [true, false]);
});

test("parseEcdsaSignature() pads what the TPM stripped and takes ECDSA with SHA-256 only", () => {
  const signature = (head: string, r: Uint8Array, s: Uint8Array) =>
    concatBytes(bytes(head), structures.sized(r), structures.sized(s));
  const raw = parseEcdsaSignature(signature("0018000b", X.subarray(1), Y.subarray(30)));
  assert.equal(raw?.toHex(), `00${"01".repeat(31)}${"00".repeat(30)}0202`);
  for (const head of ["0014000b", "0018000c"]) assert.equal(parseEcdsaSignature(signature(head, X, Y)), null);
  assert.equal(parseEcdsaSignature(signature("0018000b", new Uint8Array(33), Y)), null);
  const whole = signature("0018000b", X, Y);
  for (let end = 0; end < whole.length; end++) {
    assert.equal(parseEcdsaSignature(whole.subarray(0, end)), null);
  }
});

test("parseProperties() reads pairs, and nothing when the count lies", () => {
  const wire = bytes("00000006 00000002 00000100 322e3000 0000020e 00000003");
  assert.deepEqual([...parseProperties(wire)!], [[0x100, 0x322e3000], [0x20e, 3]]);
  for (const lie of ["00000001", "00000003", "ffffffff"]) {
    assert.equal(parseProperties(concatBytes(wire.subarray(0, 4), bytes(lie), wire.subarray(8))), null);
  }
  assert.equal(parseProperties(concatBytes(bytes("00000005"), wire.subarray(4))), null);
});

test("nameOfPublic() is the algorithm and the digest of the area without its size", async () => {
  const name = await structures.nameOfPublic(structures.SRK_TEMPLATE);
  assert.equal(name.length, 34);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", structures.SRK_TEMPLATE.slice(2)));
  assert.equal(name.toHex(), `000b${digest.toHex()}`);
});
