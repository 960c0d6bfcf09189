/**
 * ECDSA P-256 signatures: raw `r || s` (64 bytes, IEEE P1363) inside amesh, DER (RFC 3279 §2.2.3) at the edge.
 *
 * DER goes through @noble/curves, loaded when it is met: it accepts strict DER only and checks 1 <= r, s < n.
 */
import {
  type Bytes,
  decodeBase64,
  decodeBase64Url,
  decodeHex,
  encodeBase64,
  encodeBase64Url,
  encodeHex,
} from "../bytes.ts";
import { AmeshError } from "../errors.ts";

/** Length of a raw signature in bytes. */
export const RAW_SIGNATURE_BYTES = 64;
/** The longest DER signature: two 33-byte integers. */
const MAX_DER_BYTES = 72;
/** Above this a file holds no signature in any form. */
export const MAX_SIGNATURE_TEXT_BYTES = 1024;

/** Shapes of a signature that `sign` writes. */
export const SIGNATURE_FORMATS = ["raw", "der"] as const;
/** One of them. */
export type SignatureFormat = typeof SIGNATURE_FORMATS[number];

/** Texts that `sign` writes it in; `binary` is no text. */
export const SIGNATURE_ENCODINGS = ["base64", "base64url", "hex", "binary"] as const;
export type SignatureEncoding = typeof SIGNATURE_ENCODINGS[number];

/** Order of the P-256 group (SEC 2 §2.4.2). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** `r || min(s, n - s)`: both are valid, and with one of them chosen a signature has one spelling. New bytes. */
export function normalizeLowS(raw: Uint8Array): Bytes {
  const out = Uint8Array.from(raw);
  const s = BigInt(`0x${encodeHex(raw.subarray(32))}`);
  if (s > ORDER / 2n) out.set(Uint8Array.fromHex((ORDER - s).toString(16).padStart(64, "0")), 32);
  return out;
}

/** A raw signature as bytes in the given shape. */
export async function formatSignature(raw: Bytes, format: SignatureFormat): Promise<Bytes> {
  if (format === "raw") return raw;
  const { p256 } = await import("@noble/curves/nist.js");
  return Uint8Array.from(p256.Signature.fromBytes(raw, "compact").toBytes("der"));
}

/** Those bytes as text without a newline; not for `binary`. */
export function encodeSignature(bytes: Uint8Array, encoding: Exclude<SignatureEncoding, "binary">): string {
  return { base64: encodeBase64, base64url: encodeBase64Url, hex: encodeHex }[encoding](bytes);
}

/**
 * Finds out the form of a signature: raw or DER, binary or base64, base64url or hex text (white space is no
 * part of a text).
 *
 * @returns every raw signature that the input can mean; lengths make a second one all but impossible.
 * @throws {AmeshError} `ERR_SIGNATURE_INVALID` when it is none.
 */
export async function parseSignature(input: Uint8Array): Promise<Bytes[]> {
  const found: Bytes[] = [];
  for (const bytes of decodings(input)) {
    if (bytes.length === RAW_SIGNATURE_BYTES) found.push(bytes);
    const der = await parseDerSignature(bytes);
    if (der !== null) found.push(der);
  }
  if (found.length === 0) {
    throw new AmeshError(
      "ERR_SIGNATURE_INVALID",
      "cannot read the signature: it is neither raw nor strict DER",
      {
        hint: "a signature is 64 raw bytes or DER, as base64, base64url, hex or binary",
      },
    );
  }
  return found;
}

function decodings(input: Uint8Array): Bytes[] {
  const out: Bytes[] = [];
  if (input.length <= MAX_DER_BYTES) out.push(Uint8Array.from(input));
  if (input.length > MAX_SIGNATURE_TEXT_BYTES) return out;
  // base64(1) and openssl(1) break lines; Python pads base64url.
  const text = new TextDecoder("latin1").decode(input).replaceAll(/[ \t\r\n]+/g, "");
  const unpadded = text.length % 4 === 0 ? text.replace(/={1,2}$/, "") : text;
  for (const bytes of [decodeHex(text), decodeBase64(text) ?? decodeBase64Url(unpadded)]) {
    if (bytes !== null) out.push(bytes);
  }
  return out;
}

/** The raw form, 64 bytes, of ECDSA-Sig-Value (RFC 3279 §2.2.3) in strict DER; `null` when it is none. */
export async function parseDerSignature(bytes: Bytes): Promise<Bytes | null> {
  if (bytes[0] !== 0x30 || bytes.length > MAX_DER_BYTES) return null;
  const { p256 } = await import("@noble/curves/nist.js");
  try {
    return Uint8Array.from(p256.Signature.fromBytes(bytes, "der").toBytes("compact"));
  } catch {
    return null;
  }
}
