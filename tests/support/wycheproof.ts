/** Test vectors of the Wycheproof project, which are not part of this one (tests/vectors/README.md). */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

const DIRECTORY = process.env["WYCHEPROOF_DIR"] ??
  join(import.meta.dirname!, "..", "..", "..", "shared", "vectors", "wycheproof");

/** One file of vectors; `Group` is what its schema says of a test group. */
export interface VectorFile<Group> {
  readonly testGroups: readonly Group[];
}

/** What every vector has. */
export interface Vector {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: "valid" | "invalid";
}

/** The file, or what there must be for the tests that need it to run. */
export function readVectors<Group>(name: string): VectorFile<Group> | { readonly missing: string } {
  const path = join(DIRECTORY, name);
  if (!existsSync(path)) return { missing: `${name}: set WYCHEPROOF_DIR to its folder` };
  return JSON.parse(readFileSync(path, "utf8"));
}
