/** Copies of the directories in tests/fixtures, with the modes that git does not keep. */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Layout, layoutOf } from "../../src/platform/paths.ts";

const FIXTURES = join(import.meta.dirname!, "..", "fixtures");

/** Names of the fixtures that the tests in process use. */
export type FixtureName = "floor" | "floor-other" | "amesh-0.7-floor" | "odd-bytes" | "four-lanes";

/** Copies a fixture to `directory`, which must not exist. */
export function copyFixture(name: FixtureName, directory: string): Layout {
  const from = layoutOf(join(FIXTURES, name));
  const to = layoutOf(directory);
  mkdirSync(to.keys, { recursive: true });
  for (const path of [to.directory, to.keys]) chmodSync(path, 0o700);
  const copy = (source: string, target: string, mode: number) => {
    copyFileSync(source, target);
    chmodSync(target, mode);
  };
  copy(from.identity, to.identity, 0o600);
  for (const key of readdirSync(from.keys)) copy(join(from.keys, key), join(to.keys, key), 0o600);
  if (existsSync(from.passphrase)) copy(from.passphrase, to.passphrase, 0o400);
  return to;
}

/** The fields of a fixture's `identity.json`. */
export function fixtureIdentity(name: FixtureName): Record<string, unknown> {
  return JSON.parse(readFileSync(layoutOf(join(FIXTURES, name)).identity, "utf8"));
}

/** The bytes and the fields of a fixture's key file. */
export function fixtureKeyFile(name: FixtureName): { text: string; fields: Record<string, unknown> } {
  const { keys } = layoutOf(join(FIXTURES, name));
  const text = readFileSync(join(keys, readdirSync(keys)[0]!), "utf8");
  return { text, fields: JSON.parse(text) };
}
