import { mkdirSync, readdirSync } from "node:fs";
import { encryptedFileTier } from "../../src/keystore/encrypted_file.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { setEnvironment } from "../support/environment.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { keystoreContract, type Surroundings } from "./keystore_contract.ts";

/** An amesh directory without a passphrase: the tier makes one, as it does for `init`. */
function makeSurroundings(): Surroundings {
  const directory = temporaryDirectory();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  // The tier's folder is no key.
  mkdirSync(layout.keys, { mode: 0o700 });
  const environment = setEnvironment();
  return {
    context: () => ({ layout, passphrases: new Passphrases(layout, undefined, () => {}) }),
    stored: () => readdirSync(layout.keys),
    [Symbol.dispose]: () => {
      environment[Symbol.dispose]();
      directory[Symbol.dispose]();
    },
  };
}

keystoreContract(encryptedFileTier, makeSurroundings);
