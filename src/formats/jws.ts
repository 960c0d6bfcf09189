/** JSON Web Signatures with ES256 in compact form (RFC 7515 §7.1, RFC 7518 §3.4): what is signed, and how it is written. */
import { type Bytes, concatBytes, encodeBase64, encodeBase64Url, utf8 } from "../bytes.ts";

/** The `typ` of a token whose payload is claims (RFC 7519 §5.1). */
export const JWT_TYPE = "JWT";
/** The `typ` of any other signature in compact form (RFC 7515 §4.1.9). */
export const JWS_TYPE = "JOSE";

/** The protected header; its members are written in this order. */
export interface JwsHeader {
  readonly alg: "ES256";
  readonly typ: string;
  /** Thumbprint of the key (RFC 7638 with SHA-256), base64url. */
  readonly kid: string;
  /** Certificates in base64 (not base64url), the key's own first (RFC 7515 §4.1.6). */
  readonly x5c?: readonly string[];
}

/** @param chain certificates in DER, the key's own first; `null` for none. */
export function jwsHeader(typ: string, kid: string, chain: readonly Uint8Array[] | null): JwsHeader {
  return { alg: "ES256", typ, kid, ...(chain === null ? {} : { x5c: chain.map(encodeBase64) }) };
}

/** JSON in base64url: a header, or claims. */
export function encodeJsonPart(value: unknown): string {
  return encodeBase64Url(utf8(JSON.stringify(value)));
}

/**
 * The signing input (RFC 7515 §5.1): header, a dot, and the payload in base64url, in constant memory.
 *
 * @param header as {@linkcode encodeJsonPart} gives it.
 * @param payload each piece is valid until the next.
 */
export async function* signingInput(
  header: string,
  payload: AsyncIterable<Uint8Array>,
): AsyncGenerator<Bytes> {
  yield utf8(`${header}.`);
  // Three bytes are four characters, so what is beyond a multiple of three waits for the next piece.
  let rest: Uint8Array = new Uint8Array(0);
  for await (const piece of payload) {
    const bytes = rest.length === 0 ? piece : concatBytes(rest, piece);
    const whole = bytes.length - bytes.length % 3;
    rest = bytes.slice(whole);
    if (whole > 0) yield utf8(encodeBase64Url(bytes.subarray(0, whole)));
  }
  if (rest.length > 0) yield utf8(encodeBase64Url(rest));
}

/**
 * The compact serialization.
 *
 * @param payload in base64url; empty for a detached one (RFC 7515 appendix F).
 * @param signature raw, 64 bytes.
 */
export function compactJws(header: string, payload: string, signature: Uint8Array): string {
  return `${header}.${payload}.${encodeBase64Url(signature)}`;
}

/** Names of media types, `application/` left out or not (RFC 7515 §4.1.9, RFC 6838 §4.2). */
const MEDIA_TYPE = /^[A-Za-z0-9][\w!#$&^.+-]{0,126}(?:\/[A-Za-z0-9][\w!#$&^.+-]{0,126})?$/;

/** Whether a text can be the `typ` of a header. */
export function isMediaType(text: string): boolean {
  return MEDIA_TYPE.test(text);
}

/** Whether a `typ` says that the payload is claims: `JWT`, `at+jwt`, `dpop+jwt`, `dc+sd-jwt` … (RFC 8725 §3.11), in any case. */
export function isTokenType(typ: string): boolean {
  return /^(?:application\/)?(?:.*\+)?(?:sd-)?jwt$/i.test(typ);
}
