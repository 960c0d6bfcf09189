/** The face of the library: what a program can import. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import * as library from "../../src/mod.ts";
import { isDeno, runChild } from "../support/child_process.ts";

const ROOT = join(import.meta.dirname!, "..", "..");

test("mod.ts exports these values, and no other", () => {
  assert.deepEqual(Object.keys(library).sort(), [
    "AmeshError",
    "EXIT_CODES",
    "MachineIdentity",
    "PublicKey",
    "SIGNATURE_FORMATS",
    "TIER_NAMES",
    "VERSION",
    "openIdentity",
    "parsePublicKey",
  ]);
});

test("the package exports the library, and the command line beside it", () => {
  const { exports } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  assert.deepEqual(exports, { ".": "./src/mod.ts", "./cli": "./main.ts" });
});

test("every export of the library is documented, with types that can be read", { skip: !isDeno }, () => {
  const { code, stderr } = runChild([process.execPath, "doc", "--lint", "src/mod.ts"]);
  assert.equal(code, 0, stderr);
});
