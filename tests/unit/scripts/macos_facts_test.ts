/** tests/macos/facts.sh reports every fact, whatever macOS answers. No Apple program runs here. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { runChild } from "../../support/child_process.ts";
import { ROOT } from "../../support/project_files.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const SCRIPT = "tests/macos/facts.sh";
const PROGRAMS = "codesign security sudo ssh ssh-keygen launchctl brew deno shasum sleep chown".split(" ");
const facts = [...readFileSync(join(ROOT, SCRIPT), "utf8").matchAll(/^fact_(\w+)\(\)/gm)].map(([, name]) =>
  name!
);

/** Runs a fact where every program ends in the same way. */
function run(fact: string, system: string, body: string) {
  using place = temporaryDirectory();
  const program = (name: string, text: string) => {
    writeFileSync(place.file(name), `#!/bin/sh\n${text}\n`);
    chmodSync(place.file(name), 0o755);
    return place.file(name);
  };
  for (const name of PROGRAMS) program(name, body);
  program("uname", `echo ${system}`);
  mkdirSync(place.file(".ssh"));
  writeFileSync(place.file(".ssh/amesh-facts.pub"), "key\n");
  writeFileSync(place.file("summary"), "");
  const { code, stdout, stderr } = runChild([SCRIPT, fact], {
    env: {
      PATH: `${place.path}:${process.env["PATH"]}`,
      HOME: place.path,
      AMESH: program("amesh", body),
      HELPER: program("amesh-se-helper", body),
      IDENTITY: place.file("identity"),
      KEYCHAIN: place.file("keychain"),
      KEYCHAIN_PASSWORD: "password",
      GITHUB_STEP_SUMMARY: place.file("summary"),
    },
  });
  return { code, stdout, stderr, summary: readFileSync(place.file("summary"), "utf8") };
}

for (const name of facts) {
  const fact = name.replaceAll("_", "-");
  for (const body of [`echo "keychain: available"; echo '"blob"'`, "echo said >&2; exit 3"]) {
    test(`facts.sh ${fact} reports one line when programs end with: ${body}`, () => {
      const { code, stdout, stderr, summary } = run(fact, "Darwin", body);
      assert.doesNotMatch(stderr, /unbound variable|command not found|syntax error|facts\.sh: line/);
      const [report, ...others] = stdout.split("\n").filter((line) => line.startsWith("FACT "));
      assert.deepEqual(others, [], stdout);
      const [, finding] = /^FACT [a-z0-9-]+: (.*)$/.exec(report ?? "") ?? [];
      assert.equal(report, `FACT ${fact}: ${finding}`, `${code}: ${stdout}${stderr}`);
      assert.equal(summary, `- **${fact}**: ${finding}\n`);
    });
  }
}

test("facts.sh tells what a program said, and how it ended", () => {
  const { stdout } = run("first-sign", "Darwin", "echo said >&2; exit 3");
  assert.match(stdout, /^FACT first-sign: .*: exit 3 after \d s\n {4}said\n/);
});

test("facts.sh tells nothing of what it could not try", () => {
  for (const fact of ["changed-binary", "changed-binary-over-ssh", "entitlements", "homebrew"]) {
    assert.match(run(fact, "Darwin", "exit 3").stdout, /^FACT \S+: cannot be told, /, fact);
  }
});

test("facts.sh asks nothing of another system, and knows no other fact", () => {
  assert.equal(run("first-sign", "Linux", "").code, 2);
  for (const fact of ["", "nothing", "first_sign; true", "report"]) {
    const { code, stderr } = run(fact, "Darwin", "");
    assert.equal(code, 2, fact);
    assert.match(stderr, /there is no fact/);
  }
});
