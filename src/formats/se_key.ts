/**
 * `keys/<deviceId>.se.json`: a P-256 key of the Secure Enclave, as CryptoKit hands it out (docs/file-formats.md).
 *
 * The blob is opaque: the key is encrypted in it by a secret of the one Secure Enclave that made it.
 */
import * as v from "valibot";
import { type Bytes, decodeBase64, encodeBase64, utf8 } from "../bytes.ts";
import { base64Bytes, corrupt, parseJsonObject, requireSchema } from "./json_document.ts";
import { COMPRESSED_POINT_BYTES, isPoint } from "./public_key.ts";

/** The version that is read and written. */
const SE_KEY_VERSION = "1.0.0";
/** Longest blob that is stored and sent, in bytes; those that were seen have less than 1000. */
export const MAX_BLOB_BYTES = 8192;
/** Above this a file holds no key, in bytes. */
export const MAX_SE_KEY_BYTES = 16_384;

/** What such a file holds. */
export interface SeKey {
  /** `dataRepresentation` of CryptoKit's key, 1 to 8192 bytes. */
  readonly blob: Bytes;
  /** Compressed point, 33 bytes. */
  readonly publicKey: Bytes;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
}

/** A blob in canonical base64; gives the bytes. */
export const base64Blob = v.pipe(
  v.string(),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const bytes = decodeBase64(dataset.value);
    if (bytes !== null && bytes.length > 0 && bytes.length <= MAX_BLOB_BYTES) return bytes;
    addIssue({ message: "no blob in base64" });
    return NEVER;
  }),
);

const SE_KEY = v.strictObject({
  version: v.literal(SE_KEY_VERSION),
  blob: base64Blob,
  publicKey: v.pipe(base64Bytes(COMPRESSED_POINT_BYTES), v.check((bytes: Bytes) => isPoint(bytes))),
  createdAt: v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/), v.isoTimestamp()),
});

/**
 * @param name path of the file, for messages.
 * @throws {AmeshError} `ERR_CORRUPT`: not JSON, another version, a field missing, unknown, twice or not canonical.
 */
export function parseSeKey(bytes: Uint8Array, name: string): SeKey {
  const { text, value } = parseJsonObject(bytes, name);
  if (typeof value["version"] === "string" && value["version"] !== SE_KEY_VERSION) {
    throw corrupt(name, "its version is not supported");
  }
  // JSON.parse takes the last of two equal fields; no value in this file holds white space or escapes.
  if (text.replaceAll(/[ \t\r\n]/g, "") !== JSON.stringify(value)) {
    throw corrupt(name, "a field occurs twice or is not in its canonical spelling");
  }
  const { blob, publicKey, createdAt } = requireSchema(SE_KEY, value, name);
  return { blob, publicKey, createdAt };
}

/** The file's bytes: JSON with two spaces and a final newline. */
export function encodeSeKey({ blob, publicKey, createdAt }: SeKey): Bytes {
  const fields = {
    version: SE_KEY_VERSION,
    blob: encodeBase64(blob),
    publicKey: encodeBase64(publicKey),
    createdAt,
  };
  return utf8(`${JSON.stringify(fields, null, 2)}\n`);
}
