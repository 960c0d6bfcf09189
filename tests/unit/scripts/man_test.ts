/** The manual: every command and option is in it, and man and mandoc have nothing to complain of. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ENVIRONMENT } from "../../../scripts/compile.ts";
import { manualPages } from "../../../scripts/man/pages.ts";
import { bold, escaped, paragraphs, prose } from "../../../scripts/man/roff.ts";
import { EXIT_STATUS, FILES, VARIABLES } from "../../../scripts/man/texts.ts";
import { releaseDate } from "../../../scripts/man.ts";
import { application } from "../../../src/cli/app.ts";
import { allCommands, type CommandReference, describe } from "../../../src/cli/reference.ts";
import { EXIT_CODES } from "../../../src/errors.ts";
import { layoutOf } from "../../../src/platform/paths.ts";
import { runChild } from "../../support/child_process.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const EDITION = { version: "1.2.3", date: "2026-01-31" };
const root = describe(application);
const pages = manualPages(root, EDITION);
const missing = (program: string) =>
  runChild([program, "-V"]).code === 0 ? false : `${program} is not installed`;
const MAN = { LC_ALL: "C.UTF-8", MANROFFSEQ: "", MANWIDTH: "80", MANPAGER: "cat", MAN_KEEP_FORMATTING: "" };

/** What a reader sees of a page, on one line. */
function shown(path: string): string {
  const { stdout, stderr } = runChild(["man", "--warnings", "-E", "UTF-8", "-l", path], { env: MAN });
  assert.equal(stderr, "", path);
  return stdout.replaceAll(/\s+/g, " ");
}

/** Pages in a directory of their own, as `man1` of a manual. */
function written(
  reference: CommandReference,
  directory: string,
): { command: CommandReference; path: string }[] {
  mkdirSync(join(directory, "man1"));
  const commands = allCommands(reference);
  return manualPages(reference, EDITION).map(({ file, text }, index) => {
    const path = join(directory, "man1", file);
    writeFileSync(path, text);
    return { command: commands[index]!, path };
  });
}

test("there is a page for each command", () => {
  const files = pages.map(({ file }) => file);
  assert.equal(files.length, allCommands(root).length);
  assert.equal(new Set(files).size, files.length);
  for (
    const file of [
      "amesh.1",
      "amesh-init.1",
      "amesh-passphrase-change.1",
      "amesh-agent.1",
      "amesh-completion.1",
    ]
  ) {
    assert.ok(files.includes(file), file);
  }
});

test(
  "what must be given stands without brackets, and what is given for it is told",
  { skip: missing("man") },
  () => {
    using directory = temporaryDirectory();
    const text = shown(written(root, directory.path).find(({ path }) => path.endsWith("/amesh-jwt.1"))!.path);
    assert.match(text, / amesh jwt --audience NAME \.\.\. \[--claim NAME=VALUE\] \.\.\. /);
    assert.match(text, /--expires TIME .*? Default: 5m\./);
  },
);

test("a command that is its group as well has the same page under both names", () => {
  const textOf = (name: string) => pages.find(({ file }) => file === name)?.text;
  assert.equal(textOf("amesh-agent-start.1"), textOf("amesh-agent.1"));
  assert.match(textOf("amesh-agent.1")!, /^amesh\\-agent, amesh\\-agent\\-start \\- hold /m);
});

test(
  "man shows every command, option, value and example, without a warning",
  { skip: missing("man") },
  () => {
    using directory = temporaryDirectory();
    for (const { command, path } of written(root, directory.path)) {
      const text = shown(path);
      const name = ["amesh", ...command.path].join(" ");
      assert.ok(text.includes(`${name} `), name);
      for (const { name: option, value } of command.options) {
        const term = value === null ? `--${option}` : `--${option} ${value.placeholder}`;
        assert.ok(text.includes(` ${term} `), `${name}: ${term}`);
      }
      for (const { placeholder } of command.operands) {
        assert.ok(
          text.includes(` ${placeholder} `),
          placeholder,
        );
      }
      if (command.path.length > 0) {
        for (const line of command.examples) assert.ok(text.includes(line.replaceAll(/\s+/g, " ")), line);
      }
      for (const inner of command.commands.filter((other) => other !== command.main)) {
        assert.ok(text.includes(`${["amesh", ...inner.path].join("-")}(1)`), inner.path.join(" "));
      }
      for (
        const heading of ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"]
      ) {
        if (heading === "EXAMPLES" && command.path.length > 0 && command.examples.length === 0) continue;
        assert.ok(text.includes(` ${heading} `), `${name}: ${heading}`);
      }
      for (const code of Object.values(EXIT_CODES)) {
        assert.match(
          text,
          new RegExp(` ${code} [A-Z]`),
          `${name}: ${code}`,
        );
      }
      assert.ok(text.includes("amesh 1.2.3 2026-01-31"), name);
    }
  },
);

test("amesh(1) explains every variable that amesh reads, and no other", { skip: missing("man") }, () => {
  assert.deepEqual(Object.keys(VARIABLES).sort(), [...ENVIRONMENT].sort());
  using directory = temporaryDirectory();
  const text = shown(written(root, directory.path)[0]!.path);
  for (const name of ENVIRONMENT) assert.ok(text.includes(` ${name} `), name);
  for (const name of Object.keys(FILES)) assert.ok(text.includes(` ${name} `), name);
});

test("the manual names the files that are there when nothing is going on", () => {
  const named = Object.keys(FILES).map((name) => name.replace(/\/$/, ""));
  const { directory: _, replaced: _1, deleted: _2, uncommitted: _3, ...lasting } = layoutOf("~/.amesh");
  assert.deepEqual(Object.values(lasting).sort(), named.sort());
});

test("every exit code has a meaning, and so have success and Ctrl-C", () => {
  const codes = [...new Set<number>([0, 130, ...Object.values(EXIT_CODES)])];
  assert.deepEqual(Object.keys(EXIT_STATUS).map(Number).sort(), codes.sort());
});

const noMandoc = runChild(["sh", "-c", "command -v mandoc"]).code === 0 ? false : "mandoc is not installed";

test("mandoc finds nothing but long lines", { skip: noMandoc }, () => {
  using directory = temporaryDirectory();
  const paths = written(root, directory.path).map(({ path }) => path);
  const { stdout, stderr } = runChild(["mandoc", "-T", "lint", ...paths]);
  const isLength = (line: string) => line.includes(": STYLE: input text line longer than");
  assert.deepEqual(`${stdout}${stderr}`.split("\n").filter((line) => line !== "" && !isLength(line)), []);
  const bad = directory.file("bad.1");
  writeFileSync(bad, ".TH BAD\n.XX\n");
  assert.match(runChild(["mandoc", "-T", "lint", bad]).stdout, /WARNING|ERROR/);
});

/** Texts that mean something to roff. */
const NASTY = [
  ".TH is no macro here",
  "'br neither; \"quotes\" and `ticks'",
  'back\\slash \\fBbold\\fR \\n(.s \\" comment ~ ^ -- - \\-',
  "first\n.second\n'third",
  `${"long ".repeat(30)}${".dot ".repeat(40)}${"'tick ".repeat(40)}end`,
];

test("man shows texts as they are", { skip: missing("man") }, () => {
  for (const text of NASTY) {
    using directory = temporaryDirectory();
    const command = {
      ...root,
      path: ["make"],
      brief: text,
      description: `${text}\n\n  ${text.split("\n")[0]}`,
      examples: [text.split("\n")[0]!],
      options: [{ ...root.options[0]!, brief: text }],
      commands: [],
    };
    const [, page] = written({ ...root, commands: [command] }, directory.path);
    const read = shown(page!.path);
    const expected = text.replaceAll(/\s+/g, " ");
    const times = read.split(expected).length - 1;
    assert.ok(times >= 3, `${times} times: ${text}\n${read}`);
  }
});

test("nothing is a macro that only looks like one, also where a line is broken", () => {
  for (const text of NASTY) {
    for (const line of [...prose(text), ...paragraphs(text), escaped(text)]) {
      assert.doesNotMatch(line, /^[.']/);
    }
  }
});

test("options, code and pages are bold", () => {
  assert.deepEqual(prose("`amesh doctor` with --fix; see systemd.exec(5)."), [
    "\\fBamesh doctor\\fR with \\fB\\-\\-fix\\fR; see \\fBsystemd.exec\\fR(5).",
  ]);
  assert.equal(bold("--a\\b"), "\\fB\\-\\-a\\(rsb\\fR");
});

test("the date is that of the build, else of the release, else none", () => {
  const changelog =
    "# Changes\n\n## 1.3.0, unreleased\n\n## 1.2.30, 2026-02-01\n\n## 1.2.3, 2026-01-31\n\n## 1.2.2, 2025-12-01\n";
  assert.equal(releaseDate(changelog, "1.2.3", undefined), "2026-01-31");
  assert.equal(releaseDate(changelog, "1.3.0", undefined), "");
  assert.equal(releaseDate(changelog, "1.2.3", "1790000000"), "2026-09-21");
  assert.equal(releaseDate(changelog, "1.2.2", "soon"), "2025-12-01");
});
