/** The template of the formula: Ruby, in the style that Homebrew asks for, as far as that shows without Homebrew. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../support/project_files.ts";
import { run, succeed } from "./place.ts";

const TEMPLATE = join(ROOT, "packaging", "homebrew", "amesh.rb.in");
const DOUBLE = join(import.meta.dirname!, "formula_double.rb");
const formula = readFileSync(TEMPLATE, "utf8");

test("the formula and the double that runs it are Ruby", () => {
  for (const path of [TEMPLATE, DOUBLE]) assert.equal(succeed(["ruby", "-c", path]), "Syntax OK\n");
});

/** What RuboCop finds in Ruby text. */
function offences(text: string): string {
  const config = join(import.meta.dirname!, "rubocop.yml");
  const args = ["--cache", "false", "--config", config, "--format", "emacs", "--stdin", "amesh.rb"];
  const { code, stdout, stderr } = run(["rubocop", ...args], { input: text });
  assert.ok(code === 0 || code === 1 && stdout !== "", stderr);
  return stdout;
}

test("RuboCop finds nothing in the formula, and something in a careless one", () => {
  assert.equal(offences(formula), "");
  assert.match(offences(formula.replace('"MIT"', "'MIT'")), /Style\/StringLiterals/);
});

test("the description is as `brew audit` wants it", () => {
  const desc = /^ {2}desc "(.*)"$/m.exec(formula)?.[1] ?? "";
  assert.match(desc, /^[A-Z]/);
  assert.ok(`amesh: ${desc}`.length <= 80, "name and description in 80 characters");
  assert.doesNotMatch(desc, /^(an?|the)\s/i);
  assert.doesNotMatch(desc, /\.$/);
  assert.doesNotMatch(desc, /^amesh|command[ -]?line|formula/i);
});

test("what the formula says comes in Homebrew's order, each once", () => {
  const stanzas = [...formula.matchAll(/^ {2}(\w+)\b/gm)].map(([, name]) => name).filter((name) =>
    name !== "end"
  );
  assert.deepEqual(stanzas, [
    "desc",
    "homepage",
    "version",
    "license",
    "on_macos",
    "on_linux",
    "def",
    "test",
  ]);
  for (const system of formula.matchAll(/^ {2}on_\w+ do$([\s\S]*?)^ {2}end$/gm)) {
    const inside = [...system[1]!.matchAll(/^ +(on_arm|on_intel|url|sha256)\b/gm)].map(([, name]) => name);
    assert.deepEqual(inside, ["on_arm", "url", "sha256", "on_intel", "url", "sha256"]);
  }
});
