/** AES-256-GCM (NIST SP 800-38D) by @noble/ciphers; tag of 16 bytes behind the ciphertext. */
import { gcm } from "@noble/ciphers/aes.js";
import type { Bytes } from "../bytes.ts";

/**
 * @param key 32 bytes, used once: a new key comes from a new salt every time.
 * @param nonce 12 bytes.
 * @param associatedData authenticated, not encrypted; empty for none.
 * @returns ciphertext and tag, `plaintext.length + 16` bytes.
 */
export function seal(key: Bytes, nonce: Bytes, plaintext: Bytes, associatedData: Bytes): Bytes {
  return Uint8Array.from(gcm(key, nonce, associatedData).encrypt(plaintext));
}

/**
 * @returns the plaintext, which the caller wipes, or `null` when the tag does not fit: wrong key and changed
 *   ciphertext cannot be told apart, and shall not be.
 */
export function open(key: Bytes, nonce: Bytes, ciphertext: Bytes, associatedData: Bytes): Bytes | null {
  try {
    const plaintext = gcm(key, nonce, associatedData).decrypt(ciphertext);
    return plaintext as Bytes;
  } catch (error) {
    if (error instanceof Error && error.message === INVALID_TAG) return null;
    throw error;
  }
}

/** What @noble/ciphers says (aes.ts); a unit test holds the two together. */
const INVALID_TAG = "aes-gcm: invalid tag";
