import assert from "node:assert/strict";
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { DOUBLE_VARIABLE } from "../../../src/apple/library.ts";
import { createKey } from "../../../src/apple/keychain.ts";
import { utf8 } from "../../../src/bytes.ts";
import { hashMessage } from "../../../src/crypto/p256.ts";
import { AmeshError } from "../../../src/errors.ts";
import { type Identity, newIdentityFields } from "../../../src/formats/identity_file.ts";
import { compressPoint } from "../../../src/formats/public_key.ts";
import { keychainTier } from "../../../src/keystore/keychain.ts";
import { accepts, make, pieces } from "../../contract/keystore_contract.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { ameshError } from "../../support/errors.ts";
import {
  buildSecurityDouble,
  counts,
  type Mac,
  securityDoubleMissing,
  startMac,
} from "../../support/security_double.ts";
import { setEnvironment } from "../../support/environment.ts";

const missing = securityDoubleMissing();
const it = (name: string, run: () => void | Promise<void>) =>
  test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, run);

const MESSAGE = utf8("message");

async function makeOn(mac: Mac): Promise<Identity> {
  const surroundings = { context: mac.context, stored: mac.records, [Symbol.dispose]: () => {} };
  return (await make(keychainTier, surroundings)).identity;
}

/** An identity as amesh 0.7 wrote it, whose keys have the tag of its alias; the last one made is its own. */
async function makeLegacy(keys: number): Promise<Identity> {
  let publicKey = new Uint8Array();
  for (let i = 0; i < keys; i++) {
    using key = createKey("dev.amesh.am_legacy", "amesh");
    publicKey = compressPoint(key.publicKey!);
  }
  const fields = await newIdentityFields(publicKey, "legacy", "keychain", new Date(0), {});
  return { publicKey, fields: { ...fields, keyAlias: "am_legacy" } };
}

it("probe() is honest about a keychain that is locked or missing, and about the stand-in", async () => {
  const states = [
    ["locked", /^cannot use the keychain: it is locked/, /unlock-keychain/],
    ["missing", /there is no login keychain/, /log in at the Mac/],
  ] as const;
  for (const [state, cause, remedy] of states) {
    using _mac = startMac({ AMESH_DOUBLE_KEYCHAIN: state });
    const availability = await keychainTier.probe();
    assert.ok(!availability.available);
    assert.match(availability.cause, cause);
    assert.match(availability.remedy ?? "", remedy);
    assert.match(availability.details?.["Stand-in for macOS"] ?? "", /^\/.*security_double/);
  }
});

test("without macOS every operation but probe() says where such a key is, and probe() that this is not macOS", async () => {
  using _environment = setEnvironment();
  if (process.platform === "darwin") return;
  assert.deepEqual(await keychainTier.probe(), { available: false, cause: "not macOS", remedy: null });
  const context = {} as Parameters<typeof keychainTier.open>[0];
  const identity = {} as Identity;
  const operations = [
    () => keychainTier.generate(context),
    () => keychainTier.open(context, identity, false),
    () => keychainTier.inspect(context, identity),
    () => keychainTier.checkDelete(context, identity),
    () => keychainTier.delete(context, identity),
  ];
  for (const operation of operations) {
    await assert.rejects(
      operation(),
      ameshError("ERR_TIER_UNAVAILABLE", /^cannot use backend "keychain": not macOS$/),
    );
  }
});

it("a stand-in that cannot be loaded is a cause, and no crash", () => {
  const code = ameshError("ERR_TIER_UNAVAILABLE", /^cannot use the keychain: cannot load /);
  using mac = startMac();
  const { stdout, stderr } = runChild(
    evaluation(`
      import { keychainTier } from ${JSON.stringify(projectUrl("src/keystore/keychain.ts"))};
      const opened = await keychainTier.open({}, { fields: { keyAlias: "a" } }).catch(({ name, code, message }) => ({ name, code, message }));
      console.log(JSON.stringify([await keychainTier.probe(), opened]));`),
    { env: { AMESH_TEST_SECURITY_LIB: mac.file("absent.so") } },
  );
  const [probed, error] = JSON.parse(stdout || `["${stderr}"]`);
  assert.equal(probed.available, false);
  assert.match(probed.cause, /^cannot use the keychain: cannot load /);
  code(new AmeshError(error.code, error.message));
});

it("each key has a tag of its own", async () => {
  using mac = startMac();
  const tags = [await makeOn(mac), await makeOn(mac)].map(({ fields }) => fields.keychain?.tag);
  assert.notEqual(tags[0], tags[1]);
  for (const tag of tags) assert.match(tag ?? "", /^dev\.amesh\.identity\.[0-9a-f]{32}$/);
});

it("an agent signs what has been read already, also without the message", async () => {
  using mac = startMac();
  const identity = await makeOn(mac);
  using signer = await keychainTier.open(mac.context(), identity, false);
  const { held } = signer;
  assert.ok(held.in === "hardware");
  const hashed = await hashMessage(pieces(MESSAGE));
  for (const message of [hashed, { ...hashed, bytes: null }]) {
    assert.ok(await accepts(identity.publicKey, await held.signHashed(message), MESSAGE));
  }
  signer[Symbol.dispose]();
  await assert.rejects(async () => await held.signHashed(hashed), TypeError);
});

it("of the keys that amesh 0.7 left with one tag that of the identity signs, and all of them are deleted", async () => {
  using mac = startMac();
  const identity = await makeLegacy(3);
  {
    using signer = await keychainTier.open(mac.context(), identity, false);
    assert.ok(await accepts(identity.publicKey, await signer.sign(pieces(MESSAGE)), MESSAGE));
  }
  await keychainTier.inspect(mac.context(), identity);
  await keychainTier.delete(mac.context(), identity);
  assert.deepEqual(mac.records(), []);
});

it("keys of somebody else with the tag are neither used nor deleted", async () => {
  using mac = startMac();
  const identity = await makeLegacy(1);
  const stranger = await makeLegacy(0);
  const other = {
    ...identity,
    publicKey: (await makeOn(mac)).publicKey,
    fields: { ...stranger.fields, keyAlias: "am_legacy" },
  };
  const corrupt = ameshError("ERR_CORRUPT", /the tag dev\.amesh\.am_legacy has another key/);
  await assert.rejects(keychainTier.open(mac.context(), other, false), corrupt);
  await assert.rejects(keychainTier.inspect(mac.context(), other), corrupt);
  await keychainTier.checkDelete(mac.context(), other);
  await assert.rejects(keychainTier.delete(mac.context(), other), corrupt);
  assert.equal(mac.records().length, 2);
});

it("a key whose public half macOS does not give is known by its signatures: a wrong one gives none", async () => {
  using mac = startMac({ AMESH_DOUBLE_SCRIPT: "SecKeyCopyPublicKey#9=null" });
  const identity = await makeOn(mac);
  const other = { ...identity, publicKey: (await makeOn(mac)).publicKey };
  using _mac = withScript("SecKeyCopyPublicKey=null");
  using signer = await keychainTier.open(mac.context(), identity, false);
  assert.ok(await accepts(identity.publicKey, await signer.sign(pieces(MESSAGE)), MESSAGE));
  using wrong = await keychainTier.open(mac.context(), other, false);
  await assert.rejects(
    wrong.sign(pieces(MESSAGE)),
    ameshError("ERR_TIER_UNAVAILABLE", /its signature does not verify$/),
  );
});

it("a key of amesh 0.7 whose public half macOS does not give is deleted when its signature is right, and only then", async () => {
  using mac = startMac();
  const identity = await makeLegacy(1);
  const other = { ...identity, publicKey: (await makeOn(mac)).publicKey };
  using _script = withScript("SecKeyCopyPublicKey=null");
  await assert.rejects(
    keychainTier.delete(mac.context(), other),
    ameshError("ERR_CORRUPT", /^cannot delete the key: the one with its tag in the keychain is another$/),
  );
  assert.equal(mac.records().length, 2);
  await keychainTier.delete(mac.context(), identity);
  assert.equal(mac.records().length, 1);
});

/** The record of a key that is being made. */
const recordOf = (mac: Mac) => join(mac.context().layout.keys, ".keychain.new");

it("a key that was made when its command was killed goes when the next one is made", async () => {
  using mac = startMac();
  const killed = await keychainTier.generate(mac.context());
  killed.signer[Symbol.dispose]();
  assert.equal(statSync(recordOf(mac)).mode & 0o777, 0o600);
  const next = await keychainTier.generate(mac.context());
  next.signer[Symbol.dispose]();
  assert.equal(mac.records().length, 1);
  next.committed?.();
  assert.equal(existsSync(recordOf(mac)), false);
  next.committed?.();
});

it("a key that was committed when its command was killed stays when the next one is made", async () => {
  using mac = startMac();
  const key = await keychainTier.generate(mac.context());
  key.signer[Symbol.dispose]();
  const { publicKey } = key.signer;
  const fields = await newIdentityFields(publicKey, "a", "keychain", new Date(0), key.identityFields);
  const identity = { publicKey, fields };
  assert.ok(existsSync(recordOf(mac)));
  const next = await keychainTier.generate(mac.context(), identity);
  next.signer[Symbol.dispose]();
  assert.equal(mac.records().length, 2);
  await next.discard();
  assert.equal(existsSync(recordOf(mac)), false);
  await keychainTier.inspect(mac.context(), identity);
});

it("a record that names no key of ours makes nothing go", async () => {
  using mac = startMac();
  const identity = await makeLegacy(1);
  for (const content of ["dev.amesh.am_legacy\n", "", "\n"]) {
    mkdirSync(mac.context().layout.keys, { recursive: true, mode: 0o700 });
    writeFileSync(recordOf(mac), content, { mode: 0o600 });
    const key = await keychainTier.generate(mac.context());
    key.signer[Symbol.dispose]();
    await key.discard();
  }
  await keychainTier.inspect(mac.context(), identity);
});

it("a key that macOS does not delete is deleted when the next one is made", async () => {
  using mac = startMac();
  const key = await keychainTier.generate(mac.context());
  key.signer[Symbol.dispose]();
  {
    using _script = withScript("SecItemDelete=-25292");
    await assert.rejects(key.discard(), ameshError("ERR_TIER_UNAVAILABLE"));
    await assert.rejects(keychainTier.generate(mac.context()), ameshError("ERR_TIER_UNAVAILABLE"));
  }
  const next = await keychainTier.generate(mac.context());
  next.signer[Symbol.dispose]();
  assert.equal(mac.records().length, 1);
});

const CALLS = [
  "SecKeyCreateRandomKey",
  "SecKeyCopyPublicKey",
  "SecKeyCopyExternalRepresentation",
  "SecKeyCreateSignature",
  "SecItemCopyMatching",
  "SecItemDelete",
  "SecKeychainCopyDefault",
  "SecKeychainGetStatus",
  "SecKeychainGetPath",
  "SecKeychainSetUserInteractionAllowed",
  "SessionGetInfo",
];
const FAULTS = ["-128", "-25293", "-25300", "-25307", "-25308", "-34018", "-50", "-67585", "null"];
/** `null` means something to functions that give an object. */
const GIVES_OBJECT = /^SecKey(Create|Copy)/;

for (const call of CALLS) {
  it(`whenever ${call} fails there is a reason, nothing is leaked, and no key is left by half`, async () => {
    for (const fault of FAULTS.filter((fault) => fault !== "null" || GIVES_OBJECT.test(call))) {
      for (const nth of ["", "#1", "#2", "#3"]) {
        using mac = startMac({ AMESH_DOUBLE_SCRIPT: "" });
        const identity = await makeOn(mac);
        const before = mac.records();
        const { live } = counts();
        const where = `${call}${nth}=${fault}`;
        for (const operation of operations(mac, identity)) {
          using _script = withScript(where);
          try {
            await operation();
          } catch (error) {
            assert.ok(error instanceof AmeshError, `${where}: ${error}`);
            assert.ok(error.hint, where);
          }
          assert.equal(counts().live, live, where);
        }
        // Where the deletion itself fails there is no other way to take a new key back.
        if (call !== "SecItemDelete") assert.deepEqual(mac.records(), before, where);
      }
    }
  });
}

/** All that is done with a key; a new one is taken back. */
function operations(mac: Mac, identity: Identity): (() => Promise<unknown>)[] {
  return [
    async () => {
      const key = await keychainTier.generate(mac.context());
      try {
        using signer = key.signer;
        await signer.sign(pieces(MESSAGE));
      } finally {
        await key.discard().catch((error) => {
          // A stand-in that fails at every call cannot delete; the records show what is left.
          if (!(error instanceof AmeshError)) throw error;
        });
      }
    },
    async () => {
      using signer = await keychainTier.open(mac.context(), identity, false);
      await signer.sign(pieces(MESSAGE));
    },
    () => keychainTier.inspect(mac.context(), identity),
    () => keychainTier.checkDelete(mac.context(), identity),
    () => keychainTier.probe(),
  ];
}

/** Lets the stand-in go wrong in another way, for a while. */
function withScript(script: string): Disposable {
  return setEnvironment({
    [DOUBLE_VARIABLE]: buildSecurityDouble(),
    AMESH_DOUBLE_SCRIPT: script,
  });
}
