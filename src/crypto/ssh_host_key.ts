/** Verifying what an ssh server signed with its host key (RFC 4253 §6.6, RFC 5656, RFC 8332, RFC 8709), by native crypto. */
import { createPublicKey, createVerify, type JsonWebKey, type KeyObject, verify } from "node:crypto";
import { p521 } from "@noble/curves/nist.js";
import { type Bytes, concatBytes, encodeBase64Url } from "../bytes.ts";
import { SshReader, WireError } from "../formats/ssh_wire.ts";

/** A curve of ECDSA: its name in JOSE, the digest that goes with it, length of a coordinate in bytes. */
interface Curve {
  readonly crv: string;
  readonly digest: string;
  readonly bytes: number;
}

/** By the name in ssh. */
const CURVES: Readonly<Record<string, Curve>> = {
  "nistp256": { crv: "P-256", digest: "sha256", bytes: 32 },
  "nistp384": { crv: "P-384", digest: "sha384", bytes: 48 },
  "nistp521": { crv: "P-521", digest: "sha512", bytes: 66 },
};
/** Digest of each RSA signature; SHA-1's `ssh-rsa` is not among them. */
const RSA_DIGESTS: Readonly<Record<string, string>> = { "rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512" };
/** Below this an RSA key proves nothing. */
const MIN_RSA_BYTES = 128;
const CERTIFICATE = /-cert-v01@openssh\.com$/;

/** A host key, which knows how its signatures are read. */
interface HostKey {
  /** `false` for an algorithm that is not this key's, too. */
  check(algorithm: string, signature: Uint8Array, data: Uint8Array): boolean;
}

/**
 * Whether a signature is the host key's. Keys in hardware (sk-…) and of unknown types are not verified, so not trusted.
 *
 * @param hostKey key blob, or a host certificate, whose key counts.
 * @param signature signature blob: algorithm and signature.
 */
export function verifyHostSignature(hostKey: Uint8Array, signature: Uint8Array, data: Uint8Array): boolean {
  try {
    const reader = new SshReader(signature);
    const algorithm = reader.text().replace(CERTIFICATE, "");
    const value = reader.string();
    reader.end();
    return parseHostKey(hostKey)?.check(algorithm, value, data) ?? false;
  } catch {
    // Malformed, or refused by native crypto: a point off the curve, a modulus that is none. The runtimes' errors differ.
    return false;
  }
}

function parseHostKey(blob: Uint8Array): HostKey | null {
  const reader = new SshReader(blob);
  const name = reader.text();
  const type = name.replace(CERTIFICATE, "");
  const isCertificate = type !== name;
  if (isCertificate) reader.string();
  const key = parseKey(type, reader);
  if (!isCertificate) reader.end();
  return key;
}

function parseKey(type: string, reader: SshReader): HostKey | null {
  if (type === "ssh-ed25519") return ed25519(reader.string());
  if (type === "ssh-rsa") return rsa(reader.string(), reader.string());
  const curve = /^ecdsa-sha2-(nistp\d+)$/.exec(type)?.[1];
  if (curve === undefined || reader.text() !== curve) return null;
  return ecdsa(type, curve, reader.string());
}

function ed25519(point: Uint8Array): HostKey {
  const key = importJwk({ kty: "OKP", crv: "Ed25519", x: encodeBase64Url(point) });
  return {
    check: (algorithm, signature, data) => algorithm === "ssh-ed25519" && verify(null, data, key, signature),
  };
}

function rsa(exponent: Uint8Array, modulus: Uint8Array): HostKey | null {
  const [e, n] = [unsigned(exponent), unsigned(modulus)];
  if (n.length < MIN_RSA_BYTES) return null;
  const key = importJwk({ kty: "RSA", e: encodeBase64Url(e), n: encodeBase64Url(n) });
  return {
    check: (algorithm, signature, data) => {
      const digest = RSA_DIGESTS[algorithm];
      return digest !== undefined && verify(digest, data, key, signature);
    },
  };
}

function ecdsa(type: string, name: string, point: Uint8Array): HostKey | null {
  const curve = CURVES[name];
  if (curve === undefined || point.length !== 1 + 2 * curve.bytes || point[0] !== 4) return null;
  const verifyRaw = curve.crv === "P-521" ? withP521(point) : natively(curve, point);
  return {
    check: (algorithm, signature, data) => {
      if (algorithm !== type) return false;
      const reader = new SshReader(signature);
      const raw = concatBytes(...[reader.string(), reader.string()].map((part) => fixed(part, curve.bytes)));
      reader.end();
      return verifyRaw(raw, data);
    },
  };
}

/** Verifies a raw signature. */
type VerifyRaw = (raw: Bytes, data: Uint8Array) => boolean;

function natively({ crv, digest, bytes }: Curve, point: Uint8Array): VerifyRaw {
  const [x, y] = [point.subarray(1, 1 + bytes), point.subarray(1 + bytes)];
  const key = importJwk({ kty: "EC", crv, x: encodeBase64Url(x), y: encodeBase64Url(y) });
  // Not by verify(), which in some releases of Deno takes DER whatever it is told.
  return (raw, data) => createVerify(digest).update(data).verify({ key, dsaEncoding: "ieee-p1363" }, raw);
}

/** Not every release of Deno knows this curve. */
function withP521(point: Uint8Array): VerifyRaw {
  return (raw, data) => p521.verify(raw, data, point, { lowS: false });
}

function importJwk(key: JsonWebKey): KeyObject {
  return createPublicKey({ key, format: "jwk" });
}

/** An mpint without its sign (RFC 4251 §5). @throws {WireError} it is negative, or has needless zeros. */
function unsigned(mpint: Uint8Array): Uint8Array {
  const [first, second] = [mpint[0] ?? 0, mpint[1] ?? 0];
  if ((first & 0x80) !== 0) throw new WireError("a negative number");
  if (mpint.length > 0 && first === 0 && (second & 0x80) === 0) throw new WireError("needless zeros");
  return first === 0 ? mpint.subarray(1) : mpint;
}

/** An mpint as a number of fixed length. @throws {WireError} it is longer. */
function fixed(mpint: Uint8Array, length: number): Bytes {
  const value = unsigned(mpint);
  if (value.length > length) throw new WireError("a number that is too long");
  const out = new Uint8Array(length);
  out.set(value, length - value.length);
  return out;
}
