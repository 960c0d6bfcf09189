/**
 * Many keys and signatures: leading zero bytes of coordinates, r and s come up in one of 128 or so. That none is among
 * 10,000 numbers happens by chance once in 10^17 runs, among 1,000 once in 50.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { verify } from "../../src/crypto/p256.ts";
import { deviceIdOf } from "../../src/formats/identity_file.ts";
import { compressPoint } from "../../src/formats/public_key.ts";
import { parseTss2Key } from "../../src/formats/tss2_key.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { Passphrases } from "../../src/passphrase/sources.ts";
import { joinPath, layoutOf } from "../../src/platform/paths.ts";
import { parseEccPublic } from "../../src/tpm/structures.ts";
import { isDeno } from "../support/child_process.ts";
import { setEnvironment } from "../support/environment.ts";
import { startSwtpm, type Swtpm, swtpmMissing } from "../support/swtpm.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";

const missing = swtpmMissing();
/** The full number on one runtime; what differs between them shows in a tenth. */
const KEYS = isDeno ? 200 : 20;
const SIGNATURES_PER_KEY = 25;
const HALF_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n / 2n;

let swtpm: Swtpm;
let environment: Disposable;
if (missing === undefined) {
  before(() => {
    swtpm = startSwtpm();
    environment = setEnvironment({ AMESH_TPM_TCTI: swtpm.tcti });
  });
  after(() => {
    environment[Symbol.dispose]();
    swtpm[Symbol.dispose]();
  });
}

const name = `${KEYS} keys make ${KEYS * SIGNATURES_PER_KEY} signatures of 64 bytes, low-S, that verify`;
test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, async () => {
  using directory = temporaryDirectory();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  let short = 0;
  for (let k = 0; k < KEYS; k++) {
    const context = { layout, passphrases: new Passphrases(layout, undefined, () => {}) };
    const key = await tpm2Tier.generate(context);
    using signer = key.signer;
    const path = joinPath(layout.keys, `${await deviceIdOf(signer.publicKey)}.tss2.pem`);
    const { point } = parseEccPublic(parseTss2Key(readFileSync(path), path).publicArea)!;
    assert.equal(point.length, 65);
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
  assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [[], []]);
});
