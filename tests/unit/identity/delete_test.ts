import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { encodeIdentity } from "../../../src/formats/identity_file.ts";
import { deleteIdentity } from "../../../src/identity/delete.ts";
import { recordReplacement } from "../../../src/identity/records.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import {
  addKey,
  type AmeshPlace,
  ameshPlace,
  identityOf,
  keyNameOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { watchChanges } from "../../support/host_changes.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const FLOOR_KEY = `keys/${keyNameOf("floor")}`;

/** `delete`; who was asked about. */
async function remove({ layout, warn }: AmeshPlace, confirm = () => Promise.resolve()) {
  const asked: string[] = [];
  const deletion = await deleteIdentity({
    layout,
    warn,
    confirm: async ({ fields }) => {
      asked.push(fields.deviceId);
      await confirm();
    },
  });
  return { ...deletion, asked };
}

test("deleteIdentity() retires identity.json, destroys the key, then the passphrase, then the record", async () => {
  using here = ameshPlace("floor");
  using changes = watchChanges(here.layout.directory);
  const { identity, removed, otherKeys, asked } = await remove(here);
  assert.deepEqual(changes.made, [
    "move identity.json to .identity.deleted",
    `unlink ${FLOOR_KEY}`,
    "unlink .passphrase",
    "unlink .identity.deleted",
  ]);
  assert.deepEqual([identity, removed, otherKeys], [FLOOR, [here.layout.passphrase], []]);
  assert.deepEqual(asked, [FLOOR.fields.deviceId]);
  assert.deepEqual(here.names(), ["keys"]);
  await assert.rejects(remove(here), ameshError("ERR_NO_IDENTITY", /^cannot find an identity/));
});

test("deleteIdentity() needs no passphrase", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  assert.deepEqual((await remove(here)).removed, []);
  assert.deepEqual(here.names(), ["keys"]);
});

test("deleteIdentity() keeps the passphrase while another key may be under it", async () => {
  using here = ameshPlace("floor");
  const other = addKey(here.layout, "floor-other");
  writeAs(`${here.layout.passphrase}.next`, "next", 0o400);
  const { removed, otherKeys } = await remove(here);
  assert.deepEqual([removed, otherKeys], [[], [other]]);
  assert.deepEqual(here.names(), [
    ".passphrase",
    ".passphrase.next",
    "keys",
    `keys/${keyNameOf("floor-other")}`,
  ]);
});

test("deleteIdentity() of which nobody wants to hear changes nothing, not even the lock", async () => {
  using here = ameshPlace("floor");
  const no = () => Promise.reject(new Error("no"));
  await assert.rejects(remove(here, no), /^Error: no$/);
  assert.deepEqual(here.names(), [".passphrase", "identity.json", "keys", FLOOR_KEY]);
  assert.equal(existsSync(here.layout.lock), false);
});

test("deleteIdentity() finishes what a killed one began, also when the key is gone already", async () => {
  for (const hasKey of [true, false]) {
    using here = ameshPlace("floor");
    rmSync(here.layout.identity);
    writeAs(here.layout.deleted, encodeIdentity(FLOOR.fields), 0o600);
    if (!hasKey) rmSync(`${here.layout.directory}/${FLOOR_KEY}`);
    const { identity, asked, removed } = await remove(here);
    assert.deepEqual([identity, asked], [FLOOR, [FLOOR.fields.deviceId]]);
    assert.deepEqual(removed, [here.layout.passphrase]);
    assert.deepEqual(here.names(), ["keys"]);
  }
});

test("deleteIdentity() finishes what else is unfinished first: an older deletion and a replaced key", async () => {
  using here = ameshPlace("floor");
  addKey(here.layout, "floor-other");
  recordReplacement(here.layout, OTHER, FLOOR.fields.deviceId);
  await remove(here);
  assert.deepEqual(here.names(), ["keys"]);

  using again = ameshPlace("floor");
  addKey(again.layout, "floor-other");
  writeAs(again.layout.deleted, encodeIdentity(OTHER.fields), 0o600);
  const { identity } = await remove(again);
  assert.equal(identity.fields.deviceId, FLOOR.fields.deviceId);
  assert.deepEqual(again.names(), ["keys"]);
});

/** The identity changes between the question and the lock. */
const races: [name: string, change: (here: AmeshPlace) => void][] = [
  ["replaced by another", ({ layout }) => {
    writeFileSync(layout.identity, JSON.stringify(fixtureIdentity("floor-other")));
  }],
  ["deleted", ({ layout }) => rmSync(layout.identity)],
];
for (const [name, change] of races) {
  test(`deleteIdentity() of an identity that was ${name} while it asked deletes nothing`, async () => {
    using here = ameshPlace("floor");
    const meanwhile = () => Promise.resolve(change(here));
    await assert.rejects(
      remove(here, meanwhile),
      ameshError("ERR_BUSY", /was replaced meanwhile: nothing was changed$/),
    );
    assert.ok(here.names().includes(FLOOR_KEY) && here.names().includes(".passphrase"));
    assert.equal(existsSync(here.layout.deleted), false);
  });
}

test("deleteIdentity() that another has begun and left while it asked finishes that one", async () => {
  using here = ameshPlace("floor");
  const meanwhile = () => {
    writeAs(here.layout.deleted, readFileSync(here.layout.identity), 0o600);
    return Promise.resolve(rmSync(here.layout.identity));
  };
  assert.deepEqual((await remove(here, meanwhile)).identity, FLOOR);
  assert.deepEqual(here.names(), ["keys"]);
});

test("deleteIdentity() is busy while another amesh changes the directory, and never deletes what it cannot read", async () => {
  using here = ameshPlace("floor");
  {
    using _lock = acquireLock(here.layout.lock);
    await assert.rejects(remove(here), ameshError("ERR_BUSY"));
  }
  writeFileSync(here.layout.identity, "{}");
  await assert.rejects(remove(here), ameshError("ERR_CORRUPT"));
  assert.ok(here.names().includes(FLOOR_KEY));
});

test("deleteIdentity() that cannot retire identity.json leaves all; that cannot destroy the key leaves the record", async () => {
  using here = ameshPlace("floor");
  mkdirSync(here.layout.deleted, { mode: 0o700 });
  await assert.rejects(remove(here), ameshError("ERR_SYSTEM", /^cannot delete ".*identity\.json": /));
  rmSync(here.layout.deleted, { recursive: true });
  assert.deepEqual(here.names(), [".passphrase", "identity.json", "keys", FLOOR_KEY]);
  {
    const isKey = (change: string) => change === `unlink ${FLOOR_KEY}` ? "before" : null;
    using _changes = watchChanges(here.layout.directory, isKey);
    await assert.rejects(
      remove(here),
      ameshError("ERR_SYSTEM", /^the identity is deleted, but not all that it had: cannot remove /),
    );
  }
  assert.deepEqual(here.names(), [".identity.deleted", ".passphrase", "keys", FLOOR_KEY]);
  await remove(here);
  assert.deepEqual(here.names(), ["keys"]);
});

test("deleteIdentity() of an old install takes its passphrase with identity.json", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("amesh-0.7-floor", here.layout.directory);
  await deleteIdentity({ layout, warn: here.warn, confirm: () => Promise.resolve() });
  assert.deepEqual(here.names(), ["keys"]);
});

test("deleteIdentity() whose tier would not delete the key retires nothing", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  renameSync(layout.keys, here.file("mine"));
  symlinkSync(here.file("mine"), layout.keys);
  await assert.rejects(remove(here), ameshError("ERR_UNSAFE_PERMISSIONS", /symbolic link$/));
  assert.deepEqual(here.names().filter((name) => !name.startsWith("keys")), [".passphrase", "identity.json"]);
  assert.ok(existsSync(here.file(`mine/${keyNameOf("floor")}`)));
});
