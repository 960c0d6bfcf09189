import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
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

const constants: [string, Uint8Array | number, string | number][] = [
  ["PARMS_P256", structures.PARMS_P256, "0023 0010 0010 0003 0010"],
  ["PARMS_AES_128_CFB", structures.PARMS_AES_128_CFB, "0025 0006 0080 0043"],
  ["SESSION_SYMMETRIC", structures.SESSION_SYMMETRIC, "0006 0080 0043"],
  ["SESSION_HASH", structures.SESSION_HASH, 0x000b],
  ["EMPTY_SENSITIVE", structures.EMPTY_SENSITIVE, "0004 0000 0000"],
  ["EMPTY_DATA", structures.EMPTY_DATA, "0000"],
  ["NO_PCRS", structures.NO_PCRS, "00000000"],
  ["ECDSA_SHA256", structures.ECDSA_SHA256, "0018 000b"],
  ["NULL_TICKET", structures.NULL_TICKET, "8024 40000007 0000"],
  ["RH_OWNER", structures.RH_OWNER, 0x40000001],
  ["PERSISTENT_SRK", structures.PERSISTENT_SRK, 0x81000001],
  ["OWNER_PERSISTENT.first", structures.OWNER_PERSISTENT.first, 0x81000000],
  ["OWNER_PERSISTENT.last", structures.OWNER_PERSISTENT.last, 0x817fffff],
];
for (const [name, value, want] of constants) {
  test(`${name} is ${want}`, () => assert.deepEqual(value, typeof want === "string" ? bytes(want) : want));
}

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

test("parseEccPublic() reads past a policy, a KDF with its hash, and from the middle of a buffer", () => {
  const { sized } = structures;
  const [head, coordinates] = [bytes("0023 000b 00030472"), concatBytes(sized(X), sized(Y))];
  const wire = sized(concatBytes(
    head,
    sized(new Uint8Array(32).fill(0x23)),
    bytes(`${AES} 0010 0003 0020 000b`),
    coordinates,
  ));
  const padded = concatBytes(new Uint8Array(5).fill(0xff), wire, new Uint8Array(3).fill(0xff));
  const area = parseEccPublic(padded.subarray(5, 5 + wire.length))!;
  assert.ok(isStorageParent(area));
  assert.equal(area.point.toHex(), `04${"01".repeat(32)}${"02".repeat(32)}`);
});

const others: [string, Uint8Array][] = [
  ["another type in an ECC key's place", eccPublic(KEY, "0010", X, Y).with(3, 0x08)],
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

/** tests/vectors/README.md, tss2/structures.json: what a TPM wrote, in hexadecimal. */
const vectors: Record<string, string> = JSON.parse(
  readFileSync(join(import.meta.dirname!, "..", "..", "vectors", "tss2", "structures.json"), "utf8"),
);
const vector = (name: string) => bytes(vectors[name]!);

const areas: [name: string, attributes: number, uses: string][] = [
  ["srk", 0x00030472, "parent salt"],
  ["tools_default", 0x00030072, "parent salt"],
  ["ek", 0x000300b2, "salt"],
  ["attestation", 0x00050072, ""],
  ["signs_sha384", 0x00040072, ""],
  ["signer", 0x00040472, "sign"],
];
for (const [name, attributes, uses] of areas) {
  test(`parseEccPublic() of ${name}, as a TPM wrote it: ${uses || "of no use"}`, () => {
    const wire = vector(name);
    const area = parseEccPublic(wire)!;
    assert.deepEqual([area.nameAlg, area.attributes], [0x000b, attributes]);
    // x and y are the last two fields, each behind its size.
    assert.equal(area.point.toHex(), `04${wire.slice(-66, -34).toHex()}${wire.slice(-32).toHex()}`);
    const found = [
      isStorageParent(area) && "parent",
      canHoldSalt(area) && "salt",
      isSigningKey(area) && "sign",
    ];
    assert.equal(found.filter((use) => use !== false).join(" "), uses);
    for (let end = 0; end < wire.length; end++) assert.equal(parseEccPublic(wire.slice(0, end)), null);
  });
}

test("parseEccPublic() gives null for an RSA key, as a TPM wrote it", () => {
  assert.equal(parseEccPublic(vector("tools_rsa")), null);
});

test("a bit that is another in a coordinate of a public area is another point", () => {
  const wire = vector("signer");
  for (const [start, name] of [[-66, "x"], [-32, "y"]] as const) {
    for (let bit = 0; bit < 32 * 8; bit++) {
      const changed = Uint8Array.from(wire);
      changed[wire.length + start + (bit >> 3)]! ^= 1 << (bit & 7);
      assert.notDeepEqual(parseEccPublic(changed)!.point, parseEccPublic(wire)!.point, `${name}, bit ${bit}`);
    }
  }
});

test("parseEcdsaSignature() gives what the key of the TPM that signed it verifies", async () => {
  const { point } = parseEccPublic(vector("signer"))!;
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", point, algorithm, false, ["verify"]);
  const signature = parseEcdsaSignature(vector("signature_of_amesh_newline"))!;
  const verify = (message: string) =>
    crypto.subtle.verify(algorithm, key, signature, new TextEncoder().encode(message));
  assert.deepEqual([await verify("amesh\n"), await verify("amesh")], [true, false]);
});

test("parseProperties() reads the answers of a TPM", () => {
  const fixed = parseProperties(vector("properties_fixed"))!;
  assert.deepEqual([fixed.size, fixed.get(0x100), fixed.get(0x105)], [16, 0x322e3000, 0x49424d00]);
  const variable = parseProperties(vector("properties_variable"))!;
  assert.deepEqual([variable.size, variable.get(0x20f)], [20, 3]);
});
