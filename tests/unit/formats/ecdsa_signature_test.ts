import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, decodeHex, encodeHex, utf8 } from "../../../src/bytes.ts";
import {
  encodeSignature,
  formatSignature,
  MAX_SIGNATURE_TEXT_BYTES,
  normalizeLowS,
  parseSignature,
  SIGNATURE_ENCODINGS,
  SIGNATURE_FORMATS,
} from "../../../src/formats/ecdsa_signature.ts";
import { ameshError, onlyAmeshErrors } from "../../support/errors.ts";

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const hex = (text: string) => decodeHex(text) as Uint8Array<ArrayBuffer>;
const scalarBytes = (value: bigint) => hex(value.toString(16).padStart(64, "0"));
const rawOf = (r: bigint, s: bigint) => concatBytes(scalarBytes(r), scalarBytes(s));

/** A DER INTEGER of a positive number: minimal, with a zero in front where the top bit is set (X.690 §8.3). */
function derInteger(value: bigint): Uint8Array {
  const digits = value.toString(16);
  const magnitude = hex(digits.length % 2 === 0 ? digits : `0${digits}`);
  return tlv(2, (magnitude[0] as number) < 0x80 ? magnitude : concatBytes(Uint8Array.of(0), magnitude));
}
const tlv = (tag: number, content: Uint8Array) => concatBytes(Uint8Array.of(tag, content.length), content);
const derOf = (r: bigint, s: bigint) => tlv(0x30, concatBytes(derInteger(r), derInteger(s)));

const scalar = fc.oneof(
  fc.bigInt({ min: 1n, max: ORDER - 1n }),
  fc.integer({ min: 1, max: 255 }).chain((bits) => fc.bigInt({ min: 1n, max: (1n << BigInt(bits)) - 1n })),
  fc.constantFrom(1n, 0x7fn, 0x80n, 0xffn, 0x100n, ORDER / 2n, ORDER / 2n + 1n, ORDER - 1n),
);

test("formatSignature() writes minimal DER, also of short numbers", async () => {
  await fc.assert(fc.asyncProperty(scalar, scalar, async (r, s) => {
    assert.deepEqual(await formatSignature(rawOf(r, s), "der"), derOf(r, s));
  }));
});

test("formatSignature() leaves raw as it is", async () => {
  const raw = rawOf(1n, 2n);
  assert.deepEqual(await formatSignature(raw, "raw"), raw);
});

test("normalizeLowS() keeps r, gives the smaller of s and n - s, and new bytes", () => {
  fc.assert(fc.property(scalar, scalar, (r, s) => {
    const raw = rawOf(r, s);
    const before = Uint8Array.from(raw);
    assert.deepEqual(normalizeLowS(raw), rawOf(r, s > ORDER / 2n ? ORDER - s : s));
    assert.deepEqual(raw, before);
  }));
});

for (const format of SIGNATURE_FORMATS) {
  for (const encoding of SIGNATURE_ENCODINGS) {
    test(`parseSignature() reads ${format} in ${encoding}, high-S too`, async () => {
      await fc.assert(fc.asyncProperty(scalar, scalar, async (r, s) => {
        const bytes = await formatSignature(rawOf(r, s), format);
        const input = encoding === "binary" ? bytes : utf8(encodeSignature(bytes, encoding));
        const found = (await parseSignature(input)).map(encodeHex);
        assert.ok(found.includes(encodeHex(rawOf(r, s))), `${found}`);
      }));
    });
  }
}

test("parseSignature() finds one meaning in what sign writes", async () => {
  for (const text of ["00".repeat(63) + "01", encodeHex(derOf(ORDER - 1n, 1n))]) {
    assert.equal((await parseSignature(utf8(text))).length, 1);
  }
});

for (const around of ["\n", "\r\n", "  ", "\t"]) {
  test(`parseSignature() ignores ${JSON.stringify(around)} around a text`, async () => {
    const raw = rawOf(3n, 4n);
    const input = utf8(around + encodeSignature(raw, "base64") + around);
    assert.deepEqual(await parseSignature(input), [raw]);
  });
}

// r = 0x7f.., s = 0x11..; each variant changes one thing in the DER of these two.
const R = 0x7fn << 240n | 5n;
const S = 0x11n << 240n | 6n;
const content = concatBytes(derInteger(R), derInteger(S));
const bigR = ORDER - 5n;
const der = encodeHex(derOf(R, S));
const withIntegers = (...integers: Uint8Array[]) => encodeHex(tlv(0x30, concatBytes(...integers)));
const padded = (value: bigint) => tlv(2, concatBytes(Uint8Array.of(0), derInteger(value).subarray(2)));

const notStrict: [name: string, hex: string][] = [
  [
    "a sequence length in long form",
    encodeHex(concatBytes(Uint8Array.of(0x30, 0x81, content.length), content)),
  ],
  [
    "a sequence length in two octets",
    encodeHex(concatBytes(Uint8Array.of(0x30, 0x82, 0, content.length), content)),
  ],
  ["an indefinite length", encodeHex(concatBytes(Uint8Array.of(0x30, 0x80), content, Uint8Array.of(0, 0)))],
  [
    "an integer length in long form",
    withIntegers(
      concatBytes(Uint8Array.of(2, 0x81, derInteger(R).length - 2), derInteger(R).subarray(2)),
      derInteger(S),
    ),
  ],
  ["a leading zero in r", withIntegers(padded(R), derInteger(S))],
  ["a leading zero in s", withIntegers(derInteger(R), padded(S))],
  [
    "two leading zeros in r",
    withIntegers(tlv(2, concatBytes(new Uint8Array(2), scalarBytes(bigR))), derInteger(S)),
  ],
  ["a negative r", withIntegers(tlv(2, scalarBytes(bigR)), derInteger(S))],
  ["a negative s", withIntegers(derInteger(R), tlv(2, scalarBytes(bigR)))],
  ["r = 0", withIntegers(tlv(2, Uint8Array.of(0)), derInteger(S))],
  ["s = 0", withIntegers(derInteger(R), tlv(2, Uint8Array.of(0)))],
  ["r = n", withIntegers(derInteger(ORDER), derInteger(S))],
  ["s = n", withIntegers(derInteger(R), derInteger(ORDER))],
  ["r = n + 1", withIntegers(derInteger(ORDER + 1n), derInteger(S))],
  ["s = 2^256", withIntegers(derInteger(R), derInteger(1n << 256n))],
  ["an empty r", withIntegers(tlv(2, new Uint8Array(0)), derInteger(S))],
  ["an empty s", withIntegers(derInteger(R), tlv(2, new Uint8Array(0)))],
  ["r alone", withIntegers(derInteger(R))],
  ["a third integer", withIntegers(derInteger(R), derInteger(S), derInteger(1n))],
  ["an octet string for r", withIntegers(tlv(4, derInteger(R).subarray(2)), derInteger(S))],
  ["a set for the sequence", `31${der.slice(2)}`],
  ["a byte behind it", `${der}00`],
  ["a byte in front", `00${der}`],
  ["a byte behind s in the sequence", encodeHex(tlv(0x30, concatBytes(content, Uint8Array.of(0))))],
  ["no content", "3000"],
];
for (const [name, text] of notStrict) {
  test(`parseSignature() refuses DER with ${name}`, async () => {
    await assert.rejects(parseSignature(utf8(text)), ameshError("ERR_SIGNATURE_INVALID"));
    await assert.rejects(parseSignature(hex(text)), ameshError("ERR_SIGNATURE_INVALID"));
  });
}

test("parseSignature() reads the DER that the variants above change", async () => {
  assert.deepEqual(await parseSignature(utf8(der)), [rawOf(R, S)]);
});

test("parseSignature() refuses DER cut off at every byte", async () => {
  const bytes = derOf(bigR, bigR);
  assert.equal(bytes.length, 72);
  // 64 bytes are a raw signature, which verifies for nobody.
  for (let length = 0; length < bytes.length; length++) {
    if (length === 64) continue;
    await assert.rejects(parseSignature(bytes.slice(0, length)), ameshError("ERR_SIGNATURE_INVALID"));
  }
});

const raw = rawOf(R, S);
const otherSpellings: [name: string, text: string][] = [
  ["hex with white space inside, as xxd -p writes it", encodeHex(raw).replace(/^.{60}/, "$&\n")],
  [
    "base64 in two lines, as openssl base64 writes it",
    encodeSignature(raw, "base64").replace(/^.{64}/, "$&\n"),
  ],
  ["base64url with padding, as Python writes it", `${encodeSignature(raw, "base64url")}==`],
];
for (const [name, text] of otherSpellings) {
  test(`parseSignature() reads ${name}`, async () => {
    assert.deepEqual(await parseSignature(utf8(text)), [raw]);
  });
}

const refused: [name: string, input: Uint8Array][] = [
  ["nothing", new Uint8Array(0)],
  ["white space", utf8(" \n")],
  ["63 bytes", raw.slice(1)],
  ["65 bytes", concatBytes(raw, Uint8Array.of(0))],
  ["a raw signature and a newline", concatBytes(raw, utf8("\n"))],
  ["hex of 63 bytes", utf8(encodeHex(raw.slice(1)))],
  ["hex with 0x", utf8(`0x${encodeHex(raw)}`)],
  ["base64 without its padding and with +", utf8("+".repeat(86))],
  ["base64 with a pad bit set", utf8(encodeSignature(raw, "base64").replace(/.==$/, "B=="))],
  ["text longer than any signature", utf8("0".repeat(MAX_SIGNATURE_TEXT_BYTES + 2))],
  ["a megabyte", new Uint8Array(1 << 20)],
];
for (const [name, input] of refused) {
  test(`parseSignature() refuses ${name}`, async () => {
    await assert.rejects(parseSignature(input), ameshError("ERR_SIGNATURE_INVALID"));
  });
}

test("parseSignature() fails with an AmeshError only", async () => {
  const text = fc.string({ unit: fc.constantFrom(..."0123abcfAZ+/-_= \n"), maxLength: 160 }).map(utf8);
  const derLike = fc.uint8Array({ maxLength: 72 }).map((bytes) => Uint8Array.of(0x30, ...bytes));
  const input = fc.oneof(fc.uint8Array({ maxLength: 1100 }), text, derLike);
  await fc.assert(fc.asyncProperty(input, (bytes) => onlyAmeshErrors(() => parseSignature(bytes))));
});

test("parseSignature() of a DER signature with flipped bits gives another signature or none", async () => {
  const bytes = derOf(bigR, R);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Uint8Array.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    const found = await parseSignature(changed).catch(() => []);
    for (const signature of found) assert.notDeepEqual(signature, rawOf(bigR, R), `bit ${bit}`);
  }
});
