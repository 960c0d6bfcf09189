/** TSS2 PRIVATE KEY files. */
import assert from "node:assert/strict";
import { type Bytes, concatBytes, equalBytes } from "../../src/bytes.ts";
import { encodeTss2Key, MAX_TSS2_KEY_BYTES, parseTss2Key, type Tss2Key } from "../../src/formats/tss2_key.ts";
import { derInteger, mutateDer, tlv } from "./der_mutators.ts";
import { pem, pemMutator } from "./pem_mutators.ts";
import type { Random } from "./random.ts";
import { makeTarget, readSeeds, type Target } from "./target.ts";

const NAME = "key.pem";
/** 2.23.133.10.1.3 */
const LOADABLE_KEY = Uint8Array.fromHex("06066781050a0103");

/** A TPM2B: 16-bit length and content; rarely a length that lies. */
function sized(random: Random, length: number): Bytes {
  const said = random.oneIn(12) ? length + random.pick([-1, 1]) : length;
  return Uint8Array.of((said >> 8) & 0xff, said & 0xff, ...random.bytes(length));
}

/** A key with other values, most of them valid. */
function freshKey(random: Random): Bytes {
  const flag = random.pick([
    "",
    "a0030101ff",
    "a003010101",
    "a003010100",
    "a003010142",
    "a0030201ff",
    "a0050101ff0500",
  ]);
  const parent = random.pick([
    0n,
    0x40000001n,
    0x81000001n,
    0x7fffffffn,
    0xffffffffn,
    0x1_0000_0000n,
    1n << 64n,
  ]);
  return tlv(
    0x30,
    LOADABLE_KEY,
    Uint8Array.fromHex(flag),
    derInteger(parent),
    tlv(0x04, sized(random, random.pick([0, 1, 86, 126, 127, 254, 1000]))),
    tlv(0x04, sized(random, random.pick([0, 1, 126, 200, 2000]))),
  );
}

/** Whether this is one of the spellings that amesh reads: with TRUE or FALSE in any of their bytes, or without a flag. */
function isSpelling(der: Bytes, { parent, publicArea, privateArea }: Tss2Key): boolean {
  const rest = [derInteger(BigInt(parent)), tlv(0x04, publicArea), tlv(0x04, privateArea)];
  if (equalBytes(der, tlv(0x30, LOADABLE_KEY, ...rest))) return true;
  const head = concatBytes(LOADABLE_KEY, Uint8Array.fromHex("a0030101"));
  const flagAt = der.length - concatBytes(...rest).length - 1;
  return equalBytes(der, tlv(0x30, head, der.subarray(flagAt, flagAt + 1), ...rest));
}

/** The bytes that the armour holds. */
function bodyOf(input: Bytes): Bytes {
  return Uint8Array.fromBase64(new TextDecoder("latin1").decode(input).replaceAll(/-----[^-]*-----|\s/g, ""));
}

/** Target of the files of the tpm2 tier. */
export const TSS2_TARGET: Target = makeTarget<Tss2Key>({
  name: "tss2-key",
  seeds: readSeeds("tss2-key"),
  mutators: [
    pemMutator(),
    pemMutator((random) => freshKey(random)),
    pemMutator((random) => mutateDer(random, freshKey(random))),
    (random) => new TextEncoder().encode(pem("TSS2 PRIVATE KEY", freshKey(random))),
  ],
  limit: MAX_TSS2_KEY_BYTES,
  codes: ["ERR_CORRUPT"],
  parse: (input) => parseTss2Key(input, NAME),
  check: (key, input) => {
    assert.deepEqual(parseTss2Key(encodeTss2Key(key), NAME), key);
    assert.ok(isSpelling(bodyOf(input), key), "not canonical");
    assert.ok(Number.isInteger(key.parent) && key.parent >= 0 && key.parent <= 0xffff_ffff);
    for (const area of [key.publicArea, key.privateArea]) {
      assert.equal(area.length, 2 + (area[0]! << 8 | area[1]!));
    }
  },
});
