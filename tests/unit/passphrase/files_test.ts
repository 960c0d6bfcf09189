import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { symlinkSync } from "node:fs";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { AmeshError } from "../../../src/errors.ts";
import {
  findExposure,
  MAX_PASSPHRASE_BYTES,
  MAX_PASSPHRASE_FILE_BYTES,
  nextPath,
  readDescriptorPassphrase,
  readOperatorPassphrase,
  readOwnPassphrase,
  requireLength,
  unreadable,
  withoutFinalNewline,
  writePassphraseFile,
} from "../../../src/passphrase/files.ts";
import { namesIn, textOf, writeAs } from "../../support/amesh_place.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

test("nextPath() lies beside the file, under a name that the operator does not use", () => {
  assert.equal(nextPath("/a/.passphrase"), "/a/.passphrase.next");
  assert.equal(nextPath("/a/secret"), "/a/.secret.amesh-next");
  assert.equal(nextPath("/secret"), "/.secret.amesh-next");
  assert.equal(nextPath("/a/x.passphrase"), "/a/.x.passphrase.amesh-next");
});

test("readDescriptorPassphrase() reads to the end, and names the descriptor when it cannot", () => {
  using directory = temporaryDirectory();
  using descriptor = openDescriptor(writeAs(directory.file("p"), "secret\r\n", 0o400));
  assert.deepEqual(readDescriptorPassphrase(descriptor.fd, "x"), utf8("secret"));
  assert.throws(
    () => readDescriptorPassphrase(descriptor.fd, "descriptor x"),
    ameshError("ERR_UNLOCK_FAILED", /of descriptor x: it is empty$/),
  );
  assert.throws(
    () => readDescriptorPassphrase(4_000, "x"),
    ameshError("ERR_UNLOCK_FAILED", /of x: not open$/),
  );
});

const endings: [given: string, want: string][] = [
  ["abc", "abc"],
  ["abc\n", "abc"],
  ["abc\r\n", "abc"],
  ["abc\n\n", "abc\n"],
  ["abc\r\n\r\n", "abc\r\n"],
  ["abc\r", "abc\r"],
  ["abc\n\r", "abc\n\r"],
  ["\n", ""],
  ["\r\n", ""],
  ["\r", "\r"],
  ["", ""],
  [" \n", " "],
];
for (const [given, want] of endings) {
  test(`withoutFinalNewline() of ${JSON.stringify(given)} is ${JSON.stringify(want)}, and the longer one is wiped`, () => {
    const bytes = utf8(given);
    assert.deepEqual(withoutFinalNewline(bytes), utf8(want));
    assert.deepEqual(bytes, new Uint8Array(given.length));
  });
}

test("requireLength() passes 1 to 4096 bytes, wipes others and names the source", () => {
  assert.equal(MAX_PASSPHRASE_FILE_BYTES, 4098);
  for (const length of [1, MAX_PASSPHRASE_BYTES]) {
    const bytes = new Uint8Array(length).fill(7);
    assert.equal(requireLength(bytes, "x"), bytes);
    assert.ok(bytes.every((byte) => byte === 7));
  }
  for (
    const [length, message] of [[0, /of my file: it is empty$/], [
      4097,
      /of my file: it is longer than 4096/,
    ]] as const
  ) {
    const bytes = new Uint8Array(length).fill(7);
    assert.throws(() => requireLength(bytes, "my file"), ameshError("ERR_UNLOCK_FAILED", message));
    assert.deepEqual(bytes, new Uint8Array(length));
  }
});

test("readOwnPassphrase() gives null for no file, and refuses a wide one as unsafe", () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const path = directory.file("p");
  assert.equal(readOwnPassphrase(path, "x"), null);
  writeAs(path, "secret\n", 0o400);
  assert.deepEqual(readOwnPassphrase(path, "x"), utf8("secret"));
  writeAs(path, "secret\n", 0o404);
  assert.throws(() => readOwnPassphrase(path, "x"), ameshError("ERR_UNSAFE_PERMISSIONS"));
  writeAs(path, "\n", 0o400);
  assert.throws(
    () => readOwnPassphrase(path, "file x"),
    ameshError("ERR_UNLOCK_FAILED", /of file x: it is empty$/),
  );
  writeAs(path, "x".repeat(4099), 0o400);
  assert.throws(
    () => readOwnPassphrase(path, "x"),
    ameshError("ERR_UNLOCK_FAILED", /longer than 4096 bytes/),
  );
});

test("readOperatorPassphrase() reads a wide file and a link, and tells the file; a stream has none", async () => {
  using directory = temporaryDirectory();
  const path = writeAs(directory.file("p"), "secret\r\n", 0o644);
  symlinkSync("p", directory.file("link"));
  for (const name of ["p", "link"]) {
    const { bytes, info } = readOperatorPassphrase(directory.file(name), "x");
    assert.deepEqual([bytes, info?.mode, info?.size], [utf8("secret"), 0o644, 8]);
  }
  execFileSync("mkfifo", [directory.file("pipe")]);
  const { spawn } = await import("node:child_process");
  spawn("sh", ["-c", `printf 'piped' > '${directory.file("pipe")}'`]);
  assert.deepEqual(readOperatorPassphrase(directory.file("pipe"), "x"), { bytes: utf8("piped"), info: null });
  writeAs(path, "", 0o600);
  assert.throws(() => readOperatorPassphrase(path, "x"), ameshError("ERR_UNLOCK_FAILED", /it is empty$/));
  assert.throws(
    () => readOperatorPassphrase(directory.file("none"), "file none"),
    ameshError("ERR_UNLOCK_FAILED", /^cannot use the passphrase of file none: no such file or directory$/),
  );
});

test("unreadable() keeps what says so already, and explains the cause of the rest", () => {
  const already = new AmeshError("ERR_UNLOCK_FAILED", "x");
  assert.equal(unreadable("f", already), already);
  const denied = Object.assign(new Error("denied"), { code: "EACCES" });
  for (const error of [denied, new AmeshError("ERR_SYSTEM", "y", { cause: denied })]) {
    assert.equal(unreadable("f", error).message, "cannot use the passphrase of f: permission denied");
  }
  assert.match(unreadable("f", new AmeshError("ERR_CORRUPT", "y")).message, /longer than 4096 bytes/);
});

test("writePassphraseFile() leaves nothing behind when the name is taken, also by a link", () => {
  using directory = temporaryDirectory();
  symlinkSync("nowhere", directory.file("link"));
  writeAs(directory.file("taken"), "first", 0o400);
  for (const name of ["link", "taken"]) {
    assert.throws(
      () => writePassphraseFile(directory.file(name), utf8("second")),
      ameshError("ERR_UNLOCK_FAILED", /exists already$/),
    );
  }
  assert.deepEqual(namesIn(directory.path), ["link", "taken"]);
  assert.equal(textOf(directory.file("taken")), "first");
});

const exposures: [mode: number | null, credential: boolean, allow: string, want: RegExp | null][] = [
  [0o400, false, "", null],
  [0o600, false, "", null],
  [0o440, false, "", /^readable by its group \(mode 0440\)$/],
  [0o410, false, "", /its group/],
  [0o440, false, "1", null],
  [0o440, true, "", null],
  [0o404, false, "1", /^readable by every user \(mode 0404\)$/],
  [0o404, true, "", /every user/],
  [0o401, true, "1", /every user/],
  [null, false, "", null],
];
for (const [mode, credential, allow, want] of exposures) {
  test(`findExposure() of mode ${mode?.toString(8)}, credential ${credential}, AMESH_ALLOW_GROUP_READ=${allow}`, () => {
    using _environment = setEnvironment({ AMESH_ALLOW_GROUP_READ: allow });
    const found = findExposure(
      { kind: "file", mode, uid: 1, size: 1, dev: 1, ino: 1, modifiedMs: 0 },
      credential,
    );
    if (want === null) assert.equal(found, null);
    else assert.match(found ?? "", want);
  });
}

test("findExposure() has nothing to say of a stream", () => {
  assert.equal(findExposure(null, false), null);
});
