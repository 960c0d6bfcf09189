/**
 * A P-256 key in the memory of an agent: signs at once, without a promise, by node:crypto, which is the fastest that both
 * runtimes have.
 */
import { createHash, createPrivateKey, createSign } from "node:crypto";
import { p256 } from "@noble/curves/nist.js";
import { type Bytes, wipe } from "../bytes.ts";
import { encodePkcs8 } from "./p256.ts";

/** An opened key. Disposing of it lets go of it. */
export interface MemoryKey extends Disposable {
  /** ECDSA with SHA-256 over a message. @returns raw `r || s`, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
  /**
   * Signs a digest that somebody else has made.
   *
   * By @noble/curves: native crypto of neither runtime takes a digest for ECDSA. The nonce is RFC 6979's with 32 random
   * bytes mixed in.
   *
   * @param digest SHA-256, 32 bytes.
   * @returns raw `r || s`, 64 bytes, low-S.
   */
  signDigest(digest: Uint8Array): Uint8Array;
  /** A copy of the scalar, 32 bytes; the caller wipes it. */
  copyScalar(): Bytes;
}

/** @param scalar 32 bytes; a copy is kept until the key is disposed of, the caller wipes its own. */
export function openMemoryKey(scalar: Bytes): MemoryKey {
  const own = Uint8Array.from(scalar);
  const pkcs8 = encodePkcs8(own);
  const key = createPrivateKey({ key: pkcs8 as never, format: "der", type: "pkcs8" });
  wipe(pkcs8);
  const options = { key, dsaEncoding: "ieee-p1363" } as const;
  return {
    // Not by sign(), whose DER some releases of Deno give whatever is asked for.
    sign: (message) => createSign("SHA256").update(message).sign(options),
    signDigest: (digest) => p256.sign(digest, own, { prehash: false, lowS: true, extraEntropy: true }),
    copyScalar: () => Uint8Array.from(own),
    [Symbol.dispose]: () => wipe(own),
  };
}

/** SHA-256, 32 bytes, at once. */
export function sha256(message: Uint8Array): Bytes {
  return Uint8Array.from(createHash("sha256").update(message).digest());
}
