import assert from "node:assert/strict";
import * as fs from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { type FileInfo, host } from "../../../src/platform/host.ts";
import { libcPaths } from "../../../src/platform/libc.ts";
import { linuxFiles } from "../../../src/platform/linux_files.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const skip = process.platform === "linux" ? false : "only for Linux";
const arch = () => host.arch;
const files = linuxFiles(libcPaths, arch);
const hasCode = (code: string) => (error: unknown) => (error as { code?: unknown }).code === code;

/** What node:fs tells of the same. */
function expected(stat: fs.Stats): FileInfo {
  const kind = stat.isFile()
    ? "file"
    : stat.isDirectory()
    ? "directory"
    : stat.isSymbolicLink()
    ? "symlink"
    : stat.isSocket()
    ? "socket"
    : "other";
  const { mode, uid, size, dev, ino, mtimeMs } = stat;
  return { kind, mode: mode & 0o7777, uid, size, dev, ino, modifiedMs: Math.floor(mtimeMs) };
}

test("lstat(), stat() and info() tell what node:fs tells", { skip }, () => {
  using directory = temporaryDirectory();
  const [file, link] = [directory.file("a file, größer"), directory.file("link")];
  fs.writeFileSync(file, "content", { mode: 0o640 });
  fs.symlinkSync(file, link);
  for (const path of [file, link, directory.path, "/dev/null", "/proc/self/status"]) {
    assert.deepEqual(files.lstat(path), expected(fs.lstatSync(path)), path);
    assert.deepEqual(files.stat(path), expected(fs.statSync(path)), path);
    using opened = files.open(path, "read");
    assert.deepEqual(opened.info(), expected(fs.statSync(path)), path);
  }
});

test("what is read and written is what node:fs writes and reads", { skip }, () => {
  using directory = temporaryDirectory();
  const path = directory.file("f");
  {
    using file = files.open(path, "create", 0o600);
    assert.equal(file.write(new TextEncoder().encode("one two")), 7);
    assert.equal(file.write(new Uint8Array(0)), 0);
    file.sync();
  }
  assert.equal(fs.readFileSync(path, "utf8"), "one two");
  assert.equal(fs.statSync(path).mode & 0o777, 0o600);
  using file = files.open(path, "read");
  const buffer = new Uint8Array(5);
  assert.equal(file.read(buffer.subarray(1)), 4);
  assert.equal(new TextDecoder().decode(buffer), "\0one ");
  assert.equal(file.read(buffer), 3);
  assert.equal(file.read(buffer), 0);
});

test("open() creates under the umask, takes no name twice, and truncates", { skip }, () => {
  using directory = temporaryDirectory();
  const path = directory.file("f");
  const umask = process.umask(0o027);
  try {
    files.open(path, "truncate").close();
  } finally {
    process.umask(umask);
  }
  assert.equal(fs.statSync(path).mode & 0o777, 0o640);
  assert.throws(() => files.open(path, "create"), hasCode("EEXIST"));
  fs.writeFileSync(path, "old");
  files.open(path, "truncate").close();
  assert.equal(fs.readFileSync(path, "utf8"), "");
});

test("a program that is started gets none of the open files", { skip }, () => {
  using directory = temporaryDirectory();
  fs.writeFileSync(directory.file("f"), "");
  using file = files.open(directory.file("f"), "read");
  const { ino } = file.info();
  const open = fs.readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return fs.statSync(`/proc/self/fd/${fd}`).ino === ino;
    } catch {
      return false;
    }
  });
  assert.equal(open.length, 1);
  const flags = /^flags:\s+(\d+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${open[0]}`, "utf8"))?.[1];
  assert.notEqual(parseInt(flags ?? "", 8) & 0o2000000, 0);
});

const failures: [code: string, call: (path: string) => unknown][] = [
  ["ENOENT", (path) => files.lstat(`${path}/absent`)],
  ["ENOENT", (path) => files.open(`${path}/absent`, "read")],
  ["ENOTDIR", (path) => files.stat(`${path}/f/x`)],
  ["EISDIR", (path) => files.open(path, "truncate")],
  ["EISDIR", (path) => files.open(path, "read").read(new Uint8Array(1))],
  ["ELOOP", (path) => files.stat(`${path}/loop`)],
  ["ENAMETOOLONG", (path) => files.lstat(`${path}/${"x".repeat(256)}`)],
  ["ENOSPC", () => files.open("/dev/full", "truncate").write(new Uint8Array(1))],
  ["EINVAL", (path) => files.lstat(`${path}/f\0`)],
  ["EBADF", () => files.handle(9999).read(new Uint8Array(1))],
];
for (const [index, [code, call]] of failures.entries()) {
  test(`a failure has the code of the system: ${code} (${index + 1})`, { skip }, () => {
    using directory = temporaryDirectory();
    fs.writeFileSync(directory.file("f"), "");
    fs.symlinkSync("loop", directory.file("loop"));
    assert.throws(() => call(directory.path), hasCode(code));
  });
}

test("no descriptor is left open, also by what fails", { skip }, () => {
  using directory = temporaryDirectory();
  fs.writeFileSync(directory.file("f"), "x");
  const count = () => fs.readdirSync("/proc/self/fd").length;
  files.open(directory.file("f"), "read").close();
  const before = count();
  for (let i = 0; i < 50; i++) {
    using file = files.open(directory.file("f"), "read");
    file.read(new Uint8Array(1));
    assert.throws(() => files.open(directory.file("f"), "create"), hasCode("EEXIST"));
  }
  assert.equal(count(), before);
});

test("where statx(2) is forbidden, files are looked at in the other way, and only then", { skip }, () => {
  const info = files.lstat("/");
  const looked: string[] = [];
  const otherwise = {
    lstat: (path: string) => (looked.push(`lstat ${path}`), info),
    stat: (path: string) => (looked.push(`stat ${path}`), info),
    fstat: () => (looked.push("fstat"), info),
  };
  const allowed = linuxFiles(libcPaths, arch, otherwise);
  allowed.lstat("/");
  assert.throws(() => allowed.stat("/absent"), hasCode("ENOENT"));
  assert.deepEqual(looked, []);
});
