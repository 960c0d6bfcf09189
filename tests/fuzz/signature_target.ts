/** Signatures in every form. */
import assert from "node:assert/strict";
import {
  type Bytes,
  concatBytes,
  decodeHex,
  encodeBase64,
  encodeBase64Url,
  encodeHex,
  utf8,
} from "../../src/bytes.ts";
import {
  encodeSignature,
  formatSignature,
  MAX_SIGNATURE_TEXT_BYTES,
  parseSignature,
} from "../../src/formats/ecdsa_signature.ts";
import { respell } from "./base64_mutators.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { derInteger, mutateDer, tlv } from "./der_mutators.ts";
import type { Random } from "./random.ts";
import { makeTarget, readSeeds, type Target } from "./target.ts";

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const EDGES = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  1n << 255n,
  ORDER / 2n,
  ORDER - 1n,
  ORDER,
  ORDER + 1n,
  (1n << 256n) - 1n,
];

const numberOf = (bytes: Uint8Array) => BigInt(`0x${encodeHex(bytes)}`);
const isScalar = (value: bigint) => value >= 1n && value < ORDER;
const bytesOf = (value: bigint) => decodeHex(value.toString(16).padStart(64, "0")) as Bytes;
const scalar = (
  random: Random,
) => (random.oneIn(4) ? random.pick(EDGES) : numberOf(random.bytes(random.pick([1, 16, 31, 32, 32]))));

/** White space and line breaks, as programs put them. */
function broken(random: Random, text: string): string {
  switch (random.below(5)) {
    case 0:
      return `${text}\n`;
    case 1:
      return text.replaceAll(/.{64}/g, "$&\r\n");
    case 2:
      return text.replaceAll(/.{1,7}/g, "$&\t ");
    default:
      return text;
  }
}

/** The bytes in one of the texts. */
function spelt(random: Random, bytes: Bytes): Bytes {
  const hex = encodeHex(bytes);
  const url = encodeBase64Url(bytes);
  const text = random.pick([
    encodeBase64(bytes),
    url,
    url.padEnd(Math.ceil(url.length / 4) * 4, "="),
    hex,
    hex.toUpperCase(),
    "",
  ]);
  if (text === "") return bytes;
  return utf8(broken(random, random.oneIn(6) ? respell(random, text) : text));
}

/** Any two numbers as a signature of any form. */
const fresh: Mutator = (random) => {
  const [r, s] = [scalar(random), scalar(random)];
  if (random.oneIn(3)) return spelt(random, concatBytes(bytesOf(r), bytesOf(s)));
  const der = tlv(0x30, derInteger(r), derInteger(s));
  return spelt(random, random.oneIn(3) ? mutateDer(random, der) : der);
};

/** A seed read as any of the texts, changed as DER where it is, and written again in another form. */
const byForm: Mutator = (random, input) => {
  const text = new TextDecoder("latin1").decode(input).trim();
  const bytes = decodeHex(text) ?? fromBase64(text) ?? input;
  return spelt(random, bytes[0] === 0x30 && random.oneIn(2) ? mutateDer(random, bytes) : bytes);
};

function fromBase64(text: string): Bytes | null {
  try {
    return Uint8Array.fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return null;
  }
}

/** Every way to say these bytes, white space aside. */
function spellings(bytes: Bytes): string[] {
  const url = encodeBase64Url(bytes);
  return [encodeBase64(bytes), url, url.padEnd(Math.ceil(url.length / 4) * 4, "=")];
}

async function check(found: Bytes[], input: Bytes): Promise<void> {
  assert.ok(found.length > 0);
  const binary = encodeHex(input);
  const text = new TextDecoder("latin1").decode(input).replaceAll(/[ \t\r\n]/g, "");
  for (const raw of found) {
    assert.equal(raw.length, 64);
    const [r, s] = [numberOf(raw.subarray(0, 32)), numberOf(raw.subarray(32))];
    const der = tlv(0x30, derInteger(r), derInteger(s));
    // Numbers that no signature has stand in raw ones only, and DER has one spelling.
    const forms = isScalar(r) && isScalar(s) ? [raw, der] : [raw];
    assert.ok(
      forms.some((form) => {
        const hex = encodeHex(form);
        return binary === hex || text.toLowerCase() === hex || spellings(form).includes(text);
      }),
      "not canonical",
    );
    for (const form of forms) {
      assert.deepEqual(await formatSignature(raw, form === raw ? "raw" : "der"), form);
      for (const encoding of ["base64", "base64url", "hex"] as const) {
        const again = await parseSignature(utf8(encodeSignature(form, encoding)));
        assert.ok(again.some((one) => encodeHex(one) === encodeHex(raw)), encoding);
      }
    }
  }
}

/** Target of `verify --signature`. */
export const SIGNATURE_TARGET: Target = makeTarget<Bytes[]>({
  name: "signature",
  seeds: readSeeds("signature"),
  mutators: [fresh, byForm],
  limit: MAX_SIGNATURE_TEXT_BYTES,
  codes: ["ERR_SIGNATURE_INVALID"],
  parse: parseSignature,
  check,
});
