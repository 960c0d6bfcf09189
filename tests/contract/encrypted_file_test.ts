import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { encryptedFileTier } from "../../src/keystore/encrypted_file.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { addKey, identityOf, writeAs } from "../support/amesh_place.ts";
import { setEnvironment } from "../support/environment.ts";
import { copyFixture, fixtureIdentity } from "../support/fixture.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { keystoreContract, type Surroundings } from "./keystore_contract.ts";
import { passphraseContract, type PassphraseKeyMade } from "./passphrase_contract.ts";

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

passphraseContract(encryptedFileTier, {
  makeSurroundings: () => {
    const directory = temporaryDirectory();
    const layout = copyFixture("floor", directory.file("amesh"));
    const environment = setEnvironment();
    return {
      context: () => ({ layout, passphrases: new Passphrases(layout, undefined, () => {}) }),
      contextWith: (passphrase) => {
        const path = writeAs(directory.file("passphrase"), passphrase, 0o400);
        const only = [{ kind: "named-file", path }] as const;
        return { layout, passphrases: new Passphrases(layout, undefined, () => {}, { only }) };
      },
      stored: () => readdirSync(layout.keys).map((name) => readFileSync(join(layout.keys, name), "latin1")),
      [Symbol.dispose]: () => {
        environment[Symbol.dispose]();
        directory[Symbol.dispose]();
      },
    };
  },
  makeKey: (surroundings) => putKey(surroundings, "floor", "the lowest cost"),
  makeOldKey: (surroundings) =>
    putKey(surroundings, "amesh-0.7-floor", fixtureIdentity("amesh-0.7-floor")["passphrase"] as string),
});

/** The key of a fixture, as the only one. */
async function putKey(
  surroundings: Surroundings,
  name: "floor" | "amesh-0.7-floor",
  passphrase: string,
): Promise<PassphraseKeyMade> {
  const { layout } = surroundings.context();
  for (const key of readdirSync(layout.keys)) rmSync(join(layout.keys, key));
  addKey(layout, name);
  return { identity: await identityOf(name), passphrase };
}
