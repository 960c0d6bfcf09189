import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Bytes, utf8 } from "../../../src/bytes.ts";
import { generateKeyPair, importPrivateKey, sign } from "../../../src/crypto/p256.ts";
import type { AmeshErrorCode } from "../../../src/errors.ts";
import type { ContinuityStatement } from "../../../src/formats/continuity.ts";
import type { Identity } from "../../../src/formats/identity_file.ts";
import { commitIdentity, type NewIdentity, proveKey } from "../../../src/identity/commit.ts";
import { recordReplacement } from "../../../src/identity/records.ts";
import type { HeldKey, NewKey } from "../../../src/keystore/keystore.ts";
import { loadIdentity } from "../../../src/identity/store.ts";
import { addKey, type AmeshPlace, ameshPlace, identityOf, keyNameOf } from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";
import { type Failure, watchChanges } from "../../support/host_changes.ts";

const OLD = await identityOf("floor");
const NEW = await identityOf("floor-other");
const OLD_KEY = `keys/${keyNameOf("floor")}`;
const NEW_KEY = `keys/${keyNameOf("floor-other")}`;
const STATEMENT = `history/${OLD.fields.deviceId}.${NEW.fields.deviceId}.json`;

/** A statement that nobody has signed: putting it in force does not look at it. */
const statement: ContinuityStatement = {
  old: { deviceId: OLD.fields.deviceId, publicKey: OLD.publicKey, backend: "encrypted-file" },
  new: { deviceId: NEW.fields.deviceId, publicKey: NEW.publicKey, backend: "encrypted-file" },
  createdAt: "2026-03-01T09:00:00.000Z",
  oldSignature: new Uint8Array(64) as Bytes,
  newSignature: new Uint8Array(64) as Bytes,
};

/** No agent holds these. */
const HELD: HeldKey = { in: "memory", takeScalar: () => Promise.reject(new Error("nobody holds it")) };

/** The key of `floor-other` as one that was just made in the place of that of `floor`, and whether it was taken back. */
function newKey(here: AmeshPlace, persistSecrets = () => {}): NewKey {
  const path = addKey(here.layout, "floor-other");
  return {
    signer: {
      publicKey: NEW.publicKey,
      sign: () => Promise.reject(new Error("nobody signs here")),
      held: HELD,
      [Symbol.dispose]: () => {},
    },
    identityFields: {},
    persistSecrets,
    discard: () => Promise.resolve(rmSync(path)),
  };
}

async function commit(here: AmeshPlace, change: Partial<NewIdentity> = {}): Promise<Identity> {
  const given = { key: newKey(here), fields: NEW.fields, replaces: OLD, statement, ...change };
  return await commitIdentity(here.context(), given);
}

const BEFORE = [".passphrase", "identity.json", "keys", OLD_KEY];
const AFTER = [".passphrase", "history", STATEMENT, "identity.json", "keys", NEW_KEY];

const steps = [
  "mkdir history",
  "write .identity.replaced",
  `write ${STATEMENT}`,
  "write identity.json",
  `unlink ${OLD_KEY}`,
  "unlink .identity.replaced",
];

test("commitIdentity() records what it replaces, keeps the statement, commits, destroys the old key, forgets", async () => {
  using here = ameshPlace("floor");
  const events: string[] = [];
  using changes = watchChanges(here.layout.directory);
  const key = newKey(here, () => events.push(`secrets after ${changes.made.length} changes`));
  const identity = await commit(here, { key });
  assert.deepEqual(identity, NEW);
  assert.deepEqual(changes.made, steps);
  assert.deepEqual(events, ["secrets after 0 changes"]);
  assert.deepEqual(here.names(), AFTER.toSorted());
  assert.deepEqual(await loadIdentity(here.layout), NEW);
  assert.deepEqual(here.warnings, []);
});

test("commitIdentity() of a first identity writes it, and nothing else but the secrets", async () => {
  using here = ameshPlace("floor");
  rmSync(here.layout.identity);
  using changes = watchChanges(here.layout.directory);
  const { fields } = await commit(here, { replaces: null });
  assert.deepEqual(fields, NEW.fields);
  assert.deepEqual(changes.made, ["mkdir history", `write ${STATEMENT}`, "write identity.json"]);
  assert.ok(existsSync(join(here.layout.directory, OLD_KEY)));
});

test("commitIdentity() without a statement makes no history", async () => {
  using here = ameshPlace("floor");
  const { statement: _none, ...rest } = { key: newKey(here), fields: NEW.fields, replaces: OLD, statement };
  await commitIdentity(here.context(), rest);
  assert.deepEqual(here.names(), [".passphrase", "identity.json", "keys", NEW_KEY]);
});

test("commitIdentity() of a first identity where there is one refuses, and takes the key back", async () => {
  using here = ameshPlace("floor");
  const { statement: _none, ...rest } = { key: newKey(here), fields: NEW.fields, replaces: null, statement };
  await assert.rejects(
    commitIdentity(here.context(), rest),
    ameshError("ERR_IDENTITY_EXISTS", /identity\.json" exists$/),
  );
  assert.deepEqual(here.names(), BEFORE);
});

for (const [index, step] of steps.slice(0, 4).entries()) {
  const how: Failure[] = step === "write identity.json" ? ["before"] : ["before", "after"];
  for (const failure of how) {
    test(`commitIdentity() leaves all as it was when "${step.replace(/am_.*/, "...")}" fails ${failure} it is made`, async () => {
      using here = ameshPlace("floor");
      {
        using _changes = watchChanges(here.layout.directory, (_, at) => at === index ? failure : null);
        await assert.rejects(commit(here), ameshError("ERR_SYSTEM"));
      }
      assert.deepEqual(here.names().filter((name) => name !== "history"), BEFORE);
      assert.deepEqual(await loadIdentity(here.layout), OLD);
    });
  }
}

test("commitIdentity() leaves all as it was when the secrets cannot be made durable", async () => {
  using here = ameshPlace("floor");
  const key = newKey(here, () => {
    throw new Error("no room");
  });
  await assert.rejects(commit(here, { key }), /^Error: no room$/);
  assert.deepEqual(here.names(), BEFORE);
});

test("commitIdentity() that fails does not take back an earlier change, whose record is there", async () => {
  using here = ameshPlace("floor");
  const { layout } = here;
  const earlier = `history/${OLD.fields.deviceId}.am_AAAAAAAAAAAAAAAA.json`;
  recordReplacement(layout, OLD, "am_AAAAAAAAAAAAAAAA");
  mkdirSync(layout.history, { mode: 0o700 });
  writeFileSync(join(layout.directory, earlier), "{}");
  const isRecord = (change: string) => change === "write .identity.replaced" ? "before" : null;
  using _changes = watchChanges(layout.directory, isRecord);
  await assert.rejects(commit(here), ameshError("ERR_SYSTEM"));
  assert.deepEqual(here.names(), [...BEFORE, ".identity.replaced", "history", earlier].sort());
});

test("commitIdentity() keeps the new key when identity.json may name it: it was renamed and could not be synced", async () => {
  using here = ameshPlace("floor");
  {
    using _changes = watchChanges(
      here.layout.directory,
      (change) => change === "write identity.json" ? "after" : null,
    );
    await assert.rejects(
      commit(here),
      ameshError("ERR_SYSTEM", /^the new key may be in force: cannot write ".*identity\.json"/),
    );
  }
  assert.deepEqual(await loadIdentity(here.layout), NEW);
  // The record tells the next command to destroy the old key.
  assert.deepEqual(here.names(), [".identity.replaced", OLD_KEY, ...AFTER].sort());
});

test("commitIdentity() keeps the new key when identity.json cannot be read, which may name it", async () => {
  using here = ameshPlace("floor");
  const key = newKey(here, () => {
    chmodSync(here.layout.identity, 0o644);
    throw new Error("no room");
  });
  await assert.rejects(commit(here, { key }), /no room/);
  assert.ok(here.names().includes(NEW_KEY));
});

/** What is in the way of a step, made of what a file system has; it stays as it is. */
const obstacles: [name: string, make: (here: AmeshPlace) => void, left: readonly string[]][] = [
  [
    "a directory in the place of the record",
    ({ layout }) => mkdirSync(layout.replaced, { mode: 0o700 }),
    [".identity.replaced"],
  ],
  ["a file in the place of the history", ({ layout }) => writeFileSync(layout.history, "mine"), ["history"]],
  [
    "a directory in the place of the statement",
    ({ layout }) => mkdirSync(join(layout.directory, STATEMENT), { recursive: true, mode: 0o700 }),
    ["history", STATEMENT, ".identity.replaced"],
  ],
];
for (const [name, make, left] of obstacles) {
  test(`commitIdentity() before ${name} changes nothing`, async () => {
    using here = ameshPlace("floor");
    make(here);
    const code: AmeshErrorCode[] = ["ERR_SYSTEM", "ERR_UNSAFE_PERMISSIONS"];
    await assert.rejects(commit(here), (error) => {
      assert.ok(code.includes((error as { code: AmeshErrorCode }).code));
      return true;
    });
    const isEmpty = (name: string) => name === "history" && !left.includes(name);
    assert.deepEqual(here.names().filter((name) => !isEmpty(name)), [...BEFORE, ...left].sort());
    assert.deepEqual(await loadIdentity(here.layout), OLD);
  });
}

test("commitIdentity() that cannot destroy the old key warns, and the record stays", async () => {
  using here = ameshPlace("floor");
  const old = join(here.layout.directory, OLD_KEY);
  rmSync(old);
  mkdirSync(old);
  assert.deepEqual(await commit(here), NEW);
  assert.deepEqual(await loadIdentity(here.layout), NEW);
  assert.match(here.warnings.join("\n"), /^the old key was not removed: .*; run: amesh doctor --fix$/);
  const record = JSON.parse(readFileSync(here.layout.replaced, "utf8"));
  assert.deepEqual([record.deviceId, record.replacedBy], [OLD.fields.deviceId, NEW.fields.deviceId]);
});

test("commitIdentity() whose last step fails warns, and the identity is in force", async () => {
  using here = ameshPlace("floor");
  const isLast = (change: string) => change === "unlink .identity.replaced" ? "before" : null;
  using _changes = watchChanges(here.layout.directory, isLast);
  assert.deepEqual(await commit(here), NEW);
  assert.equal(here.warnings.length, 1);
  assert.deepEqual(here.names(), [".identity.replaced", ...AFTER].sort());
});

async function realKey() {
  const { scalar, publicKey } = await generateKeyPair();
  const key = await importPrivateKey(scalar, publicKey);
  return { publicKey, sign: (message: AsyncIterable<Uint8Array>) => sign(key as CryptoKey, message) };
}

const proofs: [name: string, of: "its own" | "another" | "none", message: RegExp | null][] = [
  ["accepts a key whose signature verifies", "its own", null],
  ["refuses a key whose signature is another key's", "another", /^cannot use the new key: .* not verify$/],
  ["passes on why a key does not sign", "none", /^the token was pulled out$/],
];
for (const [name, of, message] of proofs) {
  test(`proveKey() ${name}`, async () => {
    const [key, other] = [await realKey(), await realKey()];
    const signed: Uint8Array[] = [];
    const signer = {
      publicKey: key.publicKey,
      sign: async (message: AsyncIterable<Uint8Array>) => {
        if (of === "none") throw new Error("the token was pulled out");
        const pieces: Uint8Array[] = [];
        for await (const piece of message) pieces.push(piece);
        signed.push(...pieces);
        const again = async function* () {
          yield* pieces;
        };
        return await (of === "its own" ? key : other).sign(again());
      },
      held: HELD,
      [Symbol.dispose]: () => {},
    };
    const proof = proveKey({ signer, identityFields: {}, persistSecrets: () => {}, discard: async () => {} });
    if (message === null) {
      await proof;
      // It can stand for nothing else that amesh signs.
      assert.deepEqual(signed, [utf8("amesh proof of a new key v1\0")]);
    } else await assert.rejects(proof, { message });
  });
}
