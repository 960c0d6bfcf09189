import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import {
  concatBytes,
  decodeBase64,
  decodeBase64Url,
  decodeHex,
  encodeBase64,
  encodeBase64Url,
  encodeHex,
  equalBytes,
  u32be,
  utf8,
  wipe,
} from "../../src/bytes.ts";

const bytes = fc.uint8Array({ maxLength: 200 });
const plain = (value: Uint8Array) => Uint8Array.from(value);

// node:buffer is another implementation of the same encodings.
const encodings = [
  { name: "Hex", encode: encodeHex, decode: decodeHex, node: "hex" },
  { name: "Base64", encode: encodeBase64, decode: decodeBase64, node: "base64" },
  { name: "Base64Url", encode: encodeBase64Url, decode: decodeBase64Url, node: "base64url" },
] as const;

for (const { name, encode, decode, node } of encodings) {
  test(`encode${name}() writes what node:buffer writes, and decode${name}() reads it back`, () => {
    fc.assert(fc.property(bytes, (value) => {
      const text = encode(value);
      assert.equal(text, Buffer.from(value).toString(node));
      assert.deepEqual(decode(text), plain(value));
    }));
  });

  test(`decode${name}() takes any text and nothing but canonical text`, () => {
    const nearby = fc.string({ unit: fc.constantFrom(..."AZaz09+/-_= \n"), maxLength: 12 });
    fc.assert(fc.property(fc.oneof(nearby, fc.string()), (text) => {
      const decoded = decode(text);
      if (decoded !== null) assert.equal(encode(decoded), name === "Hex" ? text.toLowerCase() : text);
    }));
  });
}

const refused: [name: string, decode: (text: string) => Uint8Array | null, texts: string[]][] = [
  ["decodeHex()", decodeHex, ["0", "0g", "0x00", " 00", "00\n", "0 0"]],
  ["decodeBase64()", decodeBase64, [
    "A",
    "AA",
    "AA=",
    "AB==",
    "AAB=",
    "AA==\n",
    " AA==",
    "A A==",
    "_-8=",
    "AAAA=",
  ]],
  ["decodeBase64Url()", decodeBase64Url, ["A", "AA==", "AB", "AAB", "AA\n", "+/8", "A A"]],
];
for (const [name, decode, texts] of refused) {
  for (const text of texts) {
    test(`${name} refuses ${JSON.stringify(text)}`, () => assert.equal(decode(text), null));
  }
}

test("decodeHex() takes both cases", () => {
  assert.deepEqual(decodeHex("aBCd"), Uint8Array.of(0xab, 0xcd));
});

test("u32be() writes what DataView writes", () => {
  fc.assert(fc.property(fc.nat({ max: 0xffffffff }), (value) => {
    const expected = new Uint8Array(4);
    new DataView(expected.buffer).setUint32(0, value);
    assert.deepEqual(u32be(value), expected);
  }));
});

for (const value of [-1, 0x1_0000_0000, 1.5, NaN, Infinity]) {
  test(`u32be() refuses ${value}`, () => assert.throws(() => u32be(value), RangeError));
}

test("concatBytes() joins its parts into new bytes", () => {
  fc.assert(fc.property(fc.array(bytes, { maxLength: 5 }), (parts) => {
    assert.deepEqual(concatBytes(...parts), Uint8Array.from(Buffer.concat(parts)));
  }));
  const part = Uint8Array.of(1);
  const joined = concatBytes(part);
  part[0] = 2;
  assert.deepEqual(joined, Uint8Array.of(1));
});

test("equalBytes() says what node:buffer says", () => {
  const pair = fc.oneof(fc.tuple(bytes, bytes), bytes.map((value) => [value, plain(value)] as const));
  fc.assert(fc.property(pair, ([a, b]) => assert.equal(equalBytes(a, b), Buffer.from(a).equals(b))));
});

test("equalBytes() sees a difference of one bit in any byte", () => {
  for (let at = 0; at < 32; at++) {
    const changed = new Uint8Array(32);
    changed[at] = 0x80;
    assert.equal(equalBytes(new Uint8Array(32), changed), false);
  }
});

test("utf8() encodes as UTF-8", () => {
  assert.equal(encodeHex(utf8("ü€🔑")), "c3bce282acf09f9491");
});

test("wipe() overwrites every buffer and skips what is not there", () => {
  const [a, b] = [Uint8Array.of(1, 2), Uint8Array.of(3)];
  wipe(a, undefined, b);
  assert.deepEqual([a, b], [Uint8Array.of(0, 0), Uint8Array.of(0)]);
});
