/** The JSON files: identities, key files of both versions, continuity statements. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type Bytes, encodeBase64, encodeHex, equalBytes, utf8 } from "../../src/bytes.ts";
import { AmeshError } from "../../src/errors.ts";
import {
  continuityMessage,
  type ContinuityStatement,
  encodeContinuity,
  MAX_CONTINUITY_BYTES,
  parseContinuity,
} from "../../src/formats/continuity.ts";
import {
  encodeIdentity,
  type Identity,
  MAX_IDENTITY_BYTES,
  parseIdentity,
  TIER_NAMES,
} from "../../src/formats/identity_file.ts";
import {
  associatedData,
  encodeKeyFile,
  type EncryptedKey,
  MAX_KEY_FILE_BYTES,
  parseKeyFile,
} from "../../src/formats/key_file.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { type FreshValues, jsonMutator } from "./json_mutators.ts";
import type { Random } from "./random.ts";
import { makeTarget, readSeeds, type Target } from "./target.ts";

const NAME = "file.json";

const quotedBytes = (length: number) => (random: Random) => `"${encodeBase64(random.bytes(length))}"`;
const oneOf = (...texts: readonly string[]) => (random: Random) => JSON.stringify(random.pick(texts));
const numberBetween = (first: number, last: number) => (random: Random) => `${random.between(first, last)}`;
const times = oneOf(
  "2026-03-01T09:00:00.000Z",
  "1970-01-01T00:00:00.000Z",
  "9999-12-31T23:59:59.999Z",
  "2026-02-31T09:00:00.000Z",
  "2026-03-01T09:00:00Z",
  "2026-03-01T24:00:00.000Z",
);
const names = oneOf("laptop", "", "\0\u001b[2J", "\ud800", "é", "a".repeat(64), "a".repeat(5000));
const tpmName = (random: Random) => `"000b${encodeHex(random.bytes(32))}"`;

const idOf = (key: Uint8Array) => `am_${createHash("sha256").update(key).digest("base64url").slice(0, 16)}`;

/** A key has the form of a compressed point, and the id is its own. */
function assertKey(deviceId: string, publicKey: Bytes): void {
  assert.ok(publicKey.length === 33 && (publicKey[0] === 2 || publicKey[0] === 3), "no compressed point");
  assert.equal(deviceId, idOf(publicKey));
}

/** Gives fields of a key and its device id other values that belong together. */
function withNewKeys(pairs: readonly (readonly [id: string, key: string])[], then: Mutator): Mutator {
  return (random, input, corpus) => {
    let fields: Record<string, unknown>;
    try {
      fields = JSON.parse(new TextDecoder().decode(input));
    } catch {
      return input;
    }
    for (const [id, key] of pairs) {
      const publicKey = random.bytes(33);
      // Rarely the first byte of no compressed point.
      if (!random.oneIn(16)) publicKey[0] = 2 + (publicKey[0]! & 1);
      fields[key] = encodeBase64(publicKey);
      fields[id] = idOf(publicKey);
    }
    return then(random, utf8(JSON.stringify(fields, null, 2)), corpus);
  };
}

/** A file of which every part has one spelling says the same bytes again, but for white space and the order. */
function assertSameSpelling(input: Bytes, encoded: Bytes): void {
  const sorted = (bytes: Bytes) =>
    [...new TextDecoder().decode(bytes).replaceAll(/[ \t\r\n]/g, "")].sort().join("");
  assert.equal(sorted(input), sorted(encoded), "not canonical");
}

/** The file that a change would write; `null` where amesh refuses to. */
function encodedIdentity({ fields }: Identity): Bytes | null {
  try {
    return encodeIdentity(fields);
  } catch (error) {
    if (error instanceof AmeshError) return null;
    throw error;
  }
}

const identityFresh: FreshValues = {
  friendlyName: names,
  createdAt: times,
  storageBackend: oneOf(...TIER_NAMES, "tpm"),
  keyAlias: names,
  passphrase: names,
  srkName: tpmName,
  ekName: tpmName,
  parent: oneOf("0x40000001", "0x81000001", "0x817fffff", "0x81800000", "0x80000000"),
};

const identity = makeTarget<Identity>({
  name: "identity",
  seeds: readSeeds("identity"),
  mutators: [
    jsonMutator(identityFresh),
    withNewKeys([["deviceId", "publicKey"]], jsonMutator(identityFresh)),
  ],
  limit: MAX_IDENTITY_BYTES,
  codes: ["ERR_CORRUPT"],
  parse: (input) => parseIdentity(input, NAME),
  check: async (parsed, input) => {
    const names = Object.keys(JSON.parse(new TextDecoder().decode(input)));
    assert.deepEqual(Object.keys(parsed.fields), names, "a field was lost");
    assertKey(parsed.fields.deviceId, parsed.publicKey);
    const encoded = encodedIdentity(parsed);
    if (encoded === null || input.length > MAX_IDENTITY_BYTES) return;
    assert.ok(encoded.length <= MAX_IDENTITY_BYTES, "what is written back is too long to be read");
    const again = await parseIdentity(encoded, NAME);
    assert.deepEqual(again.publicKey, parsed.publicKey);
    // As bytes, because a comparison of values does not go as deep as a file can.
    assert.ok(
      equalBytes(encodeIdentity(again.fields), encoded),
      "another identity after writing and reading",
    );
  },
});

const keyFresh: FreshValues = {
  salt: quotedBytes(16),
  nonce: quotedBytes(12),
  ciphertext: quotedBytes(48),
  publicKey: quotedBytes(33),
  t: numberBetween(1, 17),
  m: numberBetween(19_000, 1_100_000),
  p: numberBetween(0, 5),
  argon2Params: (random) => {
    const [t, m, p] = [random.pick([2, 4, 5, 15, 16]), random.pick([19_456, 262_144, 262_145, 1_048_576]), 1];
    return JSON.stringify(random.oneIn(2) ? { t, m, p } : { p, t, m });
  },
};

function keyFile(version: "2.0.0" | "3.0.0"): Target {
  return makeTarget<EncryptedKey>({
    name: `key-file-${version}`,
    seeds: readSeeds(`key-file-${version}`),
    mutators: [jsonMutator(keyFresh)],
    limit: MAX_KEY_FILE_BYTES,
    codes: ["ERR_CORRUPT"],
    parse: (input) => parseKeyFile(input, NAME),
    check: (key, input) => {
      const encoded = encodeKeyFile(key);
      assert.deepEqual(parseKeyFile(encoded, NAME), key);
      if (key.version === "3.0.0") assertSameSpelling(input, encoded);
      const { argon2Params: { t, m, p }, salt, nonce, ciphertext, publicKey } = key;
      assert.ok(t >= 2 && t <= 16 && m >= 19_456 && m <= 1_048_576 && p >= 1 && p <= 4 && t * m <= 4_194_304);
      assert.deepEqual([salt, nonce, ciphertext, publicKey].map(({ length }) => length), [16, 12, 48, 33]);
      const data = associatedData(key);
      assert.equal(data.length, key.version === "2.0.0" ? 0 : 140);
      // Each of these has a place of its own in the associated data.
      for (const part of [salt, nonce, publicKey]) {
        assert.ok(key.version === "2.0.0" || encodeHex(data).includes(encodeHex(part)));
      }
    },
  });
}

const continuityFresh: FreshValues = {
  oldBackend: oneOf(...TIER_NAMES),
  newBackend: oneOf(...TIER_NAMES),
  createdAt: times,
  oldSignature: quotedBytes(64),
  newSignature: quotedBytes(64),
};
const BOTH_KEYS = [["oldDeviceId", "oldPublicKey"], ["newDeviceId", "newPublicKey"]] as const;

const continuity = makeTarget<ContinuityStatement>({
  name: "continuity",
  seeds: readSeeds("continuity"),
  mutators: [jsonMutator(continuityFresh), withNewKeys(BOTH_KEYS, jsonMutator(continuityFresh))],
  limit: MAX_CONTINUITY_BYTES,
  codes: ["ERR_CORRUPT"],
  parse: (input) => parseContinuity(input, NAME),
  check: async (statement, input) => {
    const encoded = encodeContinuity(statement);
    assert.deepEqual(await parseContinuity(encoded, NAME), statement);
    assertSameSpelling(input, encoded);
    assert.notEqual(statement.old.deviceId, statement.new.deviceId);
    for (const { deviceId, publicKey } of [statement.old, statement.new]) assertKey(deviceId, publicKey);
    assert.match(statement.createdAt, /^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{3}Z$/);
    // Texts of unlike length cannot change places in the message, and the roles stay apart.
    const [old, next] = (["old", "new"] as const).map((role) =>
      encodeHex(continuityMessage(role, statement))
    );
    assert.equal(old!.replace("000000036f6c64", "000000036e6577"), next);
    assert.notEqual(old, next);
  },
});

/** Targets whose inputs are JSON. */
export const JSON_TARGETS: readonly Target[] = [identity, keyFile("2.0.0"), keyFile("3.0.0"), continuity];
