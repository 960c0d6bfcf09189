import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, decodeHex, encodeHex } from "../../../src/bytes.ts";
import { open, seal } from "../../../src/crypto/aes_gcm.ts";
import { readVectors, type Vector } from "../../support/wycheproof.ts";

interface GcmVector extends Vector {
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
}
interface GcmGroup {
  readonly keySize: number;
  readonly ivSize: number;
  readonly tagSize: number;
  readonly tests: readonly GcmVector[];
}

const hex = (text: string) => decodeHex(text) as Uint8Array<ArrayBuffer>;
const file = readVectors<GcmGroup>("aes_gcm_test.json");

if ("missing" in file) {
  test(`seal() and open() agree with Wycheproof: there is no ${file.missing}`, { skip: true }, () => {});
} else {
  // The sizes that amesh uses; keys, nonces and tags of other lengths never reach the module.
  const groups = file.testGroups.filter(({ keySize, ivSize, tagSize }) =>
    keySize === 256 && ivSize === 96 && tagSize === 128
  );
  const vectors = groups.flatMap(({ tests }) => tests);

  test("Wycheproof has vectors of both results for these sizes", () => {
    for (const wanted of ["valid", "invalid"]) assert.ok(vectors.some(({ result }) => result === wanted));
  });

  for (const { tcId, comment, flags, result, key, iv, aad, msg, ct, tag } of vectors) {
    const ciphertext = concatBytes(hex(ct), hex(tag));
    const what = `Wycheproof ${tcId} ${comment || flags.join(", ")}`;
    if (result === "valid") {
      test(`seal() and open() agree with ${what}`, () => {
        assert.equal(encodeHex(seal(hex(key), hex(iv), hex(msg), hex(aad))), ct + tag);
        assert.equal(encodeHex(open(hex(key), hex(iv), ciphertext, hex(aad)) as Uint8Array), msg);
      });
    } else {
      test(`open() refuses ${what}`, () => assert.equal(open(hex(key), hex(iv), ciphertext, hex(aad)), null));
    }
  }
}
