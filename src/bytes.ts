/** Bytes and their texts: the few operations that every layer needs. Pure; no I/O, no clock, no environment. */

const ENCODER = new TextEncoder();

/** Bytes with a plain (not shared) buffer, as WebCrypto wants them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** UTF-8 bytes of a text. */
export function utf8(text: string): Bytes {
  return ENCODER.encode(text);
}

/** Joins byte strings into a new one. */
export function concatBytes(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** 4 bytes, big-endian. @throws {RangeError} when `value` is no unsigned 32-bit integer (caller bug). */
export function u32be(value: number): Bytes {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw new RangeError(`not a u32: ${value}`);
  }
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** Compares without stopping at the first difference; the length is not secret. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

/** Overwrites secrets with zeros. Copies that the engine made before are out of reach (docs/threat-model.md). */
export function wipe(...buffers: readonly (Uint8Array | undefined)[]): void {
  for (const buffer of buffers) buffer?.fill(0);
}

/** Lower-case hex. */
export function encodeHex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Bytes of an even number of hex digits of either case, or `null`. */
export function decodeHex(text: string): Bytes | null {
  return /^(?:[0-9a-fA-F]{2})*$/.test(text) ? Uint8Array.fromHex(text) : null;
}

/** RFC 4648 §4 with padding. */
export function encodeBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/** RFC 4648 §5 without padding. */
export function encodeBase64Url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Bytes of a canonical RFC 4648 §4 text (padded, no white space, zero pad bits), or `null`. */
export function decodeBase64(text: string): Bytes | null {
  return canonical(text, () => Uint8Array.fromBase64(text), encodeBase64);
}

/** Bytes of a canonical RFC 4648 §5 text (not padded, no white space, zero pad bits), or `null`. */
export function decodeBase64Url(text: string): Bytes | null {
  return canonical(text, () => Uint8Array.fromBase64(text, { alphabet: "base64url" }), encodeBase64Url);
}

// The native decoders skip white space and drop pad bits; what does not encode to the same text is not canonical.
function canonical(text: string, decode: () => Bytes, encode: (bytes: Uint8Array) => string): Bytes | null {
  try {
    const bytes = decode();
    return encode(bytes) === text ? bytes : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
