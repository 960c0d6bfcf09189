/** shellcheck has nothing to say of any shell script. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { projectFiles, ROOT } from "../../support/project_files.ts";
import { checkScript, checkScriptFile, shellcheckMissing } from "../../support/shellcheck.ts";

const skip = shellcheckMissing();

/** By its name, or where that has no ending by its first line. */
function isShellScript(path: string): boolean {
  if (path.endsWith(".sh")) return true;
  return /(^|\/)[^./]+$/.test(path) && /^#!.*\b(ba|da)?sh\b/.test(readFileSync(join(ROOT, path), "utf8"));
}

const scripts = projectFiles(isShellScript);

test("the shell scripts are found, by name and by their first line", () => {
  for (const path of [".ci/run", "scripts/sign_macos.sh", "swift-helper/build.sh", "tests/vm/guest.sh"]) {
    assert.ok(scripts.includes(path), `${path} is not among ${scripts.join(", ")}`);
  }
});

for (const path of scripts) {
  test(`shellcheck reads ${path}`, { skip }, () => assert.equal(checkScriptFile(path), ""));
}

test("shellcheck finds what is wrong", { skip }, () => {
  assert.match(checkScript("rm -rf $1\n", "sh"), /SC2086/);
  assert.match(checkScript("if true; then\n", "sh"), /:2:1: error: /);
  assert.match(checkScript("[[ $1 = a ]]\n", "sh"), /SC3010|SC2039/);
  assert.equal(checkScript("[[ $1 = a ]]\n", "bash"), "");
});
