/**
 * ECDSA P-256 with SHA-256 (FIPS 186-5) by native crypto. No private scalar meets JavaScript arithmetic.
 *
 * A short message goes through WebCrypto, a long one is streamed through node:crypto, which Deno loads only then.
 */
import { type Bytes, concatBytes, equalBytes, wipe } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { normalizeLowS } from "../formats/ecdsa_signature.ts";
import { SCALAR_BYTES } from "../formats/key_file.ts";
import { compressPoint, encodeSpki, isPoint } from "../formats/public_key.ts";

/** Message up to this size in bytes is signed and verified in one piece. */
const ONE_PIECE_BYTES = 1 << 20;

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
const WITH_SHA256 = { name: "ECDSA", hash: "SHA-256" } as const;

/** PKCS#8 of a P-256 key without the public half, up to the scalar (RFC 5958 §2, RFC 5915 §3). */
const PKCS8_HEAD = Uint8Array.fromHex(
  "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420",
);
/** PKCS#8 as WebCrypto exports a key that it has generated: with the public half behind the scalar. */
const PKCS8_HEAD_WITH_PUBLIC = Uint8Array.fromHex(
  "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420",
);

/** A message of any length, in pieces that stay valid until the next one is asked for. */
export type Message = AsyncIterable<Uint8Array>;

/** Bytes as a message in one piece. */
export async function* inOnePiece(bytes: Uint8Array): Message {
  yield bytes;
}

/** A key pair whose private half can be stored. */
export interface NewKeyPair {
  /** 32 bytes, big-endian; the caller wipes them. */
  readonly scalar: Bytes;
  /** Compressed point, 33 bytes. */
  readonly publicKey: Bytes;
}

/** A new random key pair. */
export async function generateKeyPair(): Promise<NewKeyPair> {
  const pair = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  try {
    const point = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    return { scalar: scalarOf(pkcs8), publicKey: compressPoint(point) };
  } finally {
    wipe(pkcs8);
  }
}

/**
 * Takes a stored scalar into native crypto and proves that it belongs to a public key.
 *
 * The proof is a signature that verifies under the public key: only the scalar whose point that is can make one, so
 * this compares the derived point, without exporting the key into a string that cannot be wiped.
 *
 * @param scalar 32 bytes; read only, the caller wipes them.
 * @param publicKey compressed point, 33 bytes.
 * @returns `null` when the two do not belong together. The key is extractable, because node:crypto gets it by way of PKCS#8.
 */
export async function importPrivateKey(scalar: Bytes, publicKey: Bytes): Promise<CryptoKey | null> {
  const pkcs8 = encodePkcs8(scalar);
  try {
    const key = await crypto.subtle.importKey("pkcs8", pkcs8, ALGORITHM, true, ["sign"]);
    const challenge = crypto.getRandomValues(new Uint8Array(32));
    const signature = new Uint8Array(await crypto.subtle.sign(WITH_SHA256, key, challenge));
    const verifier = await importPublicKey(publicKey);
    const matches = await crypto.subtle.verify(WITH_SHA256, verifier.key, signature, challenge);
    return matches ? key : null;
  } catch (error) {
    // 0 and numbers from the group order up are no scalars; the runtimes disagree on who says so.
    if (error instanceof DOMException || error instanceof TypeError) return null;
    throw error;
  } finally {
    wipe(pkcs8);
  }
}

/**
 * The scalar of a key that {@linkcode importPrivateKey} gave, 32 bytes; the caller wipes it.
 *
 * By way of PKCS#8: a JWK would hold it as a string, which cannot be wiped.
 */
export async function exportScalar(key: CryptoKey): Promise<Bytes> {
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", key));
  try {
    return scalarOf(pkcs8);
  } finally {
    wipe(pkcs8);
  }
}

/** PKCS#8 of a scalar, without the public half; the caller wipes both. */
export function encodePkcs8(scalar: Bytes): Bytes {
  return concatBytes(PKCS8_HEAD, scalar);
}

/** @throws {AmeshError} `ERR_INTERNAL`: not the form in which WebCrypto exports a key. */
function scalarOf(pkcs8: Bytes): Bytes {
  for (const head of [PKCS8_HEAD, PKCS8_HEAD_WITH_PUBLIC]) {
    const at = head.length;
    if (equalBytes(pkcs8.subarray(0, at), head)) return pkcs8.slice(at, at + SCALAR_BYTES);
  }
  throw new AmeshError("ERR_INTERNAL", "cannot export the key: the runtime wrote an unknown PKCS#8 form");
}

/** The uncompressed form, 65 bytes. @throws {AmeshError} `ERR_CORRUPT` when the point is not on the curve. */
export async function expandPoint(point: Bytes): Promise<Bytes> {
  return (await importPublicKey(point)).point;
}

async function importPublicKey(point: Bytes): Promise<{ key: CryptoKey; point: Bytes }> {
  try {
    // One runtime takes an unknown first byte for an uncompressed point's.
    if (!isPoint(point)) throw new RangeError("neither compressed nor uncompressed");
    const key = await crypto.subtle.importKey("raw", point, ALGORITHM, true, ["verify"]);
    // Deno looks at the curve when the key is first used, which the export is.
    return { key, point: new Uint8Array(await crypto.subtle.exportKey("raw", key)) };
  } catch (error) {
    throw new AmeshError("ERR_CORRUPT", "cannot use the public key: it is not a point of P-256", {
      cause: error,
    });
  }
}

/**
 * Signs a message of any length in constant memory.
 *
 * @param key awaited after the message has been read, so that a key can be unlocked meanwhile.
 * @returns raw `r || s`, 64 bytes, low-S.
 */
export async function sign(key: CryptoKey | Promise<CryptoKey>, message: Message): Promise<Bytes> {
  const pieces = message[Symbol.asyncIterator]();
  const start = await readUpTo(pieces, ONE_PIECE_BYTES);
  if (start.complete) {
    return normalizeLowS(
      new Uint8Array(await crypto.subtle.sign(WITH_SHA256, await key, start.bytes)),
    );
  }
  const { createPrivateKey, createSign } = await import("node:crypto");
  const stream = createSign("SHA256").update(start.bytes);
  for (let next; !(next = await pieces.next()).done;) stream.update(next.value);
  // By way of PKCS#8: not every Deno takes a CryptoKey here.
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", await key));
  try {
    const privateKey = createPrivateKey({ key: pkcs8 as never, format: "der", type: "pkcs8" });
    return normalizeLowS(stream.sign({ key: privateKey, dsaEncoding: "ieee-p1363" }));
  } finally {
    wipe(pkcs8);
  }
}

/**
 * Verifies a signature over a message of any length in constant memory; high-S is accepted.
 *
 * @param point 33 or 65 bytes.
 * @param signatures raw, 64 bytes each.
 * @returns whether one of them is the key's.
 * @throws {AmeshError} `ERR_CORRUPT` when the point is not on the curve.
 */
export async function verify(point: Bytes, signatures: readonly Bytes[], message: Message): Promise<boolean> {
  const { key, point: expanded } = await importPublicKey(point);
  const pieces = message[Symbol.asyncIterator]();
  const start = await readUpTo(pieces, ONE_PIECE_BYTES);
  if (start.complete) {
    for (const signature of signatures) {
      if (await crypto.subtle.verify(WITH_SHA256, key, signature, start.bytes)) return true;
    }
    return false;
  }
  const { createPublicKey, createVerify } = await import("node:crypto");
  const publicKey = createPublicKey({ key: encodeSpki(expanded) as never, format: "der", type: "spki" });
  // A verifier can be asked once, so each candidate has its own.
  const streams = signatures.map(() => createVerify("SHA256").update(start.bytes));
  for (let next; !(next = await pieces.next()).done;) for (const stream of streams) stream.update(next.value);
  return streams.some((stream, i) =>
    stream.verify({ key: publicKey, dsaEncoding: "ieee-p1363" }, signatures[i] as Bytes)
  );
}

/** A message that was read once, for a signer that takes digests. */
export interface HashedMessage {
  /** SHA-256, 32 bytes. */
  readonly digest: Bytes;
  /** The message itself, where it was short enough to be kept. */
  readonly bytes: Bytes | null;
}

/** Reads and hashes a message of any length in constant memory. */
export async function hashMessage(message: Message): Promise<HashedMessage> {
  const pieces = message[Symbol.asyncIterator]();
  const { bytes, complete } = await readUpTo(pieces, ONE_PIECE_BYTES);
  if (complete) return { digest: new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), bytes };
  const { createHash } = await import("node:crypto");
  const stream = createHash("sha256").update(bytes);
  for (let next; !(next = await pieces.next()).done;) stream.update(next.value);
  return { digest: Uint8Array.from(stream.digest()), bytes: null };
}

/**
 * Verifies a signature over a message that was hashed.
 *
 * @param point 33 or 65 bytes.
 * @param signature raw, 64 bytes.
 * @throws {AmeshError} `ERR_CORRUPT` when the point is not on the curve.
 */
export async function verifyHashed(
  point: Bytes,
  signature: Bytes,
  { digest, bytes }: HashedMessage,
): Promise<boolean> {
  const { key } = await importPublicKey(point);
  if (bytes !== null) return await crypto.subtle.verify(WITH_SHA256, key, signature, bytes);
  // Native crypto of one runtime verifies messages only, and this one was too long to be kept.
  const { p256 } = await import("@noble/curves/nist.js");
  return p256.verify(signature, digest, point, { prehash: false, lowS: false });
}

/** The first pieces as one, and whether the message ended with them. */
async function readUpTo(
  pieces: AsyncIterator<Uint8Array>,
  limit: number,
): Promise<{ bytes: Bytes; complete: boolean }> {
  const read: Bytes[] = [];
  let length = 0;
  while (length <= limit) {
    const next = await pieces.next();
    if (next.done) return { bytes: concatBytes(...read), complete: true };
    read.push(Uint8Array.from(next.value));
    length += next.value.length;
  }
  return { bytes: concatBytes(...read), complete: false };
}
