import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import type { Signer, Tier } from "../../src/keystore/keystore.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { setEnvironment } from "../support/environment.ts";
import { startSwtpm, type Swtpm, swtpmMissing } from "../support/swtpm.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { keystoreContract, type Surroundings } from "./keystore_contract.ts";

const skip = swtpmMissing();

/** One TPM serves the whole file: what it stores lies in the directories of its users. */
let swtpm: Swtpm;
let environment: Disposable;

/** An amesh directory of its own. */
function makeSurroundings(): Surroundings {
  const directory = temporaryDirectory();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  // The tier's folder is no key.
  mkdirSync(layout.keys, { mode: 0o700 });
  return {
    context: () => ({ layout, passphrases: new Passphrases(layout, undefined, () => {}) }),
    stored: () => readdirSync(layout.keys),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

/** Signers that the suite opened, some of which it keeps until after the last test. */
const opened: Signer[] = [];
const tier: Tier = {
  ...tpm2Tier,
  open: async (...args) => {
    const signer = await tpm2Tier.open(...args);
    opened.push(signer);
    return signer;
  },
};

if (skip === undefined) {
  before(() => {
    swtpm = startSwtpm();
    environment = setEnvironment({ AMESH_TPM_TCTI: swtpm.tcti });
  });
}

keystoreContract(tier, makeSurroundings, skip === undefined ? {} : { skip });

// A test and no hook: one of the runtimes passes over what a hook throws.
test(
  "tpm2: signers that are disposed of leave nothing loaded in the TPM",
  { skip: skip !== undefined },
  () => {
    for (const signer of opened) signer[Symbol.dispose]();
    assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [[], []]);
  },
);

// After the contract's own hook, which disposes of its signer.
if (skip === undefined) {
  after(() => {
    environment[Symbol.dispose]();
    swtpm[Symbol.dispose]();
  });
}
