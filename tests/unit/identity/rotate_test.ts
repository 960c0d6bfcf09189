import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { encodeContinuity } from "../../../src/formats/continuity.ts";
import type { Identity } from "../../../src/formats/identity_file.ts";
import { parseKeyFile } from "../../../src/formats/key_file.ts";
import { isValidStatement, verifyChain } from "../../../src/identity/continuity.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import { recordReplacement } from "../../../src/identity/records.ts";
import { rotateIdentity, type RotateOptions, type Rotation } from "../../../src/identity/rotate.ts";
import { loadIdentity } from "../../../src/identity/store.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import type { Layout } from "../../../src/platform/paths.ts";
import {
  addKey,
  type AmeshPlace,
  ameshPlace,
  FLOOR_PASSPHRASE,
  identityOf,
  keyNameOf,
  textOf,
  writeAs,
} from "../../support/amesh_place.ts";
import { isValidByWebCrypto, statementMessage } from "../../support/continuity.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { watchChanges } from "../../support/host_changes.ts";

const NOW = new Date("2026-07-01T12:00:00.000Z");
const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const FLOOR_KEY = `keys/${keyNameOf("floor")}`;
const BEFORE = [".passphrase", "identity.json", "keys", FLOOR_KEY];

async function rotate({ layout, warn }: AmeshPlace, options: Partial<RotateOptions> = {}): Promise<Rotation> {
  return await rotateIdentity({ layout, backend: undefined, now: NOW, input: {}, warn, ...options });
}

/** The device id of the key that opens and signs. */
async function signsWith(layout: Layout): Promise<string> {
  using opened = await openIdentity(layout, () => {}, false);
  const message = utf8("message");
  const pieces = async function* () {
    yield message;
  };
  const { publicKey, fields } = opened.identity;
  assert.ok(await isValidByWebCrypto(publicKey, await opened.signer.sign(pieces()), message));
  return fields.deviceId;
}

test("rotateIdentity() makes a key, a statement of both and nothing else; name and unknown fields stay", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  const old = { ...fixtureIdentity("floor"), note: { kept: true } };
  // What the key of another tier is bound to says nothing of the new one.
  const tpm = { srkName: `000b${"a".repeat(64)}`, parent: "0x40000001" };
  writeAs(layout.identity, JSON.stringify({ ...old, tpm }), 0o600);
  const { identity, replaced, statement, statementFile, passphraseSource } = await rotate(here);

  const { deviceId } = identity.fields;
  assert.notEqual(deviceId, FLOOR.fields.deviceId);
  assert.deepEqual(replaced.publicKey, FLOOR.publicKey);
  assert.deepEqual(identity.fields, {
    ...old,
    deviceId,
    keyAlias: deviceId,
    publicKey: identity.publicKey.toBase64(),
    createdAt: NOW.toISOString(),
  });
  assert.deepEqual((await loadIdentity(layout)).publicKey, identity.publicKey);
  assert.equal(await signsWith(layout), deviceId);
  assert.deepEqual(passphraseSource, { kind: "default-file", path: layout.passphrase });

  const name = `history/${FLOOR.fields.deviceId}.${deviceId}.json`;
  assert.equal(statementFile, join(layout.directory, name));
  assert.deepEqual(here.names(), [
    ".passphrase",
    "history",
    name,
    "identity.json",
    "keys",
    `keys/${deviceId}.key.json`,
  ]);
  assert.deepEqual(readFileSync(statementFile), Buffer.from(encodeContinuity(statement)));
  assert.equal(lstatSync(statementFile).mode & 0o7777, 0o600);
  assert.equal(textOf(layout.passphrase), `${FLOOR_PASSPHRASE}\n`);
  assert.deepEqual(here.warnings, []);
});

test("rotateIdentity() gives a statement that WebCrypto verifies for each key in its own role alone", async () => {
  using here = ameshPlace("floor");
  const { identity, statement } = await rotate(here);
  const party = ({ publicKey, fields }: Identity) => ({
    deviceId: fields.deviceId,
    publicKey,
    backend: "encrypted-file",
  });
  const { old, new: next, createdAt, oldSignature, newSignature } = statement;
  assert.deepEqual([old, next, createdAt], [party(FLOOR), party(identity), NOW.toISOString()]);
  const signed = { old: oldSignature, new: newSignature };
  for (const role of ["old", "new"] as const) {
    for (const by of ["old", "new"] as const) {
      for (const whose of ["old", "new"] as const) {
        const valid = await isValidByWebCrypto(
          statement[by].publicKey,
          signed[whose],
          statementMessage(role, statement),
        );
        assert.equal(valid, role === by && by === whose, `${by} key, signature of ${whose}, as ${role}`);
      }
    }
  }
  assert.ok(await isValidStatement(statement));
});

test("rotateIdentity() twice leaves a chain from the first key to the last, and one key", async () => {
  using here = ameshPlace("floor");
  const [first, second] = [await rotate(here), await rotate(here)];
  assert.deepEqual(second.replaced, first.identity);
  const chain = await verifyChain([second.statement, first.statement], FLOOR.publicKey);
  assert.deepEqual(chain.at(-1)?.new.publicKey, second.identity.publicKey);
  assert.equal(here.names().filter((name) => name.startsWith("keys/")).length, 1);
  assert.equal(here.names().filter((name) => name.startsWith("history/")).length, 2);
});

/** In place of the ids that are not known before: what happens to which file. */
const general = (changes: readonly string[]) =>
  changes.map((change) => change.replace(FLOOR.fields.deviceId, "OLD").replace(/am_[\w-]{16}/, "NEW"));

test("rotateIdentity() stores the new key first and destroys the old one after identity.json has its name", async () => {
  using here = ameshPlace("floor");
  using changes = watchChanges(here.layout.directory);
  await rotate(here);
  assert.deepEqual(general(changes.made), [
    "mkdir keys",
    "write keys/NEW.key.json",
    "mkdir history",
    "write .identity.replaced",
    "write history/OLD.NEW.json",
    "write identity.json",
    "unlink keys/OLD.key.json",
    "unlink .identity.replaced",
  ]);
});

for (
  const step of [
    "write keys/",
    "write .identity.replaced",
    "mkdir history",
    "write history/",
    "write identity",
  ]
) {
  test(`rotateIdentity() in which "${step}" fails leaves the old key in force and nothing of the new one`, async () => {
    using here = ameshPlace("floor");
    {
      using _changes = watchChanges(
        here.layout.directory,
        (change) => change.startsWith(step) ? "before" : null,
      );
      await assert.rejects(rotate(here), ameshError("ERR_SYSTEM", /input\/output error$/));
    }
    assert.deepEqual(here.names().filter((name) => name !== "history"), BEFORE);
    assert.equal(await signsWith(here.layout), FLOOR.fields.deviceId);
  });
}

test("rotateIdentity() whose old key cannot be opened takes the new one back", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "another one\n", 0o400);
  await assert.rejects(rotate(here), ameshError("ERR_UNLOCK_FAILED", /^cannot unlock the key/));
  assert.deepEqual(here.names(), BEFORE);
  rmSync(join(here.layout.directory, FLOOR_KEY));
  await assert.rejects(rotate(here), ameshError("ERR_CORRUPT", /is missing$/));
  assert.deepEqual(here.names(), BEFORE.filter((name) => name !== FLOOR_KEY));
});

test("rotateIdentity() settles what is unfinished first", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  addKey(layout, "floor-other");
  recordReplacement(layout, OTHER, FLOOR.fields.deviceId);
  writeAs(layout.passphrase, "the former one\n", 0o400);
  writeAs(`${layout.passphrase}.next`, `${FLOOR_PASSPHRASE}\n`, 0o400);
  const { identity } = await rotate(here);
  assert.equal(textOf(layout.passphrase), `${FLOOR_PASSPHRASE}\n`);
  assert.deepEqual(here.names().filter((name) => name.startsWith("keys/") || name.startsWith(".")), [
    ".passphrase",
    `keys/${identity.fields.deviceId}.key.json`,
  ]);
});

test("rotateIdentity() of an old install moves its passphrase to the file, and records it nowhere else", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("amesh-0.7-floor", here.layout.directory);
  const secret = fixtureIdentity("amesh-0.7-floor")["passphrase"] as string;
  const isRecord = (change: string) => change === "unlink .identity.replaced" ? "before" : null;
  using _changes = watchChanges(layout.directory, isRecord);
  const { identity } = await rotate(here);
  assert.equal(textOf(layout.passphrase), `${secret}\n`);
  assert.equal(identity.fields.passphrase, undefined);
  for (const path of [layout.identity, layout.replaced]) assert.ok(!textOf(path)!.includes(secret));
});

test("rotateIdentity() does not lower the cost that was chosen for the old key", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("four-lanes", here.layout.directory);
  const { identity } = await rotate(here);
  const file = readFileSync(join(layout.keys, `${identity.fields.deviceId}.key.json`));
  assert.deepEqual(parseKeyFile(file, "x").argon2Params, { t: 3, m: 65_536, p: 4 });
});

test("rotateIdentity() asks a person once, before the lock is taken, and puts the new key under the same", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  let asked = 0;
  const ask = () => {
    asked++;
    using _free = acquireLock(here.layout.lock);
    return Promise.resolve(utf8(FLOOR_PASSPHRASE));
  };
  const { passphraseSource } = await rotate(here, { input: { ask } });
  assert.deepEqual([asked, passphraseSource], [1, { kind: "terminal" }]);
  assert.ok(!here.names().includes(".passphrase"));
  writeAs(here.layout.passphrase, FLOOR_PASSPHRASE, 0o400);
  await signsWith(here.layout);
});

test("rotateIdentity() with a passphrase in the environment, which can be read once, opens one key and seals another", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE });
  assert.deepEqual((await rotate(here)).passphraseSource, { kind: "environment" });
  assert.ok(!here.names().includes(".passphrase"));
});

test("rotateIdentity() without any passphrase makes nothing, not even the lock", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  const refused = ameshError("ERR_UNLOCK_FAILED", /there is no passphrase$/);
  await assert.rejects(rotate(here, { input: { ask: () => Promise.resolve(null) } }), refused);
  assert.equal(existsSync(here.layout.lock), false);
});

test("rotateIdentity() refuses an identity that another has replaced while it asked", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  const ask = () => {
    writeFileSync(here.layout.identity, JSON.stringify(fixtureIdentity("floor-other")));
    addKey(here.layout, "floor-other");
    return Promise.resolve(utf8(FLOOR_PASSPHRASE));
  };
  await assert.rejects(
    rotate(here, { input: { ask } }),
    ameshError("ERR_BUSY", /meanwhile: nothing was changed$/),
  );
  assert.deepEqual((await loadIdentity(here.layout)).fields.deviceId, OTHER.fields.deviceId);
  assert.equal(here.names().filter((name) => name.startsWith("keys/")).length, 2);
});

test("rotateIdentity() refuses without an identity, with a tier that is not there, and while another works", async () => {
  using nowhere = ameshPlace(null);
  await assert.rejects(rotate(nowhere), ameshError("ERR_NO_IDENTITY"));
  assert.deepEqual(nowhere.names(), []);
  using here = ameshPlace("floor");
  for (const backend of ["tpm2", "keychain", "secure-enclave"] as const) {
    await assert.rejects(rotate(here, { backend }), ameshError("ERR_TIER_UNAVAILABLE"));
  }
  const inTpm = { ...fixtureIdentity("floor"), storageBackend: "tpm2" };
  writeFileSync(here.layout.identity, JSON.stringify(inTpm));
  // Without a name for another tier it stays in the one in which it is.
  await assert.rejects(rotate(here), ameshError("ERR_TIER_UNAVAILABLE", /backend "tpm2"/));
  assert.deepEqual(here.names(), BEFORE);
  using again = ameshPlace("floor");
  using _lock = acquireLock(again.layout.lock);
  await assert.rejects(rotate(again), ameshError("ERR_BUSY"));
  assert.deepEqual(again.names(), BEFORE);
});

test("rotateIdentity() from a tier that has gone takes the new key back, and asks nobody for its passphrase", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.passphrase);
  mkdirSync(here.layout.history, { mode: 0o700 });
  writeFileSync(
    here.layout.identity,
    JSON.stringify({ ...fixtureIdentity("floor"), storageBackend: "keychain" }),
  );
  const ask = () => Promise.reject(new Error("asked"));
  await assert.rejects(
    rotate(here, { backend: "encrypted-file", input: { ask } }),
    ameshError("ERR_TIER_UNAVAILABLE", /"keychain"/),
  );
  assert.deepEqual(here.names(), ["history", "identity.json", "keys", FLOOR_KEY]);
});
