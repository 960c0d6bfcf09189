import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import {
  findInput,
  isStandardInput,
  openInput,
  readPieces,
  readSmallInput,
} from "../../../src/platform/input.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { ameshError } from "../../support/errors.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

/** All pieces of a file, each copied before the next is asked for. */
async function readAll(path: string): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of readPieces(openInput(path))) pieces.push(Uint8Array.from(piece));
  return pieces;
}

/** Bytes that show where they stood. */
const counting = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255);

for (const length of [0, 1, 131_071, 131_072, 131_073, 400_000]) {
  test(`readPieces() gives the ${length} bytes of a file in order, none of its pieces empty`, async () => {
    using directory = temporaryDirectory();
    const path = directory.file("input");
    writeFileSync(path, counting(length));
    const pieces = await readAll(path);
    assert.ok(pieces.every((piece) => piece.length > 0 && piece.length <= 131_072));
    const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    pieces.reduce((at, piece) => (all.set(piece, at), at + piece.length), 0);
    assert.deepEqual(all, counting(length));
  });
}

test("openInput() tells the size of a file, through a link too", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("input"), "12345");
  symlinkSync("input", directory.file("link"));
  for (const name of ["input", "link"]) {
    const { handle, info } = openInput(directory.file(name));
    assert.equal(info?.size, 5);
    handle.close();
  }
});

test("isStandardInput() is false for every other path", () => {
  for (const path of ["", "./-", "/dev/fd/3", "/dev/stdout", "stdin"]) {
    assert.equal(isStandardInput(path), false);
  }
});

for (const path of ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"]) {
  test(`openInput() takes ${path} for standard input, a stream`, () => {
    const { name, info } = openInput(path);
    assert.deepEqual([isStandardInput(path), name, info], [true, "standard input", null]);
  });
}

const failures: [name: string, make: (path: string) => void, message: RegExp][] = [
  ["a file that is not there", () => {}, /^cannot read ".*input": no such file or directory$/],
  ["a directory", (path) => execFileSync("mkdir", [path]), /^cannot read ".*input": is a directory$/],
  [
    "a link in a circle",
    (path) => symlinkSync(path, path),
    /^cannot read ".*input": too many symbolic links$/,
  ],
];
for (const [name, make, message] of failures) {
  test(`openInput() and readSmallInput() refuse ${name}`, () => {
    using directory = temporaryDirectory();
    const path = directory.file("input");
    make(path);
    assert.throws(() => openInput(path), ameshError("ERR_SYSTEM", message));
    assert.throws(() => readSmallInput(path, 10), ameshError("ERR_SYSTEM", message));
  });
}

test("openInput() names a missing file below /dev, /proc and /sys like any other", () => {
  for (const path of ["/dev/fd/999", "/proc/nothing", "/sys/nothing"]) {
    assert.throws(() => openInput(path), ameshError("ERR_SYSTEM", /: no such file or directory$/));
  }
});

test("openInput() reads what is a stream without a size", async () => {
  assert.equal(openInput("/dev/null").info, null);
  assert.deepEqual(await readAll("/dev/null"), []);
});

test("readSmallInput() gives all bytes up to the maximum and refuses one more", () => {
  using directory = temporaryDirectory();
  const path = directory.file("input");
  for (const length of [0, 9, 10]) {
    writeFileSync(path, counting(length));
    const { bytes, info } = readSmallInput(path, 10);
    assert.deepEqual(bytes, counting(length));
    assert.equal(info?.size, length);
  }
  writeFileSync(path, counting(11));
  assert.throws(() => readSmallInput(path, 10), ameshError("ERR_CORRUPT", /is larger than 10 bytes$/));
});

test("readSmallInput() refuses an endless device", () => {
  assert.throws(
    () => readSmallInput("/dev/zero", 1000),
    ameshError("ERR_CORRUPT", /is larger than 1000 bytes$/),
  );
});

const readStandardInput = `
  import { findInput, openInput, readPieces, readSmallInput } from ${
  JSON.stringify(projectUrl("src/platform/input.ts"))
};
  let text = "";
  for await (const piece of readPieces(openInput("-"))) text += new TextDecoder().decode(piece);
  console.log(text);`;

test("readPieces() reads standard input to its end", () => {
  const { stdout, stderr } = runChild(evaluation(readStandardInput), { input: "from a pipe" });
  assert.equal(stdout, "from a pipe\n", stderr);
});

test("readPieces() reads a named pipe and what a shell passes as <(...)", () => {
  using directory = temporaryDirectory();
  const pipe = directory.file("pipe");
  execFileSync("mkfifo", [pipe]);
  const code = readStandardInput.replace(
    'openInput("-")',
    "openInput(globalThis.process.env.INPUT_UNDER_TEST)",
  );
  const quoted = evaluation(code).map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  for (
    const script of [
      `(printf 'through a pipe' > '${pipe}') & INPUT_UNDER_TEST='${pipe}' ${quoted}; wait`,
      `exec 3< <(printf 'through a pipe'); INPUT_UNDER_TEST=/dev/fd/3 ${quoted}`,
    ]
  ) {
    const { stdout, stderr } = runChild(["bash", "-c", script]);
    assert.equal(stdout, "through a pipe\n", stderr);
  }
});

test("findInput() follows links, gives null for what is not there, and says what it cannot tell", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "123");
  symlinkSync("f", directory.file("link"));
  symlinkSync("nowhere", directory.file("dangling"));
  assert.deepEqual([findInput(directory.file("link"))?.kind, findInput(directory.file("link"))?.size], [
    "file",
    3,
  ]);
  assert.equal(findInput(directory.file("dangling")), null);
  assert.throws(() => findInput(directory.file("f/x")), ameshError("ERR_SYSTEM", /not a directory/));
});
