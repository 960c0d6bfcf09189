/** A terminal session as SVG, and the recording that the project shows. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { renderTerminal, type Step, wrapLine } from "../../../scripts/terminal_svg.ts";

const RECORDING = join(import.meta.dirname!, "..", "..", "..", "docs", "first-run.svg");
const terminal = { columns: 20, rows: 3, title: "a & b" };

/** What somebody can select in it, line by line. */
function linesOf(svg: string): string[] {
  const byHeight = new Map<number, string>();
  for (const [, attributes = "", text = ""] of svg.matchAll(/<text([^>]*)>([^<]*)<\/text>/g)) {
    if (attributes.includes('class="t"')) continue;
    const y = Number(/ y="(\d+)"/.exec(attributes)?.[1]);
    const plain = text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
    byHeight.set(y, [byHeight.get(y), plain].filter((part) => part !== undefined).join(" "));
  }
  return [...byHeight].sort(([a], [b]) => a - b).map(([, text]) => text);
}

/** Throws when it is no XML as far as elements go. */
function checkNesting(svg: string): void {
  const open: string[] = [];
  for (const [, closing, name = "", , empty] of svg.matchAll(/<(\/?)(\w+)((?:"[^"]*"|[^>"])*?)(\/?)>/g)) {
    if (closing) assert.equal(open.pop(), name);
    else if (!empty) open.push(name);
  }
  assert.deepEqual(open, []);
}

const wraps: [line: string, want: string[]][] = [
  ["", [""]],
  ["ten of ten", ["ten of ten"]],
  ["eleven of 1", ["eleven of", "1"]],
  ["0123456789ab cd", ["0123456789", "ab cd"]],
  ["one two three four", ["one two", "three four"]],
  ["  indented text", ["  indented", "text"]],
];
for (const [line, want] of wraps) {
  test(`wrapLine() breaks "${line}" at ten`, () => assert.deepEqual(wrapLine(line, 10), want));
}

test("renderTerminal() holds all that was there, in its order, and ends with a prompt", () => {
  const steps: Step[] = [
    { command: "cat <a> && b", output: ["x < y & z", "  two spaces  in it", "a line of more than twenty"] },
    { command: "true", output: [] },
  ];
  const svg = renderTerminal(steps, terminal);
  checkNesting(svg);
  assert.deepEqual(linesOf(svg), [
    "$ cat <a> && b",
    "x < y & z",
    "  two spaces  in it",
    "a line of more than",
    "twenty",
    "$ true",
    "$",
  ]);
  assert.match(svg, /aria-label="a &amp; b"/);
});

test("renderTerminal() shows the last screen to whoever does not animate", () => {
  const svg = renderTerminal([{ command: "seq 4", output: ["1", "2", "3", "4"] }], terminal);
  // Six lines, three of them above the screen.
  assert.match(svg, /<g class="s" transform="translate\(0,-60\)">/);
  assert.match(svg, /prefers-reduced-motion:reduce/);
});

test("renderTerminal() refuses a command that does not fit into a line", () => {
  assert.throws(() => renderTerminal([{ command: "x".repeat(19), output: [] }], terminal), RangeError);
});

test("the recording is a small file that says nothing of the machine it was made on", () => {
  const svg = readFileSync(RECORDING, "utf8");
  checkNesting(svg);
  assert.ok(svg.length < 40_000);
  assert.doesNotMatch(svg, /<script|<image|href=|https?:(?!\/\/www\.w3\.org\/2000\/svg)/);
  const lines = linesOf(svg);
  const commands = lines.filter((line) => line.startsWith("$ ")).map((line) =>
    line.split(" ").slice(1, 3).join(" ")
  );
  assert.deepEqual(commands, [
    "amesh init",
    "amesh status",
    "amesh public-key",
    "amesh sign",
    "openssl dgst",
    "amesh doctor",
  ]);
  assert.ok(lines.includes("Verified OK"));
  const paths = lines.filter((line) => !line.startsWith("$ ")).join("\n").matchAll(
    /(?<![\w~.+/])\/[\w./-]{2,}/g,
  );
  assert.deepEqual(new Set([...paths].map(([path]) => path)), new Set(["/dev/tpmrm0"]));
});
