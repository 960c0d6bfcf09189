import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import {
  checkDirectory,
  DIRECTORY_MODE,
  ensureDirectory,
  FILE_MODE,
  findInfo,
  findProblem,
  formatMode,
  PASSPHRASE_MODE,
  readPrivateFile,
  removeFile,
  requireSafe,
  temporaryName,
  writeFileAtomic,
  writeOutputFile,
} from "../../../src/platform/files.ts";
import type { FileInfo } from "../../../src/platform/host.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const modeOf = (path: string) => lstatSync(path).mode & 0o7777;
const me = process.geteuid!();

/** Runs with another umask: the modes of our files do not depend on it. */
function withUmask<T>(mask: number, run: () => T): T {
  const before = process.umask(mask);
  try {
    return run();
  } finally {
    process.umask(before);
  }
}

const info = (change: Partial<FileInfo>): FileInfo => ({
  kind: "file",
  mode: 0o600,
  uid: me,
  size: 0,
  dev: 1,
  ino: 1,
  modifiedMs: 0,
  ...change,
});

const problems: [
  name: string,
  change: Partial<FileInfo>,
  want: RegExp | null,
  wantGroupAllowed: RegExp | null,
][] = [
  ["a file of our own", {}, null, null],
  ["a file of root", { uid: 0 }, null, null],
  ["a narrower file", { mode: 0o400 }, null, null],
  ["a directory", { kind: "directory", mode: 0o700 }, null, null],
  ["a file that its group can read", { mode: 0o640 }, /its group \(mode 0640\)/, null],
  [
    "a directory that its group can enter",
    { kind: "directory", mode: 0o710 },
    /its group \(mode 0710\)/,
    null,
  ],
  ["a file that everybody can read", { mode: 0o604 }, /every user \(mode 0604\)/, /every user/],
  ["a file that everybody can write", { mode: 0o602 }, /every user/, /every user/],
  ["a file that everybody can execute", { mode: 0o601 }, /every user/, /every user/],
  ["a file that group and others can read", { mode: 0o644 }, /every user/, /every user/],
  ["a file of another user", { uid: me + 4242 }, /belongs to user \d+, not to user \d+$/, /belongs to user/],
  ["a symbolic link", { kind: "symlink", mode: 0o777 }, /^is a symbolic link$/, /^is a symbolic link$/],
  [
    "a symbolic link of another user",
    { kind: "symlink", uid: me + 1 },
    /^is a symbolic link$/,
    /^is a symbolic link$/,
  ],
  ["a file on Windows", { mode: null, uid: null }, null, null],
];
for (const [name, change, want, wantGroupAllowed] of problems) {
  test(`findProblem() and requireSafe() judge ${name}`, () => {
    for (
      const [allow, expected] of [["", want], ["0", want], ["true", want], ["1", wantGroupAllowed]] as const
    ) {
      using _environment = setEnvironment({ AMESH_ALLOW_GROUP_READ: allow });
      const found = findProblem("/a b", info(change), FILE_MODE);
      if (expected === null) {
        assert.equal(found, null);
        requireSafe("/a b", info(change), FILE_MODE);
      } else {
        assert.match(found?.problem ?? "", expected);
        assert.throws(
          () => requireSafe("/a b", info(change), FILE_MODE),
          ameshError("ERR_UNSAFE_PERMISSIONS"),
        );
      }
    }
  });
}

test("findProblem() tells the command that repairs it", () => {
  using _environment = setEnvironment();
  const repair = (change: Partial<FileInfo>) => findProblem("/a b", info(change), 0o400)?.repair;
  assert.equal(repair({ mode: 0o644 }), "run: chmod 0400 '/a b'");
  // Root is not told to take a user's file away.
  const foreign = me === 0
    ? /^run amesh as that user: sudo -u "#1" amesh$/
    : new RegExp(`sudo chown ${me} '/a b'$`);
  assert.match(repair({ uid: me + 1 }) ?? "", foreign);
  assert.match(repair({ kind: "symlink" }) ?? "", /replace the link '\/a b'/);
});

test("formatMode() writes four octal digits", () => {
  assert.deepEqual([0, 0o7, 0o600, 0o1777].map(formatMode), ["0000", "0007", "0600", "1777"]);
});

test("findInfo() tells what lstat tells, and null for nothing", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "12345", { mode: 0o640 });
  chmodSync(directory.file("f"), 0o640);
  symlinkSync("f", directory.file("link"));
  const { kind, mode, uid, size, ino } = findInfo(directory.file("f")) as FileInfo;
  assert.deepEqual([kind, mode, uid, size, ino], ["file", 0o640, me, 5, lstatSync(directory.file("f")).ino]);
  assert.equal(findInfo(directory.file("link"))?.kind, "symlink");
  assert.equal(findInfo(directory.path)?.kind, "directory");
  assert.equal(findInfo("/dev/null")?.kind, "other");
  assert.equal(findInfo(directory.file("nothing")), null);
  assert.throws(() => findInfo(directory.file("f/x")), ameshError("ERR_SYSTEM", /^cannot look at /));
});

for (const umask of [0o000, 0o022, 0o077, 0o177, 0o777]) {
  test(`writeFileAtomic() and ensureDirectory() give exact modes under umask ${formatMode(umask)}`, () => {
    using directory = temporaryDirectory();
    withUmask(umask, () => {
      ensureDirectory(directory.file("d"));
      for (const mode of [FILE_MODE, PASSPHRASE_MODE]) {
        const path = directory.file(`d/${mode}`);
        assert.equal(writeFileAtomic(path, utf8("x"), mode, "refuse"), true);
        assert.equal(modeOf(path), mode);
        assert.equal(writeFileAtomic(path, utf8("y"), mode, "replace"), true);
        assert.equal(modeOf(path), mode);
      }
    });
    assert.equal(modeOf(directory.file("d")), DIRECTORY_MODE);
  });
}

test("writeFileAtomic() refuses a name that is taken and leaves what is there", () => {
  using directory = temporaryDirectory();
  const path = directory.file("f");
  assert.equal(writeFileAtomic(path, utf8("first"), FILE_MODE, "refuse"), true);
  assert.equal(writeFileAtomic(path, utf8("second"), FILE_MODE, "refuse"), false);
  assert.equal(readFileSync(path, "utf8"), "first");
  symlinkSync("nowhere", directory.file("link"));
  assert.equal(writeFileAtomic(directory.file("link"), utf8("x"), FILE_MODE, "refuse"), false);
  assert.deepEqual(readdirSync(directory.path).sort(), ["f", "link"]);
});

test("writeFileAtomic() replaces a file by a new one, and a link by a file", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("old"), "old");
  symlinkSync("old", directory.file("link"));
  const before = statSync(directory.file("old")).ino;
  for (const name of ["link", "old"]) {
    assert.equal(writeFileAtomic(directory.file(name), utf8("new"), FILE_MODE, "replace"), true);
  }
  assert.notEqual(statSync(directory.file("old")).ino, before);
  assert.ok(lstatSync(directory.file("link")).isFile());
  assert.deepEqual(readdirSync(directory.path).sort(), ["link", "old"]);
});

test("writeFileAtomic() leaves nothing behind when it fails", () => {
  using directory = temporaryDirectory();
  mkdirSync(directory.file("taken/inside"), { recursive: true });
  assert.throws(
    () => writeFileAtomic(directory.file("taken"), utf8("x"), FILE_MODE, "replace"),
    ameshError("ERR_SYSTEM", /^cannot write ".*taken": is a directory$/),
  );
  assert.deepEqual(readdirSync(directory.path), ["taken"]);
  assert.throws(
    () => writeFileAtomic(directory.file("no/file"), utf8("x"), FILE_MODE, "refuse"),
    ameshError("ERR_SYSTEM", /no such file or directory$/),
  );
});

test("writeFileAtomic() writes megabytes", () => {
  using directory = temporaryDirectory();
  const bytes = new Uint8Array(5 << 20).fill(7);
  writeFileAtomic(directory.file("big"), bytes, FILE_MODE, "refuse");
  assert.ok(readFileSync(directory.file("big")).equals(bytes));
});

test("temporaryName() is hidden, bears the name and is another one every time", () => {
  const names = new Set(Array.from({ length: 100 }, () => temporaryName("identity.json")));
  assert.equal(names.size, 100);
  for (const name of names) assert.match(name, /^\.identity\.json\.[0-9a-f]{16}\.tmp$/);
});

test("temporaryName() of the longest name that a file can have is one that a file can have", () => {
  using directory = temporaryDirectory();
  for (const name of ["x".repeat(255), "\u{1f511}".repeat(63)]) {
    assert.ok(new TextEncoder().encode(temporaryName(name)).length <= 255);
    writeOutputFile(directory.file(name), utf8("x"));
    assert.equal(readFileSync(directory.file(name), "utf8"), "x");
  }
});

test("readPrivateFile() gives the bytes up to the maximum, and null for nothing", () => {
  using directory = temporaryDirectory();
  const path = directory.file("f");
  assert.equal(readPrivateFile(path, 10), null);
  for (const text of ["", "0123456789"]) {
    writeFileSync(path, text, { mode: 0o600 });
    assert.deepEqual(readPrivateFile(path, 10), utf8(text));
  }
  writeFileSync(path, "0123456789a");
  assert.throws(() => readPrivateFile(path, 10), ameshError("ERR_CORRUPT", /is larger than 10 bytes$/));
});

const unreadable: [
  name: string,
  make: (path: string) => void,
  code: "ERR_CORRUPT" | "ERR_UNSAFE_PERMISSIONS",
][] = [
  ["a directory", (path) => mkdirSync(path, { mode: 0o700 }), "ERR_CORRUPT"],
  [
    "a named pipe, without waiting for a writer",
    (path) => execFileSync("mkfifo", ["-m", "600", path]),
    "ERR_CORRUPT",
  ],
  ["a link to a safe file", (path) => {
    writeFileSync(`${path}.real`, "x", { mode: 0o600 });
    symlinkSync(`${path}.real`, path);
  }, "ERR_UNSAFE_PERMISSIONS"],
  ["a dangling link", (path) => symlinkSync("nowhere", path), "ERR_UNSAFE_PERMISSIONS"],
  ["a file that its group can read", (path) => {
    writeFileSync(path, "x");
    chmodSync(path, 0o640);
  }, "ERR_UNSAFE_PERMISSIONS"],
];
for (const [name, make, code] of unreadable) {
  test(`readPrivateFile() refuses ${name}`, () => {
    using _environment = setEnvironment();
    using directory = temporaryDirectory();
    const path = directory.file("f");
    make(path);
    assert.throws(() => readPrivateFile(path, 10), ameshError(code));
  });
}

test("readPrivateFile() names in its hint the mode that the file should have", () => {
  using directory = temporaryDirectory();
  const path = directory.file("f");
  writeFileSync(path, "x");
  chmodSync(path, 0o604);
  assert.throws(() => readPrivateFile(path, 10, PASSPHRASE_MODE), (error) => {
    assert.equal((error as { hint: string }).hint, `run: chmod 0400 ${path}`);
    return true;
  });
});

const isRoot = me === 0;
test(`readPrivateFile() refuses a file of another user${isRoot ? "" : ": only root can make one"}`, {
  skip: !isRoot,
}, () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "x", { mode: 0o600 });
  execFileSync("chown", ["12345", directory.file("f")]);
  assert.throws(
    () => readPrivateFile(directory.file("f"), 10),
    ameshError("ERR_UNSAFE_PERMISSIONS", /belongs to user 12345, not to user 0$/),
  );
});

test(`findProblem() lets a user who is not root trust root's files${isRoot ? "" : ": root tells"}`, {
  skip: !isRoot,
}, () => {
  const code = `
    import { findProblem } from ${JSON.stringify(projectUrl("src/platform/files.ts"))};
    globalThis.process.setuid(65534);
    const info = { kind: "file", mode: 0o600, size: 0, dev: 1, ino: 1 };
    console.log(JSON.stringify([0, 65534, 1].map((uid) => findProblem("/x", { ...info, uid }, 0o600) === null)));`;
  const { stdout, stderr } = runChild(evaluation(code));
  assert.equal(stdout, "[true,true,false]\n", stderr);
});

test("checkDirectory() accepts a safe directory and says when there is none", () => {
  using directory = temporaryDirectory();
  assert.equal(checkDirectory(directory.path), true);
  assert.equal(checkDirectory(directory.file("none")), false);
});

test("checkDirectory() and ensureDirectory() refuse a link, a wide directory and a file", () => {
  using _environment = setEnvironment();
  using directory = temporaryDirectory();
  symlinkSync(directory.path, directory.file("link"));
  mkdirSync(directory.file("wide"));
  chmodSync(directory.file("wide"), 0o755);
  writeFileSync(directory.file("file"), "", { mode: 0o600 });
  for (const check of [checkDirectory, ensureDirectory]) {
    assert.throws(
      () => check(directory.file("link")),
      ameshError("ERR_UNSAFE_PERMISSIONS", /symbolic link$/),
    );
    assert.throws(() => check(directory.file("wide")), ameshError("ERR_UNSAFE_PERMISSIONS", /mode 0755/));
    assert.throws(() => check(directory.file("file")), ameshError("ERR_SYSTEM", /it is not a directory$/));
  }
  assert.equal(modeOf(directory.file("wide")), 0o755);
});

test("ensureDirectory() leaves a directory that is there as it is, and needs its parent", () => {
  using directory = temporaryDirectory();
  const path = directory.file("d");
  ensureDirectory(path);
  writeFileSync(`${path}/f`, "");
  ensureDirectory(path);
  assert.deepEqual(readdirSync(path), ["f"]);
  assert.throws(
    () => ensureDirectory(directory.file("x/y")),
    ameshError("ERR_SYSTEM", /^cannot create directory/),
  );
  assert.equal(existsSync(directory.file("x")), false);
});

test("writeOutputFile() replaces a regular file, by the user's umask", () => {
  using directory = temporaryDirectory();
  const path = directory.file("out");
  for (const text of ["first", "second"]) {
    withUmask(0o027, () => writeOutputFile(path, utf8(text)));
    assert.equal(readFileSync(path, "utf8"), text);
    assert.equal(modeOf(path), 0o640);
  }
  assert.deepEqual(readdirSync(directory.path), ["out"]);
});

test("writeOutputFile() writes through a link and to a device", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("target"), "longer than what comes");
  symlinkSync("target", directory.file("link"));
  writeOutputFile(directory.file("link"), utf8("short"));
  assert.equal(readFileSync(directory.file("target"), "utf8"), "short");
  assert.ok(lstatSync(directory.file("link")).isSymbolicLink());
  writeOutputFile("/dev/null", utf8("gone"));
  assert.ok(statSync("/dev/null").isCharacterDevice());
});

test("writeOutputFile() keeps the old file when it fails and explains why", () => {
  using directory = temporaryDirectory();
  assert.throws(
    () => writeOutputFile(directory.path, utf8("x")),
    ameshError("ERR_SYSTEM", /is a directory$/),
  );
  assert.throws(
    () => writeOutputFile(directory.file("no/out"), utf8("x")),
    ameshError("ERR_SYSTEM", /no such file/),
  );
  assert.throws(
    () => writeOutputFile("/dev/full", utf8("x")),
    ameshError("ERR_SYSTEM", /no space left on device$/),
  );
});

test("removeFile() says whether there was one, and removes a link, not its target", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "");
  symlinkSync("f", directory.file("link"));
  assert.equal(removeFile(directory.file("link")), true);
  assert.equal(existsSync(directory.file("f")), true);
  assert.equal(removeFile(directory.file("f")), true);
  assert.equal(removeFile(directory.file("f")), false);
  assert.throws(() => removeFile(directory.path), ameshError("ERR_SYSTEM", /^cannot remove /));
});
