/** Runs the examples of the documentation as their heads say, on both runtimes. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { bunCommand } from "../../scripts/build.ts";
import { ameshPlace, identityOf } from "../support/amesh_place.ts";
import { runChild } from "../support/child_process.ts";

const EXAMPLES = join(import.meta.dirname!, "..", "..", "docs", "examples");
const { deviceId, friendlyName } = (await identityOf("floor")).fields;

const OUTPUT: Readonly<Record<string, string>> = {
  "fetch_with_token.ts": `who are you?\nhello ${deviceId}\n`,
  "jose_signer.ts": `${deviceId} is backup\n`,
  "sign.ts": `${deviceId} (${friendlyName}, encrypted-file)\nsigned: true\nsigned something else: false\n`,
};

/** The command in an example's head that begins with this word, as program and arguments. */
function commandOf(name: string, runtime: "deno" | "bun"): string[] {
  const text = readFileSync(join(EXAMPLES, name), "utf8");
  const [, rest] = new RegExp(`^ \\*     ${runtime} (.*)$`, "m").exec(text) ?? [];
  assert.ok(rest !== undefined, `${name} does not say how ${runtime} runs it`);
  return runtime === "bun"
    ? [...bunCommand(), ...rest.split(" ")]
    : [process.execPath, ...rest.replace(/^run/, "run --no-prompt --no-check --cached-only").split(" ")];
}

test("every example is run", () => {
  assert.deepEqual(readdirSync(EXAMPLES).sort(), Object.keys(OUTPUT));
});

for (const [name, output] of Object.entries(OUTPUT)) {
  for (const runtime of ["deno", "bun"] as const) {
    test(`docs/examples/${name} on ${runtime}`, () => {
      using here = ameshPlace("floor");
      const result = runChild(commandOf(name, runtime), {
        env: { AUTH_MESH_DIR: here.layout.directory },
        timeout: 120_000,
      });
      assert.deepEqual(result, { code: 0, stdout: output, stderr: "" });
    });
  }
}
