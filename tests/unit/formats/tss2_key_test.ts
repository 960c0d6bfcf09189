import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import { AmeshError } from "../../../src/errors.ts";
import { encodeTss2Key, parseTss2Key, type Tss2Key } from "../../../src/formats/tss2_key.ts";
import { parseEccPublic, sized } from "../../../src/tpm/structures.ts";
import { ameshError } from "../../support/errors.ts";

const pem = (der: Uint8Array) =>
  new TextEncoder().encode(
    `-----BEGIN TSS2 PRIVATE KEY-----\n${
      der.toBase64().replace(/.{64}(?=.)/g, "$&\n")
    }\n-----END TSS2 PRIVATE KEY-----\n`,
  );
const derOf = (text: Uint8Array) =>
  Uint8Array.fromBase64(new TextDecoder().decode(text).replaceAll(/-----[^-]*-----|\s/g, ""));
const parseDer = (hex: string) => parseTss2Key(pem(Uint8Array.fromHex(hex.replaceAll(" ", ""))), "k");

const OID = "0606 67810 50a0103".replaceAll(" ", "");
const PUB = "0404 0002 aabb";
const PRIV = "0405 0003 010203";
const PARENT = "0204 40000001";
const KEPT = "0205 0081000001";
const FLAG = "a003 0101ff";
const sequence = (body: string, length?: string) => {
  const hex = body.replaceAll(" ", "");
  return `30${length ?? (hex.length / 2).toString(16).padStart(2, "0")}${hex}`;
};

test("parseTss2Key() reads each field", () => {
  const key = parseDer(sequence(`${OID}${FLAG}${PARENT}${PUB}${PRIV}`));
  assert.equal(key.parent, 0x40000001);
  assert.equal(key.publicArea.toHex(), "0002aabb");
  assert.equal(key.privateArea.toHex(), "0003010203");
  assert.equal(parseDer(sequence(`${OID}${FLAG}${KEPT}${PUB}${PRIV}`)).parent, 0x81000001);
});

for (const [what, flag] of [["01", "a003010101"], ["00", "a003010100"], ["absent", ""]] as const) {
  test(`parseTss2Key() accepts emptyAuth ${what}, as other programs write it`, () => {
    assert.equal(parseDer(sequence(`${OID}${flag}${PARENT}${PUB}${PRIV}`)).parent, 0x40000001);
  });
}

const refused: [string, string][] = [
  ["another object identifier", sequence(`060667810 50a0104${FLAG}${PARENT}${PUB}${PRIV}`)],
  ["bytes behind it", `${sequence(`${OID}${FLAG}${PARENT}${PUB}${PRIV}`)}00`],
  ["a length that is not minimal", sequence(`${OID}${FLAG}${PARENT}${PUB}${PRIV}`, "8120")],
  ["a string of indefinite length", sequence(`${OID}${FLAG}${PARENT}${PUB}2480 0405 0003010203 0000`)],
  ["an element more", sequence(`${OID}${FLAG}${PARENT}${PUB}${PRIV}0500`)],
  ["a policy", sequence(`${OID}${FLAG}a1023000${PARENT}${PUB}${PRIV}`)],
  ["an element less", sequence(`${OID}${FLAG}${PARENT}${PUB}`)],
  ["a negative parent", sequence(`${OID}${FLAG}020481000001${PUB}${PRIV}`)],
  ["a parent of five bytes", sequence(`${OID}${FLAG}02050181000001${PUB}${PRIV}`)],
  ["an integer that is not minimal", sequence(`${OID}${FLAG}02050040000001${PUB}${PRIV}`)],
  ["a public area whose size lies", sequence(`${OID}${FLAG}${PARENT}0404 0003 aabb${PRIV}`)],
  ["a private area without a size", sequence(`${OID}${FLAG}${PARENT}${PUB}0401 00`)],
  ["a flag that is no BOOLEAN", sequence(`${OID}a003020101${PARENT}${PUB}${PRIV}`)],
  ["a flag of two bytes", sequence(`${OID}a0040102ffff${PARENT}${PUB}${PRIV}`)],
  ["a value that the ASN.1 library throws at", "1800"],
  ["such a value inside", sequence(`${OID}${FLAG}${PARENT}${PUB}1800`)],
  ["a set", sequence(`${OID}${FLAG}${PARENT}${PUB}${PRIV}`).replace(/^30/, "31")],
];
for (const [what, hex] of refused) {
  test(`parseTss2Key() refuses ${what}`, () => {
    assert.throws(() => parseDer(hex), ameshError("ERR_CORRUPT", /damaged or of an unknown kind$/));
  });
}

const good = encodeTss2Key({
  parent: 0x81000001,
  publicArea: sized(new Uint8Array(86)),
  privateArea: sized(new Uint8Array(126)),
});
const text = new TextDecoder().decode(good);
for (
  const [what, bad] of [
    ["two keys", text + text],
    ["another label", text.replaceAll("TSS2 ", "")],
    ["text before it", `# mine\n${text}`],
    ["text behind it", `${text}more`],
    ["no end", text.replace(/-----END.*/, "")],
    ["a character that is none", text.replace("A", "!")],
    ["an empty file", ""],
    ["base64 without its padding", text.replace(/=+\n/, "\n")],
    ["base64 with pad bits that are not zero", text.replace(/A==\n/, "B==\n")],
    ["a byte order mark", `\ufeff${text}`],
    ["the start alone", "-----BEGIN TSS2 PRIVATE KEY-----\n"],
    ["nothing between start and end", text.replace(/KEY-----\n[^-]*/, "KEY-----\n")],
    ["a line of spaces in the middle", text.replace("\n", "\n  \n")],
  ] as const
) {
  test(`parseTss2Key() refuses ${what}`, () => {
    assert.notEqual(bad, text);
    const notOne = ameshError("ERR_CORRUPT", /^cannot read "k": it is not a TSS2 PRIVATE KEY file$/);
    assert.throws(() => parseTss2Key(new TextEncoder().encode(bad), "k"), notOne);
  });
}

test("parseTss2Key() accepts lines that end in CR LF and blank lines around", () => {
  const dos = `\r\n${text.replaceAll("\n", "\r\n")}\r\n`;
  assert.equal(parseTss2Key(new TextEncoder().encode(dos), "k").parent, 0x81000001);
});

const area = fc.uint8Array({ maxLength: 300 }).map(sized);
const keys: fc.Arbitrary<Tss2Key> = fc.record({
  parent: fc.integer({ min: 0, max: 0xffffffff }),
  publicArea: area,
  privateArea: area,
});

test("encodeTss2Key() writes what parseTss2Key() reads, in full lines of 64", () => {
  for (let length = 0; length < 100; length++) {
    const lines = new TextDecoder().decode(encodeTss2Key({
      parent: 0xffffffff,
      publicArea: sized(new Uint8Array(length)),
      privateArea: sized(new Uint8Array(0)),
    })).split("\n");
    assert.deepEqual([lines[0], ...lines.slice(-2)], [
      "-----BEGIN TSS2 PRIVATE KEY-----",
      "-----END TSS2 PRIVATE KEY-----",
      "",
    ]);
    const last = lines.at(-3)!;
    assert.ok(last.length > 0 && last.length <= 64, last);
    assert.ok(lines.slice(1, -3).every((line) => line.length === 64));
  }
  fc.assert(fc.property(keys, (key) => assert.deepEqual(parseTss2Key(encodeTss2Key(key), "k"), { ...key })));
});

test("what is no key is ERR_CORRUPT and nothing else: truncated, changed, arbitrary", () => {
  const der = derOf(good);
  const tryParse = (bytes: Uint8Array): Tss2Key | null => {
    try {
      return parseTss2Key(pem(bytes), "k");
    } catch (error) {
      assert.ok(error instanceof AmeshError && error.code === "ERR_CORRUPT", `${error}`);
      return null;
    }
  };
  for (let end = 0; end < der.length; end++) assert.equal(tryParse(der.subarray(0, end)), null);
  for (let at = 0; at < der.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = Uint8Array.from(der);
      changed[at]! ^= 1 << bit;
      const key = tryParse(changed);
      // The BOOLEAN's byte is the one that may differ without making another key.
      if (key !== null && at !== 15) {
        assert.notDeepEqual(key, parseTss2Key(good, "k"), `byte ${at}, bit ${bit}`);
      }
    }
  }
  const tags = fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 40 }))
    .map(([tag, body]) => Uint8Array.of(tag, body.length, ...body));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (any) => void tryParse(any)), { numRuns: 1000 });
  fc.assert(fc.property(tags, (any) => void tryParse(any)), { numRuns: 5000 });
});

test("parseTss2Key() of a deeply nested value is ERR_CORRUPT", () => {
  const depth = 2000;
  const length = (inner: number) => inner < 128 ? [inner] : [0x82, inner >> 8, inner & 0xff];
  let inner = new Uint8Array(0);
  for (let i = 0; i < depth; i++) inner = Uint8Array.of(0x30, ...length(inner.length), ...inner);
  const indefinite = new Uint8Array(6000).map((_, i) => i % 2 === 0 ? 0x30 : 0x80);
  for (const der of [inner, indefinite]) {
    assert.throws(() => parseTss2Key(pem(der), "k"), ameshError("ERR_CORRUPT"));
  }
});

test("a file with another byte is a key or ERR_CORRUPT, and nothing else", () => {
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
      try {
        parseTss2Key(good.with(at, byte), "k");
      } catch (error) {
        assert.ok(error instanceof AmeshError && error.code === "ERR_CORRUPT", `${at}, ${byte}: ${error}`);
      }
    }),
    { numRuns: 1000 },
  );
});

const VECTORS = join(import.meta.dirname!, "..", "..", "vectors");
const vector = (name: string) => readFileSync(join(VECTORS, "tss2", `${name}.pem`));

test("tests/vectors/README.md has the digest of each file of tss2", () => {
  const readme = readFileSync(join(VECTORS, "README.md"), "utf8");
  for (const name of readdirSync(join(VECTORS, "tss2")).filter((name) => name !== "make.sh")) {
    const digest = createHash("sha256").update(readFileSync(join(VECTORS, "tss2", name))).digest("hex");
    assert.match(readme, new RegExp(`\`${name}\`.*\`${digest}\``), name);
  }
});

/** Name, BOOLEAN in hexadecimal, parent and TPMA_OBJECT. */
const written: [name: string, flag: string | null, parent: number, attributes: string][] = [
  ["amesh", "ff", 0x81000001, "00040472"],
  ["no_flag", null, 0x81000001, "00040472"],
  ["openssl_auth", "00", 0x40000001, "00060072"],
  ["openssl_owner", "01", 0x40000001, "00060072"],
  ["openssl_p384", "01", 0x40000001, "00060072"],
  ["openssl_persistent", "01", 0x81000001, "00060072"],
  ["openssl_rsa", "01", 0x40000001, "00060072"],
  ["tpm2_encodeobject", "00", 0x81000001, "00040472"],
];
for (const [name, flag, parent, attributes] of written) {
  test(`parseTss2Key() reads ${name}.pem`, () => {
    const key = parseTss2Key(vector(name), "k");
    assert.equal(key.parent, parent);
    // Behind size, type and Name algorithm.
    assert.equal(key.publicArea.slice(6, 10).toHex(), attributes);
    const der = derOf(vector(name)).toHex();
    assert.equal(/^30(?:..|81..|82....)06066781050a0103(?:a0030101(..))?02/.exec(der)?.[1] ?? null, flag);
    assert.ok(der.endsWith(key.privateArea.toHex()) && der.includes(key.publicArea.toHex()));
  });
}

for (const name of ["amesh", "openssl_auth", "openssl_owner", "openssl_persistent", "tpm2_encodeobject"]) {
  test(`the public key in ${name}.pem is the one that OpenSSL or tpm2-tools read there`, () => {
    const spki = derOf(vector(`${name}.pub`));
    const area = parseEccPublic(parseTss2Key(vector(name), "k").publicArea)!;
    assert.equal(area.point.toHex(), spki.slice(-65).toHex());
  });
}

test("a key without the BOOLEAN is the key with it, and RSA and P-384 are no P-256", () => {
  const parse = (name: string) => parseTss2Key(vector(name), "k");
  assert.deepEqual(parse("no_flag"), parse("tpm2_encodeobject"));
  for (const name of ["openssl_rsa", "openssl_p384"]) {
    assert.equal(parseEccPublic(parse(name).publicArea), null, name);
  }
});

test("encodeTss2Key() makes the file of amesh again, byte for byte", () => {
  const file = vector("amesh").toString();
  assert.equal(new TextDecoder().decode(encodeTss2Key(parseTss2Key(vector("amesh"), "k"))), file);
});
