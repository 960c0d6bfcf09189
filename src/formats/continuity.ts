/**
 * Continuity statements: a document by which an old key and a new key each say that the one follows the other
 * (docs/file-formats.md). JSON of one object with exactly these fields, each a string.
 */
import * as v from "valibot";
import { type Bytes, concatBytes, encodeBase64, u32be, utf8 } from "../bytes.ts";
import { RAW_SIGNATURE_BYTES } from "./ecdsa_signature.ts";
import { DEVICE_ID, deviceIdOf, TIER_NAMES, type TierName } from "./identity_file.ts";
import { base64Bytes, corrupt, parseJsonObject, requireSchema } from "./json_document.ts";
import { COMPRESSED_POINT_BYTES, isPoint } from "./public_key.ts";

/** The version that is read and written. */
const CONTINUITY_VERSION = "1.0.0";
/** What is signed begins with this; no other message of amesh does. */
const LABEL = "amesh continuity v1\0";
/** Above this a file is no statement, in bytes. */
export const MAX_CONTINUITY_BYTES = 8192;

/** Who signs: the key that is replaced, or the one that replaces it. */
export type ContinuityRole = "old" | "new";

/** One of the two keys. */
export interface ContinuityParty {
  /** `am_` and 16 characters; follows from the key. */
  readonly deviceId: string;
  /** Compressed point, 33 bytes. */
  readonly publicKey: Bytes;
  readonly backend: TierName;
}

/** What both keys say. */
export interface Continuity {
  readonly old: ContinuityParty;
  readonly new: ContinuityParty;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
}

/** What both keys have said. */
export interface ContinuityStatement extends Continuity {
  /** Raw `r || s`, 64 bytes, by the old key over {@linkcode continuityMessage} of `old`. */
  readonly oldSignature: Bytes;
  /** The same by the new key, of `new`. */
  readonly newSignature: Bytes;
}

/**
 * What one of the keys signs: `amesh continuity v1\0`, then role (`old` or `new`), old device id, old public key
 * (33 bytes), old backend, new device id, new public key, new backend and time, each preceded by its length in bytes
 * as u32be. Texts are ASCII. The role keeps one signature from standing for the other.
 */
export function continuityMessage(role: ContinuityRole, { old, new: next, createdAt }: Continuity): Bytes {
  const parts = [
    utf8(role),
    ...[old, next].flatMap(({ deviceId, publicKey, backend }) => [utf8(deviceId), publicKey, utf8(backend)]),
    utf8(createdAt),
  ];
  return concatBytes(utf8(LABEL), ...parts.flatMap((part) => [u32be(part.length), part]));
}

const deviceId = v.pipe(v.string(), v.regex(DEVICE_ID));
const point = v.pipe(base64Bytes(COMPRESSED_POINT_BYTES), v.check((bytes: Bytes) => isPoint(bytes)));

const STATEMENT = v.strictObject({
  version: v.literal(CONTINUITY_VERSION),
  oldDeviceId: deviceId,
  oldPublicKey: point,
  oldBackend: v.picklist(TIER_NAMES),
  newDeviceId: deviceId,
  newPublicKey: point,
  newBackend: v.picklist(TIER_NAMES),
  createdAt: v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/), v.isoTimestamp()),
  oldSignature: base64Bytes(RAW_SIGNATURE_BYTES),
  newSignature: base64Bytes(RAW_SIGNATURE_BYTES),
});

/** The fields as JSON has them. */
export function continuityFields(statement: ContinuityStatement): Readonly<Record<string, string>> {
  const { old, new: next, createdAt, oldSignature, newSignature } = statement;
  return {
    version: CONTINUITY_VERSION,
    oldDeviceId: old.deviceId,
    oldPublicKey: encodeBase64(old.publicKey),
    oldBackend: old.backend,
    newDeviceId: next.deviceId,
    newPublicKey: encodeBase64(next.publicKey),
    newBackend: next.backend,
    createdAt,
    oldSignature: encodeBase64(oldSignature),
    newSignature: encodeBase64(newSignature),
  };
}

/** The file's bytes: JSON with two spaces and a final newline. */
export function encodeContinuity(statement: ContinuityStatement): Bytes {
  return utf8(`${JSON.stringify(continuityFields(statement), null, 2)}\n`);
}

/**
 * The statement as it stands; nobody has looked at its signatures yet.
 *
 * @param name path of the file, for messages.
 * @throws {AmeshError} `ERR_CORRUPT`: not JSON, another version, a field missing, unknown or twice, a device id of
 *   another key, the same key on both sides.
 */
export async function parseContinuity(bytes: Uint8Array, name: string): Promise<ContinuityStatement> {
  const { text, value } = parseJsonObject(bytes, name);
  if (typeof value["version"] === "string" && value["version"] !== CONTINUITY_VERSION) {
    throw corrupt(name, "its version is not supported");
  }
  // JSON.parse takes the last of two equal fields; no value in this file holds white space or escapes.
  if (text.replaceAll(/[ \t\r\n]/g, "") !== JSON.stringify(value)) {
    throw corrupt(name, "a field occurs twice or is not in its canonical spelling");
  }
  const fields = requireSchema(STATEMENT, value, name);
  const statement = {
    old: { deviceId: fields.oldDeviceId, publicKey: fields.oldPublicKey, backend: fields.oldBackend },
    new: { deviceId: fields.newDeviceId, publicKey: fields.newPublicKey, backend: fields.newBackend },
    createdAt: fields.createdAt,
    oldSignature: fields.oldSignature,
    newSignature: fields.newSignature,
  };
  for (const role of ["old", "new"] as const) {
    if (await deviceIdOf(statement[role].publicKey) !== statement[role].deviceId) {
      throw corrupt(name, `field "${role}DeviceId" does not belong to "${role}PublicKey"`);
    }
  }
  if (statement.old.deviceId === statement.new.deviceId) throw corrupt(name, "both keys are the same");
  return statement;
}
