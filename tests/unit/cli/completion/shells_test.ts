/** What bash, zsh and fish themselves offer with our scripts. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { application } from "../../../../src/cli/app.ts";
import { bashScript } from "../../../../src/cli/completion/bash.ts";
import { fishScript } from "../../../../src/cli/completion/fish.ts";
import { zshScript } from "../../../../src/cli/completion/zsh.ts";
import { type Shell, SHELLS } from "../../../../src/cli/completion_command.ts";
import { allCommands, type CommandReference, describe } from "../../../../src/cli/reference.ts";
import { runChild } from "../../../support/child_process.ts";
import { atTerminal, type Offer, offersOf, shellMissing } from "../../../support/shell_completion.ts";
import { checkScript, shellcheckMissing } from "../../../support/shellcheck.ts";
import { temporaryDirectory } from "../../../support/temporary_directory.ts";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript };
const root = describe(application);

const FILES = ["message", "release.sig", "release.tar.gz"];

/** What a shell offers for each line, in a directory with {@linkcode FILES} and a folder. */
function ask(shell: Shell, lines: readonly string[], reference: CommandReference = root): Offer[][] {
  using directory = temporaryDirectory();
  for (const name of FILES) writeFileSync(directory.file(name), "");
  mkdirSync(directory.file("folder"));
  return offersOf(shell, directory.path, SCRIPTS[shell](reference), lines);
}

const wordsOf = (offers: readonly Offer[]) => offers.map(({ word }) => word.replace(/\/$/, "")).sort();
const files = [...FILES, "folder"].sort();
const all = root.commands.map(({ path }) => path[0] as string).sort();

/** Lines whose last word is completed, and by what; those of a shell where it alone differs. */
const LINES: readonly { line: string; offers: readonly string[]; only?: readonly Shell[] }[] = [
  { line: "amesh ", offers: all },
  { line: "amesh ver", offers: ["verify", "verify-rotation"] },
  { line: "amesh passphrase ", offers: ["change", "move", "status"] },
  { line: "amesh agent s", offers: ["start", "status", "stop"] },
  { line: "amesh completion ", offers: ["bash", "fish", "zsh"] },
  { line: "amesh init --backend ", offers: ["auto", "encrypted-file", "keychain", "secure-enclave", "tpm2"] },
  { line: "amesh sign --format d", offers: ["der"] },
  { line: "amesh sign --format der --encoding b", offers: ["base64", "base64url", "binary"] },
  { line: "amesh sign --f", offers: ["--format"] },
  { line: "amesh sign ", offers: files },
  { line: "amesh sign --no-agent rel", offers: ["release.sig", "release.tar.gz"] },
  { line: "amesh sign --out ", offers: files },
  { line: "amesh sign -- mess", offers: ["message"] },
  { line: "amesh sign -- --f", offers: [] },
  { line: "amesh verify-rotation message release.s", offers: ["release.sig"] },
  { line: "amesh verify-rotation --key f", offers: ["folder"] },
  { line: "amesh verify --signature rel", offers: [] },
  { line: "amesh agent --socket mess", offers: ["message"] },
  { line: "amesh agent status --j", offers: ["--json"] },
  { line: "amesh passphrase change --argon2-p", offers: ["--argon2-passes"] },
  { line: "amesh passphrase change --argon2-memory ", offers: [] },
  { line: "amesh passphrase change --new-passphrase-file m", offers: ["message"] },
  { line: "amesh init --name ", offers: [] },
  { line: "amesh init --name init --if", offers: ["--if-missing"] },
  { line: "amesh sign sign --no-a", offers: ["--no-agent"] },
  { line: "amesh nothing ", offers: [] },
  // How a shell names what it puts in place of a part of a word differs.
  { line: "amesh sign --format=r", offers: ["raw"], only: ["bash"] },
  { line: "amesh sign --format=r", offers: ["--format=raw"], only: ["zsh", "fish"] },
  { line: "amesh verify --signature @release.s", offers: ["@release.sig"] },
  { line: "amesh verify --signature=@release.s", offers: ["@release.sig"], only: ["bash"] },
  {
    line: "amesh verify --signature=@release.s",
    offers: ["--signature=@release.sig"],
    only: ["zsh", "fish"],
  },
  // Only these know what cannot be given again.
  { line: "amesh sign --json --j", offers: [], only: ["bash", "zsh"] },
  { line: "amesh sign --format=raw --fo", offers: [], only: ["bash", "zsh"] },
  { line: "amesh sign message rel", offers: [], only: ["bash", "zsh"] },
  // Without anything else, options are all that can follow; the others wait for a dash.
  { line: "amesh status ", offers: ["--help", "--json"], only: ["bash"] },
];

for (const shell of SHELLS) {
  const skip = shellMissing(shell);

  test(`${shell} offers what can follow`, { skip }, () => {
    const cases = LINES.filter(({ only }) => only === undefined || only.includes(shell));
    const offered = ask(shell, cases.map(({ line }) => line));
    assert.equal(offered.length, cases.length);
    cases.forEach(({ line, offers }, index) => assert.deepEqual(wordsOf(offered[index]!), offers, line));
  });

  test(`${shell} offers every option of every command, and --help`, { skip }, () => {
    const commands = allCommands(root);
    const lines = commands.map(({ path }) => ["amesh", ...path, "--"].join(" "));
    const offered = ask(shell, lines);
    commands.forEach(({ options }, index) => {
      const expected = options.map(({ name }) => `--${name}`).sort();
      assert.deepEqual(wordsOf(offered[index]!), expected, lines[index]);
      assert.ok(expected.includes("--help"));
    });
  });

  test(`${shell} reads the script without a complaint`, { skip }, () => {
    using directory = temporaryDirectory();
    const path = directory.file("script");
    writeFileSync(path, SCRIPTS[shell](root));
    const { code, stdout, stderr } = runChild([shell, shell === "fish" ? "--no-execute" : "-n", path]);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
  });
}

test("shellcheck has nothing to say of the script for bash", { skip: shellcheckMissing() }, () => {
  assert.equal(checkScript(bashScript(root), "bash"), "");
});

test("the script for bash has nothing that the bash of macOS lacks", () => {
  const newer =
    /\b(mapfile|readarray|coproc)\b|(declare|local|typeset) -[A-Zn]*[An]|\$\{\w+(\^|,|@)|&>>|\|&|;&/;
  assert.doesNotMatch(bashScript(root), newer);
});

/** Texts that mean something to each of the shells. */
const NASTY = [
  'it\'s "quoted" and `touch run` $(touch run) $HOME ${HOME}',
  "[brackets] (parens) {a,b} <angle> a:b:c ~ * ? ! # ; & |",
  "back\\slash \\n \\' %s %d 100% \\[ \\:",
  "two\nlines",
];

/** A command line of one command with one option, and such a text for each. */
function nasty(text: string): CommandReference {
  const command = {
    path: ["make"],
    brief: text,
    description: text,
    examples: [text],
    options: [{ ...root.options[0]!, name: "quick", brief: text }],
    operands: [],
    commands: [],
    main: null,
  };
  return {
    ...root,
    commands: [command, { ...command, path: ["other"], commands: [{ ...command, path: ["other", "x"] }] }],
  };
}

for (const shell of SHELLS.filter((name) => name !== "bash")) {
  test(
    `${shell} shows descriptions as they are, and runs nothing of them`,
    { skip: shellMissing(shell) },
    () => {
      for (const text of NASTY) {
        const [command, option, both] = ask(shell, ["amesh mak", "amesh make --q", "amesh "], nasty(text));
        const description = text.replace("\n", " ");
        assert.deepEqual(command, [{ word: "make", description }]);
        assert.deepEqual(option, [{ word: "--quick", description }]);
        assert.deepEqual(wordsOf(both!), ["make", "other"]);
      }
    },
  );
}

/** Prints its arguments in place of amesh. */
const STAND_IN = "amesh() { printf '<%s>' \"$@\"; echo; }\n";

test("an interactive bash puts in what is chosen", { skip: shellMissing("bash") }, () => {
  using directory = temporaryDirectory();
  mkdirSync(directory.file("a folder"));
  writeFileSync(join(directory.file("a folder"), "the message"), "");
  writeFileSync(directory.file("it.sig"), "");
  writeFileSync(directory.file("rc"), `${bashScript(root)}${STAND_IN}PS1='ready> '\n`);
  const shown = atTerminal(
    directory.path,
    ["bash", "--noprofile", "--rcfile", "rc", "-i"],
    [
      ["expect", "ready> ", "type", "amesh sig\\t--form\\td\\t--encoding=he\\ta\\tt\\t\\n"],
      ["expect", "<sign><--format><der><--encoding=hex><a folder/the message>"],
      [
        "expect",
        "ready> ",
        "type",
        "amesh verify --sig\\t\\ti\\t\\n",
        "expect",
        "<verify><--signature><@it.sig>",
      ],
      [
        "expect",
        "ready> ",
        "type",
        "amesh verify --signature=@i\\t\\n",
        "expect",
        "<verify><--signature=@it.sig>",
      ],
      ["expect", "ready> ", "type", "exit\\n"],
    ].flat(),
  );
  assert.doesNotMatch(shown, /bash: /);
});

test("an interactive zsh finds the script in fpath, and puts in what is chosen", {
  skip: shellMissing("zsh"),
}, () => {
  using directory = temporaryDirectory();
  mkdirSync(directory.file("functions"));
  writeFileSync(directory.file("functions/_amesh"), zshScript(root));
  writeFileSync(directory.file("it.sig"), "");
  const start =
    `fpath=($HOME/functions $fpath)\nautoload -Uz compinit && compinit -D -u\n${STAND_IN}PS1='ready> '\n`;
  writeFileSync(directory.file(".zshrc"), start);
  const shown = atTerminal(
    directory.path,
    ["zsh", "-d", "-i"],
    [
      ["expect", "ready> ", "type", "amesh sig\\t--form\\td\\t--encoding=he\\ti\\t\\n"],
      ["expect", "<sign><--format=der><--encoding=hex><it.sig>"],
      [
        "expect",
        "ready> ",
        "type",
        "amesh verify --sig\\t@i\\t\\n",
        "expect",
        "<verify><--signature=@it.sig>",
      ],
      ["expect", "ready> ", "type", "exit\\n"],
    ].flat(),
  );
  assert.doesNotMatch(shown, /zsh: |_amesh:/);
});

test("a zsh without compinit says what is missing", { skip: shellMissing("zsh") }, () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("script"), zshScript(root));
  const { stdout, stderr } = runChild(["zsh", "-f", directory.file("script")]);
  assert.equal(stdout, "");
  assert.match(stderr, /^amesh: .*compinit/);
});
