/**
 * Lets jose (https://github.com/panva/jose) sign with this machine's key, in whatever tier it is.
 *
 * jose takes a CryptoKey and calls `crypto.subtle.sign`; it has no hook for keys that are elsewhere. So this makes an object
 * that says of itself what a CryptoKey says, and a `crypto.subtle.sign` that knows what to do with it. Every other key goes to
 * the runtime's own as before, and disposing of the signer takes the change back. If all that you need is a token, `token()`
 * does without any of this.
 *
 *     deno run --allow-read --allow-env --allow-sys=uid --allow-ffi docs/examples/jose_signer.ts
 *     bun docs/examples/jose_signer.ts
 */
import { createLocalJWKSet, jwtVerify, SignJWT } from "jose";
import { type MachineIdentity, openIdentity } from "../../src/mod.ts";

/** A key for everything that signs by WebCrypto; of use while it is not disposed of. */
export interface WebCryptoSigner extends Disposable {
  /** Not extractable, for `sign` with ECDSA P-256 and SHA-256 only. */
  readonly key: CryptoKey;
}

/** Makes one. The caller disposes of the identity, after the signer. */
export function webCryptoSigner(identity: MachineIdentity): WebCryptoSigner {
  const key = Object.freeze({
    type: "private",
    extractable: false,
    algorithm: Object.freeze({ name: "ECDSA", namedCurve: "P-256" }),
    usages: Object.freeze(["sign"]),
    [Symbol.toStringTag]: "CryptoKey",
  }) as unknown as CryptoKey;
  const { subtle } = crypto;
  const before = subtle.sign;
  const sign: SubtleCrypto["sign"] = async (algorithm, used, data) => {
    if (used !== key) return await before.call(subtle, algorithm as EcdsaParams, used, data);
    requireSha256(algorithm);
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data);
    // jose has made this message itself, from claims that your program has chosen.
    return Uint8Array.from(await identity.sign(bytes, { allowProtocolMessage: true })).buffer;
  };
  subtle.sign = sign;
  return {
    key,
    [Symbol.dispose]: () => {
      if (subtle.sign === sign) subtle.sign = before;
    },
  };
}

function requireSha256(algorithm: unknown): void {
  const { name, hash } = algorithm as { name?: string; hash?: string | { name?: string } };
  const hashName = typeof hash === "string" ? hash : hash?.name;
  if (name?.toUpperCase() !== "ECDSA" || hashName?.toUpperCase() !== "SHA-256") {
    throw new DOMException("this key signs ECDSA with SHA-256 only", "NotSupportedError");
  }
}

if (import.meta.main) {
  using identity = await openIdentity();
  using signer = webCryptoSigner(identity);
  const { jwk, thumbprint } = identity.publicKey;
  const token = await new SignJWT({ role: "backup" })
    .setProtectedHeader({ alg: "ES256", kid: thumbprint })
    .setIssuer(identity.deviceId)
    .setAudience("https://storage.example")
    .setIssuedAt()
    .setExpirationTime("5 minutes")
    .sign(signer.key);

  const { payload } = await jwtVerify(token, createLocalJWKSet({ keys: [{ ...jwk }] }), {
    audience: "https://storage.example",
    algorithms: ["ES256"],
  });
  console.log(`${payload.iss} is ${payload["role"]}`);
}
