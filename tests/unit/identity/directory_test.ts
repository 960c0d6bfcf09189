import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  isOfDevice,
  isOwnFile,
  KEY_FILE_NAME,
  listLeftovers,
  listNames,
  listOtherKeys,
  ORPHAN_NAME,
  STATEMENT_NAME,
  TEMPORARY_NAME,
} from "../../../src/identity/directory.ts";
import { temporaryName } from "../../../src/platform/files.ts";
import { addKey, ameshPlace, identityOf, keyNameOf, writeAs } from "../../support/amesh_place.ts";
import { setEnvironment } from "../../support/environment.ts";

const ID = "am_AAAAAAAAAAAAAAAA";
const OTHER = "am_b-_0123456789abc";

/** Names, and what they are the names of. */
const names: [name: string, of: "key" | "orphan" | "statement" | "temporary" | null][] = [
  [`${ID}.key.json`, "key"],
  [`${ID}.tss2.pem`, "key"],
  [`${ID}.se.json`, "key"],
  [`${ID}.key.json.1`, "orphan"],
  [`${OTHER}.tss2.pem.27`, "orphan"],
  [`${ID}.key.json.1a`, null],
  [`${ID}.key.json.`, null],
  [`${ID}.json`, null],
  [`${ID}.keyxjson`, null],
  [`${ID}.${OTHER}.json`, "statement"],
  [`${ID}.${ID}.json`, "statement"],
  [temporaryName("identity.json"), "temporary"],
  [temporaryName(`${ID}.key.json`), "temporary"],
  [ID, null],
  [`${ID}.`, null],
  [`${ID}x.key.json`, null],
  [`x${ID}.key.json`, null],
  [`${ID}.KEY.JSON`, null],
  [`${ID}.key.json~`, null],
  [`${ID}.key.json\n`, null],
  [`${ID}.${OTHER}.json.1`, null],
  [`${ID}.${OTHER}`, null],
  ["am_AAAA.key.json", null],
  ["identity.json", null],
  [".passphrase", null],
  ["x.0123456789abcdef.tmp", null],
  [".x.0123456789ABCDEF.tmp", null],
  [".x.0123456789abcde.tmp", null],
  ["..0123456789abcdef.tmp", null],
];
for (const [name, of] of names) {
  test(`${JSON.stringify(name.replace(/[0-9a-f]{16}\.tmp$/, "<random>.tmp"))} is the name of ${of ?? "nothing of ours"}`, () => {
    const patterns = {
      key: KEY_FILE_NAME,
      orphan: ORPHAN_NAME,
      statement: STATEMENT_NAME,
      temporary: TEMPORARY_NAME,
    };
    const found = Object.entries(patterns).filter(([, pattern]) => pattern.test(name)).map(([kind]) => kind);
    // What is the name of a key may be that of an orphan too.
    assert.deepEqual(found, of === null ? [] : of === "key" ? ["key", "orphan"] : [of]);
  });
}

test("listNames() gives sorted paths, and none of what is no directory or cannot be listed", () => {
  using here = ameshPlace("floor");
  const { keys, identity, directory } = here.layout;
  for (const name of ["b", "a", "c.txt"]) writeAs(here.file(name), "", 0o600);
  assert.deepEqual(listNames(here.file("").replace(/\/$/, ""), /^[abc]$/), [here.file("a"), here.file("b")]);
  assert.deepEqual(listNames(keys, KEY_FILE_NAME), [join(keys, keyNameOf("floor"))]);
  symlinkSync(keys, here.file("link"));
  for (const path of [here.file("link"), identity, join(identity, "x"), join(directory, "nothing")]) {
    assert.deepEqual(listNames(path, /./), [], path);
  }
});

test("listLeftovers() finds the temporary files of one name and of no other", () => {
  using here = ameshPlace(null);
  const long = "n".repeat(80);
  const mine = [temporaryName("secret"), temporaryName("secret")].map((name) =>
    writeAs(here.file(name), "", 0o400)
  );
  for (
    const name of [
      temporaryName("secrets"),
      temporaryName("sekret"),
      temporaryName("my.secret"),
      "secret",
      ".secret.tmp",
    ]
  ) {
    writeAs(here.file(name), "", 0o400);
  }
  // Of a file whose own name has a point in it.
  writeAs(here.file(temporaryName("secret.x")), "", 0o400);
  assert.deepEqual(listLeftovers(here.file("secret")), mine.toSorted());
  const cut = writeAs(here.file(temporaryName(long)), "", 0o400);
  assert.deepEqual(listLeftovers(here.file(long)), [cut]);
});

test("isOfDevice() knows the files of a device id, and what was left of them", () => {
  const of = [
    `${ID}.key.json`,
    `/a/${ID}.tss2.pem.1`,
    temporaryName(`${ID}.key.json`),
    `${ID}.${OTHER}.json`,
  ];
  const not = [
    ID,
    `${OTHER}.key.json`,
    `${ID}x.key.json`,
    `x${ID}.key.json`,
    `${OTHER}.${ID}.json`,
    `/${ID}./x`,
  ];
  assert.deepEqual([...of, ...not].map((path) => isOfDevice(path, ID)), [
    ...of.map(() => true),
    ...not.map(() => false),
  ]);
});

test("listOtherKeys() leaves out the keys of an id, wherever they are", async () => {
  using here = ameshPlace("floor");
  const { keys, orphans } = here.layout;
  const id = (await identityOf("floor")).fields.deviceId;
  assert.deepEqual(listOtherKeys(here.layout, id), []);
  const other = addKey(here.layout, "floor-other");
  mkdirSync(orphans, { mode: 0o700 });
  writeAs(join(orphans, `${keyNameOf("floor")}.1`), "", 0o600);
  const orphan = writeAs(join(orphans, `${keyNameOf("floor-other")}.2`), "", 0o600);
  assert.deepEqual(listOtherKeys(here.layout, id), [other, orphan]);
  // A key in a TPM is one, and what a killed command was writing is none.
  const wrapped = writeAs(join(keys, `${ID}.tss2.pem`), "", 0o600);
  writeAs(join(keys, temporaryName(`${ID}.key.json`)), "", 0o600);
  writeAs(join(keys, "notes.txt"), "", 0o600);
  assert.deepEqual(listOtherKeys(here.layout, id), [...[other, wrapped].toSorted(), orphan]);
});

test("listOtherKeys() names a folder that is a link or no folder: it may hold some", async () => {
  using here = ameshPlace("floor");
  const { keys, orphans } = here.layout;
  const id = (await identityOf("floor")).fields.deviceId;
  symlinkSync(keys, orphans);
  assert.deepEqual(listOtherKeys(here.layout, id), [orphans]);
  rmSync(keys, { recursive: true });
  writeAs(keys, "", 0o600);
  assert.deepEqual(listOtherKeys(here.layout, id), [keys, orphans]);
  using nowhere = ameshPlace(null);
  assert.deepEqual(listOtherKeys(nowhere.layout, id), []);
});

test("isOwnFile() is true for a regular file that nobody else can touch", () => {
  using here = ameshPlace("floor");
  assert.equal(isOwnFile(here.layout.identity, 0o600), true);
  assert.equal(isOwnFile(writeAs(here.file("read-only"), "", 0o400), 0o600), true);
  symlinkSync(here.layout.identity, here.file("link"));
  for (const mode of [0o640, 0o604, 0o602]) writeAs(here.file(`${mode}`), "", mode);
  for (const name of ["link", "amesh", "nothing", `${0o640}`, `${0o604}`, `${0o602}`]) {
    assert.equal(isOwnFile(here.file(name), 0o600), false, name);
  }
  using _environment = setEnvironment({ AMESH_ALLOW_GROUP_READ: "1" });
  assert.deepEqual([0o640, 0o604].map((mode) => isOwnFile(here.file(`${mode}`), 0o600)), [true, false]);
});
