import assert from "node:assert/strict";
import { existsSync, linkSync, lstatSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Move, type MoveOptions, movePassphrase } from "../../../src/identity/passphrase_move.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import { temporaryName } from "../../../src/platform/files.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import {
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  namesIn,
  textOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { watchChanges } from "../../support/host_changes.ts";

const GOOD = `${FLOOR_PASSPHRASE}\n`;

async function move(
  { layout, warn }: AmeshPlace,
  target: string,
  options: Partial<MoveOptions> = {},
): Promise<Move> {
  return await movePassphrase({ layout, warn, input: {}, target, removeOld: false, ...options });
}

for (const removeOld of [false, true]) {
  test(`movePassphrase() copies, proves, ${removeOld ? "then removes the old file" : "and keeps the old file"}`, async () => {
    using here = ameshPlace("floor");
    const target = here.file("new");
    using changes = watchChanges(here.layout.directory);
    const moved = await move(here, target, { removeOld });
    assert.deepEqual(moved, { from: here.layout.passphrase, isRemoved: removeOld });
    assert.deepEqual(changes.made, ["write ../new", ...removeOld ? ["unlink .passphrase"] : []]);
    assert.deepEqual([textOf(target), lstatSync(target).mode & 0o7777], [GOOD, 0o400]);
    assert.equal(textOf(here.layout.passphrase), removeOld ? null : GOOD);
    using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: target });
    (await openIdentity(here.layout, here.warn, false))[Symbol.dispose]();
    assert.deepEqual(here.warnings, []);
  });
}

test("movePassphrase() moves the file that the operator names", async () => {
  using here = ameshPlace("floor");
  const named = writeAs(here.file("named"), GOOD, 0o400);
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: named });
  const moved = await move(here, here.file("new"), { removeOld: true });
  assert.deepEqual(moved, { from: named, isRemoved: true });
  assert.deepEqual([textOf(named), textOf(here.file("new")), textOf(here.layout.passphrase)], [
    null,
    GOOD,
    GOOD,
  ]);
});

test("movePassphrase() goes on where a killed one stopped", async () => {
  using here = ameshPlace("floor");
  const target = here.file("new");
  const leftover = writeAs(here.file(temporaryName("new")), FLOOR_PASSPHRASE, 0o400);
  const others = [temporaryName("newer"), temporaryName("other")].map((name) =>
    writeAs(here.file(name), "", 0o400)
  );
  // Killed in the midst of the copy.
  assert.equal((await move(here, target)).from, here.layout.passphrase);
  assert.deepEqual([leftover, ...others].map((path) => existsSync(path)), [false, true, true]);
  // Killed between the copy and the removal of the old file.
  assert.deepEqual(await move(here, target, { removeOld: true }), {
    from: here.layout.passphrase,
    isRemoved: true,
  });
  // All was done; the variable is not set yet.
  assert.deepEqual(await move(here, target, { removeOld: true }), { from: null, isRemoved: false });
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: target });
  assert.deepEqual(await move(here, target, { removeOld: true }), { from: null, isRemoved: false });
  assert.equal(textOf(target), GOOD);
});

/** The variable names the target; what is in the default file, and whether that one goes with `removeOld`. */
const leftBehind: [name: string, content: string, goes: boolean][] = [
  ["the same passphrase", GOOD, true],
  ["another passphrase", "of something else\n", false],
];
for (const [name, content, goes] of leftBehind) {
  test(`movePassphrase() to where it is ${goes ? "removes" : "leaves"} a default file with ${name} when it is to remove the old one`, async () => {
    using here = ameshPlace("floor");
    const own = writeAs(here.layout.passphrase, content, 0o400);
    const target = writeAs(here.file("new"), GOOD, 0o400);
    using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: target });
    assert.deepEqual(await move(here, target), { from: null, isRemoved: false });
    assert.equal(textOf(own), content);
    const moved = await move(here, target, { removeOld: true });
    assert.deepEqual(moved, { from: goes ? own : null, isRemoved: goes });
    assert.deepEqual([textOf(own), textOf(target)], [goes ? null : content, GOOD]);
  });
}

test("movePassphrase() when the variable names a file that has gone is content with the target of an earlier move", async () => {
  using here = ameshPlace("floor");
  const target = writeAs(here.file("new"), GOOD, 0o400);
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: here.file("gone") });
  assert.deepEqual(await move(here, target), { from: null, isRemoved: false });
});

test("movePassphrase() leaves a leftover alone that others could have touched", async () => {
  using here = ameshPlace("floor");
  const leftover = writeAs(here.file(temporaryName("new")), "", 0o644);
  await move(here, here.file("new"));
  assert.ok(existsSync(leftover));
});

/** Other spellings of the file in force: removing "the old one" would remove the only one. */
const spellings: [name: string, target: (here: AmeshPlace) => string][] = [
  ["its own name", ({ layout }) => layout.passphrase],
  ["a path with dots in it", ({ layout }) => `${layout.directory}/../amesh/.passphrase`],
  ["a path through a link to the directory", ({ layout, file }) => {
    symlinkSync(layout.directory, file("alias"));
    return file("alias/.passphrase");
  }],
  ["another hard link", ({ layout, file }) => {
    linkSync(layout.passphrase, file("hard"));
    return file("hard");
  }],
];
for (const [name, target] of spellings) {
  test(`movePassphrase() to the file in force, by ${name}, removes nothing`, async () => {
    using here = ameshPlace("floor");
    const path = target(here);
    assert.deepEqual(await move(here, path, { removeOld: true }), { from: null, isRemoved: false });
    assert.deepEqual([textOf(here.layout.passphrase), textOf(path)], [GOOD, GOOD]);
  });
}

const refusals: [name: string, target: (here: AmeshPlace) => string, message: RegExp][] = [
  [
    "where something else is",
    ({ file }) => writeAs(file("new"), "mine", 0o600),
    /: something else is there$/,
  ],
  [
    "where the same is, for everybody to read",
    ({ file }) => writeAs(file("new"), GOOD, 0o644),
    /something else/,
  ],
  ["where a link is", ({ file }) => {
    symlinkSync("nowhere", file("new"));
    return file("new");
  }, /: it is no file$/],
  ["to a directory", ({ file }) => {
    mkdirSync(file("new"));
    return file("new");
  }, /: it is no file$/],
  ["to a device", () => "/dev/null", /: it is no file$/],
  ["to the next file", ({ layout }) => `${layout.passphrase}.next`, /: amesh keeps its own files there$/],
  [
    "into the amesh directory",
    ({ layout }) => join(layout.directory, "mine"),
    /: amesh keeps its own files there$/,
  ],
  [
    "into the folder of keys",
    ({ layout }) => join(layout.keys, "mine"),
    /: amesh keeps its own files there$/,
  ],
  ["into the folder of keys, by a link", ({ layout, file }) => {
    symlinkSync(layout.keys, file("alias"));
    return file("alias/mine");
  }, /: amesh keeps its own files there$/],
];
for (const [name, target, message] of refusals) {
  test(`movePassphrase() ${name} is refused and changes nothing`, async () => {
    using here = ameshPlace("floor");
    const path = target(here);
    const before = namesIn(here.file("")).filter((name) => name !== "amesh/.lock");
    await assert.rejects(move(here, path, { removeOld: true }), ameshError("ERR_USAGE", message));
    assert.deepEqual(namesIn(here.file("")).filter((name) => name !== "amesh/.lock"), before);
    assert.equal(textOf(here.layout.passphrase), GOOD);
  });
}

const sources: [name: string, variables: (here: AmeshPlace) => Record<string, string>, from: RegExp][] = [
  ["the environment", () => ({ AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE }), /from AUTH_MESH_PASSPHRASE, which/],
  ["a credential", ({ file }) => {
    writeAs(file("amesh-passphrase"), GOOD, 0o400);
    return { CREDENTIALS_DIRECTORY: file("") };
  }, /from systemd credential/],
  ["a named link", ({ file }) => {
    symlinkSync(writeAs(file("data"), GOOD, 0o400), file("named"));
    return { AMESH_PASSPHRASE_FILE: file("named") };
  }, /from file .*named/],
  [
    "a named file that is missing",
    ({ file }) => ({ AMESH_PASSPHRASE_FILE: file("missing") }),
    /from file .*missing/,
  ],
];
for (const [name, variables, from] of sources) {
  test(`movePassphrase() refuses a passphrase of ${name}`, async () => {
    using here = ameshPlace("floor");
    using _environment = setEnvironment(variables(here));
    await assert.rejects(move(here, here.file("new")), (error) => {
      ameshError("ERR_USAGE", /^cannot move the passphrase: it comes from .*, which is no file of amesh$/)(
        error,
      );
      assert.match((error as Error).message, from);
      return true;
    });
    assert.equal(existsSync(here.file("new")), false);
  });
}

test("movePassphrase() of a passphrase that does not open the key takes the copy back", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "another one\n", 0o400);
  await assert.rejects(move(here, here.file("new"), { removeOld: true }), ameshError("ERR_UNLOCK_FAILED"));
  assert.deepEqual([existsSync(here.file("new")), textOf(here.layout.passphrase)], [false, "another one\n"]);
  // One that was there before stays.
  writeAs(here.file("new"), "another one\n", 0o400);
  await assert.rejects(move(here, here.file("new"), { removeOld: true }), ameshError("ERR_UNLOCK_FAILED"));
  assert.deepEqual([textOf(here.file("new")), textOf(here.layout.passphrase)], [
    "another one\n",
    "another one\n",
  ]);
});

test("movePassphrase() whose copy does not open the key removes nothing, whatever else would open it", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  writeAs(here.file("new"), "another one\n", 0o400);
  await assert.rejects(move(here, here.file("new"), { removeOld: true }), ameshError("ERR_UNLOCK_FAILED"));
  assert.equal(textOf(here.file("new")), "another one\n");
});

test("movePassphrase() without any passphrase says so, and is busy while another works", async () => {
  using here = ameshPlace("floor");
  {
    using _lock = acquireLock(here.layout.lock);
    await assert.rejects(move(here, here.file("new")), ameshError("ERR_BUSY"));
  }
  rmSync(here.layout.passphrase);
  await assert.rejects(move(here, here.file("new")), ameshError("ERR_USAGE", /it comes from nowhere/));
});

test("movePassphrase() that cannot write, or cannot remove, leaves the old file", async () => {
  using here = ameshPlace("floor");
  await assert.rejects(
    move(here, here.file("no/new"), { removeOld: true }),
    ameshError("ERR_SYSTEM", /no such file/),
  );
  using _changes = watchChanges(
    here.layout.directory,
    (change) => change === "unlink .passphrase" ? "before" : null,
  );
  await assert.rejects(
    move(here, here.file("new"), { removeOld: true }),
    ameshError("ERR_SYSTEM", /^cannot remove/),
  );
  assert.deepEqual([textOf(here.layout.passphrase), textOf(here.file("new"))], [GOOD, GOOD]);
});
