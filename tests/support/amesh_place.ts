/** A copy of a fixture, and what a command works with there. */
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeIdentity, type Identity, parseIdentity } from "../../src/formats/identity_file.ts";
import type { TierContext } from "../../src/keystore/keystore.ts";
import { type PassphraseInput, Passphrases } from "../../src/passphrase/passphrases.ts";
import { type Layout, layoutOf } from "../../src/platform/paths.ts";
import { setEnvironment } from "./environment.ts";
import { copyFixture, fixtureIdentity, fixtureKeyFile, type FixtureName } from "./fixture.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

/** Of the fixtures `floor` and `floor-other`. */
export const FLOOR_PASSPHRASE = "the lowest cost";
export const OTHER_PASSPHRASE = "another identity";

/** Made by {@linkcode ameshPlace}; disposing of it removes everything. */
export interface AmeshPlace extends Disposable {
  readonly layout: Layout;
  /** What has been warned of. */
  readonly warnings: readonly string[];
  readonly warn: (message: string) => void;
  /** The absolute path of a name beside the amesh directory, which is `amesh`. */
  file(name: string): string;
  /** What one command works with. */
  context(input?: PassphraseInput): TierContext;
  /** All files and folders in the amesh directory, sorted; without the lock, which stays where it was made. */
  names(): string[];
}

/** Makes one. @param name `null`: there is no amesh directory. */
export function ameshPlace(
  name: FixtureName | null,
  variables: Readonly<Record<string, string>> = {},
): AmeshPlace {
  const directory = temporaryDirectory();
  const environment = setEnvironment(variables);
  const layout = name === null
    ? layoutOf(directory.file("amesh"))
    : copyFixture(name, directory.file("amesh"));
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  return {
    layout,
    warnings,
    warn,
    file: directory.file,
    context: (input = {}) => ({ layout, passphrases: new Passphrases(layout, undefined, warn, input) }),
    names: () => namesIn(layout.directory).filter((name) => name !== ".lock"),
    [Symbol.dispose]: () => {
      environment[Symbol.dispose]();
      directory[Symbol.dispose]();
    },
  };
}

/** Paths of all below a directory, relative to it, sorted. */
export function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory, { recursive: true, encoding: "utf8" }).sort() : [];
}

/** The identity of a fixture. */
export async function identityOf(name: FixtureName): Promise<Identity> {
  return await parseIdentity(encodeIdentity(fixtureIdentity(name) as Identity["fields"]), name);
}

/** Name of a fixture's key file in `keys/`. */
export function keyNameOf(name: FixtureName): string {
  return `${fixtureIdentity(name)["deviceId"]}.key.json`;
}

/** Puts the key of a fixture into an amesh directory. @returns its path. */
export function addKey({ keys }: Layout, name: FixtureName): string {
  return writeAs(join(keys, keyNameOf(name)), fixtureKeyFile(name).text, 0o600);
}

/** Writes a file, also over one that its owner cannot write. @returns its path. */
export function writeAs(path: string, content: string | Uint8Array, mode: number): string {
  rmSync(path, { force: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

/** Text of a file; `null` when there is none. */
export function textOf(path: string): string | null {
  return existsSync(path) ? readFileSync(path, "utf8") : null;
}
