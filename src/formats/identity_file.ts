/**
 * `identity.json`: who this machine is and which tier holds its key (docs/file-formats.md).
 *
 * The shape is the one that amesh 0.7 wrote; fields that this version does not know are kept.
 */
import * as v from "valibot";
import { type Bytes, decodeBase64, encodeBase64, encodeBase64Url, utf8 } from "../bytes.ts";
import { COMPRESSED_POINT_BYTES, isPoint } from "./public_key.ts";
import { corrupt, parseJsonObject, requireSchema } from "./json_document.ts";

/** The version that is read and written. */
export const IDENTITY_VERSION = "2.0.0";
/** Above this a file is no identity, in bytes. */
export const MAX_IDENTITY_BYTES = 65_536;

/** How deep fields of others may be nested: deep ones grow without bounds when they are written with indentation. */
const MAX_DEPTH = 64;

/** Exact names of the tiers, in the order in which they are tried. */
export const TIER_NAMES = ["secure-enclave", "keychain", "tpm2", "encrypted-file"] as const;
/** One of them. */
export type TierName = typeof TIER_NAMES[number];

/** Form of a device id. */
export const DEVICE_ID = /^am_[A-Za-z0-9_-]{16}$/;

/** Application tag of a key that amesh made in the login keychain: 128 random bits in hex. */
const KEYCHAIN_TAG = /^dev\.amesh\.identity\.[0-9a-f]{32}$/;

/** Name of a TPM object with SHA-256 in hex (TPM 2.0 Part 1 §16): the algorithm and the digest. */
const TPM_NAME = v.pipe(v.string(), v.regex(/^000b[0-9a-f]{64}$/));

/** Whether amesh has given this tag to a key. */
export function isKeychainTag(tag: string): boolean {
  return KEYCHAIN_TAG.test(tag);
}

const IDENTITY = v.looseObject({
  version: v.literal(IDENTITY_VERSION),
  deviceId: v.pipe(v.string(), v.regex(DEVICE_ID)),
  keyAlias: v.string(),
  publicKey: v.string(),
  friendlyName: v.string(),
  createdAt: v.pipe(v.string(), v.isoTimestamp()),
  storageBackend: v.picklist(TIER_NAMES),
  /** Written by old versions only; see `identity/legacy.ts`. */
  passphrase: v.optional(v.string()),
  /** What a key of the tpm2 tier is bound to; keys of amesh 0.7 have none. */
  tpm: v.optional(v.looseObject({
    srkName: TPM_NAME,
    /** Handle of the SRK as `0x` and eight hex digits; 0x40000001 for one that is made anew for each use. */
    parent: v.pipe(v.string(), v.regex(/^0x(40000001|81[0-7][0-9a-f]{5})$/)),
    /** Name of the endorsement key, which tells this TPM from others. */
    ekName: v.optional(TPM_NAME),
  })),
  /** Where a key of the keychain tier is; keys of amesh 0.7 have none, their tag follows from the alias. */
  keychain: v.optional(v.looseObject({ tag: v.pipe(v.string(), v.regex(KEYCHAIN_TAG)) })),
});

/** The fields of `identity.json`, known and unknown. */
export type IdentityFields = v.InferOutput<typeof IDENTITY>;

/** An identity whose device id has been checked against its public key. */
export interface Identity {
  readonly fields: IdentityFields;
  /** Compressed point, 33 bytes. */
  readonly publicKey: Bytes;
}

/** `am_` and the first 16 characters of base64url(SHA-256(compressed point)). */
export async function deviceIdOf(publicKey: Bytes): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", publicKey));
  return `am_${encodeBase64Url(digest).slice(0, 16)}`;
}

/**
 * The file's bytes: JSON with two spaces and a final newline; without spaces where fields of others would make it longer
 * than what is read.
 *
 * @throws {AmeshError} `ERR_CORRUPT`: it would be too long all the same.
 */
export function encodeIdentity(fields: IdentityFields): Bytes {
  for (const indentation of [2, 0]) {
    const bytes = utf8(`${JSON.stringify(fields, null, indentation)}\n`);
    if (bytes.length <= MAX_IDENTITY_BYTES) return bytes;
  }
  throw corrupt("identity.json", `it would be larger than ${MAX_IDENTITY_BYTES} bytes`);
}

/** Whether nothing in a JSON value is nested deeper than that. */
function isFlat(value: unknown, depth = MAX_DEPTH): boolean {
  if (typeof value !== "object" || value === null) return true;
  return depth > 0 && Object.values(value).every((inner) => isFlat(inner, depth - 1));
}

/** The fields of a new identity. @param extra what the tier must remember. */
export async function newIdentityFields(
  publicKey: Bytes,
  friendlyName: string,
  storageBackend: TierName,
  createdAt: Date,
  extra: Readonly<Record<string, unknown>>,
): Promise<IdentityFields> {
  const deviceId = await deviceIdOf(publicKey);
  return {
    version: IDENTITY_VERSION,
    deviceId,
    keyAlias: deviceId,
    publicKey: encodeBase64(publicKey),
    friendlyName,
    createdAt: createdAt.toISOString(),
    storageBackend,
    ...extra,
  };
}

/**
 * @param name path of the file, for messages.
 * @throws {AmeshError} `ERR_CORRUPT`: not JSON, another version, a missing field, a device id of another key.
 */
export async function parseIdentity(bytes: Uint8Array, name: string): Promise<Identity> {
  const { value } = parseJsonObject(bytes, name);
  if (typeof value["version"] === "string" && value["version"] !== IDENTITY_VERSION) {
    throw corrupt(name, `version ${JSON.stringify(value["version"].slice(0, 32))} is not supported`);
  }
  requireSchema(IDENTITY, value, name);
  if (!isFlat(value)) throw corrupt(name, `it is nested deeper than ${MAX_DEPTH} levels`);
  // The checked value itself: the schema's copy leaves out fields that have the name of an object's own.
  const fields = value as IdentityFields;
  const publicKey = decodeBase64(fields.publicKey);
  if (publicKey?.length !== COMPRESSED_POINT_BYTES || !isPoint(publicKey)) {
    throw corrupt(name, 'field "publicKey" is not a P-256 key');
  }
  if (await deviceIdOf(publicKey) !== fields.deviceId) {
    throw corrupt(name, 'field "deviceId" does not belong to "publicKey"');
  }
  return { fields, publicKey };
}
