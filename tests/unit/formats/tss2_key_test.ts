import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { AmeshError } from "../../../src/errors.ts";
import { encodeTss2Key, parseTss2Key, type Tss2Key } from "../../../src/formats/tss2_key.ts";
import { sized } from "../../../src/tpm/structures.ts";
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
  ]
) {
  test(`parseTss2Key() refuses ${what}`, () => {
    assert.throws(() => parseTss2Key(new TextEncoder().encode(bad), "k"), ameshError("ERR_CORRUPT"));
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

test("encodeTss2Key() writes what parseTss2Key() reads", () => {
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
