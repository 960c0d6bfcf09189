/** Directories from which scenarios start, from the fixtures at the floor of the key derivation's cost. */
import { chmodSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { copyFixture, fixtureIdentity, type FixtureName } from "../support/fixture.ts";
import { putLegacyIdentity } from "./chip.ts";
import { put } from "./files.ts";
import { ameshDirectory, type Place, SECRETS } from "./scenario.ts";

/** One step in making a directory. */
export type Step = (place: Place) => void | Promise<void>;

/** Steps one after the other. */
export function steps(...all: readonly Step[]): Step {
  return async (place) => {
    for (const step of all) await step(place);
  };
}

const NAME: FixtureName = "floor";
const OTHER: FixtureName = "floor-other";
/** Passphrases of the fixtures, and one that opens nothing yet. */
const PASSPHRASE = "the lowest cost";
const OLD_PASSPHRASE = "a passphrase of the past";
const LEGACY_PASSPHRASE = "Grüße, 世界 🔑";
/** The passphrase that `secrets/new` holds. */
export const NEW_PASSPHRASE = "a passphrase to come";

const inAmesh = (place: Place, ...names: string[]) => join(ameshDirectory(place.home), ...names);

/** Nothing at all. */
export const nothing: Step = () => {};

/** An identity of the encrypted-file tier. */
export const encrypted: Step = ({ home }) => void copyFixture(NAME, ameshDirectory(home));

/** An identity of amesh 0.7 with its passphrase in identity.json. */
export const legacy: Step = ({ home }) => void copyFixture("amesh-0.7-floor", ameshDirectory(home));

/** An identity of the tpm2 tier. */
export const tpm2: Step = async ({ amesh }) => {
  await amesh("init", "--backend", "tpm2", "--name", "before");
};

/** An identity of amesh 0.7 whose key lies at a handle of the TPM. */
export const tpm2Handle: Step = async ({ home, chip }) => {
  if (chip === null) throw new TypeError("this scenario needs a TPM");
  await putLegacyIdentity(home, chip);
};

/** A file in secrets/. */
const secret = (name: string, passphrase: string): Step => ({ home }) =>
  put(join(home, SECRETS, name), `${passphrase}\n`, 0o400);

/** The passphrase that is to be set. */
export const newPassphrase: Step = secret("new", NEW_PASSPHRASE);

/** A directory for the passphrases of the operator. */
export const secrets: Step = secret("other", "something of the operator's");

/** The passphrase lies where AMESH_PASSPHRASE_FILE says. */
export const passphraseMoved: Step = steps(secrets, (place) => {
  renameSync(inAmesh(place, ".passphrase"), join(place.home, SECRETS, "passphrase"));
});

/** The passphrase of {@linkcode legacy} lies where AMESH_PASSPHRASE_FILE says, too. */
export const legacyPassphraseFile: Step = secret("passphrase", LEGACY_PASSPHRASE);

/** What a killed `passphrase change` leaves. @param committed whether the key is under the new one already. */
export const passphraseHalfChanged = (committed: boolean): Step => (place) => {
  const [current, next] = halfChanged(committed);
  rmSync(inAmesh(place, ".passphrase"));
  put(inAmesh(place, ".passphrase"), `${current}\n`, 0o400);
  put(inAmesh(place, ".passphrase.next"), `${next}\n`, 0o400);
};

/** The same where AMESH_PASSPHRASE_FILE names the file. */
export const namedPassphraseHalfChanged = (committed: boolean): Step => {
  const [current, next] = halfChanged(committed);
  const remove: Step = (place) => rmSync(inAmesh(place, ".passphrase"));
  return steps(remove, secret("passphrase", current), secret(".passphrase.amesh-next", next));
};

const halfChanged = (committed: boolean) =>
  committed ? [OLD_PASSPHRASE, PASSPHRASE] as const : [PASSPHRASE, OLD_PASSPHRASE] as const;

/** A key that identity.json does not name. */
export const orphan: Step = ({ home }) => {
  const from = `${home}-other`;
  const { keys } = copyFixture(OTHER, from);
  for (const key of readdirSync(keys)) {
    put(join(ameshDirectory(home), "keys", key), Deno.readFileSync(join(keys, key)), 0o600);
  }
  rmSync(from, { recursive: true });
};

/** The record that `rotate` and `init --force` make before they put another key in the place of the old one. */
const replacedRecord = (old: FixtureName, by: FixtureName): Step => (place) => {
  const record = { ...fixtureIdentity(old), replacedBy: fixtureIdentity(by)["deviceId"] };
  put(inAmesh(place, ".identity.replaced"), `${JSON.stringify(record)}\n`, 0o600);
};

/** What one that was killed leaves before its commit. */
export const notReplaced: Step = steps(orphan, replacedRecord(NAME, OTHER));

/** What it leaves after its commit. */
export const justReplaced: Step = steps(orphan, replacedRecord(OTHER, NAME));

/** What a killed `delete` leaves after its commit. */
export const justDeleted: Step = (place) => {
  renameSync(inAmesh(place, "identity.json"), inAmesh(place, ".identity.deleted"));
};

/** Files that a killed command was writing. */
export const temporaryFiles: Step = (place) => {
  put(inAmesh(place, ".identity.json.0123456789abcdef.tmp"), "{", 0o600);
  put(inAmesh(place, "..passphrase.0123456789abcdef.tmp"), "half a passphr", 0o400);
  put(inAmesh(place, "keys", ".am_N3kquVV09okB7uln.key.json.0123456789abcdef.tmp"), "", 0o600);
};

/** Everything is readable by everybody. */
export const wideModes: Step = (place) => {
  put(inAmesh(place, ".lock"), "", 0o644);
  for (const name of ["identity.json", ".passphrase"]) chmodSync(inAmesh(place, name), 0o644);
  for (const key of readdirSync(inAmesh(place, "keys"))) chmodSync(inAmesh(place, "keys", key), 0o644);
  for (const directory of [inAmesh(place), inAmesh(place, "keys")]) chmodSync(directory, 0o755);
};
