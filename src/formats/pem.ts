/** PEM (RFC 7468): text around bytes, as OpenSSL writes and reads it. */
import { type Bytes, decodeBase64, encodeBase64 } from "../bytes.ts";

/** A block of PEM. */
export interface PemBlock {
  /** What stands behind BEGIN, such as `CERTIFICATE`. */
  readonly label: string;
  /** `null` when the body is no base64, or has headers. */
  readonly bytes: Bytes | null;
}

/** One block with lines of 64 characters and a final newline (RFC 7468 §2). */
export function encodePem(label: string, bytes: Uint8Array): string {
  const body = encodeBase64(bytes).replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

const BEGIN = /^-----BEGIN ([A-Z0-9 ]{1,64})-----\s*$/;

/**
 * The blocks of a text in their order; text before, between and behind them is passed over (RFC 7468 §2).
 *
 * A block that has no end has no bytes.
 */
export function readPem(text: string): PemBlock[] {
  const blocks: PemBlock[] = [];
  let label: string | null = null;
  let body: string[] = [];
  for (const line of text.split(/\r\n|\r|\n/)) {
    const begin = BEGIN.exec(line)?.[1];
    if (begin !== undefined) {
      if (label !== null) blocks.push({ label, bytes: null });
      [label, body] = [begin, []];
    } else if (label !== null && line.trimEnd() === `-----END ${label}-----`) {
      blocks.push({ label, bytes: decodeBase64(body.join("")) });
      label = null;
    } else if (label !== null) body.push(line.trim());
  }
  return label === null ? blocks : [...blocks, { label, bytes: null }];
}
