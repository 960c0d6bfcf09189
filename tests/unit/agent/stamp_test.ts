import assert from "node:assert/strict";
import { renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileStamp } from "../../../src/agent/stamp.ts";
import { pause } from "../../../src/platform/ready.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

test("a stamp stays the same as long as the file does", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "one");
  const stamp = fileStamp(directory.file("f"));
  renameSync(directory.file("f"), directory.file("g"));
  writeFileSync(directory.file("other"), "one");
  assert.equal(fileStamp(directory.file("g")), stamp);
  assert.notEqual(fileStamp(directory.file("other")), stamp);
});

test("a stamp changes at every replacement, also when the file system gives an inode again", () => {
  using directory = temporaryDirectory();
  const stamps: string[] = [];
  for (let i = 0; i < 8; i++) {
    writeFileSync(directory.file("new"), "same length");
    renameSync(directory.file("new"), directory.file("f"));
    stamps.push(fileStamp(directory.file("f")));
    // The kernel's own clock goes on every 10 ms at the latest.
    pause(20);
  }
  assert.equal(new Set(stamps).size, stamps.length, stamps.join(" "));
});

test("a stamp is of one file: another one of the same length and time has another", () => {
  using directory = temporaryDirectory();
  const paths = ["f", "g"].map(directory.file);
  for (const path of paths) {
    writeFileSync(path, "same length");
    utimesSync(path, 1_000, 1_000);
  }
  assert.equal(new Set(paths.map(fileStamp)).size, 2);
});

test("a stamp tells that there is no file, or that it cannot be looked at", () => {
  using directory = temporaryDirectory();
  const path = directory.file("f");
  assert.equal(fileStamp(path), "ENOENT");
  assert.equal(fileStamp(directory.file("absent/f")), "ENOENT");
  writeFileSync(path, "");
  assert.equal(fileStamp(directory.file("f/g")), "ENOTDIR");
  const stamp = fileStamp(path);
  rmSync(path);
  assert.equal(fileStamp(path), "ENOENT");
  symlinkSync("elsewhere", path);
  assert.notEqual(fileStamp(path), stamp);
});
