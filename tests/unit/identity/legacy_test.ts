import assert from "node:assert/strict";
import { existsSync, lstatSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { hasLegacyPassphrase, migrateUnderLock } from "../../../src/identity/legacy.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import { loadIdentity } from "../../../src/identity/store.ts";
import { type PassphraseInput, Passphrases } from "../../../src/passphrase/passphrases.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import type { Layout } from "../../../src/platform/paths.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const PASSPHRASE = fixtureIdentity("amesh-0.7-floor")["passphrase"] as string;

/** Opens the identity; what it warned of. */
async function openOnce(layout: Layout): Promise<string[]> {
  const warnings: string[] = [];
  using _opened = await openIdentity(layout, (warning) => warnings.push(warning), false);
  return warnings;
}

const field = async (layout: Layout) => (await loadIdentity(layout)).fields.passphrase;
const fileOf = (layout: Layout) =>
  existsSync(layout.passphrase) ? readFileSync(layout.passphrase, "utf8") : null;

/** An install of amesh 0.7, with a field that this version does not know. */
function oldInstall(path: string): Layout {
  const layout = copyFixture("amesh-0.7-floor", path);
  const fields = { ...fixtureIdentity("amesh-0.7-floor"), note: { kept: true } };
  writeFileSync(layout.identity, JSON.stringify(fields));
  return layout;
}

test("migrateLegacyPassphrase() moves the field to its file, warns once and keeps all other fields", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  assert.equal(hasLegacyPassphrase(await loadIdentity(layout)), true);
  const warnings = await openOnce(layout);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /migrated/);
  assert.ok(!warnings[0]?.includes(PASSPHRASE));
  assert.equal(fileOf(layout), `${PASSPHRASE}\n`);
  assert.equal(lstatSync(layout.passphrase).mode & 0o7777, 0o400);
  const { passphrase: _gone, ...rest } = fixtureIdentity("amesh-0.7-floor");
  assert.deepEqual((await loadIdentity(layout)).fields, { ...rest, note: { kept: true } });
  assert.equal(lstatSync(layout.identity).mode & 0o7777, 0o600);
  assert.deepEqual(await openOnce(layout), []);
});

test("migrateLegacyPassphrase() just removes the field when another source opened the key", async () => {
  using directory = temporaryDirectory();
  const layout = oldInstall(directory.file("amesh"));
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: PASSPHRASE });
  const warnings = await openOnce(layout);
  assert.match(warnings.join(), /migrated.*AUTH_MESH_PASSPHRASE/);
  assert.equal(await field(layout), undefined);
  assert.equal(fileOf(layout), null);
});

test("migrateLegacyPassphrase() never writes where the operator points", async () => {
  using directory = temporaryDirectory();
  const layout = oldInstall(directory.file("amesh"));
  writeFileSync(directory.file("named"), PASSPHRASE, { mode: 0o400 });
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: directory.file("named") });
  await openOnce(layout);
  assert.equal(await field(layout), undefined);
  assert.equal(fileOf(layout), null);
  assert.equal(readFileSync(directory.file("named"), "utf8"), PASSPHRASE);
});

test("migrateLegacyPassphrase() finishes what a crash left between its two steps", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  writeFileSync(layout.passphrase, `${PASSPHRASE}\n`, { mode: 0o400 });
  assert.match((await openOnce(layout)).join(), /migrated/);
  assert.equal(await field(layout), undefined);
  assert.equal(fileOf(layout), `${PASSPHRASE}\n`);
});

test("migrateLegacyPassphrase() leaves both alone when another .passphrase does not open the key", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  writeFileSync(layout.passphrase, "of something else\n", { mode: 0o400 });
  for (let run = 0; run < 2; run++) {
    const warnings = await openOnce(layout);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /does not open the key.*both were left alone/);
    assert.equal(await field(layout), PASSPHRASE);
    assert.equal(fileOf(layout), "of something else\n");
  }
});

test("migrateLegacyPassphrase() that cannot take the lock warns, and the key is open all the same", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  using _lock = acquireLock(layout.lock);
  const warnings = await openOnce(layout);
  assert.match(warnings.join(), /could not be migrated.*another amesh is changing it/);
  assert.equal(await field(layout), PASSPHRASE);
  assert.equal(fileOf(layout), null);
});

for (const ending of ["\r", "\n", "\r\n"]) {
  test(`migrateLegacyPassphrase() of a field that ends in ${JSON.stringify(ending)} leaves a key that opens`, async () => {
    using directory = temporaryDirectory();
    using _environment = setEnvironment();
    const layout = copyFixture("amesh-0.7-floor", directory.file("amesh"));
    // A 2.0.0 file opens with the trimmed form too, and that one is kept.
    const fields = { ...fixtureIdentity("amesh-0.7-floor"), passphrase: `${PASSPHRASE}${ending}` };
    writeFileSync(layout.identity, JSON.stringify(fields));
    assert.match((await openOnce(layout)).join(), /migrated/);
    assert.deepEqual(await openOnce(layout), []);
  });
}

test("hasLegacyPassphrase() is false for what this version writes, and an empty field is removed", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = copyFixture("floor", directory.file("amesh"));
  assert.equal(hasLegacyPassphrase(await loadIdentity(layout)), false);
  writeFileSync(layout.identity, JSON.stringify({ ...fixtureIdentity("floor"), passphrase: "" }));
  await openOnce(layout);
  assert.equal(await field(layout), undefined);
});

/** `migrateUnderLock()` of the identity that is there, and what it warned of. */
async function migrate(layout: Layout, input: PassphraseInput = {}) {
  const warnings: string[] = [];
  using passphrases = new Passphrases(layout, undefined, (warning) => warnings.push(warning), input);
  const migrated = await migrateUnderLock(await loadIdentity(layout), passphrases);
  const sources = [...passphrases.candidates()].map(({ source }) => source);
  return { migrated, warnings, sources };
}

test("migrateUnderLock() moves the field while the caller holds the lock, and goes on with the file", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  using _lock = acquireLock(layout.lock);
  const { migrated, warnings, sources } = await migrate(layout);
  assert.equal(migrated.fields.passphrase, undefined);
  assert.deepEqual(migrated, await loadIdentity(layout));
  assert.deepEqual([fileOf(layout), sources], [`${PASSPHRASE}\n`, [{
    kind: "default-file",
    path: layout.passphrase,
  }]]);
  assert.match(
    warnings.join("\n"),
    /^the passphrase in identity\.json was migrated: it now comes from file /,
  );
  const again = await migrate(layout);
  assert.deepEqual([again.migrated, again.warnings], [migrated, []]);
});

test("migrateUnderLock() opens the key first: a wrong passphrase moves nothing", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  writeFileSync(
    layout.identity,
    JSON.stringify({ ...fixtureIdentity("amesh-0.7-floor"), passphrase: "wrong" }),
  );
  await assert.rejects(migrate(layout), ameshError("ERR_UNLOCK_FAILED"));
  assert.deepEqual([await field(layout), fileOf(layout)], ["wrong", null]);
});

test("migrateUnderLock() beside a file of another passphrase gives back the identity with its field", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  writeFileSync(layout.passphrase, "of something else\n", { mode: 0o400 });
  const { migrated, warnings } = await migrate(layout);
  assert.deepEqual([migrated.fields.passphrase, fileOf(layout)], [PASSPHRASE, "of something else\n"]);
  assert.match(warnings.join("\n"), /both were left alone$/);
});

test("migrateUnderLock() with a passphrase for this command only leaves the field, which later ones need", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = oldInstall(directory.file("amesh"));
  writeFileSync(directory.file("passed"), PASSPHRASE);
  using descriptor = openDescriptor(directory.file("passed"));
  const { migrated, warnings } = await migrate(layout, { descriptor: descriptor.fd });
  assert.deepEqual([migrated.fields.passphrase, fileOf(layout), warnings], [PASSPHRASE, null, []]);
});
