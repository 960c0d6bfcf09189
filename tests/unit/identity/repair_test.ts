import assert from "node:assert/strict";
import { chmodSync, existsSync, lstatSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { encodeIdentity } from "../../../src/formats/identity_file.ts";
import { auditDirectory } from "../../../src/identity/audit.ts";
import { recordReplacement } from "../../../src/identity/records.ts";
import { repair } from "../../../src/identity/repair.ts";
import { temporaryName } from "../../../src/platform/files.ts";
import { host } from "../../../src/platform/host.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import {
  addKey,
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  keyNameOf,
  namesIn,
  textOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { watchChanges } from "../../support/host_changes.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const SOUND = [".passphrase", "identity.json", "keys", `keys/${keyNameOf("floor")}`];

/** `doctor --fix`, and what it told before it did anything. */
async function fix({ layout, warn }: AmeshPlace, deleteOrphans = false) {
  const plans: string[] = [];
  const seen: string[][] = [];
  const onPlan = (plan: string) => {
    plans.push(plan);
    seen.push(namesIn(layout.directory));
  };
  return { ...await repair(layout, { deleteOrphans, onPlan, warn }), plans, seen };
}

/** What a killed command left; what `doctor` says of it, what --fix plans, does and leaves. */
const states: [
  name: string,
  make: (here: AmeshPlace) => void,
  problem: RegExp,
  plan: RegExp,
  done: RegExp,
  left: readonly string[],
][] = [
  [
    "a deletion",
    ({ layout }) => {
      rmSync(layout.identity);
      writeAs(layout.deleted, encodeIdentity(FLOOR.fields), 0o600);
    },
    /^is of an unfinished deletion of am_/,
    /^destroy the key of am_.*, which was being deleted$/,
    /^destroyed the key of am_.*, which was being deleted$/,
    [".passphrase", "keys"],
  ],
  [
    "a replacement whose old key is still there",
    ({ layout }) => {
      addKey(layout, "floor-other");
      recordReplacement(layout, OTHER, FLOOR.fields.deviceId);
    },
    /^is of an unfinished replacement/,
    /^destroy the key of am_.*, which am_.* has replaced$/,
    /^destroyed the key of am_.*, which was replaced$/,
    SOUND,
  ],
  [
    "a replacement that did not come into force",
    ({ layout }) => recordReplacement(layout, FLOOR, OTHER.fields.deviceId),
    /did not come into force$/,
    /^remove .*replaced and the continuity statement/,
    /^took back a replacement/,
    SOUND,
  ],
  [
    "a change of the passphrase",
    ({ layout }) => void writeAs(`${layout.passphrase}.next`, "never in force", 0o400),
    /^is of an interrupted change of the passphrase$/,
    /^find out which of /,
    /^removed .*\.passphrase\.next: the key is under/,
    SOUND,
  ],
  [
    "a statement that was being written",
    ({ layout }) => {
      mkdirSync(layout.history, { mode: 0o700 });
      writeAs(join(layout.history, temporaryName("am_x.json")), "", 0o600);
    },
    /^is left over from a command that was killed$/,
    /^remove .*\.tmp$/,
    /^removed .*\.tmp$/,
    [...SOUND, "history"].sort(),
  ],
];
for (const [name, make, problem, plan, done, left] of states) {
  test(`auditDirectory() names ${name}, harmless to others; repair() says what it will do and does it`, async () => {
    using here = ameshPlace("floor");
    make(here);
    const before = here.names();
    const { problems } = await auditDirectory(here.layout);
    assert.equal(problems.length, 1, JSON.stringify(problems));
    assert.match(problems[0]!.problem, problem);
    assert.deepEqual([problems[0]!.code, problems[0]!.remedy], [null, "run: amesh doctor --fix"]);
    assert.deepEqual(here.names(), before);

    const repairs = await fix(here);
    assert.deepEqual([repairs.done.length, repairs.failed, repairs.plans.length], [1, [], 1]);
    assert.match(repairs.plans[0]!, plan);
    assert.match(repairs.done[0]!, done);
    assert.deepEqual(here.names(), left);
    assert.deepEqual((await auditDirectory(here.layout)).problems, []);
    assert.deepEqual((await fix(here)).plans, []);
    assert.deepEqual(here.warnings, []);
  });
}

test("repair() tells every plan of a stage before it does the first", async () => {
  using here = ameshPlace("floor");
  for (const name of ["a", "b"]) writeAs(join(here.layout.directory, temporaryName(name)), "", 0o600);
  const { plans, seen, done } = await fix(here);
  assert.deepEqual([plans.length, done.length], [2, 2]);
  assert.deepEqual(seen[0], seen[1]);
});

test("repair() finds in a later stage what an earlier one has brought to light", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  // A record that nobody trusts until its mode is right, of a key that is then destroyed.
  addKey(layout, "floor-other");
  recordReplacement(layout, OTHER, FLOOR.fields.deviceId);
  for (const path of [layout.replaced, layout.keys, layout.directory]) chmodSync(path, 0o755);
  const { done, failed } = await fix(here);
  assert.deepEqual(failed, []);
  assert.deepEqual(done.map((line) => line.replaceAll(/am_[\w-]{16}|\/\S*\//g, "")), [
    "set mode 0700 on amesh",
    "set mode 0700 on keys",
    "set mode 0600 on .identity.replaced",
    "destroyed the key of , which was replaced",
  ]);
  assert.deepEqual(here.names(), SOUND);
});

test("repair() of an old install opens the key and moves its passphrase out", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("amesh-0.7-floor", here.layout.directory);
  const { problems } = await auditDirectory(layout);
  assert.deepEqual(problems.map(({ problem, code }) => [problem, code]), [
    ["holds a passphrase, as amesh 0.7 left it", null],
  ]);
  const { plans, done } = await fix(here);
  assert.deepEqual(plans, [`open the key and move the passphrase out of ${layout.identity}`]);
  assert.deepEqual(done, [`moved the passphrase out of ${layout.identity}`]);
  assert.equal(textOf(layout.passphrase), `${fixtureIdentity("amesh-0.7-floor")["passphrase"]}\n`);
  assert.deepEqual((await auditDirectory(layout)).problems, []);
  assert.match(here.warnings.join(), /was migrated/);
});

test("repair() of an old install beside a file of another passphrase warns and leaves both alone", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("amesh-0.7-floor", here.layout.directory);
  writeAs(layout.passphrase, "of something else\n", 0o400);
  const { done, failed } = await fix(here);
  assert.deepEqual([done, failed, textOf(layout.passphrase)], [[], [], "of something else\n"]);
  assert.match(here.warnings.join(), /both were left alone/);
});

test("repair() tells what could not be done and does the rest", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  addKey(layout, "floor-other");
  recordReplacement(layout, OTHER, FLOOR.fields.deviceId);
  writeAs(layout.passphrase, "wrong\n", 0o400);
  writeAs(`${layout.passphrase}.next`, "wrong too\n", 0o400);
  const { done, failed } = await fix(here);
  assert.equal(done.length, 1);
  assert.match(done[0]!, /^destroyed the key/);
  assert.equal(failed.length, 1);
  assert.match(failed[0]!, /^could not find out which of .*: neither ".*" nor ".*" opens the key$/);
});

const ORPHAN = keyNameOf("floor-other");
test("repair() moves a key that nothing names to the orphans, and destroys those only when that is asked for", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  const key = addKey(layout, "floor-other");
  const orphan = join(layout.orphans, ORPHAN);
  const moved = await fix(here);
  assert.deepEqual([moved.plans, moved.done], [[`move ${key} to ${layout.orphans}`], [
    `moved ${key} to ${orphan}`,
  ]]);
  assert.deepEqual([existsSync(key), lstatSync(orphan).mode & 0o7777], [false, 0o600]);
  // An orphan is no problem.
  assert.deepEqual((await auditDirectory(layout)).problems, []);
  assert.deepEqual((await fix(here)).done, []);

  const another = addKey(layout, "floor-other");
  const { plans, done, failed } = await fix(here, true);
  assert.deepEqual(failed, []);
  assert.deepEqual(plans, [
    `move ${another} to ${layout.orphans}`,
    `destroy ${orphan}`,
    `destroy ${orphan}.1`,
  ]);
  assert.deepEqual(done.slice(1), [`destroyed ${orphan}`, `destroyed ${orphan}.1`]);
  assert.deepEqual(here.names(), [...SOUND, "orphans"].sort());
  assert.deepEqual((await fix(here, true)).done, []);
});

test("repair() never takes a key for an orphan while identity.json cannot be read", async () => {
  using here = ameshPlace("floor");
  addKey(here.layout, "floor-other");
  writeFileSync(here.layout.identity, "{}");
  assert.deepEqual((await fix(here, true)).done, []);
  assert.equal(namesIn(here.layout.keys).length, 2);
});

test("repair() takes all keys for orphans where there is no identity, and none that is being deleted", async () => {
  using here = ameshPlace("floor");
  addKey(here.layout, "floor-other");
  rmSync(here.layout.identity);
  writeAs(here.layout.deleted, encodeIdentity(FLOOR.fields), 0o600);
  const { done } = await fix(here);
  assert.equal(done.length, 2);
  assert.deepEqual(here.names(), [".passphrase", "keys", "orphans", `orphans/${ORPHAN}`]);
});

test("repair() that is to destroy orphans, where there is no identity, destroys none that it has just moved", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  rmSync(layout.identity);
  const orphan = join(layout.orphans, keyNameOf("floor"));
  assert.deepEqual((await fix(here, true)).done.length, 1);
  assert.ok(existsSync(orphan));
  // Asked for again, it is meant.
  assert.deepEqual((await fix(here, true)).done, [`destroyed ${orphan}`]);
});

test("repair() destroys no orphan while a record or identity.json cannot be read, and says so", async () => {
  for (const path of ["replaced", "identity"] as const) {
    using here = ameshPlace("floor");
    const { layout } = here;
    mkdirSync(layout.orphans, { mode: 0o700 });
    const orphan = writeAs(join(layout.orphans, ORPHAN), "", 0o600);
    writeAs(layout[path], "{}", 0o600);
    const { failed } = await fix(here, true);
    assert.match(failed.join("\n"), /^nothing in orphans\/ was destroyed/);
    assert.ok(existsSync(orphan));
  }
});

test("repair() brings back from the orphans the key that identity.json names, and never destroys it", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  const name = keyNameOf("floor");
  mkdirSync(layout.orphans, { mode: 0o700 });
  renameSync(join(layout.keys, name), join(layout.orphans, `${name}.1`));
  const { problems } = await auditDirectory(layout);
  assert.ok(problems.some(({ problem }) => problem === "is the key that identity.json names"));
  const { done, failed } = await fix(here, true);
  assert.deepEqual([done, failed], [[`moved ${layout.orphans}/${name}.1 to ${layout.keys}/${name}`], []]);
  assert.deepEqual(here.names(), [...SOUND, "orphans"].sort());
  // A second copy is no problem, and nobody's to destroy.
  writeAs(join(layout.orphans, name), "", 0o600);
  assert.deepEqual([(await fix(here, true)).done, (await auditDirectory(layout)).problems], [[], []]);
});

test("auditDirectory() tells which ids are named, and that a next file serves no key where none has a passphrase", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  recordReplacement(layout, OTHER, FLOOR.fields.deviceId);
  assert.deepEqual((await auditDirectory(layout)).named, [FLOOR.fields.deviceId, OTHER.fields.deviceId]);
  writeFileSync(layout.replaced, "{}");
  assert.equal((await auditDirectory(layout)).named, null);
  rmSync(layout.replaced);
  rmSync(layout.identity);
  writeAs(`${layout.passphrase}.next`, "next", 0o400);
  const { named, problems } = await auditDirectory(layout);
  assert.deepEqual(named, []);
  const found = problems.filter(({ path }) => path === `${layout.passphrase}.next`);
  assert.deepEqual(found.map(({ fix, remedy }) => [fix, remedy]), [
    [null, "no key here is under it; remove it when nobody needs it"],
  ]);
});

test("auditDirectory() says nothing of sources that this process has used up", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  assert.equal((await auditDirectory(here.layout)).problems.length, 1);
  assert.deepEqual((await auditDirectory(here.layout, here.warn, true)).problems, []);
});

test("repair() finishes a change beside the file that the operator names, and removes what was left there", async () => {
  using here = ameshPlace("floor");
  const named = writeAs(here.file("named"), "outdated\n", 0o400);
  const next = writeAs(here.file(".named.amesh-next"), `${FLOOR_PASSPHRASE}\n`, 0o400);
  const leftovers = ["named", ".named.amesh-next"].map((name) =>
    writeAs(here.file(temporaryName(name)), "", 0o400)
  );
  const stranger = writeAs(here.file(temporaryName("other")), "", 0o400);
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: named });
  const { done, failed } = await fix(here);
  assert.deepEqual([done.length, failed], [3, []]);
  assert.deepEqual([textOf(named), existsSync(next)], [`${FLOOR_PASSPHRASE}\n`, false]);
  assert.deepEqual([...leftovers, stranger].map((path) => existsSync(path)), [false, false, true]);
});

test("repair() that fails at a step of the system says which", async () => {
  using here = ameshPlace("floor");
  const key = addKey(here.layout, "floor-other");
  using _changes = watchChanges(
    here.layout.directory,
    (change) => change.startsWith("move keys/") ? "before" : null,
  );
  const { done, failed } = await fix(here);
  assert.deepEqual(done, []);
  assert.deepEqual(failed.map((line) => line.split(": ").at(0)), [
    `could not move ${key} to ${here.layout.orphans}`,
  ]);
});

test("repair() does nothing without a directory, takes no lock where nothing is wrong, and is busy while another works", async () => {
  using nowhere = ameshPlace(null);
  assert.deepEqual(await fix(nowhere, true), { done: [], failed: [], plans: [], seen: [] });
  assert.deepEqual(namesIn(nowhere.layout.directory), []);
  using here = ameshPlace("floor");
  await fix(here);
  assert.equal(existsSync(here.layout.lock), false);
  using _lock = acquireLock(here.layout.lock);
  assert.deepEqual((await fix(here)).failed, []);
  await assert.rejects(fix(here, true), ameshError("ERR_BUSY"));
});

/** What others can look into, or its owner cannot write, and the mode that it gets. */
const modes: [name: string, make: (here: AmeshPlace) => string, mode: number][] = [
  ["the history", ({ layout }) => (mkdirSync(layout.history), layout.history), 0o700],
  ["the orphans", ({ layout }) => (mkdirSync(layout.orphans), layout.orphans), 0o700],
  ["a statement", ({ layout }) => {
    mkdirSync(layout.history, { mode: 0o700 });
    return writeAs(join(layout.history, "am_AAAAAAAAAAAAAAAA.am_BBBBBBBBBBBBBBBB.json"), "", 0o644);
  }, 0o600],
  ["an orphan", ({ layout }) => {
    mkdirSync(layout.orphans, { mode: 0o700 });
    return writeAs(join(layout.orphans, `${ORPHAN}.3`), "", 0o644);
  }, 0o600],
  ["the owner of the lock", ({ layout }) => writeAs(`${layout.lock}.owner`, "", 0o644), 0o600],
];
for (const [name, make, mode] of modes) {
  test(`repair() gives ${name} its mode`, async () => {
    using here = ameshPlace("floor");
    const path = make(here);
    if (mode === 0o700) chmodSync(path, 0o755);
    const { done, failed } = await fix(here);
    assert.deepEqual([done.length, failed], [1, []]);
    assert.equal(lstatSync(path).mode & 0o7777, mode);
  });
}

test("repair() trusts a next file when nobody else can have written it, and finishes its change", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  writeAs(layout.passphrase, "outdated\n", 0o400);
  writeAs(`${layout.passphrase}.next`, `${FLOOR_PASSPHRASE}\n`, 0o444);
  const { done } = await fix(here);
  assert.equal(done.length, 2);
  assert.deepEqual([here.names(), textOf(layout.passphrase)], [SOUND, `${FLOOR_PASSPHRASE}\n`]);
  assert.equal(lstatSync(layout.passphrase).mode & 0o7777, 0o400);
});

test("auditDirectory() looks again when the identity is replaced while it looks", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  const { lstat } = host;
  const key = join(layout.keys, keyNameOf("floor"));
  // The key is looked at as a file of ours, and once more when identity.json, which names it, has been read.
  let looks = 0;
  host.lstat = (path) => {
    if (path === key && ++looks === 2) {
      addKey(layout, "floor-other");
      writeAs(layout.identity, JSON.stringify(fixtureIdentity("floor-other")), 0o600);
      rmSync(key);
    }
    return lstat(path);
  };
  try {
    const { identity, problems } = await auditDirectory(layout);
    assert.deepEqual([identity?.fields.deviceId, problems, looks], [OTHER.fields.deviceId, [], 2]);
  } finally {
    host.lstat = lstat;
  }
});
