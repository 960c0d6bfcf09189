import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { encodeIdentity, type Identity } from "../../../src/formats/identity_file.ts";
import { recordReplacement } from "../../../src/identity/records.ts";
import { findIdentity } from "../../../src/identity/store.ts";
import { findUnfinished, settle } from "../../../src/identity/unfinished.ts";
import {
  addKey,
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  keyNameOf,
  OTHER_PASSPHRASE,
  textOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";
import { watchChanges } from "../../support/host_changes.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const [FLOOR_ID, OTHER_ID] = [FLOOR.fields.deviceId, OTHER.fields.deviceId];
const FLOOR_KEY = `keys/${keyNameOf("floor")}`;
const OTHER_KEY = `keys/${keyNameOf("floor-other")}`;
const STATEMENT = `history/${OTHER_ID}.${FLOOR_ID}.json`;

const recordDeletion = ({ layout }: AmeshPlace, { fields }: Identity) =>
  writeAs(layout.deleted, encodeIdentity(fields), 0o600);
function addStatement({ layout }: AmeshPlace, name: string): void {
  mkdirSync(layout.history, { mode: 0o700 });
  writeAs(join(layout.directory, name), "{}", 0o600);
}
const writeNext = ({ layout }: AmeshPlace, text: string) => writeAs(`${layout.passphrase}.next`, text, 0o400);

/** A state that a killed command leaves; `floor` is in force unless it says otherwise. */
const states: [
  name: string,
  make: (here: AmeshPlace) => void,
  problem: RegExp,
  plan: RegExp,
  done: RegExp,
  left: readonly string[],
][] = [
  [
    "a deletion of an identity that another has followed",
    (here) => {
      recordDeletion(here, OTHER);
      addKey(here.layout, "floor-other");
    },
    new RegExp(`^is of an unfinished deletion of ${OTHER_ID}$`),
    new RegExp(`^destroy the key of ${OTHER_ID}, which was being deleted$`),
    new RegExp(`^destroyed the key of ${OTHER_ID}, which was being deleted$`),
    [".passphrase", "identity.json", "keys", FLOOR_KEY],
  ],
  [
    "a deletion that no identity has followed",
    (here) => {
      recordDeletion(here, FLOOR);
      rmSync(here.layout.identity);
    },
    new RegExp(`^is of an unfinished deletion of ${FLOOR_ID}$`),
    /^destroy the key/,
    /^destroyed the key/,
    // By now it may be meant for another key.
    [".passphrase", "keys"],
  ],
  [
    "a deletion of the identity in force",
    (here) => void recordDeletion(here, FLOOR),
    new RegExp(`^is of the deletion of ${FLOOR_ID}, which is in force$`),
    /^remove .*\.identity\.deleted$/,
    /^removed .*\.identity\.deleted$/,
    [".passphrase", "identity.json", "keys", FLOOR_KEY],
  ],
  [
    "a replacement after its commit",
    (here) => {
      recordReplacement(here.layout, OTHER, FLOOR_ID);
      addKey(here.layout, "floor-other");
      addStatement(here, STATEMENT);
    },
    new RegExp(`^is of an unfinished replacement: the key of ${OTHER_ID} is not destroyed yet$`),
    new RegExp(`^destroy the key of ${OTHER_ID}, which ${FLOOR_ID} has replaced$`),
    new RegExp(`^destroyed the key of ${OTHER_ID}, which was replaced$`),
    [".passphrase", "history", STATEMENT, "identity.json", "keys", FLOOR_KEY],
  ],
  [
    "a replacement before its commit",
    (here) => {
      recordReplacement(here.layout, FLOOR, OTHER_ID);
      addStatement(here, `history/${FLOOR_ID}.${OTHER_ID}.json`);
    },
    new RegExp(`^is of a replacement of ${FLOOR_ID} that did not come into force$`),
    /^remove .*\.identity\.replaced and the continuity statement of a key that did not come into force$/,
    new RegExp(`^took back a replacement of ${FLOOR_ID} that did not come into force$`),
    [".passphrase", "history", "identity.json", "keys", FLOOR_KEY],
  ],
  [
    "a replacement by a key that a third one has followed, whose own it may not destroy",
    (here) => {
      recordReplacement(here.layout, OTHER, "am_AAAAAAAAAAAAAAAA");
      addKey(here.layout, "floor-other");
      addStatement(here, `history/${OTHER_ID}.am_AAAAAAAAAAAAAAAA.json`);
    },
    new RegExp(`^is of a replacement of ${OTHER_ID} by a key that is not in force any more$`),
    /^remove .*\.identity\.replaced$/,
    /^removed .*\.identity\.replaced$/,
    // That replacement was in force, so what was said of it stands.
    [
      ".passphrase",
      "history",
      `history/${OTHER_ID}.am_AAAAAAAAAAAAAAAA.json`,
      "identity.json",
      "keys",
      FLOOR_KEY,
      OTHER_KEY,
    ],
  ],
  [
    "a replacement without any identity",
    (here) => {
      recordReplacement(here.layout, FLOOR, OTHER_ID);
      rmSync(here.layout.identity);
    },
    /by a key that is not in force any more$/,
    /^remove /,
    /^removed /,
    [".passphrase", "keys", FLOOR_KEY],
  ],
  [
    "a change of the passphrase before its commit",
    (here) => void writeNext(here, "never in force\n"),
    /^is of an interrupted change of the passphrase$/,
    /^find out which of .*\.passphrase and .*\.passphrase\.next opens the key, and keep that one$/,
    /^removed .*\.next: the key is under the passphrase that it was to replace$/,
    [".passphrase", "identity.json", "keys", FLOOR_KEY],
  ],
  [
    "a change of the passphrase after its commit",
    (here) => {
      writeNext(here, `${FLOOR_PASSPHRASE}\n`);
      writeAs(here.layout.passphrase, "the former one\n", 0o400);
    },
    /^is of an interrupted change of the passphrase$/,
    /^find out /,
    /^put the new passphrase, which the key is under, at .*\.passphrase$/,
    [".passphrase", "identity.json", "keys", FLOOR_KEY],
  ],
];
for (const [name, make, problem, plan, done, left] of states) {
  test(`findUnfinished() finds ${name}; finish() leaves nothing of it`, async () => {
    using here = ameshPlace("floor");
    make(here);
    const before = here.names();
    const identity = await findIdentity(here.layout);
    const found = await findUnfinished(here.context(), identity);
    assert.equal(found.length, 1);
    const [{ path, ...unfinished }] = found as [typeof found[number]];
    assert.ok(existsSync(path) && path.startsWith(here.layout.directory));
    assert.match(unfinished.problem, problem);
    assert.match(unfinished.plan, plan);
    assert.deepEqual(here.names(), before);

    assert.match(await unfinished.finish(), done);
    assert.deepEqual(here.names(), left.toSorted());
    assert.equal(
      textOf(here.layout.passphrase)?.trim(),
      left.includes(".passphrase") ? FLOOR_PASSPHRASE : undefined,
    );
    assert.deepEqual(await findUnfinished(here.context(), identity), []);
    assert.deepEqual(here.warnings, []);
  });

  test(`settle() finishes ${name}, and says so`, async () => {
    using here = ameshPlace("floor");
    make(here);
    await settle(here.context(), await findIdentity(here.layout));
    assert.deepEqual(here.names(), left.toSorted());
    assert.equal(here.warnings.length, 1);
    const [before, finished] = here.warnings[0]!.split(" was finished: ");
    assert.equal(before, "an interrupted command");
    assert.match(finished!, done);
  });
}

test("findUnfinished() finds nothing in a sound directory, nor without one", async () => {
  using here = ameshPlace("floor");
  assert.deepEqual(await findUnfinished(here.context(), FLOOR), []);
  using nowhere = ameshPlace(null);
  assert.deepEqual(await findUnfinished(nowhere.context(), null), []);
});

test("findUnfinished() finds several things, the records first", async () => {
  using here = ameshPlace("floor");
  recordDeletion(here, OTHER);
  recordReplacement(here.layout, OTHER, FLOOR_ID);
  writeNext(here, "next");
  const found = await findUnfinished(here.context(), FLOOR);
  assert.deepEqual(found.map(({ path }) => path), [
    here.layout.deleted,
    here.layout.replaced,
    `${here.layout.passphrase}.next`,
  ]);
});

test("findUnfinished() looks for a changed passphrase beside the file that the operator names, too", async () => {
  using here = ameshPlace("floor");
  const named = here.file("named");
  using _again = ameshPlace(null, { AMESH_PASSPHRASE_FILE: named });
  const next = writeAs(here.file(".named.amesh-next"), "next", 0o400);
  const found = await findUnfinished(here.context(), FLOOR);
  assert.deepEqual(found.map(({ path }) => path), [next]);
});

test("findUnfinished() of an identity without a passphrase, and without any, leaves .passphrase.next to others", async () => {
  using here = ameshPlace("floor");
  writeNext(here, "next");
  const inTpm: Identity = { ...FLOOR, fields: { ...FLOOR.fields, storageBackend: "tpm2" } };
  for (const identity of [inTpm, null]) assert.deepEqual(await findUnfinished(here.context(), identity), []);
});

/** What bears the name of a record and is none of ours. */
const foreign: [name: string, make: (path: string, file: AmeshPlace["file"]) => void][] = [
  ["a directory", (path) => mkdirSync(path, { mode: 0o700 })],
  ["a file that others can read", (path) => void writeAs(path, encodeIdentity(OTHER.fields), 0o644)],
  ["a link", (path, file) => symlinkSync(writeAs(file("real"), encodeIdentity(OTHER.fields), 0o600), path)],
];
for (const [name, make] of foreign) {
  test(`findUnfinished() does not act on ${name} in the place of a record`, async () => {
    using here = ameshPlace("floor");
    for (const path of [here.layout.deleted, here.layout.replaced]) {
      make(path, here.file);
      assert.deepEqual(await findUnfinished(here.context(), FLOOR), []);
    }
  });
}

test("findUnfinished() and settle() refuse a record that cannot be read, and finish nothing", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.replaced, "{}", 0o600);
  writeNext(here, "never in force\n");
  for (const find of [findUnfinished, settle]) {
    await assert.rejects(find(here.context(), FLOOR), ameshError("ERR_CORRUPT", /identity\.replaced/));
  }
  assert.deepEqual([textOf(here.layout.replaced), textOf(`${here.layout.passphrase}.next`)], [
    "{}",
    "never in force\n",
  ]);
});

test("settle() ends at a record that it cannot finish: another one must not take its place", async () => {
  using here = ameshPlace("floor");
  recordDeletion(here, OTHER);
  addKey(here.layout, "floor-other");
  const isKey = (change: string) => change === `unlink ${OTHER_KEY}` ? "before" : null;
  using _changes = watchChanges(here.layout.directory, isKey);
  await assert.rejects(settle(here.context(), FLOOR), (error) => {
    ameshError(
      "ERR_SYSTEM",
      /^cannot finish an interrupted command: cannot remove ".*": input\/output error$/,
    )(error);
    assert.match(
      (error as { hint: string }).hint,
      /if what it needs is gone for good, remove .*\.identity\.deleted$/,
    );
    return true;
  });
  assert.ok(existsSync(here.layout.deleted));
  assert.deepEqual(here.warnings, []);
});

test("settle() keeps the code and the hint of a tier that has gone", async () => {
  using here = ameshPlace("floor");
  recordDeletion(here, { ...OTHER, fields: { ...OTHER.fields, storageBackend: "keychain" } });
  await assert.rejects(settle(here.context(), FLOOR), (error) => {
    ameshError(
      "ERR_TIER_UNAVAILABLE",
      /^cannot finish an interrupted command: cannot use backend "keychain"/,
    )(error);
    assert.match((error as { hint: string }).hint, /the Mac where it was made.*; if what it needs is gone/);
    return true;
  });
});

test("settle() warns when neither passphrase opens the key, keeps both and goes on", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, `${OTHER_PASSPHRASE}\n`, 0o400);
  writeNext(here, "next\n");
  await settle(here.context(), FLOOR);
  assert.match(
    here.warnings.join("\n"),
    /^an interrupted command could not be finished: neither ".*passphrase" nor ".*next" opens the key$/,
  );
  assert.deepEqual(
    [textOf(here.layout.passphrase), textOf(`${here.layout.passphrase}.next`)],
    [`${OTHER_PASSPHRASE}\n`, "next\n"],
  );
});

test('settle() that is to "keep passphrases" finishes the records only', async () => {
  using here = ameshPlace("floor");
  recordDeletion(here, OTHER);
  recordReplacement(here.layout, OTHER, FLOOR_ID);
  writeNext(here, "never in force\n");
  await settle(here.context(), FLOOR, "keep passphrases");
  assert.deepEqual(here.names(), [".passphrase", ".passphrase.next", "identity.json", "keys", FLOOR_KEY]);
  assert.equal(here.warnings.length, 2);
});

test("settle() does not hide a mistake of the program, neither while looking nor while finishing", async () => {
  using here = ameshPlace("floor");
  recordDeletion(here, OTHER);
  for (const field of ["replaced", "keys"] as const) {
    const layout = { ...here.layout };
    Object.defineProperty(layout, field, {
      get: () => {
        throw new TypeError("mistake");
      },
    });
    await assert.rejects(settle({ ...here.context(), layout }, FLOOR), /^TypeError: mistake$/);
  }
});
