import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { auditDirectory, type Problem } from "../../../src/identity/audit.ts";
import { repair as repairAll } from "../../../src/identity/repair.ts";
import { temporaryName } from "../../../src/platform/files.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import { type Layout, layoutOf } from "../../../src/platform/paths.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

/** Repairs without destroying orphans; nothing is shown. */
const repair = (layout: Layout) =>
  repairAll(layout, { deleteOrphans: false, onPlan: () => {}, warn: () => {} });

const modeOf = (path: string) => lstatSync(path).mode & 0o7777;
const keyName = `${fixtureIdentity("floor")["deviceId"]}.key.json`;

/** A sound copy of a fixture. */
function place() {
  const directory = temporaryDirectory();
  const environment = setEnvironment();
  const layout = copyFixture("floor", directory.file("amesh"));
  return {
    layout,
    file: directory.file,
    key: join(layout.keys, keyName),
    [Symbol.dispose]: () => {
      environment[Symbol.dispose]();
      directory[Symbol.dispose]();
    },
  };
}
type Place = ReturnType<typeof place>;

test("auditDirectory() finds nothing wrong where nothing is, and makes nothing", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = layoutOf(directory.file("amesh"));
  assert.deepEqual(await auditDirectory(layout), { identity: null, named: [], problems: [] });
  assert.equal(existsSync(layout.directory), false);
});

test("auditDirectory() finds nothing wrong with a sound directory", async () => {
  using here = place();
  const { identity, problems } = await auditDirectory(here.layout);
  assert.deepEqual(identity?.fields, fixtureIdentity("floor"));
  assert.deepEqual(problems, []);
});

/** Each makes one thing wrong: its path, what is said, the code of the error that commands end with, what --fix does. */
const wrongs: [
  name: string,
  make: (here: Place) => string,
  problem: RegExp,
  code: Problem["code"],
  fixed: ((path: string) => void) | null,
][] = [
  [
    "a wide directory",
    ({ layout }) => (chmodSync(layout.directory, 0o755), layout.directory),
    /every user.*0755/,
    "ERR_UNSAFE_PERMISSIONS",
    (path) => assert.equal(modeOf(path), 0o700),
  ],
  [
    "a wide folder of keys",
    ({ layout }) => (chmodSync(layout.keys, 0o750), layout.keys),
    /its group.*0750/,
    "ERR_UNSAFE_PERMISSIONS",
    (path) => assert.equal(modeOf(path), 0o700),
  ],
  [
    "a wide key",
    ({ key }) => (chmodSync(key, 0o644), key),
    /every user.*0644/,
    "ERR_UNSAFE_PERMISSIONS",
    (path) => assert.equal(modeOf(path), 0o600),
  ],
  [
    "a wide identity.json",
    ({ layout }) => (chmodSync(layout.identity, 0o640), layout.identity),
    /its group/,
    "ERR_UNSAFE_PERMISSIONS",
    (path) => assert.equal(modeOf(path), 0o600),
  ],
  [
    "a wide passphrase",
    ({ layout }) => (chmodSync(layout.passphrase, 0o444), layout.passphrase),
    /every user/,
    "ERR_UNSAFE_PERMISSIONS",
    (path) => assert.equal(modeOf(path), 0o400),
  ],
  [
    "a writable passphrase",
    ({ layout }) => (chmodSync(layout.passphrase, 0o600), layout.passphrase),
    /0600 instead of 0400/,
    null,
    (path) => assert.equal(modeOf(path), 0o400),
  ],
  [
    "a key that its owner cannot write",
    ({ key }) => (chmodSync(key, 0o400), key),
    /0400 instead of 0600/,
    null,
    (path) => assert.equal(modeOf(path), 0o600),
  ],
  [
    "a wide lock",
    ({ layout }) => {
      writeFileSync(layout.lock, "");
      chmodSync(layout.lock, 0o666);
      return layout.lock;
    },
    /every user/,
    "ERR_UNSAFE_PERMISSIONS",
    (path) => assert.equal(modeOf(path), 0o600),
  ],
  [
    "a temporary file of a killed command",
    ({ layout }) => {
      const path = join(layout.directory, temporaryName("identity.json"));
      writeFileSync(path, "", { mode: 0o600 });
      return path;
    },
    /left over/,
    null,
    (path) => assert.equal(existsSync(path), false),
  ],
  [
    "a temporary key",
    ({ layout }) => {
      const path = join(layout.keys, temporaryName(keyName));
      writeFileSync(path, "", { mode: 0o600 });
      return path;
    },
    /left over/,
    null,
    (path) => assert.equal(existsSync(path), false),
  ],
  [
    "a link for the passphrase",
    ({ layout, file }) => {
      rmSync(layout.passphrase);
      writeFileSync(file("real"), "the lowest cost\n");
      chmodSync(file("real"), 0o644);
      symlinkSync(file("real"), layout.passphrase);
      return layout.passphrase;
    },
    /symbolic link/,
    "ERR_UNSAFE_PERMISSIONS",
    null,
  ],
  [
    "a directory for the key",
    ({ key }) => {
      rmSync(key);
      mkdirSync(key, { mode: 0o700 });
      return key;
    },
    /./,
    "ERR_CORRUPT",
    null,
  ],
  [
    "an identity.json that cannot be read",
    ({ layout }) => (writeFileSync(layout.identity, "{}"), layout.identity),
    /version/,
    "ERR_CORRUPT",
    null,
  ],
  [
    "a key that nobody names",
    ({ layout }) => {
      const path = join(layout.keys, "am_AAAAAAAAAAAAAAAA.key.json");
      writeFileSync(path, "{}", { mode: 0o600 });
      return path;
    },
    /does not name/,
    null,
    (path) => {
      assert.equal(existsSync(path), false);
      const orphan = join(dirname(dirname(path)), "orphans", basename(path));
      assert.equal(modeOf(orphan), 0o600);
      assert.equal(modeOf(dirname(orphan)), 0o700);
    },
  ],
];
for (const [name, make, problem, code, fixed] of wrongs) {
  test(`auditDirectory() names ${name}; repair() ${fixed === null ? "leaves it to a person" : "puts it right"}`, async () => {
    using here = place();
    const path = make(here);
    const before = existsSync(path) ? modeOf(path) : null;
    const found = (await auditDirectory(here.layout)).problems.filter((one) => one.path === path);
    assert.equal(found.length, 1, JSON.stringify(found));
    assert.match(found[0]?.problem ?? "", problem);
    assert.equal(found[0]?.code, code);
    assert.ok((found[0]?.remedy ?? "").length > 0);
    assert.equal(found[0]?.fix === null, fixed === null);

    const { done, failed } = await repair(here.layout);
    assert.deepEqual(failed, []);
    assert.equal(done.length, fixed === null ? 0 : 1, done.join());
    if (fixed === null) assert.equal(modeOf(path), before);
    else {
      assert.ok(done[0]?.includes(path));
      fixed(path);
      assert.deepEqual((await auditDirectory(here.layout)).problems, []);
    }
  });
}

test("auditDirectory() says that a key is missing, and that there is no passphrase", async () => {
  using here = place();
  rmSync(here.key);
  rmSync(here.layout.passphrase);
  const { identity, problems } = await auditDirectory(here.layout);
  assert.notEqual(identity, null);
  assert.deepEqual(problems.map(({ code }) => code).sort(), ["ERR_CORRUPT", "ERR_UNLOCK_FAILED"]);
  assert.deepEqual(await repair(here.layout), { done: [], failed: [] });
});

test("auditDirectory() says that a named passphrase file is not there", async () => {
  using here = place();
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: here.file("missing") });
  const { problems } = await auditDirectory(here.layout);
  assert.deepEqual(problems.map(({ code }) => code), ["ERR_UNLOCK_FAILED"]);
  assert.match(problems[0]?.problem ?? "", /no such file/);
});

test("repair() puts several things right at once, also below a directory that was wide", async () => {
  using here = place();
  const { layout, key } = here;
  for (const path of [layout.directory, layout.keys, layout.identity, key, layout.passphrase]) {
    chmodSync(path, 0o777);
  }
  const { done, failed } = await repair(layout);
  assert.deepEqual([done.length, failed], [5, []]);
  assert.deepEqual((await auditDirectory(layout)).problems, []);
});

test("repair() touches nothing that amesh did not make", async () => {
  using here = place();
  const { layout, file } = here;
  const notOurs = ["notes.txt", ".identity.json.tmp", ".x.0123456789ABCDEF.tmp", "x.0123456789abcdef.tmp"];
  for (const name of notOurs) {
    writeFileSync(join(layout.directory, name), "");
    chmodSync(join(layout.directory, name), 0o644);
  }
  symlinkSync(file("amesh"), join(layout.directory, temporaryName("link")));
  mkdirSync(join(layout.directory, temporaryName("folder")));
  const before = readdirSync(layout.directory).sort();
  const { done } = await repair(layout);
  assert.deepEqual(done, []);
  // Nothing was to be done, so not even the lock was made.
  assert.deepEqual(readdirSync(layout.directory).sort(), before);
  for (const name of notOurs) assert.equal(modeOf(join(layout.directory, name)), 0o644);
});

test("repair() does not chmod what a link points to", async () => {
  using here = place();
  const { layout, file } = here;
  writeFileSync(file("target"), "x");
  chmodSync(file("target"), 0o666);
  rmSync(layout.passphrase);
  symlinkSync(file("target"), layout.passphrase);
  await repair(layout);
  assert.equal(modeOf(file("target")), 0o666);
});

test("repair() is busy while another amesh changes the directory", async () => {
  using here = place();
  chmodSync(here.key, 0o644);
  using _lock = acquireLock(here.layout.lock);
  await assert.rejects(repair(here.layout), ameshError("ERR_BUSY"));
  assert.equal(modeOf(here.key), 0o644);
});

const isRoot = process.geteuid?.() === 0;
test(
  `auditDirectory() names another user's file, which repair() does not take${
    isRoot ? "" : ": only root can make one"
  }`,
  { skip: !isRoot },
  async () => {
    using here = place();
    execFileSync("chown", ["12345", here.key]);
    const { problems } = await auditDirectory(here.layout);
    const owned = problems.filter(({ path, problem }) =>
      path === here.key && /belongs to user 12345/.test(problem)
    );
    assert.equal(owned.length, 1);
    assert.deepEqual(await repair(here.layout), { done: [], failed: [] });
    assert.equal(lstatSync(here.key).uid, 12345);
  },
);

test("auditDirectory() and repair() bear a file where the directory should be", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout: Layout = layoutOf(directory.file("amesh"));
  writeFileSync(layout.directory, "", { mode: 0o600 });
  const { identity, problems } = await auditDirectory(layout);
  assert.equal(identity, null);
  assert.ok(problems.some(({ path }) => path === layout.directory), JSON.stringify(problems));
  assert.deepEqual((await repair(layout)).done, []);
});
