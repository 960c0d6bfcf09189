/** Public keys of P-256 for `node:crypto`. */
import { createPublicKey, ECDH, type KeyObject } from "node:crypto";
import { Buffer } from "node:buffer";

/** @param publicKey compressed point in base64. */
export function publicKeyObject(publicKey: string): KeyObject {
  const compressed = Buffer.from(publicKey, "base64");
  const point = ECDH.convertKey(compressed, "prime256v1", undefined, undefined, "uncompressed") as Buffer;
  const x = point.subarray(1, 33).toString("base64url");
  const y = point.subarray(33).toString("base64url");
  return createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" });
}
