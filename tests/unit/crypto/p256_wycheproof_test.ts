import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, decodeHex, utf8 } from "../../../src/bytes.ts";
import { verify } from "../../../src/crypto/p256.ts";
import { AmeshError } from "../../../src/errors.ts";
import {
  encodeSignature,
  formatSignature,
  parseSignature,
  SIGNATURE_ENCODINGS,
} from "../../../src/formats/ecdsa_signature.ts";
import { compressPoint, parsePublicKey } from "../../../src/formats/public_key.ts";
import { readVectors, type Vector } from "../../support/wycheproof.ts";

interface EcdsaVector extends Vector {
  readonly msg: string;
  readonly sig: string;
}
interface EcdsaGroup {
  readonly publicKey: { readonly uncompressed: string };
  readonly publicKeyDer: string;
  readonly publicKeyPem: string;
  readonly publicKeyJwk?: Record<string, string>;
  readonly tests: readonly EcdsaVector[];
}

const hex = (text: string) => decodeHex(text) as Bytes;
const once = async function* (bytes: Bytes) {
  yield bytes;
};

/** What `amesh verify` does with a signature: its form is found out, then every candidate is tried. */
async function verifies(point: Bytes, signature: Uint8Array, message: Bytes): Promise<boolean> {
  try {
    return await verify(point, await parseSignature(signature), once(message));
  } catch (error) {
    if (error instanceof AmeshError && error.code === "ERR_SIGNATURE_INVALID") return false;
    throw error;
  }
}

const file = readVectors<EcdsaGroup>("ecdsa_secp256r1_sha256_p1363_test.json");

if ("missing" in file) {
  test(`verify() agrees with Wycheproof: there is no ${file.missing}`, { skip: true }, () => {});
} else {
  for (const [i, group] of file.testGroups.entries()) {
    const point = hex(group.publicKey.uncompressed);

    test(`parsePublicKey() reads the key of Wycheproof group ${i} in every form`, () => {
      for (
        const form of [utf8(group.publicKeyPem), hex(group.publicKeyDer), utf8(group.publicKey.uncompressed)]
      ) {
        assert.deepEqual(parsePublicKey(form), point);
      }
      if (group.publicKeyJwk !== undefined) {
        assert.deepEqual(parsePublicKey(utf8(JSON.stringify(group.publicKeyJwk))), point);
      }
    });

    for (const { tcId, comment, result, msg, sig } of group.tests) {
      test(`verify() says ${result} to Wycheproof ${tcId} ${comment}`, async () => {
        const [raw, message] = [hex(sig), hex(msg)];
        const want = result === "valid";
        assert.equal(await verifies(point, raw, message), want);
        assert.equal(await verifies(compressPoint(point), raw, message), want);
        for (const encoding of SIGNATURE_ENCODINGS) {
          if (encoding === "binary") continue;
          assert.equal(await verifies(point, utf8(encodeSignature(raw, encoding)), message), want, encoding);
        }
        if (want) assert.equal(await verifies(point, await formatSignature(raw, "der"), message), true);
        // Straight to native crypto, without the reader that refuses other lengths.
        assert.equal(await verify(point, [raw], once(message)), want);
      });
    }
  }
}
