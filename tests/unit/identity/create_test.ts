import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { verify } from "../../../src/crypto/p256.ts";
import type { AmeshErrorCode } from "../../../src/errors.ts";
import {
  createIdentity,
  type CreateOptions,
  type CreateResult,
  requireName,
} from "../../../src/identity/create.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import { loadIdentity } from "../../../src/identity/store.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import { type Layout, layoutOf } from "../../../src/platform/paths.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture } from "../../support/fixture.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const NOW = new Date("2026-03-01T09:00:00.000Z");

/** `init` with these options: what came of it, and what it told. */
async function create(
  layout: Layout,
  options: Partial<CreateOptions> = {},
): Promise<CreateResult & { told: string[] }> {
  const told: string[] = [];
  const result = await createIdentity({
    layout,
    name: "my server",
    backend: "auto",
    force: false,
    ifMissing: false,
    now: NOW,
    warn: (message) => told.push(`warning: ${message}`),
    onDetected: (detections, selected) => told.push(`${detections.length} tiers, ${selected}`),
    ...options,
  });
  return { ...result, told };
}

/** All files below a directory with their contents. */
function snapshot(directory: string): Record<string, string> {
  if (!existsSync(directory)) return {};
  const names = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile()
  );
  return Object.fromEntries(names.map((entry) => {
    const path = `${entry.parentPath}/${entry.name}`;
    return [path, readFileSync(path, "base64")];
  }));
}

async function signsWith(layout: Layout): Promise<string> {
  using opened = await openIdentity(layout, () => {}, false);
  const message = async function* () {
    yield utf8("message");
  };
  const { publicKey, fields } = opened.identity;
  assert.ok(await verify(publicKey, [await opened.signer.sign(message())], message()));
  return fields.deviceId;
}

const names: [name: string, ok: boolean][] = [
  ["a", true],
  ["my-server 1", true],
  ["x".repeat(64), true],
  ["\u{1f511}".repeat(64), true],
  ["Zürich, 2. OG", true],
  ["", false],
  ["x".repeat(65), false],
  ["\u{1f511}".repeat(65), false],
  ["a\nb", false],
  ["a\tb", false],
  ["\0", false],
  ["\x1b[31m", false],
  ["\x7f", false],
  ["a\u0085b", false],
  ["a\u2028b", false],
];
for (const [name, ok] of names) {
  test(`requireName() ${ok ? "accepts" : "refuses"} ${JSON.stringify(name.slice(0, 20))} of ${[...name].length} characters`, () => {
    if (ok) requireName(name);
    else assert.throws(() => requireName(name), ameshError("ERR_USAGE", /1 to 64 characters/));
  });
}

test("createIdentity() makes an identity that opens and signs, and a passphrase of its own", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = layoutOf(directory.file("amesh"));
  const { identity, created, passphraseSource, told } = await create(layout);
  assert.equal(created, true);
  assert.deepEqual(told, ["4 tiers, encrypted-file"]);
  assert.deepEqual(passphraseSource, { kind: "default-file", path: layout.passphrase });
  const { deviceId, friendlyName, createdAt, storageBackend } = identity.fields;
  assert.deepEqual([friendlyName, createdAt, storageBackend], [
    "my server",
    NOW.toISOString(),
    "encrypted-file",
  ]);
  assert.deepEqual(readdirSync(layout.directory).sort(), [".lock", ".passphrase", "identity.json", "keys"]);
  assert.deepEqual(readdirSync(layout.keys), [`${deviceId}.key.json`]);
  assert.equal(await signsWith(layout), deviceId);

  const before = snapshot(layout.directory);
  await assert.rejects(create(layout), ameshError("ERR_IDENTITY_EXISTS", /identity\.json" exists$/));
  const again = await create(layout, { ifMissing: true, name: "another" });
  assert.deepEqual([again.created, again.identity.fields, again.told], [false, identity.fields, []]);
  assert.deepEqual(snapshot(layout.directory), before);

  const forced = await create(layout, { force: true, name: "new" });
  assert.notEqual(forced.identity.fields.deviceId, deviceId);
  assert.deepEqual(readdirSync(layout.keys), [`${forced.identity.fields.deviceId}.key.json`]);
  assert.equal(snapshot(layout.directory)[layout.passphrase], before[layout.passphrase]);
  assert.equal(await signsWith(layout), forced.identity.fields.deviceId);
});

test("createIdentity() with a passphrase in the environment writes none", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
  const layout = layoutOf(directory.file("amesh"));
  const { identity, passphraseSource } = await create(layout);
  assert.deepEqual(passphraseSource, { kind: "environment" });
  assert.deepEqual(readdirSync(layout.directory).sort(), [".lock", "identity.json", "keys"]);
  for (const content of Object.values(snapshot(layout.directory))) {
    assert.ok(!atob(content).includes("secret"));
  }
  using _again = setEnvironment({ AUTH_MESH_PASSPHRASE: "secret" });
  assert.equal(await signsWith(layout), identity.fields.deviceId);
});

test("createIdentity() by force over an old install moves its passphrase to the file and removes its key", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = copyFixture("amesh-0.7-floor", directory.file("amesh"));
  const old = await loadIdentity(layout);
  const { identity } = await create(layout, { force: true });
  assert.equal(readFileSync(layout.passphrase, "utf8"), `${old.fields.passphrase}\n`);
  assert.equal((await loadIdentity(layout)).fields.passphrase, undefined);
  assert.deepEqual(readdirSync(layout.keys), [`${identity.fields.deviceId}.key.json`]);
});

const refusals: [
  name: string,
  prepare: (layout: Layout) => void,
  options: Partial<CreateOptions>,
  code: AmeshErrorCode,
][] = [
  ["a name that is no name", () => {}, { name: "" }, "ERR_USAGE"],
  ["a tier that is not there", () => {}, { backend: "tpm2" }, "ERR_TIER_UNAVAILABLE"],
  [
    "a tier that is not there, by force",
    () => {},
    { backend: "secure-enclave", force: true },
    "ERR_TIER_UNAVAILABLE",
  ],
  [
    "a passphrase file that is empty",
    ({ directory, passphrase }) => {
      mkdirSync(directory, { mode: 0o700 });
      writeFileSync(passphrase, "", { mode: 0o400 });
    },
    {},
    "ERR_UNLOCK_FAILED",
  ],
  [
    "a wide directory",
    ({ directory }) => {
      mkdirSync(directory);
      chmodSync(directory, 0o755);
    },
    {},
    "ERR_UNSAFE_PERMISSIONS",
  ],
  [
    "an identity that cannot be read, by force",
    ({ directory, identity }) => {
      mkdirSync(directory, { mode: 0o700 });
      writeFileSync(identity, "{}", { mode: 0o600 });
    },
    { force: true },
    "ERR_CORRUPT",
  ],
  [
    "an existing identity",
    (layout) => void copyFixture("floor", layout.directory),
    {},
    "ERR_IDENTITY_EXISTS",
  ],
];
for (const [name, prepare, options, code] of refusals) {
  test(`createIdentity() refuses ${name} and leaves everything as it was`, async () => {
    using directory = temporaryDirectory();
    using _environment = setEnvironment();
    const layout = layoutOf(directory.file("amesh"));
    prepare(layout);
    const before = snapshot(layout.directory);
    await assert.rejects(create(layout, options), ameshError(code));
    const after = snapshot(layout.directory);
    delete after[layout.lock];
    assert.deepEqual(after, before);
  });
}

test("createIdentity() that cannot write the passphrase takes the new key back", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment({ AMESH_PASSPHRASE_FILE: directory.file("missing/passphrase") });
  const layout = layoutOf(directory.file("amesh"));
  await assert.rejects(
    create(layout),
    ameshError("ERR_SYSTEM", /missing\/passphrase.*: no such file or directory$/),
  );
  assert.deepEqual(Object.keys(snapshot(layout.directory)), [layout.lock]);
});

test("createIdentity() of a tier that is not there does not even make the directory", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = layoutOf(directory.file("amesh"));
  await assert.rejects(create(layout, { backend: "keychain" }), ameshError("ERR_TIER_UNAVAILABLE"));
  assert.equal(existsSync(layout.directory), false);
});

test("createIdentity() is busy while another one works, and says that there is an identity when there is", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  {
    using _lock = acquireLock(layout.lock);
    await assert.rejects(create(layout), ameshError("ERR_BUSY"));
    await assert.rejects(create(layout, { ifMissing: true }), ameshError("ERR_BUSY"));
  }
  copyFixture("floor", directory.file("other"));
  const other = layoutOf(directory.file("other"));
  using _lock = acquireLock(other.lock);
  await assert.rejects(create(other, { force: true }), ameshError("ERR_BUSY"));
  await assert.rejects(create(other), ameshError("ERR_IDENTITY_EXISTS"));
});

test("createIdentity() in one process several times at once lets one win", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = layoutOf(directory.file("amesh"));
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => create(layout)));
  const winners = results.filter(({ status }) => status === "fulfilled");
  assert.equal(winners.length, 1);
  for (const result of results) {
    if (result.status === "rejected") assert.match(result.reason.code, /^ERR_(BUSY|IDENTITY_EXISTS)$/);
  }
  assert.equal(readdirSync(layout.keys).length, 1);
  await signsWith(layout);
});
