/** A public key in the forms in which programs exchange it, for whoever verifies. */
import { type Bytes, concatBytes, equalBytes, utf8 } from "../bytes.ts";
import { expandPoint, verify } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import { parseSignature } from "../formats/ecdsa_signature.ts";
import { deviceIdOf } from "../formats/identity_file.ts";
import {
  compressPoint,
  encodeSpki,
  formatPublicKey,
  parsePublicKey as parsePoint,
  thumbprintOf,
  toSetJwk,
} from "../formats/public_key.ts";
import { type Data, readableOf } from "./message.ts";

/** A P-256 public key as a JSON Web Key (RFC 7517, RFC 7518 §6.2.1), ready for a JWK set. */
export interface PublicJwk {
  /** Key type. */
  readonly kty: "EC";
  /** Curve. */
  readonly crv: "P-256";
  /** First coordinate, 32 bytes, base64url. */
  readonly x: string;
  /** Second coordinate, 32 bytes, base64url. */
  readonly y: string;
  /** The thumbprint. */
  readonly kid: string;
  /** ECDSA with SHA-256, and nothing else. */
  readonly alg: "ES256";
  /** For signatures. */
  readonly use: "sig";
}

/** A P-256 public key that is a point of the curve. */
export class PublicKey {
  readonly #point: Bytes;
  /** `am_` and 16 characters that follow from the key: the name of the machine whose key this is. */
  readonly deviceId: string;
  /** SHA-256 thumbprint (RFC 7638), base64url, 43 characters: the `kid` of tokens. */
  readonly thumbprint: string;
  /** SubjectPublicKeyInfo in PEM, with a final newline. */
  readonly pem: string;

  private constructor(point: Bytes, texts: { deviceId: string; thumbprint: string; pem: string }) {
    this.#point = point;
    this.deviceId = texts.deviceId;
    this.thumbprint = texts.thumbprint;
    this.pem = texts.pem;
  }

  /**
   * The key of a point.
   *
   * @param point compressed (33 bytes) or uncompressed (65 bytes).
   * @throws {AmeshError} `ERR_CORRUPT`: not a point of the curve.
   */
  static async ofPoint(point: Uint8Array): Promise<PublicKey> {
    const expanded = await expandPoint(Uint8Array.from(point));
    const [deviceId, thumbprint, pem] = await Promise.all([
      deviceIdOf(compressPoint(expanded)),
      thumbprintOf(expanded),
      formatPublicKey(expanded, "pem", ""),
    ]);
    return new PublicKey(expanded, { deviceId, thumbprint, pem: new TextDecoder().decode(pem) });
  }

  /** Compressed point (SEC 1 §2.3.3), 33 bytes. */
  get compressed(): Uint8Array {
    return compressPoint(this.#point);
  }

  /** Uncompressed point, 65 bytes: WebCrypto's `raw`. */
  get uncompressed(): Uint8Array {
    return Uint8Array.from(this.#point);
  }

  /** SubjectPublicKeyInfo (RFC 5480), 91 bytes: WebCrypto's `spki`. */
  get der(): Uint8Array {
    return encodeSpki(this.#point);
  }

  /** As a JSON Web Key; a set of keys is `{ keys: [key.jwk] }`. */
  get jwk(): PublicJwk {
    return toSetJwk(this.#point, this.thumbprint);
  }

  /** A line for `authorized_keys`, without a newline. @param comment its third word; without one the device id. */
  async ssh(comment: string = this.deviceId): Promise<string> {
    return new TextDecoder().decode(await formatPublicKey(this.#point, "ssh", comment)).trimEnd();
  }

  /** Whether both are the same key. */
  equals(other: PublicKey): boolean {
    return equalBytes(this.#point, other.#point);
  }

  /**
   * Whether a signature is this key's over the data: ECDSA with SHA-256. Data of any length in constant memory.
   *
   * @param signature raw (64 bytes) or DER, as bytes, or as text in base64, base64url or hex; high-S is accepted.
   * @returns `false` also for what is no signature at all.
   */
  async verify(signature: Uint8Array | string, data: Data): Promise<boolean> {
    let signatures: Bytes[];
    try {
      signatures = await parseSignature(typeof signature === "string" ? utf8(signature) : signature);
    } catch (error) {
      if (error instanceof AmeshError && error.code === "ERR_SIGNATURE_INVALID") return false;
      throw error;
    }
    return await verify(this.#point, signatures, readableOf(data).message());
  }
}

/**
 * Reads a public key in any form: PEM, JWK, JWK set of one key, ssh line, base64 or hex point, DER. The machine that it
 * belongs to need not be this one.
 *
 * @param input a text, bytes, or a JWK as an object.
 * @throws {AmeshError} `ERR_CORRUPT`: no P-256 public key.
 */
export async function parsePublicKey(input: string | Uint8Array | JsonWebKey): Promise<PublicKey> {
  const text = typeof input === "object" && !(input instanceof Uint8Array) ? JSON.stringify(input) : input;
  return await PublicKey.ofPoint(parsePoint(typeof text === "string" ? utf8(text) : concatBytes(text)));
}
