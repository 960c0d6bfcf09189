/**
 * P-256 public keys in the forms that programs exchange. Inside amesh a key is its compressed point (33 bytes).
 *
 * A P-256 SubjectPublicKeyInfo and an ssh key blob have one valid encoding each, a constant head and the point, so
 * both are compared with that head; nothing is parsed, nothing can be parsed wrongly. Whether the point lies on
 * the curve is for native crypto to say when the key is used.
 */
import {
  type Bytes,
  concatBytes,
  decodeBase64,
  decodeBase64Url,
  decodeHex,
  encodeBase64,
  encodeBase64Url,
  encodeHex,
  equalBytes,
  u32be,
  utf8,
} from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { encodePem } from "./pem.ts";

/** Length of a compressed point (SEC 1 §2.3.3). */
export const COMPRESSED_POINT_BYTES = 33;
/** Length of an uncompressed point. */
export const UNCOMPRESSED_POINT_BYTES = 65;
/** Above this a file holds no public key in any form. */
export const MAX_PUBLIC_KEY_FILE_BYTES = 16_384;

/** What `public-key --format` writes. */
export const PUBLIC_KEY_FORMATS = ["pem", "jwk", "jwks", "ssh", "base64", "hex", "der"] as const;
export type PublicKeyFormat = typeof PUBLIC_KEY_FORMATS[number];

/** SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING (RFC 5480 §2) up to the point. */
const SPKI_HEAD = Uint8Array.fromHex("3059301306072a8648ce3d020106082a8648ce3d030107034200");
/** The same for a compressed point. */
const SPKI_HEAD_COMPRESSED = Uint8Array.fromHex("3039301306072a8648ce3d020106082a8648ce3d030107032200");
/** Name of the key type and of its signatures (RFC 5656 §3.1). */
export const SSH_KEY_TYPE = "ecdsa-sha2-nistp256";
/** string type, string curve, length of string Q (RFC 5656 §3.1). */
const SSH_HEAD = concatBytes(
  u32be(SSH_KEY_TYPE.length),
  utf8(SSH_KEY_TYPE),
  u32be(8),
  utf8("nistp256"),
  u32be(UNCOMPRESSED_POINT_BYTES),
);

/** The compressed form of a compressed or uncompressed point; its place on the curve is not checked. */
export function compressPoint(point: Uint8Array): Bytes {
  if (point.length === COMPRESSED_POINT_BYTES) return Uint8Array.from(point);
  return concatBytes(Uint8Array.of(2 + ((point[64] as number) & 1)), point.subarray(1, 33));
}

/** SubjectPublicKeyInfo, 91 bytes. @param point 65 bytes. */
export function encodeSpki(point: Uint8Array): Bytes {
  return concatBytes(SPKI_HEAD, point);
}

/** ssh key blob (RFC 5656 §3.1), 104 bytes. @param point 65 bytes. */
export function encodeSshKey(point: Uint8Array): Bytes {
  return concatBytes(SSH_HEAD, point);
}

/**
 * A public key as text (with a final newline) or, for `der`, as bytes.
 *
 * @param point 65 bytes.
 * @param comment third word of the ssh line.
 */
export async function formatPublicKey(
  point: Uint8Array,
  format: PublicKeyFormat,
  comment: string,
): Promise<Bytes> {
  switch (format) {
    case "pem":
      return utf8(encodePem("PUBLIC KEY", encodeSpki(point)));
    case "jwk":
      return utf8(`${JSON.stringify(toJwk(point))}\n`);
    case "jwks":
      return utf8(`${JSON.stringify({ keys: [toSetJwk(point, await thumbprintOf(point))] })}\n`);
    case "ssh":
      return utf8(`${SSH_KEY_TYPE} ${encodeBase64(encodeSshKey(point))} ${comment}\n`);
    case "base64":
      return utf8(`${encodeBase64(compressPoint(point))}\n`);
    case "hex":
      return utf8(`${encodeHex(compressPoint(point))}\n`);
    case "der":
      return encodeSpki(point);
  }
}

/** RFC 7518 §6.2.1. @param point 65 bytes. */
export function toJwk(point: Uint8Array): { kty: "EC"; crv: "P-256"; x: string; y: string } {
  return {
    kty: "EC",
    crv: "P-256",
    x: encodeBase64Url(point.subarray(1, 33)),
    y: encodeBase64Url(point.subarray(33)),
  };
}

/** Thumbprint of a public key: SHA-256 in base64url, 43 characters (RFC 7638 §3). @param point 65 bytes. */
export async function thumbprintOf(point: Uint8Array): Promise<string> {
  const { crv, kty, x, y } = toJwk(point);
  const digest = await crypto.subtle.digest("SHA-256", utf8(JSON.stringify({ crv, kty, x, y })));
  return encodeBase64Url(new Uint8Array(digest));
}

/** A key in a JWK set (RFC 7517 §4), which says what it is for. @param point 65 bytes. @param kid its thumbprint. */
export function toSetJwk(point: Uint8Array, kid: string) {
  return { ...toJwk(point), kid, use: "sig", alg: "ES256" } as const;
}

/**
 * Finds out the form of a public key: PEM, JWK, JWK set of one key, ssh line, base64 or hex point (33 or 65
 * bytes), DER.
 *
 * @returns the point, 33 or 65 bytes, not checked to be on the curve.
 * @throws {AmeshError} `ERR_CORRUPT`; the hint names the forms, or says that the file holds a private key.
 */
export function parsePublicKey(input: Uint8Array): Bytes {
  if (PKCS8_START.test(encodeHex(input.subarray(0, 8)))) throw privateKey();
  const point = spkiPoint(input) ?? textPoint(new TextDecoder().decode(input).trim());
  if (point === null || !isPoint(point)) {
    throw new AmeshError(
      "ERR_CORRUPT",
      "cannot read the public key: it is not a P-256 key in a known form",
      {
        hint: "give a P-256 public key as PEM, JWK, ssh line, base64 or hex point, or DER",
      },
    );
  }
  return point;
}

/** SEQUENCE with a short or long length, then the version of PKCS#8 (0 or 1) or of RFC 5915 (1). */
const PKCS8_START = /^30(?:81..|82....|[0-7].)02010[01]/;

function textPoint(text: string): Bytes | null {
  if (text.includes("-----BEGIN")) return pemPoint(text);
  if (text.startsWith("{")) return jwkPoint(text);
  const lines = text.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#"));
  const [type, blob] = lines[0]?.split(/[ \t]+/) ?? [];
  // Of several keys the first would be used and the others passed over in silence.
  if (lines.length !== 1 || type === undefined) return null;
  if (type === SSH_KEY_TYPE && blob !== undefined) {
    return afterHead(decodeBase64(blob), SSH_HEAD, UNCOMPRESSED_POINT_BYTES);
  }
  return decodeHex(type) ?? decodeBase64(type);
}

/** One PUBLIC KEY block; other text around it, as openssl -text writes, is passed over (RFC 7468 §2). */
function pemPoint(text: string): Bytes | null {
  const blocks = [
    ...text.matchAll(/^-----BEGIN ([A-Z0-9 ]+)-----\r?$([A-Za-z0-9+/=\s]+)^-----END \1-----\r?$/gm),
  ];
  if (/^-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/m.test(text)) throw privateKey();
  const [, label, body] = blocks[0] ?? [];
  if (blocks.length !== 1 || label !== "PUBLIC KEY" || body === undefined) return null;
  return spkiPoint(decodeBase64(body.replaceAll(/\s+/g, "")));
}

function jwkPoint(text: string): Bytes | null {
  let jwk: Record<string, unknown>;
  try {
    jwk = onlyKey(JSON.parse(text));
  } catch {
    return null;
  }
  if ("d" in jwk) throw privateKey();
  if (jwk["kty"] !== "EC" || jwk["crv"] !== "P-256") return null;
  const [x, y] = [jwk["x"], jwk["y"]].map((value) =>
    typeof value === "string" ? decodeBase64Url(value) : null
  );
  return x?.length === 32 && y?.length === 32 ? concatBytes(Uint8Array.of(4), x, y) : null;
}

/** The key of a set of one: of several the first would be used and the others passed over in silence. */
function onlyKey(jwk: Record<string, unknown>): Record<string, unknown> {
  const { keys } = jwk;
  const [key] = Array.isArray(keys) && keys.length === 1 ? keys : [];
  return typeof key === "object" && key !== null ? key : jwk;
}

function privateKey(): AmeshError {
  return new AmeshError("ERR_CORRUPT", "cannot use this key: it is a private key", {
    hint:
      "give its public half, from: openssl pkey -in FILE -pubout, or for an OpenSSH key: ssh-keygen -y -f FILE",
  });
}

/** The point of a SubjectPublicKeyInfo of P-256, 33 or 65 bytes, its form not checked; `null` for all else. */
export function spkiPoint(der: Uint8Array | null): Bytes | null {
  return afterHead(der, SPKI_HEAD, UNCOMPRESSED_POINT_BYTES) ??
    afterHead(der, SPKI_HEAD_COMPRESSED, COMPRESSED_POINT_BYTES);
}

function afterHead(bytes: Uint8Array | null, head: Uint8Array, length: number): Bytes | null {
  if (bytes?.length !== head.length + length || !equalBytes(bytes.subarray(0, head.length), head)) {
    return null;
  }
  return Uint8Array.from(bytes.subarray(head.length));
}

/** Whether these bytes have the form of a point (SEC 1 §2.3.3): compressed or uncompressed, not infinity or hybrid. */
export function isPoint(bytes: Uint8Array): boolean {
  return (bytes.length === COMPRESSED_POINT_BYTES && (bytes[0] === 2 || bytes[0] === 3)) ||
    (bytes.length === UNCOMPRESSED_POINT_BYTES && bytes[0] === 4);
}
