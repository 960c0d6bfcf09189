/** The contract of the secure-enclave tier on the real helper, which HELPER names: for a Mac that has a Secure Enclave. */
import { mkdirSync, readdirSync } from "node:fs";
import process from "node:process";
import { HELPER_LIMITS } from "../../src/apple/helper.ts";
import { makeSecureEnclaveTier } from "../../src/keystore/secure_enclave.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { keystoreContract, type Surroundings } from "../contract/keystore_contract.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";

const path = process.env["HELPER"] ?? "";
/** In place of the search, which takes a helper that a release has signed and no other. */
const tier = makeSecureEnclaveTier({
  find: () => ({ path, isDouble: true }),
  limits: HELPER_LIMITS,
  trialLimits: HELPER_LIMITS,
});

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

async function whyNot(): Promise<string | undefined> {
  if (process.platform !== "darwin") return "this is no Mac";
  if (path === "") return "HELPER names no helper";
  const availability = await tier.probe();
  return availability.available ? undefined : availability.cause;
}

const skip = await whyNot();
keystoreContract(tier, makeSurroundings, skip === undefined ? {} : { skip });
