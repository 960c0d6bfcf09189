/**
 * Many keys and signatures: one r in 256 begins with a zero byte, and one s in 128, because s is low. That none does
 * happens by chance once in 10^25 runs of 5,000 signatures, and once in 350 of 500.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { concatBytes } from "../../src/bytes.ts";
import { verify } from "../../src/crypto/p256.ts";
import { deviceIdOf } from "../../src/formats/identity_file.ts";
import { compressPoint } from "../../src/formats/public_key.ts";
import { parseTss2Key } from "../../src/formats/tss2_key.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { joinPath } from "../../src/platform/paths.ts";
import { isDeno } from "../support/child_process.ts";
import { useTpm } from "../support/tpm_tier.ts";

/** The full number on one runtime; what differs between them shows in a tenth. */
const KEYS = isDeno ? 200 : 20;
const SIGNATURES_PER_KEY = 25;
const HALF_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n / 2n;

const tpm = useTpm();

const name = `${KEYS} keys make ${KEYS * SIGNATURES_PER_KEY} signatures of 64 bytes, low-S, that verify`;
tpm.it(name, async () => {
  const { layout } = tpm.context;
  let short = 0;
  for (let k = 0; k < KEYS; k++) {
    const key = await tpm2Tier.generate(tpm.context);
    using signer = key.signer;
    const path = joinPath(layout.keys, `${await deviceIdOf(signer.publicKey)}.tss2.pem`);
    const area = parseTss2Key(readFileSync(path), path).publicArea;
    // A TPM2B_PUBLIC of ours ends with x and y (Part 2 §12.2.4), each behind its length, which is never shorter here.
    assert.equal(area.length, 88);
    assert.deepEqual([area.subarray(20, 22).toHex(), area.subarray(54, 56).toHex()], ["0020", "0020"]);
    const point = concatBytes(Uint8Array.of(4), area.subarray(22, 54), area.subarray(56));
    assert.deepEqual(compressPoint(point), signer.publicKey);
    for (let i = 0; i < SIGNATURES_PER_KEY; i++) {
      const message = async function* () {
        yield Uint8Array.of(k, i);
      };
      const signature = await signer.sign(message());
      assert.equal(signature.length, 64);
      assert.ok(BigInt(`0x${signature.subarray(32).toHex()}`) <= HALF_ORDER);
      assert.ok(await verify(signer.publicKey, [signature], message()));
      if (signature[0] === 0 || signature[32] === 0) short++;
    }
  }
  if (isDeno) assert.ok(short > 0, "some of them begin with a zero byte");
  assert.deepEqual(tpm.loaded(), []);
});
