import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, encodeBase64, utf8 } from "../../../src/bytes.ts";
import {
  deviceIdOf,
  encodeIdentity,
  type IdentityFields,
  newIdentityFields,
  parseIdentity,
  TIER_NAMES,
} from "../../../src/formats/identity_file.ts";
import { ameshError, onlyAmeshErrors } from "../../support/errors.ts";
import { fixtureIdentity, type FixtureName } from "../../support/fixture.ts";

const valid = fixtureIdentity("floor");
const other = fixtureIdentity("floor-other");
const bytesOf = (value: unknown) => utf8(JSON.stringify(value));
const parse = (value: unknown) => parseIdentity(bytesOf(value), "identity.json");

const publicKey = fc.uint8Array({ minLength: 32, maxLength: 32 })
  .chain((x) => fc.constantFrom(2, 3).map((prefix) => concatBytes(Uint8Array.of(prefix), x)));

test("deviceIdOf() is am_ and 16 characters of base64url of the SHA-256", async () => {
  await fc.assert(fc.asyncProperty(publicKey, async (key) => {
    const digest = createHash("sha256").update(key).digest("base64url");
    assert.equal(await deviceIdOf(key), `am_${digest.slice(0, 16)}`);
  }));
});

test("TIER_NAMES stand in the order in which they are tried", () => {
  assert.deepEqual([...TIER_NAMES], ["secure-enclave", "keychain", "tpm2", "encrypted-file"]);
});

test("newIdentityFields() makes what parseIdentity() reads, with what the tier must remember", async () => {
  const extra = fc.constantFrom({}, { tpm: { srkName: `000b${"5a".repeat(32)}`, parent: "0x81000001" } });
  const when = new Date("2026-03-01T09:00:00.000Z");
  await fc.assert(
    fc.asyncProperty(
      publicKey,
      fc.string(),
      fc.constantFrom(...TIER_NAMES),
      extra,
      async (key, name, tier, more) => {
        const fields = await newIdentityFields(key, name, tier, when, more);
        const identity = await parseIdentity(encodeIdentity(fields), "x");
        assert.deepEqual(identity.publicKey, key);
        assert.deepEqual(identity.fields, { ...fields });
        assert.deepEqual(identity.fields, {
          version: "2.0.0",
          deviceId: await deviceIdOf(key),
          keyAlias: await deviceIdOf(key),
          publicKey: encodeBase64(key),
          friendlyName: name,
          createdAt: "2026-03-01T09:00:00.000Z",
          storageBackend: tier,
          ...more,
        });
      },
    ),
  );
});

test("encodeIdentity() writes indented JSON with a final newline", () => {
  const text = new TextDecoder().decode(encodeIdentity(valid as IdentityFields));
  assert.equal(text, `${JSON.stringify(valid, null, 2)}\n`);
});

for (const name of ["floor", "odd-bytes", "amesh-0.7-floor"] satisfies FixtureName[]) {
  test(`parseIdentity() reads the identity of ${name}`, async () => {
    assert.deepEqual((await parse(fixtureIdentity(name))).fields, fixtureIdentity(name));
  });
}

test("parseIdentity() keeps fields that it does not know, nested ones too", async () => {
  const unknown = { peers: [{ id: 1 }], note: "kept", nested: { a: { b: null } } };
  const { fields } = await parse({ ...valid, ...unknown });
  assert.deepEqual(JSON.parse(new TextDecoder().decode(encodeIdentity(fields))), { ...valid, ...unknown });
});

for (
  const createdAt of ["2026-03-01T09:00:00Z", "2026-03-01T09:00:00.123Z", "2026-03-01T10:00:00.000+01:00"]
) {
  test(`parseIdentity() reads a creation time like ${createdAt}`, async () => {
    assert.equal((await parse({ ...valid, createdAt })).fields.createdAt, createdAt);
  });
}

const NAME = `000b${"5a".repeat(32)}`;
const tpm = { srkName: NAME, parent: "0x40000001", ekName: NAME };

for (
  const record of [
    tpm,
    { srkName: NAME, parent: "0x81000001" },
    { ...tpm, parent: "0x817fffff" },
    { ...tpm, later: { a: [1] } },
  ]
) {
  test(`parseIdentity() reads and keeps tpm ${Object.keys(record)} with parent ${record.parent}`, async () => {
    const { fields } = await parse({ ...valid, tpm: record });
    assert.deepEqual(fields.tpm, record);
    assert.deepEqual(JSON.parse(new TextDecoder().decode(encodeIdentity(fields))), { ...valid, tpm: record });
  });
}

const TAG = `dev.amesh.identity.${"5a".repeat(16)}`;
for (const record of [{ tag: TAG }, { tag: TAG, later: { a: [1] } }]) {
  test(`parseIdentity() reads and keeps keychain ${Object.keys(record)}`, async () => {
    const { fields } = await parse({ ...valid, keychain: record });
    assert.deepEqual(fields.keychain, record);
  });
}

const changed: [name: string, change: Record<string, unknown>, message: RegExp][] = [
  ["another version", { version: "3.0.0" }, /version "3\.0\.0" is not supported$/],
  ["an old version", { version: "1.0.0" }, /version "1\.0\.0" is not supported$/],
  ["a number for the version", { version: 2 }, /field "version"/],
  ["no version", { version: undefined }, /field "version"/],
  ["no device id", { deviceId: undefined }, /field "deviceId"/],
  ["a device id with a path in it", { deviceId: "am_../../../../etc/p" }, /field "deviceId"/],
  ["a device id that is too short", { deviceId: "am_N3kquVV09okB7ul" }, /field "deviceId"/],
  ["a device id with a newline", { deviceId: `${valid["deviceId"]}\n` }, /field "deviceId"/],
  [
    "the device id of another key",
    { deviceId: other["deviceId"] },
    /"deviceId" does not belong to "publicKey"$/,
  ],
  ["the public key of another device", { publicKey: other["publicKey"] }, /does not belong to "publicKey"$/],
  ["no public key", { publicKey: undefined }, /field "publicKey"/],
  ["a public key of 32 bytes", { publicKey: encodeBase64(new Uint8Array(32)) }, /not a P-256 key$/],
  ["a public key of 65 bytes", { publicKey: encodeBase64(new Uint8Array(65)) }, /not a P-256 key$/],
  ["a public key in base64url", { publicKey: `${valid["publicKey"]}`.replace("+", "-") }, /not a P-256 key$/],
  ["a public key with a newline", { publicKey: `${valid["publicKey"]}\n` }, /not a P-256 key$/],
  ["no key alias", { keyAlias: undefined }, /field "keyAlias"/],
  ["no friendly name", { friendlyName: undefined }, /field "friendlyName"/],
  ["a number for the friendly name", { friendlyName: 7 }, /field "friendlyName"/],
  ["no creation time", { createdAt: undefined }, /field "createdAt"/],
  ["a creation time that is none", { createdAt: "yesterday" }, /field "createdAt"/],
  ["no tier", { storageBackend: undefined }, /field "storageBackend"/],
  ["an unknown tier", { storageBackend: "tpm" }, /field "storageBackend"/],
  ["a tier in upper case", { storageBackend: "TPM2" }, /field "storageBackend"/],
  ["a number for the passphrase", { passphrase: 1234 }, /field "passphrase"/],
  ["null for the passphrase", { passphrase: null }, /field "passphrase"/],
  ["null for the TPM's record", { tpm: null }, /field "tpm"/],
  ["a list for the TPM's record", { tpm: [tpm] }, /field "tpm\b/],
  ["a TPM's record without the SRK's name", { tpm: { parent: tpm.parent } }, /field "tpm\.srkName"/],
  ["a TPM's record without a parent", { tpm: { srkName: NAME } }, /field "tpm\.parent"/],
  ["a name of another algorithm", { tpm: { ...tpm, srkName: `000c${NAME.slice(4)}` } }, /"tpm\.srkName"/],
  ["a name that is too short", { tpm: { ...tpm, srkName: NAME.slice(0, -2) } }, /"tpm\.srkName"/],
  ["a name in upper case", { tpm: { ...tpm, srkName: NAME.toUpperCase() } }, /"tpm\.srkName"/],
  ["a name with a newline", { tpm: { ...tpm, srkName: `${NAME}\n` } }, /"tpm\.srkName"/],
  ["an endorsement key's name that is none", { tpm: { ...tpm, ekName: "" } }, /field "tpm\.ekName"/],
  ["null for the endorsement key's name", { tpm: { ...tpm, ekName: null } }, /field "tpm\.ekName"/],
  ["a parent that is a number", { tpm: { ...tpm, parent: 0x40000001 } }, /field "tpm\.parent"/],
  ["a parent of another hierarchy", { tpm: { ...tpm, parent: "0x40000007" } }, /field "tpm\.parent"/],
  ["a parent that no owner can keep", { tpm: { ...tpm, parent: "0x81800000" } }, /field "tpm\.parent"/],
  ["null for the keychain's record", { keychain: null }, /field "keychain"/],
  ["a keychain's record without a tag", { keychain: {} }, /field "keychain\.tag"/],
  ["a tag of another program", { keychain: { tag: "com.example.key" } }, /field "keychain\.tag"/],
  ["a tag of another alias", { keychain: { tag: "dev.amesh.am_legacy" } }, /field "keychain\.tag"/],
  ["a tag in upper case", { keychain: { tag: TAG.toUpperCase() } }, /field "keychain\.tag"/],
  ["a tag that is too short", { keychain: { tag: TAG.slice(0, -1) } }, /field "keychain\.tag"/],
  ["a tag with something before it", { keychain: { tag: `x.${TAG}` } }, /field "keychain\.tag"/],
  ["a tag with a newline", { keychain: { tag: `${TAG}\n` } }, /field "keychain\.tag"/],
  ["a transient parent", { tpm: { ...tpm, parent: "0x80000000" } }, /field "tpm\.parent"/],
];
for (const [name, change, message] of changed) {
  test(`parseIdentity() refuses ${name}`, async () => {
    await assert.rejects(parse({ ...valid, ...change }), ameshError("ERR_CORRUPT", message));
  });
}

test("parseIdentity() refuses a file cut off at every byte", async () => {
  const bytes = encodeIdentity(valid as IdentityFields);
  // Without the final newline it is still whole.
  for (let length = 0; length < bytes.length - 1; length++) {
    await assert.rejects(parseIdentity(bytes.slice(0, length), "x"), ameshError("ERR_CORRUPT"));
  }
});

test("parseIdentity() refuses a version that is shown shortened", async () => {
  const error = await parse({ ...valid, version: "9".repeat(5000) }).catch((thrown: Error) => thrown);
  assert.ok(error instanceof Error && error.message.length < 200);
});

test("parseIdentity() fails with an AmeshError only", async () => {
  const field = fc.constantFrom(...Object.keys(valid), "passphrase", "tpm", "__proto__", "constructor");
  const changes = fc.dictionary(field, fc.jsonValue(), { maxKeys: 3 }).map((change) =>
    bytesOf({ ...valid, ...change })
  );
  const input = fc.oneof(fc.uint8Array(), fc.json().map(utf8), changes);
  await fc.assert(fc.asyncProperty(input, (bytes) => onlyAmeshErrors(() => parseIdentity(bytes, "x"))));
});
