import assert from "node:assert/strict";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { test } from "node:test";
import { AmeshError } from "../../../src/errors.ts";
import {
  findIdentity,
  loadIdentity,
  retireIdentity,
  saveIdentity,
  withIdentity,
} from "../../../src/identity/store.ts";
import { layoutOf } from "../../../src/platform/paths.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

test("findIdentity() gives null and loadIdentity() ERR_NO_IDENTITY without a directory, and without a file in it", async () => {
  using directory = temporaryDirectory();
  const layout = layoutOf(directory.file("amesh"));
  for (const exists of [false, true]) {
    if (exists) mkdirSync(layout.directory, { mode: 0o700 });
    assert.equal(await findIdentity(layout), null);
    await assert.rejects(
      loadIdentity(layout),
      ameshError("ERR_NO_IDENTITY", /cannot find an identity in ".*amesh"$/),
    );
  }
  assert.deepEqual(readdirSync(layout.directory), []);
});

test("findIdentity() and loadIdentity() give the identity that is there", async () => {
  using directory = temporaryDirectory();
  const layout = copyFixture("floor", directory.file("amesh"));
  for (const find of [findIdentity, loadIdentity]) {
    assert.deepEqual((await find(layout))?.fields, fixtureIdentity("floor"));
  }
});

const refused: [
  name: string,
  change: (directory: string) => void,
  code: "ERR_UNSAFE_PERMISSIONS" | "ERR_CORRUPT" | "ERR_SYSTEM",
][] = [
  ["a wide directory", (path) => chmodSync(path, 0o750), "ERR_UNSAFE_PERMISSIONS"],
  ["a wide file", (path) => chmodSync(`${path}/identity.json`, 0o604), "ERR_UNSAFE_PERMISSIONS"],
  ["a link for the file", (path) => {
    rmSync(`${path}/identity.json`);
    symlinkSync("/dev/null", `${path}/identity.json`);
  }, "ERR_UNSAFE_PERMISSIONS"],
  ["a directory for the file", (path) => {
    rmSync(`${path}/identity.json`);
    mkdirSync(`${path}/identity.json`, { mode: 0o700 });
  }, "ERR_CORRUPT"],
  ["an empty file", (path) => writeFileSync(`${path}/identity.json`, ""), "ERR_CORRUPT"],
  [
    "a file of 64 KiB and a byte",
    (path) => writeFileSync(`${path}/identity.json`, " ".repeat(65_537)),
    "ERR_CORRUPT",
  ],
  ["a file for the directory", (path) => {
    rmSync(path, { recursive: true });
    writeFileSync(path, "", { mode: 0o600 });
  }, "ERR_SYSTEM"],
];
for (const [name, change, code] of refused) {
  test(`findIdentity() refuses ${name}`, async () => {
    using directory = temporaryDirectory();
    using _environment = setEnvironment();
    const layout = copyFixture("floor", directory.file("amesh"));
    change(layout.directory);
    await assert.rejects(findIdentity(layout), ameshError(code));
  });
}

test("saveIdentity() writes 0600, refuses a name that is taken, or replaces it", async () => {
  using directory = temporaryDirectory();
  const from = copyFixture("floor", directory.file("from"));
  const { fields } = await loadIdentity(from);
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  assert.equal(saveIdentity(layout, fields, "refuse"), true);
  assert.equal(lstatSync(layout.identity).mode & 0o7777, 0o600);
  assert.equal(readFileSync(layout.identity, "utf8"), readFileSync(from.identity, "utf8"));
  const renamed = { ...fields, friendlyName: "renamed" };
  assert.equal(saveIdentity(layout, renamed, "refuse"), false);
  assert.deepEqual((await loadIdentity(layout)).fields, fields);
  assert.equal(saveIdentity(layout, renamed, "replace"), true);
  assert.deepEqual((await loadIdentity(layout)).fields, renamed);
  assert.deepEqual(readdirSync(layout.directory), ["identity.json"]);
});

test("retireIdentity() renames identity.json to the record of its deletion, over an older one", async () => {
  using directory = temporaryDirectory();
  const layout = copyFixture("floor", directory.file("amesh"));
  writeFileSync(layout.deleted, "older", { mode: 0o600 });
  const text = readFileSync(layout.identity, "utf8");
  retireIdentity(layout);
  assert.equal(await findIdentity(layout), null);
  assert.equal(readFileSync(layout.deleted, "utf8"), text);
  assert.throws(
    () => retireIdentity(layout),
    ameshError("ERR_SYSTEM", /^cannot delete ".*identity\.json": no such file or directory$/),
  );
});

/** Puts the identity of a fixture in the place of the one that is there. */
const putInForce = (path: string, name: "floor" | "floor-other") =>
  writeFileSync(path, JSON.stringify(fixtureIdentity(name)));

test("withIdentity() uses the identity in force, once where nothing is in the way", async () => {
  using directory = temporaryDirectory();
  const layout = copyFixture("floor", directory.file("amesh"));
  const used: string[] = [];
  const given = await withIdentity(layout, ({ fields }) => Promise.resolve(used.push(fields.deviceId)));
  assert.deepEqual([given, used], [1, [fixtureIdentity("floor")["deviceId"]]]);
});

test("withIdentity() that fails because the identity was replaced is done again with the new one", async () => {
  using directory = temporaryDirectory();
  const layout = copyFixture("floor", directory.file("amesh"));
  const names = ["floor-other", "floor", "floor-other"] as const;
  const used: string[] = [];
  await withIdentity(layout, ({ fields }) => {
    const next = names[used.push(fields.deviceId) - 1];
    if (next === undefined) return Promise.resolve();
    putInForce(layout.identity, next);
    return Promise.reject(new AmeshError("ERR_CORRUPT", "its key is missing"));
  });
  assert.deepEqual(used, ["floor", ...names].map((name) => fixtureIdentity(name as "floor")["deviceId"]));
});

/** What ends it, and how often it was done until then. */
const endings: [
  name: string,
  use: (identity: string, count: number) => unknown,
  error: unknown,
  count: number,
][] = [
  ["an error of the identity in force", () => new AmeshError("ERR_CORRUPT", "damaged"), /damaged/, 1],
  [
    "a mistake of the program",
    (identity) => {
      putInForce(identity, "floor-other");
      return new TypeError("mistake");
    },
    TypeError,
    1,
  ],
  [
    "the end of the identity",
    (identity) => {
      rmSync(identity);
      return new AmeshError("ERR_CORRUPT", "damaged");
    },
    ameshError("ERR_NO_IDENTITY"),
    1,
  ],
  [
    "one that is replaced for ever",
    (identity, count) => {
      putInForce(identity, count % 2 === 0 ? "floor" : "floor-other");
      return new AmeshError("ERR_CORRUPT", "damaged");
    },
    /damaged/,
    51,
  ],
];
for (const [name, use, error, count] of endings) {
  test(`withIdentity() ends with ${name}`, async () => {
    using directory = temporaryDirectory();
    const layout = copyFixture("floor", directory.file("amesh"));
    let used = 0;
    const run = () => withIdentity(layout, () => Promise.reject(use(layout.identity, ++used)));
    await assert.rejects(run(), error as RegExp);
    assert.equal(used, count);
  });
}
