import assert from "node:assert/strict";
import { test } from "node:test";
import { createKey, defaultKeychain, deleteKeys, findKeys } from "../../../src/apple/keychain.ts";
import { AppleError, type KeychainCondition } from "../../../src/apple/os_status.ts";
import { currentSession, settleDialogs } from "../../../src/apple/session.ts";
import { securityDoubleMissing, startMac } from "../../support/security_double.ts";

const missing = securityDoubleMissing();
const it = (name: string, run: () => void) =>
  test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, run);

const TAG = "dev.amesh.identity.test";
const DIGEST = new Uint8Array(32);

function is(condition: KeychainCondition, operation: string): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof AppleError, `${error}`);
    assert.deepEqual([error.condition, error.operation], [condition, operation]);
    return true;
  };
}

it("a key is stored with its tag and a label, not extractable, both halves of it", () => {
  using mac = startMac();
  using key = createKey(TAG, "amesh identity");
  assert.equal(key.publicKey?.length, 65);
  const hex = (text: string) => new TextEncoder().encode(text).toHex();
  const [record = ""] = mac.records();
  assert.match(
    record,
    new RegExp(`^tag ${hex(TAG)}\nlabel ${hex("amesh identity")}\nextractable 0\npublic 1\n-----BEGIN`),
  );
});

it("findKeys() gives all that have the tag, the older first, and no others", () => {
  using _mac = startMac();
  const made = [createKey(TAG, "a"), createKey(`${TAG}.longer`, "b"), createKey(TAG, "c")];
  const found = findKeys(TAG);
  assert.deepEqual(found.map((key) => key.publicKey), [made[0]!.publicKey, made[2]!.publicKey]);
  assert.deepEqual(findKeys("dev.amesh.identity"), []);
  for (const key of [...made, ...found]) key[Symbol.dispose]();
});

it("deleteKeys() deletes all that have the tag at once, and none is no error", () => {
  using mac = startMac();
  for (const tag of [TAG, TAG, "another"]) createKey(tag, "a")[Symbol.dispose]();
  assert.equal(deleteKeys(TAG), 1);
  assert.equal(mac.records().length, 1);
  assert.equal(deleteKeys(TAG), 0);
});

it("deleteKeys() does not go on for ever where macOS always says that it has deleted something", () => {
  using _mac = startMac({ AMESH_DOUBLE_SCRIPT: "SecItemDelete=done" });
  assert.throws(() => deleteKeys(TAG), is("malformedAnswer", "SecItemDelete"));
});

it("a digest of another length is refused", () => {
  using _mac = startMac();
  using key = createKey(TAG, "a");
  for (const length of [0, 31, 33]) {
    assert.throws(() => key.sign(new Uint8Array(length)), is("misused", "SecKeyCreateSignature"));
  }
});

const refusals: readonly (readonly [script: string, run: () => unknown, KeychainCondition, string])[] = [
  ["SecKeyCreateRandomKey=-128", () => createKey(TAG, "a"), "cancelled", "SecKeyCreateRandomKey"],
  ["SecKeyCreateRandomKey=null", () => createKey(TAG, "a"), "silent", "SecKeyCreateRandomKey"],
  ["SecItemCopyMatching=-25293", () => findKeys(TAG), "denied", "SecItemCopyMatching"],
  ["SecItemDelete=-25292", () => deleteKeys(TAG), "readOnly", "SecItemDelete"],
  ["SecKeychainCopyDefault=-25307", () => findKeys(TAG), "noKeychain", "SecKeychainCopyDefault"],
  ["SecKeychainCopyDefault=-25308", () => defaultKeychain(), "notAllowed", "SecKeychainCopyDefault"],
  ["SecKeychainGetStatus=-25294", () => defaultKeychain(), "noKeychain", "SecKeychainGetStatus"],
  ["SecKeychainGetPath=-67585", () => defaultKeychain(), "unreachable", "SecKeychainGetPath"],
];
for (const [script, run, condition, operation] of refusals) {
  it(`${script} is "${condition}", and nothing is leaked`, () => {
    using _mac = startMac({ AMESH_DOUBLE_SCRIPT: script });
    assert.throws(run, is(condition, operation));
  });
}

it("a signature that needs a person says whether the keychain is locked", () => {
  for (const [state, condition] of [["locked", "locked"], ["unlocked", "notAllowed"]] as const) {
    using _mac = startMac({ AMESH_DOUBLE_SCRIPT: "SecKeyCreateSignature=-25308" });
    using key = createKey(TAG, "a");
    using _state = startMac({
      AMESH_DOUBLE_KEYCHAIN: state,
      AMESH_DOUBLE_SCRIPT: "SecKeyCreateSignature=-25308",
    });
    assert.throws(() => key.sign(DIGEST), is(condition, "SecKeyCreateSignature"));
  }
});

it("a key of which macOS does not give the public half signs all the same", () => {
  for (const script of ["SecKeyCopyPublicKey=null", "SecKeyCopyExternalRepresentation=-25293"]) {
    using _mac = startMac({ AMESH_DOUBLE_SCRIPT: script });
    using key = createKey(TAG, "a");
    assert.equal(key.publicKey, null);
    assert.equal(key.sign(DIGEST)[0], 0x30);
  }
});

it("defaultKeychain() tells its state", () => {
  const path = "/Users/double/Library/Keychains/login.keychain-db";
  for (const [state, isUnlocked] of [["unlocked", true], ["locked", false], ["read-only", true]] as const) {
    using _mac = startMac({ AMESH_DOUBLE_KEYCHAIN: state });
    assert.deepEqual(defaultKeychain(), { path, isUnlocked });
  }
});

it("currentSession() tells whether there is a screen; of one that macOS does not know there is none", () => {
  const sessions = [["", false, false], ["graphic", true, false], ["graphic remote", true, true]] as const;
  for (const [session, isGraphic, isRemote] of sessions) {
    using _mac = startMac({ AMESH_DOUBLE_SESSION: session });
    assert.deepEqual(currentSession(), { isGraphic, isRemote });
  }
  using _mac = startMac({ AMESH_DOUBLE_SESSION: "graphic", AMESH_DOUBLE_SCRIPT: "SessionGetInfo=-60501" });
  assert.deepEqual(currentSession(), { isGraphic: false, isRemote: false });
  assert.equal(settleDialogs(), false);
});

it("dialogs that cannot be forbidden are not risked", () => {
  using _mac = startMac({ AMESH_DOUBLE_SCRIPT: "SecKeychainSetUserInteractionAllowed=-4" });
  const refused = is("unsupported", "SecKeychainSetUserInteractionAllowed");
  for (const run of [() => createKey(TAG, "a"), () => findKeys(TAG), () => deleteKeys(TAG)]) {
    assert.throws(run, refused);
  }
});

it("a signature that would open a dialog nobody sees fails instead, at once", () => {
  using mac = startMac({ AMESH_DOUBLE_SCRIPT: "SecKeyCreateSignature=dialog" });
  using key = createKey(TAG, "a");
  assert.throws(() => key.sign(DIGEST), is("notAllowed", "SecKeyCreateSignature"));
  assert.deepEqual(mac.dialogs(), []);
});
