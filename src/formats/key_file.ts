/**
 * `keys/<deviceId>.key.json`: a P-256 scalar under AES-256-GCM under Argon2id (docs/file-formats.md).
 *
 * Version 3.0.0, which is written, authenticates every field as associated data. Version 2.0.0, as amesh 0.7
 * wrote it, has none and stays readable.
 */
import * as v from "valibot";
import { type Bytes, concatBytes, encodeBase64, u32be, utf8 } from "../bytes.ts";
import { COMPRESSED_POINT_BYTES } from "./public_key.ts";
import { base64Bytes, corrupt, parseJsonObject, requireSchema } from "./json_document.ts";

/** Length of the private scalar in bytes. */
export const SCALAR_BYTES = 32;
/** Length of the Argon2id salt in bytes. */
export const SALT_BYTES = 16;
/** Length of the AES-GCM nonce in bytes. */
export const NONCE_BYTES = 12;
/** Scalar and 16-byte tag. */
export const CIPHERTEXT_BYTES = SCALAR_BYTES + 16;
/** Above this a file is no key file, in bytes. */
export const MAX_KEY_FILE_BYTES = 16_384;

/** Argon2id cost: `t` passes, `m` KiB, `p` lanes. */
export interface Argon2Params {
  readonly t: number;
  readonly m: number;
  readonly p: number;
}

/** What is written unless the user asks for more. */
export const DEFAULT_ARGON2_PARAMS: Argon2Params = { t: 3, m: 65_536, p: 1 };

/** A key file as bytes and numbers. */
export interface EncryptedKey {
  readonly version: "2.0.0" | "3.0.0";
  readonly argon2Params: Argon2Params;
  /** 16 bytes. */
  readonly salt: Bytes;
  /** 12 bytes. */
  readonly nonce: Bytes;
  /** 48 bytes: scalar and tag. */
  readonly ciphertext: Bytes;
  /** Compressed point, 33 bytes. */
  readonly publicKey: Bytes;
}

const ALGORITHM = "aes-256-gcm";
const KDF = "argon2id";
const GIB_IN_KIB = 1 << 20;

// Below the floor a stolen file is cheap to attack; above the ceiling a planted file could stop the machine.
const ARGON2_PARAMS = v.pipe(
  v.strictObject({
    t: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(16)),
    m: v.pipe(v.number(), v.integer(), v.minValue(19_456), v.maxValue(GIB_IN_KIB)),
    p: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4)),
  }),
  v.check(({ t, m }) => t * m <= 4 * GIB_IN_KIB),
);

/** Whether a key file may have this cost. */
export function isArgon2Params(params: Argon2Params): boolean {
  return v.is(ARGON2_PARAMS, params);
}

const FIELDS = {
  algorithm: v.literal(ALGORITHM),
  kdf: v.literal(KDF),
  argon2Params: ARGON2_PARAMS,
  salt: base64Bytes(SALT_BYTES),
  nonce: base64Bytes(NONCE_BYTES),
  ciphertext: base64Bytes(CIPHERTEXT_BYTES),
  publicKey: base64Bytes(COMPRESSED_POINT_BYTES),
} as const;
const VERSION_2 = v.object({ version: v.literal("2.0.0"), ...FIELDS });
const VERSION_3 = v.strictObject({ version: v.literal("3.0.0"), ...FIELDS });

/**
 * @param name path of the file, for messages.
 * @throws {AmeshError} `ERR_CORRUPT`: not JSON, another version, a field missing, unknown, twice, not canonical, or
 *   a cost outside the limits.
 */
export function parseKeyFile(bytes: Uint8Array, name: string): EncryptedKey {
  const { text, value } = parseJsonObject(bytes, name);
  switch (value["version"]) {
    case "2.0.0":
      return requireSchema(VERSION_2, value, name);
    case "3.0.0":
      // JSON.parse takes the last of two equal fields; nothing in this file holds white space or escapes, so what
      // differs from its own serialisation in more than white space said something twice or in another spelling.
      if (text.replaceAll(/[ \t\r\n]/g, "") !== JSON.stringify(value)) {
        throw corrupt(name, "a field occurs twice or is not in its canonical spelling");
      }
      return requireSchema(VERSION_3, value, name);
    default:
      throw corrupt(name, "its version is not supported");
  }
}

/** The file's bytes: JSON with two spaces and a final newline. */
export function encodeKeyFile(key: EncryptedKey): Bytes {
  const { t, m, p } = key.argon2Params;
  const fields = {
    version: key.version,
    algorithm: ALGORITHM,
    kdf: KDF,
    argon2Params: { t, m, p },
    salt: encodeBase64(key.salt),
    nonce: encodeBase64(key.nonce),
    ciphertext: encodeBase64(key.ciphertext),
    publicKey: encodeBase64(key.publicKey),
  };
  return utf8(`${JSON.stringify(fields, null, 2)}\n`);
}

/**
 * Associated data of AES-GCM: for 3.0.0 `amesh-key-3.0.0\0` and then algorithm, kdf, t, m, p (u32be), salt, nonce and
 * public key, each preceded by its length in bytes as u32be; for 2.0.0 nothing.
 */
export function associatedData(key: Omit<EncryptedKey, "ciphertext">): Bytes {
  if (key.version === "2.0.0") return new Uint8Array(0);
  const { t, m, p } = key.argon2Params;
  const parts = [
    utf8(ALGORITHM),
    utf8(KDF),
    u32be(t),
    u32be(m),
    u32be(p),
    key.salt,
    key.nonce,
    key.publicKey,
  ];
  return concatBytes(
    utf8("amesh-key-3.0.0\0"),
    ...parts.flatMap((part) => [u32be(part.length), part]),
  );
}
