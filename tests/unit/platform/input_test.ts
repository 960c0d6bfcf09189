import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import {
  findInput,
  isStandardInput,
  openInput,
  readDescriptor,
  readPieces,
  readSmallInput,
} from "../../../src/platform/input.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { openDescriptor } from "../../support/descriptors.ts";
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

test("readDescriptor() gives all up to the maximum, refuses one byte more, and leaves the descriptor open", () => {
  using directory = temporaryDirectory();
  for (const length of [0, 1, 9, 10]) {
    writeFileSync(directory.file("input"), counting(length));
    using descriptor = openDescriptor(directory.file("input"));
    assert.deepEqual(readDescriptor(descriptor.fd, 10), counting(length));
    // At its end, and not closed.
    assert.deepEqual(readDescriptor(descriptor.fd, 10), new Uint8Array(0));
  }
  writeFileSync(directory.file("input"), counting(11));
  using descriptor = openDescriptor(directory.file("input"));
  assert.throws(
    () => readDescriptor(descriptor.fd, 10),
    ameshError("ERR_CORRUPT", /descriptor \d+": it is larger than 10 bytes$/),
  );
});

test("readDescriptor() refuses what is not open and a directory", () => {
  using place = temporaryDirectory();
  using directory = openDescriptor(place.path);
  const numbers: [fd: number, message: RegExp][] = [
    [4_000, /^cannot read descriptor 4000: not open$/],
    [-1, /^cannot read descriptor -1: not open$/],
    [directory.fd, /^cannot read descriptor \d+: is a directory$/],
  ];
  for (const [fd, message] of numbers) {
    assert.throws(() => readDescriptor(fd, 10), ameshError("ERR_SYSTEM", message));
  }
});

const readsDescriptor = `
  import { readDescriptor } from ${JSON.stringify(projectUrl("src/platform/input.ts"))};
  try {
    console.log(new TextDecoder().decode(readDescriptor(Number(globalThis.process.env.FD_UNDER_TEST), 100)));
  } catch (error) { console.log(error.code + ": " + error.message + "; " + error.hint); }`;
const shellWords = (words: readonly string[]) =>
  words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");

/** What a shell passes. */
const passed: [name: string, script: (command: string) => string, want: string][] = [
  ["a file", (command) => `exec 3< "$FILE"; FD_UNDER_TEST=3 ${command}`, "in a file"],
  ["a here-document", (command) => `FD_UNDER_TEST=7 ${command} 7<<< 'here'`, "here\n"],
  [
    "a pipe of a slow writer",
    (command) => `exec 9< <(sleep 0.3; printf slow); FD_UNDER_TEST=9 ${command}`,
    "slow",
  ],
  ["standard input", (command) => `printf piped | FD_UNDER_TEST=0 ${command}`, "piped"],
];
for (const [name, script, want] of passed) {
  test(`readDescriptor() reads ${name} to its end`, () => {
    using directory = temporaryDirectory();
    writeFileSync(directory.file("f"), "in a file");
    const { stdout, stderr } = runChild(["bash", "-c", script(shellWords(evaluation(readsDescriptor)))], {
      env: { FILE: directory.file("f") },
    });
    assert.equal(stdout, `${want}\n`, stderr);
  });
}

test("readDescriptor() refuses a terminal, which would show what is typed", () => {
  const command = shellWords(evaluation(readsDescriptor));
  const { stdout, stderr } = runChild(["script", "-qec", `FD_UNDER_TEST=0 ${command}`, "/dev/null"]);
  assert.match(
    stdout,
    /^ERR_SYSTEM: .*it is a terminal, which shows what is typed; leave it out to be asked without echo\r?\n$/,
    stderr,
  );
});
