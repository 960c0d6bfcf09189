/**
 * The contract of the keychain tier on the real Security.framework: for a Mac whose default keychain KEYCHAIN names, so that
 * nobody's own keychain is written to by accident.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { defaultKeychain } from "../../src/apple/keychain.ts";
import { keychainTier } from "../../src/keystore/keychain.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { keystoreContract, type Surroundings } from "../contract/keystore_contract.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";

const keychain = process.env["KEYCHAIN"] ?? "";

function whyNot(): string | undefined {
  if (process.platform !== "darwin") return "this is no Mac";
  if (keychain === "") return "KEYCHAIN names no keychain";
  const { path } = defaultKeychain();
  return path === keychain ? undefined : `the default keychain is ${path}`;
}

/** What security(1) lists of the keychain, one text for each item. */
function items(): string[] {
  const text = execFileSync("security", ["dump-keychain", keychain], { encoding: "utf8" });
  return text.split(/^keychain: /m).slice(1).sort();
}

/** There is one default keychain, so all surroundings share it; each sees the keys that were added since it began. */
function makeSurroundings(): Surroundings {
  const directory = temporaryDirectory();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  const others = new Set(items());
  return {
    context: () => ({ layout, passphrases: new Passphrases(layout, undefined, () => {}) }),
    stored: () => items().filter((item) => !others.has(item)),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}

const skip = whyNot();
keystoreContract(keychainTier, makeSurroundings, skip === undefined ? {} : { skip });

test("keychain: the tier is available here", { skip: skip ?? false }, async () => {
  const availability = await keychainTier.probe();
  assert.equal(availability.available, true, JSON.stringify(availability));
});
