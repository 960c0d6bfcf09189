import assert from "node:assert/strict";
import { existsSync, lstatSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { readPassphraseStatus } from "../../../src/identity/passphrase_status.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import {
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const status = ({ layout, warn }: AmeshPlace) => readPassphraseStatus({ layout, warn, input: {} });

test("readPassphraseStatus() tells all but the passphrase, without the lock and without changing anything", async () => {
  using here = ameshPlace("floor");
  const before = here.names();
  using _lock = acquireLock(here.layout.lock);
  const found = await status(here);
  assert.deepEqual(found, {
    identity: await identityOf("floor"),
    protection: { version: "3.0.0", cost: { t: 2, m: 19_456, p: 1 } },
    source: { kind: "default-file", path: here.layout.passphrase },
    strength: { bytes: FLOOR_PASSPHRASE.length, isGenerated: false, bitsAtMost: 88, isWeak: false },
    place: "on the same file system as the key: who reads the one can read the other",
    interrupted: [],
  });
  assert.ok(!JSON.stringify(found).includes(FLOOR_PASSPHRASE));
  assert.deepEqual(here.names(), before);
});

test("readPassphraseStatus() does not look whether the passphrase opens the key", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "x", 0o400);
  assert.equal((await status(here)).strength.bytes, 1);
});

test("readPassphraseStatus() names a source without a file, and no place of it", async () => {
  using here = ameshPlace("floor");
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
  const { source, place, strength } = await status(here);
  assert.deepEqual([source, place, strength.bytes], [{ kind: "environment" }, null, 6]);
});

test("readPassphraseStatus() of an old install reads the field and leaves it there", async () => {
  using here = ameshPlace(null);
  copyFixture("amesh-0.7-floor", here.layout.directory);
  const { source, protection, strength } = await status(here);
  assert.deepEqual([source, protection.version], [{ kind: "legacy-field" }, "2.0.0"]);
  const secret = fixtureIdentity("amesh-0.7-floor")["passphrase"] as string;
  assert.equal(strength.bytes, new TextEncoder().encode(secret).length);
  assert.equal(existsSync(here.layout.passphrase), false);
});

test("readPassphraseStatus() names the files of changes that were interrupted", async () => {
  using here = ameshPlace("floor");
  const named = writeAs(here.file("named"), FLOOR_PASSPHRASE, 0o400);
  const nexts = [`${here.layout.passphrase}.next`, here.file(".named.amesh-next")];
  for (const path of nexts) writeAs(path, "next", 0o400);
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: named });
  const { interrupted, source } = await status(here);
  assert.deepEqual(interrupted, nexts);
  assert.deepEqual(source, { kind: "named-file", path: named });
});

test("readPassphraseStatus() when an interrupted change left the next file only says where the passphrase is", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  const path = writeAs(`${here.layout.passphrase}.next`, `${FLOOR_PASSPHRASE}\n`, 0o400);
  const { source, strength, interrupted } = await status(here);
  assert.deepEqual(source, { kind: "next-file", path, replaces: here.layout.passphrase });
  assert.deepEqual([strength.bytes, interrupted], [FLOOR_PASSPHRASE.length, [path]]);
});

const MEMORY = "/dev/shm";
const [here, memory] = [temporaryDirectory(), existsSync(MEMORY)];
const isOther = memory && lstatSync(MEMORY).dev !== lstatSync(here.path).dev;
here[Symbol.dispose]();
test(
  `readPassphraseStatus() knows a file system in memory, and one on a disk${
    isOther ? "" : ": there is none"
  }`,
  { skip: !isOther },
  async () => {
    using here = ameshPlace("floor");
    const path = writeAs(`${MEMORY}/amesh-unit-${crypto.randomUUID()}`, FLOOR_PASSPHRASE, 0o400);
    try {
      using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: path });
      assert.equal((await status(here)).place, "in memory: gone when the machine restarts");
    } finally {
      rmSync(path);
    }
  },
);

test("readPassphraseStatus() refuses without a passphrase, without an identity, and for a key that has none", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  await assert.rejects(status(here), ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/));
  writeFileSync(
    here.layout.identity,
    JSON.stringify({ ...fixtureIdentity("floor"), storageBackend: "tpm2" }),
  );
  await assert.rejects(status(here), ameshError("ERR_USAGE", /"tpm2" has no passphrase$/));
  rmSync(here.layout.identity);
  await assert.rejects(status(here), ameshError("ERR_NO_IDENTITY"));
});
