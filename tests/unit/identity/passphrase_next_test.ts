import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { test } from "node:test";
import { finishChange, listInterrupted, takeNext } from "../../../src/identity/passphrase_next.ts";
import { nextPath } from "../../../src/passphrase/files.ts";
import { ameshPlace, FLOOR_PASSPHRASE, identityOf, textOf, writeAs } from "../../support/amesh_place.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { watchChanges } from "../../support/host_changes.ts";

const FLOOR = await identityOf("floor");
const GOOD = `${FLOOR_PASSPHRASE}\n`;

/** What is in the passphrase file and beside it before; what is there afterwards, or `null` where neither opens the key. */
const changes: [before: [string | null, string], after: [string, null] | null, done: RegExp | null][] = [
  [
    [GOOD, "new\n"],
    [GOOD, null],
    /^removed .*next: the key is under the passphrase that it was to replace$/,
  ],
  [["old\n", GOOD], [GOOD, null], /^put the new passphrase, which the key is under, at .*/],
  [[null, GOOD], [GOOD, null], /^put the new passphrase/],
  [[GOOD, GOOD], [GOOD, null], /^removed .*next/],
  [["old\n", "new\n"], null, null],
  [[null, "new\n"], null, null],
];
for (const [before, after, done] of changes) {
  for (const name of ["the default file", "a named file"]) {
    test(`finishChange() of ${name} with ${JSON.stringify(before)} ${after === null ? "keeps both and fails" : `leaves ${JSON.stringify(after)}`}`, async () => {
      using here = ameshPlace("floor");
      const path = name === "a named file" ? here.file("named") : here.layout.passphrase;
      using _environment = setEnvironment(name === "a named file" ? { AMESH_PASSPHRASE_FILE: path } : {});
      if (before[0] === null) rmSync(path, { force: true });
      else writeAs(path, before[0], 0o400);
      writeAs(nextPath(path), before[1], 0o400);
      const finish = () => finishChange(here.context(), FLOOR, path);
      if (done === null) {
        await assert.rejects(
          finish(),
          ameshError("ERR_UNLOCK_FAILED", /^neither ".*" nor ".*" opens the key$/),
        );
      } else assert.match(await finish(), done);
      assert.deepEqual([textOf(path), textOf(nextPath(path))], after ?? before);
    });
  }
}

test("finishChange() where neither opens the key tries what the command has: then the change did not come into force", async () => {
  using here = ameshPlace("floor");
  const path = here.layout.passphrase;
  const write = () => {
    writeAs(path, "old\n", 0o400);
    writeAs(`${path}.next`, "new\n", 0o400);
  };
  write();
  {
    using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE });
    assert.match(await finishChange(here.context(), FLOOR, path), /^removed .*\.next: /);
  }
  assert.deepEqual([textOf(path), textOf(`${path}.next`)], ["old\n", null]);
  write();
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "wrong too" });
  await assert.rejects(
    finishChange(here.context(), FLOOR, path),
    ameshError("ERR_UNLOCK_FAILED", /^neither/),
  );
  assert.deepEqual([textOf(path), textOf(`${path}.next`)], ["old\n", "new\n"]);
});

test("finishChange() takes the next file before what the command has", async () => {
  using here = ameshPlace("floor");
  const path = here.layout.passphrase;
  writeAs(path, "old\n", 0o400);
  writeAs(`${path}.next`, GOOD, 0o400);
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE });
  assert.match(await finishChange(here.context(), FLOOR, path), /^put the new passphrase/);
  assert.deepEqual([textOf(path), textOf(`${path}.next`)], [GOOD, null]);
});

test("finishChange() passes on that the key is missing, and keeps both", async () => {
  using here = ameshPlace("floor");
  const path = here.layout.passphrase;
  writeAs(`${path}.next`, "new\n", 0o400);
  rmSync(here.layout.keys, { recursive: true });
  await assert.rejects(finishChange(here.context(), FLOOR, path), ameshError("ERR_CORRUPT", /is missing$/));
  assert.deepEqual([textOf(path), textOf(`${path}.next`)], [GOOD, "new\n"]);
});

test("takeNext() replaces the file at once, or says why not and leaves both", () => {
  using here = ameshPlace("floor");
  const path = here.layout.passphrase;
  const next = writeAs(`${path}.next`, "new\n", 0o400);
  {
    using made = watchChanges(here.layout.directory);
    takeNext(path);
    assert.deepEqual(made.made, ["move .passphrase.next to .passphrase"]);
  }
  assert.deepEqual([textOf(path), existsSync(next)], ["new\n", false]);
  const failed = ameshError("ERR_SYSTEM", /^cannot write passphrase file ".*\.passphrase": /);
  assert.throws(() => takeNext(path), failed);
  assert.equal(textOf(path), "new\n");
  rmSync(path);
  mkdirSync(path);
  writeAs(next, "new\n", 0o400);
  assert.throws(() => takeNext(path), failed);
  assert.equal(textOf(next), "new\n");
});

test("listInterrupted() names the default file and the named one, each once, where something lies beside it", () => {
  using here = ameshPlace("floor");
  const [own, named] = [here.layout.passphrase, here.file("named")];
  const interrupted = (variables: Record<string, string>) => {
    using _environment = setEnvironment(variables);
    return listInterrupted(here.layout);
  };
  assert.deepEqual(interrupted({ AMESH_PASSPHRASE_FILE: named }), []);
  writeAs(`${own}.next`, "", 0o400);
  writeAs(here.file(".named.amesh-next"), "", 0o400);
  assert.deepEqual(interrupted({}), [own]);
  assert.deepEqual(interrupted({ AMESH_PASSPHRASE_FILE: named }), [own, named]);
  assert.deepEqual(interrupted({ AMESH_PASSPHRASE_FILE: own }), [own]);
  rmSync(`${own}.next`);
  assert.deepEqual(interrupted({ AMESH_PASSPHRASE_FILE: named }), [named]);
  // A path through a file: nothing can lie beside it.
  assert.deepEqual(interrupted({ AMESH_PASSPHRASE_FILE: `${here.layout.identity}/x` }), []);
});

test("finishChange() with neither file ends, and says that there is nothing that opens the key", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  await assert.rejects(
    finishChange(here.context(), FLOOR, here.layout.passphrase),
    ameshError("ERR_UNLOCK_FAILED"),
  );
});

/** What bears the name of a next file and is none of ours: a person has put it there. */
const strangers: [name: string, make: (path: string) => void][] = [
  ["a directory", (path) => mkdirSync(path, { mode: 0o500 })],
  ["a link", (path) => symlinkSync(writeAs(`${path}.real`, "new\n", 0o400), path)],
  ["a file that its group can read", (path) => void writeAs(path, "new\n", 0o440)],
  ["a file that everybody can read", (path) => void writeAs(path, "new\n", 0o444)],
];
for (const [name, make] of strangers) {
  test(`listInterrupted() passes over ${name} in the place of the next file`, () => {
    using here = ameshPlace("floor");
    const path = here.layout.passphrase;
    make(`${path}.next`);
    assert.deepEqual(listInterrupted(here.layout), []);
    assert.ok(lstatSync(`${path}.next`));
  });
}
