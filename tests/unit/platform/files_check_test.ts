import assert from "node:assert/strict";
import { lstatSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { type Bytes, utf8 } from "../../../src/bytes.ts";
import {
  FILE_MODE,
  PASSPHRASE_MODE,
  readPrivateFile,
  temporaryName,
  temporaryStart,
  writeFileAtomic,
} from "../../../src/platform/files.ts";
import { host } from "../../../src/platform/host.ts";
import { namesIn, textOf, writeAs } from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

for (const mode of [FILE_MODE, PASSPHRASE_MODE]) {
  test(`writeFileAtomic() of mode ${mode.toString(8)} shows what was written before the name is given`, () => {
    using directory = temporaryDirectory();
    const path = directory.file("f");
    for (const [whenTaken, before] of [["refuse", null], ["replace", "first"]] as const) {
      const seen: [Bytes, string | null, number][] = [];
      const content = utf8(before === null ? "first" : "second");
      const check = (written: Bytes) =>
        void seen.push([written, textOf(path), namesIn(directory.path).length]);
      assert.equal(writeFileAtomic(path, content, mode, whenTaken, check), true);
      // The temporary file lies there, and under the name there is what was there.
      assert.deepEqual(seen, [[content, before, before === null ? 1 : 2]]);
    }
    assert.deepEqual([textOf(path), lstatSync(path).mode & 0o7777], ["second", mode]);
    assert.deepEqual(namesIn(directory.path), ["f"]);
  });
}

test("writeFileAtomic() whose check throws gives no name, leaves nothing, and passes on what it threw", () => {
  using directory = temporaryDirectory();
  const path = writeAs(directory.file("f"), "old", 0o600);
  const refuse = () => {
    throw Object.assign(new Error("not what I wrote"), { code: "EIO" });
  };
  for (const whenTaken of ["replace", "refuse"] as const) {
    assert.throws(
      () => writeFileAtomic(path, utf8("new"), FILE_MODE, whenTaken, refuse),
      ameshError("ERR_SYSTEM", /^cannot write ".*f": input\/output error$/),
    );
    assert.throws(
      () => writeFileAtomic(directory.file("g"), utf8("new"), FILE_MODE, whenTaken, refuse),
      ameshError("ERR_SYSTEM"),
    );
  }
  assert.deepEqual([namesIn(directory.path), textOf(path)], [["f"], "old"]);
});

test("writeFileAtomic() reads back what is on the disk, not what it was given", () => {
  using directory = temporaryDirectory();
  const damage = (written: Bytes) => assert.deepEqual(written, utf8("damaged"));
  const { open } = host;
  // A file system that writes something else.
  host.open = (path, how, mode) => {
    const file = open(path, how, mode);
    return how !== "create" ? file : { ...file, write: () => (file.write(utf8("damaged")), 7) };
  };
  try {
    writeFileAtomic(directory.file("f"), utf8("content"), FILE_MODE, "refuse", damage);
  } finally {
    host.open = open;
  }
});

test("temporaryStart() is what temporaryName() begins with, and tells names from longer ones", () => {
  for (const name of ["f", "identity.json", "n".repeat(255)]) {
    assert.ok(temporaryName(name).startsWith(temporaryStart(name)));
  }
  assert.equal(temporaryName("secrets").startsWith(temporaryStart("secret")), false);
  assert.equal(temporaryStart("secret"), ".secret.");
});

/** Calls `meanwhile` each time that a file is about to be opened for reading. */
function beforeOpening(meanwhile: (count: number) => void): Disposable {
  const { open } = host;
  let count = 0;
  host.open = (path, how, mode) => {
    if (how === "read") meanwhile(++count);
    return open(path, how, mode);
  };
  return { [Symbol.dispose]: () => void (host.open = open) };
}

/** A file that amesh replaces while another reads it. */
const replacements: [name: string, make: (path: string, count: number) => void, want: string | null][] = [
  ["replaced once", (path, count) => {
    if (count === 1) replace(path, "new", 0o600);
  }, "new"],
  ["replaced five times", (path, count) => {
    if (count <= 5) replace(path, `new ${count}`, 0o600);
  }, "new 5"],
  ["removed", (path, count) => {
    if (count === 1) host.unlink(path);
  }, null],
];
function replace(path: string, content: string, mode: number): void {
  host.rename(writeAs(`${path}.other`, content, mode), path);
}
for (const [name, make, want] of replacements) {
  test(`readPrivateFile() of a file that is ${name} while it is opened gives ${want}`, () => {
    using directory = temporaryDirectory();
    const path = writeAs(directory.file("f"), "old", 0o600);
    using _opening = beforeOpening((count) => make(path, count));
    const bytes = readPrivateFile(path, 100);
    assert.deepEqual(bytes, want === null ? null : utf8(want));
  });
}

test("readPrivateFile() of a file that is replaced by an unsafe one while it is opened refuses that one", () => {
  using directory = temporaryDirectory();
  const path = writeAs(directory.file("f"), "old", 0o600);
  using _opening = beforeOpening((count) => {
    if (count === 1) replace(path, "planted", 0o666);
  });
  assert.throws(() => readPrivateFile(path, 100), ameshError("ERR_UNSAFE_PERMISSIONS", /every user/));
});

test("readPrivateFile() of a file that is replaced for ever gives up", () => {
  using directory = temporaryDirectory();
  const path = writeAs(directory.file("f"), "old", 0o600);
  using _opening = beforeOpening(() => replace(path, "new", 0o600));
  assert.throws(
    () => readPrivateFile(path, 100),
    ameshError("ERR_UNSAFE_PERMISSIONS", /replaced again and again while being opened$/),
  );
  assert.deepEqual(readdirSync(directory.path), ["f"]);
});
