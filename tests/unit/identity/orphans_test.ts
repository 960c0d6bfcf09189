import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { deleteOrphan, listOrphans, moveBack, moveToOrphans } from "../../../src/identity/orphans.ts";
import { addKey, ameshPlace, keyNameOf, namesIn, textOf, writeAs } from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";
import { fixtureKeyFile } from "../../support/fixture.ts";

const NAME = keyNameOf("floor-other");

test("moveToOrphans() makes the folder 0700 and moves the key there, its bytes and mode the same", () => {
  using here = ameshPlace("floor");
  const path = addKey(here.layout, "floor-other");
  const { ino } = lstatSync(path);
  const moved = moveToOrphans(here.layout, path);
  assert.equal(moved, join(here.layout.orphans, NAME));
  assert.deepEqual([existsSync(path), textOf(moved)], [false, fixtureKeyFile("floor-other").text]);
  assert.deepEqual([here.layout.orphans, moved].map((path) => lstatSync(path).mode & 0o7777), [0o700, 0o600]);
  assert.equal(lstatSync(moved).ino, ino);
  assert.deepEqual(listOrphans(here.layout, []), [moved]);
});

test("moveToOrphans() never moves over what is there: a number makes room, however many there are", () => {
  using here = ameshPlace("floor");
  const { orphans, keys } = here.layout;
  mkdirSync(orphans, { mode: 0o700 });
  symlinkSync("nowhere", join(orphans, `${NAME}.1`));
  const moved = ["first", "second", "third"].map((text) =>
    moveToOrphans(here.layout, writeAs(join(keys, NAME), text, 0o600))
  );
  assert.deepEqual(moved, [NAME, `${NAME}.2`, `${NAME}.3`].map((name) => join(orphans, name)));
  assert.deepEqual(moved.map(textOf), ["first", "second", "third"]);
  // The link is no key of ours.
  assert.deepEqual(listOrphans(here.layout, []), moved);
});

test("moveToOrphans() says why it cannot, and the key stays", () => {
  using here = ameshPlace("floor");
  const path = addKey(here.layout, "floor-other");
  writeFileSync(here.layout.orphans, "", { mode: 0o600 });
  assert.throws(() => moveToOrphans(here.layout, path), ameshError("ERR_SYSTEM", /not a directory$/));
  assert.ok(existsSync(path));
  using again = ameshPlace("floor");
  assert.throws(
    () => moveToOrphans(again.layout, join(again.layout.keys, NAME)),
    ameshError("ERR_SYSTEM", /^cannot move ".*" to ".*orphans.*": no such file or directory$/),
  );
});

test("listOrphans() lists key files of ours and nothing else", () => {
  using here = ameshPlace("floor");
  const { orphans } = here.layout;
  assert.deepEqual(listOrphans(here.layout, []), []);
  mkdirSync(orphans, { mode: 0o700 });
  const keys = ["am_AAAAAAAAAAAAAAAA.tss2.pem", NAME].map((name) => writeAs(join(orphans, name), "", 0o600));
  for (const name of ["notes.txt", "am_short.key.json", ".hidden"]) writeAs(join(orphans, name), "", 0o600);
  writeAs(join(orphans, "am_BBBBBBBBBBBBBBBB.key.json"), "", 0o644);
  mkdirSync(join(orphans, "am_CCCCCCCCCCCCCCCC.key.json"));
  const numbered = writeAs(join(orphans, `${NAME}.12`), "", 0o600);
  assert.deepEqual(listOrphans(here.layout, []), [...keys, numbered].toSorted());
  // What is needed after all is no orphan.
  assert.deepEqual(listOrphans(here.layout, ["am_AAAAAAAAAAAAAAAA"]), [keys[1], numbered]);
  const ids = ["am_AAAAAAAAAAAAAAAA", NAME.slice(0, 19)];
  assert.deepEqual(listOrphans(here.layout, ids), []);
});

test("deleteOrphan() destroys a key and says so, once", () => {
  using here = ameshPlace("floor");
  const path = moveToOrphans(here.layout, addKey(here.layout, "floor-other"));
  assert.equal(deleteOrphan(path), `destroyed ${path}`);
  assert.equal(deleteOrphan(path), null);
  assert.deepEqual(namesIn(here.layout.orphans), []);
});

test("moveBack() gives a key its own name and folder again, and never moves over one", () => {
  using here = ameshPlace("floor");
  const { keys, orphans } = here.layout;
  mkdirSync(orphans, { mode: 0o700 });
  for (const name of [NAME, `${NAME}.7`]) {
    const apart = writeAs(join(orphans, name), name, 0o600);
    assert.equal(moveBack(here.layout, apart), join(keys, NAME));
    assert.deepEqual([textOf(join(keys, NAME)), existsSync(apart)], [name, false]);
    writeAs(apart, "another", 0o600);
    assert.throws(() => moveBack(here.layout, apart), ameshError("ERR_SYSTEM", /: already exists$/));
    assert.deepEqual([textOf(join(keys, NAME)), textOf(apart)], [name, "another"]);
    rmSync(join(keys, NAME));
  }
  rmSync(keys, { recursive: true });
  moveBack(here.layout, join(orphans, NAME));
  assert.equal(lstatSync(keys).mode & 0o7777, 0o700);
});
