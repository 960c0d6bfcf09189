/** The documents fit the project: their links, the files and tasks that they name, the commands that they show. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { application } from "../../../src/cli/app.ts";
import { allCommands, type CommandReference, describe } from "../../../src/cli/reference.ts";
import { complaintOf } from "../../support/command_line.ts";
import { type Document, projectDocuments, readDocument } from "../../support/documents.ts";
import { ROOT } from "../../support/project_files.ts";
import { shellCommands, UNKNOWN_WORD } from "../../support/shell_commands.ts";

const documents = projectDocuments();
const named = (path: string): Document => {
  const found = documents.find((document) => document.path === path);
  assert.ok(found !== undefined, path);
  return found;
};
const forUsers = documents.filter(({ path }) => /^(README\.md|SECURITY\.md|docs\/|packaging\/)/.test(path));
const { tasks, imports } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));

/** Why a link leads nowhere; `null` when it leads somewhere, or out of the project. */
function brokenLink({ path, anchors }: Document, link: string): string | null {
  if (/^(https|mailto):/.test(link)) return null;
  const [file = "", anchor] = link.split("#");
  const target = file === "" ? path : normalize(join(dirname(path), file)).replaceAll("\\", "/");
  if (target !== path && !existsSync(join(ROOT, target))) return `${path}: ${link}: no such file`;
  if (anchor === undefined) return null;
  const known = target === path ? anchors : named(target).anchors;
  return known.has(anchor) ? null : `${path}: ${link}: no such heading`;
}

test("every link leads to a file that is there, and to a heading of it", () => {
  const links = documents.flatMap((document) => document.links.map((link) => brokenLink(document, link)));
  assert.ok(links.length > 60, `${links.length} links`);
  assert.deepEqual(links.filter((broken) => broken !== null), []);
});

test("a link that leads nowhere is found", () => {
  const text =
    "# A `b`: c, d\n\n# A\n\n# A\n\n[x](#a-b-c-d) [x](#a-1) [x](README.md#amesh) `[x](#code)`\n\n```\n[x](#e)\n```\n";
  const document = readDocument("x.md", text);
  assert.deepEqual([...document.anchors], ["a-b-c-d", "a", "a-1"]);
  assert.deepEqual(document.links.map((link) => brokenLink(document, link)), [null, null, null]);
  for (const link of ["#b", "docs/none.md", "README.md#none", "/README.md#none"]) {
    assert.notEqual(brokenLink(document, link), null, link);
  }
});

test("files that documents name are there", () => {
  const missing = forUsers.flatMap(({ path, inlineCode }) =>
    inlineCode
      .filter((code) => /^(src|tests|scripts|packaging|docs|swift-helper|\.github)\/[\w./-]+$/.test(code))
      .filter((code) => !existsSync(join(ROOT, code)) && !existsSync(join(ROOT, dirname(path), code)))
      .map((code) => `${path}: ${code}`)
  );
  assert.deepEqual(missing, []);
});

test("tasks that documents name are those of deno.json", () => {
  const mentions = documents.flatMap(({ path, blocks, inlineCode }) =>
    [...blocks.map(({ text }) => text), ...inlineCode].flatMap((code) =>
      [...code.matchAll(/(?:\bdeno(?:@[\d.]+)? |^)task ([a-z][\w:]*)/gm)].map(([, task]) => ({ path, task }))
    )
  );
  assert.ok(mentions.length > 20, `${mentions.length} mentions`);
  assert.deepEqual(mentions.filter(({ task }) => !(task! in tasks)), []);
});

test("docs/decisions.md says of every package why it is there, and of no other", () => {
  const section = readFileSync(join(ROOT, "docs/decisions.md"), "utf8").split(/^## /m)
    .find((text) => text.startsWith("Dependencies\n"));
  const rows = section!.split("\n").filter((line) => line.startsWith("| `"));
  const explained = rows.flatMap((row) =>
    [...row.split("|")[1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!)
  );
  const packages = Object.keys(imports).map((name) => name.replace(/\/$/, ""));
  assert.deepEqual(explained.toSorted(), [...new Set(packages)].sort());
});

/** The tree of docs/architecture.md: what stands at the beginning of its lines. */
const tree = named("docs/architecture.md").blocks[0]!.text.split("\n")
  .flatMap((line) => /^(\S.*?)(?: {2,}|$|, (?=keychain))/.exec(line)?.[1]?.split(", ") ?? [])
  .map((path) => path.replace(/\/? .*$|\/$/, ""));

test("the tree of docs/architecture.md has every directory once, and nothing that is not there", () => {
  assert.deepEqual(tree.filter((path) => !existsSync(join(ROOT, path))), []);
  assert.equal(new Set(tree).size, tree.length, "each once");
  const directories = ["src", "tests", "scripts"].flatMap((parent) =>
    readdirSync(join(ROOT, parent), { withFileTypes: true })
      .filter((entry) => entry.isDirectory()).map(({ name }) => `${parent}/${name}`)
  );
  const isThere = (directory: string) =>
    tree.some((path) => path === directory || path.startsWith(`${directory}/`));
  assert.deepEqual(directories.filter((directory) => !isThere(directory)), []);
});

const root = describe(application);
const references = allCommands(root);
const isCommand = (word: string | undefined) => root.commands.some(({ path }) => path[0] === word);

/** The arguments of amesh in a command, which may call it through another program; `null` when it does not call it. */
function argumentsOf(words: readonly string[]): readonly string[] | null {
  const start = words.findIndex((word) => !/^\w+=/.test(word));
  if (basename(words[start] ?? "") === "amesh") return words.slice(start + 1);
  const at = words.findLastIndex((word, index) => word === "amesh" && isCommand(words[index + 1]));
  return at < 0 ? null : words.slice(at + 1);
}

/** The command that arguments name, by the longest path. */
function referenceOf(args: readonly string[]): CommandReference {
  const named = references.filter(({ path }) => path.every((word, index) => word === args[index]));
  const longest = named.reduce((best, next) => next.path.length > best.path.length ? next : best);
  return longest.main ?? longest;
}

/** What is wrong with arguments of amesh; `null` when nothing is. @param isWhole nothing is left out. */
async function mistakeIn(args: readonly string[], isWhole: boolean): Promise<string | null> {
  if (args.some((word) => word === "--help" || word === "--version")) return null;
  const complaint = await complaintOf(args);
  if (!complaint.includes("one-too-many")) return complaint;
  const { options, commands } = referenceOf(args);
  if (commands.length > 0 && isWhole) return "which of its commands?";
  for (const { name, isRequired, value } of options) {
    const at = args.indexOf(`--${name}`);
    if (at < 0 && isRequired && isWhole) return `--${name} is missing`;
    const given = args[at + 1];
    if (at < 0 || value?.completion.kind !== "choice" || given === UNKNOWN_WORD) continue;
    if (!value.completion.values.includes(given!)) return `--${name} cannot be ${given}`;
  }
  return null;
}

/** Texts of protocols that begin like a command. */
const NO_COMMAND = /^amesh (continuity|identity)\b/;

/** The command lines of a document, and whether each is whole. */
function commandLines({ blocks, inlineCode }: Document): { script: string; isWhole: boolean }[] {
  const scripts = blocks.flatMap(({ language, text }) => {
    if (language === "yaml") return (parse(text)?.runcmd ?? []) as string[];
    return language === "sh" ? [text] : [];
  });
  const inline = inlineCode.filter((code) => /\bamesh [a-z-]/.test(code) && !NO_COMMAND.test(code));
  return [
    ...scripts.map((script) => ({ script, isWhole: true })),
    ...inline.map((script) => ({ script, isWhole: false })),
  ];
}

for (const document of forUsers) {
  test(`the parser takes every command line of ${document.path}`, async () => {
    const mistakes: string[] = [];
    for (const { script, isWhole } of commandLines(document)) {
      for (const words of shellCommands(script)) {
        const args = argumentsOf(words);
        const mistake = args === null ? null : await mistakeIn(args, isWhole);
        if (mistake !== null) mistakes.push(`${words.join(" ")}: ${mistake}`);
      }
    }
    assert.deepEqual(mistakes, []);
  });
}

test("the parser takes every example of its own help", async () => {
  const commands = references.flatMap(({ examples }) => examples.flatMap(shellCommands));
  const calls = commands.map(argumentsOf).filter((args) => args !== null);
  assert.ok(calls.length > 30, `${calls.length} examples`);
  for (const args of calls) assert.equal(await mistakeIn(args, true), null, args.join(" "));
});

test("there are command lines", () => {
  const found = forUsers.flatMap(commandLines).flatMap(({ script }) => shellCommands(script))
    .filter((words) => argumentsOf(words) !== null);
  assert.ok(found.length > 100, `${found.length} command lines`);
});

test("the commands of a script are found", () => {
  const script = [
    "A=1 amesh sign --out 'a b' \"x $Y\" > out 2>&1 # not this",
    'eval "$(amesh agent)" && cat < in | amesh certificate set -',
    "sudo env B=2 \\\n  amesh rotate 3< <(pass show amesh); git config amesh x",
    "amesh status > /dev/null || {\n  amesh csr --renew\n}",
  ].join("\n");
  assert.deepEqual(shellCommands(script).map(argumentsOf).filter((args) => args !== null), [
    ["sign", "--out", "a b", `x ${UNKNOWN_WORD}`],
    ["agent"],
    ["certificate", "set", "-"],
    ["rotate"],
    ["status"],
    ["csr", "--renew"],
  ]);
});

test("what the parser does not take is found", async () => {
  const wrong = [
    "sgin x",
    "sign --ouput x",
    "init",
    "init --name a --backend tpm",
    "certificate",
    "verify x",
  ];
  for (const line of wrong) assert.notEqual(await mistakeIn(line.split(" "), true), null, line);
  for (const line of ["init", "sign x", "init --name a --backend tpm2", "agent", "agent --confirm"]) {
    assert.equal(await mistakeIn(line.split(" "), false), null, line);
  }
});
