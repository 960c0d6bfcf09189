import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { encodeIdentity, type Identity } from "../../../src/formats/identity_file.ts";
import {
  destroyKey,
  findDeleted,
  findReplaced,
  finishDeletion,
  finishReplacement,
  recordReplacement,
  removePassphrase,
  undoReplacement,
} from "../../../src/identity/records.ts";
import { temporaryName } from "../../../src/platform/files.ts";
import {
  type AmeshPlace,
  ameshPlace,
  identityOf,
  keyNameOf,
  namesIn,
  writeAs,
} from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";
import { watchChanges } from "../../support/host_changes.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const NEW_ID = OTHER.fields.deviceId;

test("recordReplacement() keeps all fields but the passphrase, 0600, and findReplaced() gives them back", async () => {
  using here = ameshPlace("floor");
  const fields = { ...FLOOR.fields, passphrase: "s3cret", note: { kept: true } };
  recordReplacement(here.layout, { ...FLOOR, fields }, NEW_ID);
  assert.equal(lstatSync(here.layout.replaced).mode & 0o7777, 0o600);
  assert.ok(!readFileSync(here.layout.replaced, "utf8").includes("s3cret"));
  const found = await findReplaced(here.layout);
  assert.deepEqual(found, {
    publicKey: FLOOR.publicKey,
    fields: { ...FLOOR.fields, note: { kept: true }, replacedBy: NEW_ID },
    replacedBy: NEW_ID,
  });
});

test("findReplaced() and findDeleted() give null where there is none", async () => {
  using here = ameshPlace("floor");
  assert.deepEqual([await findReplaced(here.layout), await findDeleted(here.layout)], [null, null]);
});

for (const replacedBy of [undefined, null, 7, "", "am_AAAA", `${NEW_ID}/../x`, `${NEW_ID}\n`, [NEW_ID]]) {
  test(`findReplaced() refuses a record that is replaced by ${JSON.stringify(replacedBy)}`, async () => {
    using here = ameshPlace("floor");
    writeAs(here.layout.replaced, JSON.stringify({ ...FLOOR.fields, replacedBy }), 0o600);
    await assert.rejects(
      findReplaced(here.layout),
      ameshError("ERR_CORRUPT", /\.identity\.replaced": field "replacedBy" is missing or wrong$/),
    );
  });
}

test("findReplaced() and findDeleted() refuse a record that is no identity, or that others can read", async () => {
  using here = ameshPlace("floor");
  for (const [find, path] of [[findReplaced, "replaced"], [findDeleted, "deleted"]] as const) {
    writeAs(here.layout[path], JSON.stringify({ ...FLOOR.fields, deviceId: NEW_ID }), 0o600);
    await assert.rejects(find(here.layout), ameshError("ERR_CORRUPT", /does not belong to/));
    writeAs(here.layout[path], encodeIdentity(FLOOR.fields), 0o640);
    await assert.rejects(find(here.layout), ameshError("ERR_UNSAFE_PERMISSIONS"));
  }
});

test("undoReplacement() removes the statement of these two, then the record, and bears that they are gone", () => {
  using here = ameshPlace("floor");
  const replaced = { ...FLOOR, replacedBy: NEW_ID };
  recordReplacement(here.layout, FLOOR, NEW_ID);
  mkdirSync(here.layout.history, { mode: 0o700 });
  const statement = `${FLOOR.fields.deviceId}.${NEW_ID}.json`;
  const others = [
    `${NEW_ID}.${FLOOR.fields.deviceId}.json`,
    `${FLOOR.fields.deviceId}.am_AAAAAAAAAAAAAAAA.json`,
  ];
  for (const name of [statement, ...others]) writeFileSync(join(here.layout.history, name), "");
  {
    using changes = watchChanges(here.layout.directory);
    undoReplacement(here.layout, replaced);
    assert.deepEqual(changes.made, [`unlink history/${statement}`, "unlink .identity.replaced"]);
  }
  assert.deepEqual(namesIn(here.layout.history), others.toSorted());
  assert.equal(existsSync(here.layout.replaced), false);
  undoReplacement(here.layout, replaced);
});

test("finishReplacement() destroys the key and then the record; while the key stays the record stays", async () => {
  using here = ameshPlace("floor");
  recordReplacement(here.layout, FLOOR, NEW_ID);
  const key = `keys/${keyNameOf("floor")}`;
  {
    using _changes = watchChanges(
      here.layout.directory,
      (change) => change === `unlink ${key}` ? "before" : null,
    );
    await assert.rejects(finishReplacement(here.context(), FLOOR), ameshError("ERR_SYSTEM"));
  }
  assert.deepEqual([existsSync(join(here.layout.directory, key)), existsSync(here.layout.replaced)], [
    true,
    true,
  ]);
  using changes = watchChanges(here.layout.directory);
  await finishReplacement(here.context(), FLOOR);
  assert.deepEqual(changes.made, [`unlink ${key}`, "unlink .identity.replaced"]);
  await finishReplacement(here.context(), FLOOR);
  assert.deepEqual(here.warnings, []);
});

test("destroyKey() passes on why a tier cannot be reached", async () => {
  using here = ameshPlace("floor");
  const identity: Identity = { ...FLOOR, fields: { ...FLOOR.fields, storageBackend: "keychain" } };
  await assert.rejects(destroyKey(here.context(), identity), ameshError("ERR_TIER_UNAVAILABLE"));
  assert.deepEqual(here.warnings, []);
});

test("finishDeletion() destroys the key, forgets the deletion, and leaves the passphrase to others", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.identity);
  writeAs(here.layout.deleted, encodeIdentity(FLOOR.fields), 0o600);
  using changes = watchChanges(here.layout.directory);
  await finishDeletion(here.context(), FLOOR);
  assert.deepEqual(changes.made, [`unlink keys/${keyNameOf("floor")}`, "unlink .identity.deleted"]);
  assert.deepEqual(here.names(), [".passphrase", "keys"]);
});

test("destroyKey() removes what killed commands left of the key, and nothing of another one", async () => {
  using here = ameshPlace("floor");
  const { keys } = here.layout;
  writeAs(join(keys, temporaryName(keyNameOf("floor"))), "", 0o600);
  const others = [temporaryName(keyNameOf("floor-other")), keyNameOf("floor-other")]
    .map((name) => writeAs(join(keys, name), "", 0o600));
  await destroyKey(here.context(), FLOOR);
  assert.deepEqual(namesIn(keys).map((name) => join(keys, name)), others.toSorted());
});

test("recordReplacement() refuses a record that others could have put there", () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.replaced, "theirs", 0o644);
  assert.throws(() => recordReplacement(here.layout, FLOOR, NEW_ID), ameshError("ERR_UNSAFE_PERMISSIONS"));
  assert.equal(readFileSync(here.layout.replaced, "utf8"), "theirs");
});

test("removePassphrase() removes the files and what was left of them, unless there are other keys", () => {
  using here = ameshPlace("floor");
  const { passphrase } = here.layout;
  writeAs(`${passphrase}.next`, "next", 0o400);
  for (const name of [".passphrase", ".passphrase.next"]) {
    writeAs(join(here.layout.directory, temporaryName(name)), "", 0o400);
  }
  const before = here.names();
  assert.deepEqual(removePassphrase(here.layout, ["another key"]), []);
  assert.deepEqual(here.names(), before);
  const removed = removePassphrase(here.layout, []);
  assert.deepEqual([removed.length, removed.slice(2)], [4, [`${passphrase}.next`, passphrase]]);
  assert.deepEqual(here.names(), ["identity.json", "keys", `keys/${keyNameOf("floor")}`]);
  assert.deepEqual(removePassphrase(here.layout, []), []);
});

const foreign: [name: string, make: (here: AmeshPlace) => void][] = [
  ["a link", ({ layout, file }) => {
    writeAs(file("secret"), "the operator's", 0o400);
    rmSync(layout.passphrase);
    symlinkSync(file("secret"), layout.passphrase);
  }],
  ["a file that others can read", ({ layout }) => void writeAs(layout.passphrase, "the operator's", 0o444)],
];
for (const [name, make] of foreign) {
  test(`removePassphrase() leaves ${name} in the place of the passphrase alone`, () => {
    using here = ameshPlace("floor");
    make(here);
    assert.deepEqual(removePassphrase(here.layout, []), []);
    assert.equal(readFileSync(here.layout.passphrase, "utf8"), "the operator's");
  });
}

test("finishDeletion() that cannot destroy the key keeps record and passphrase", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.identity);
  writeAs(here.layout.deleted, encodeIdentity(FLOOR.fields), 0o600);
  using _changes = watchChanges(
    here.layout.directory,
    (change) => change.startsWith("unlink keys") ? "before" : null,
  );
  await assert.rejects(finishDeletion(here.context(), FLOOR), ameshError("ERR_SYSTEM"));
  assert.deepEqual(here.names(), [".identity.deleted", ".passphrase", "keys", `keys/${keyNameOf("floor")}`]);
});

test("undoReplacement() and finishDeletion() destroy nothing behind a link in the place of a folder", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  const statement = `${FLOOR.fields.deviceId}.${NEW_ID}.json`;
  mkdirSync(here.file("mine"), { mode: 0o700 });
  const others = [statement, keyNameOf("floor")].map((name) => writeAs(here.file(`mine/${name}`), "", 0o600));
  rmSync(layout.keys, { recursive: true });
  for (const path of [layout.history, layout.keys]) symlinkSync(here.file("mine"), path);
  assert.throws(
    () => undoReplacement(layout, { ...FLOOR, replacedBy: NEW_ID }),
    ameshError("ERR_UNSAFE_PERMISSIONS", /symbolic link$/),
  );
  await assert.rejects(
    finishDeletion(here.context(), FLOOR),
    ameshError("ERR_UNSAFE_PERMISSIONS", /symbolic link$/),
  );
  assert.deepEqual(others.map((path) => existsSync(path)), [true, true]);
});
