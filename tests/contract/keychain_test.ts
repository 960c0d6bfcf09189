import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { DOUBLE_VARIABLE } from "../../src/apple/library.ts";
import type { Signer, Tier } from "../../src/keystore/keystore.ts";
import { keychainTier } from "../../src/keystore/keychain.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { setEnvironment } from "../support/environment.ts";
import {
  buildSecurityDouble,
  type Counts,
  counts,
  makeKeychain,
  records,
  securityDoubleMissing,
} from "../support/security_double.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { keystoreContract, type Surroundings } from "./keystore_contract.ts";

const skip = securityDoubleMissing();

/** There is one login keychain, so all surroundings share it; each sees the keys that were added since it began. */
let directory: ReturnType<typeof temporaryDirectory>;
let environment: Disposable;
/** Before the first test: on one of the runtimes other files have used the same process. */
let countsBefore: Counts;

function makeSurroundings(): Surroundings {
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.keys, { recursive: true, mode: 0o700 });
  const others = records(directory.path);
  return {
    context: () => ({ layout, passphrases: new Passphrases(layout, undefined, () => {}) }),
    stored: () => records(directory.path).filter((record) => !others.includes(record)),
    [Symbol.dispose]: () => {},
  };
}

/** Signers that the suite opened, some of which it keeps until after the last test. */
const opened: Signer[] = [];
const tier: Tier = {
  ...keychainTier,
  open: async (...args) => {
    const signer = await keychainTier.open(...args);
    opened.push(signer);
    return signer;
  },
};

if (skip === undefined) {
  before(() => {
    countsBefore = counts();
    directory = temporaryDirectory();
    makeKeychain(directory.path);
    environment = setEnvironment({
      [DOUBLE_VARIABLE]: buildSecurityDouble(),
      AMESH_DOUBLE_DIRECTORY: directory.path,
    });
  });
}

keystoreContract(tier, makeSurroundings, skip === undefined ? {} : { skip });

// A test and no hook: one of the runtimes passes over what a hook throws.
test(
  `keychain: nothing is leaked, released twice or called wrongly${skip === undefined ? "" : `: ${skip}`}`,
  { skip: skip !== undefined },
  () => {
    for (const signer of opened) signer[Symbol.dispose]();
    assert.deepEqual(counts(), countsBefore);
  },
);

// After the contract's own hook, which disposes of its signer.
if (skip === undefined) {
  after(() => {
    environment[Symbol.dispose]();
    directory[Symbol.dispose]();
  });
}
