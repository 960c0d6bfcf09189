import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { after, test } from "node:test";
import process from "node:process";
import type { Signer, Tier } from "../../src/keystore/keystore.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { childrenOf, makeFakeHelper, tierOn } from "../support/fake_helper.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { keystoreContract, type Surroundings } from "./keystore_contract.ts";

const linux = process.platform === "linux";
const programs = temporaryDirectory();

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
const fake = tierOn(makeFakeHelper(programs.path));
const tier: Tier = {
  ...fake,
  open: async (...args) => {
    const signer = await fake.open(...args);
    opened.push(signer);
    return signer;
  },
};

keystoreContract(tier, makeSurroundings);

test(
  `secure-enclave: signers that are disposed of leave no process${linux ? "" : ": /proc tells"}`,
  { skip: !linux },
  () => {
    for (const signer of opened) signer[Symbol.dispose]();
    assert.deepEqual(childrenOf(process.pid), []);
  },
);

after(() => programs[Symbol.dispose]());
