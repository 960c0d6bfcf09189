/** Tokens of this machine (JWT, RFC 7519, ES256), for services that know its public key. */
import { encodeBase64Url } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { compactJws, encodeJsonPart, jwsHeader, JWT_TYPE } from "../formats/jws.ts";
import {
  type Claim,
  DEFAULT_LIFETIME_SECONDS,
  parseJsonClaim,
  requireLifetime,
  TOKEN_ID_BYTES,
  tokenClaims,
} from "../formats/jwt_claims.ts";
import type { PublicKey } from "./public_key.ts";

/** What a token shall say. */
export interface TokenOptions {
  /** Whom it is for (`aud`), one at least: the verifier refuses a token that is for others. */
  readonly audience: string | readonly string[];
  /** Further claims, JSON values by name. Those that amesh sets itself (`iss`, `sub`, `exp` …) cannot be given. */
  readonly claims?: Readonly<Record<string, unknown>>;
  /** For how many seconds it is valid: 10 to 3600, with `longLived` up to 86,400. Default: 300. */
  readonly lifetime?: number;
  /** Nobody can take a token back: more than an hour has to be asked for. */
  readonly longLived?: boolean;
}

/** A token that is still to be signed. */
export interface UnsignedToken {
  /** RFC 7515 §5.1. */
  readonly signingInput: string;
  /** @param signature raw, 64 bytes. */
  complete(signature: Uint8Array): string;
}

/** @throws {AmeshError} `ERR_USAGE`: a claim, an audience or the lifetime makes no good token. */
export function unsignedToken(
  { deviceId, thumbprint }: PublicKey,
  { audience, claims = {}, lifetime = DEFAULT_LIFETIME_SECONDS, longLived = false }: TokenOptions,
): UnsignedToken {
  if (!Number.isSafeInteger(lifetime)) throw new TypeError(`the lifetime is no whole number: ${lifetime}`);
  requireLifetime(lifetime, longLived);
  const audiences = typeof audience === "string" ? [audience] : audience;
  if (audiences.length === 0) {
    throw new AmeshError("ERR_USAGE", "cannot make a token for nobody: the audience is empty");
  }
  const payload = tokenClaims({
    deviceId,
    audience: audiences,
    issuedAt: Math.floor(Date.now() / 1000),
    lifetime,
    id: encodeBase64Url(crypto.getRandomValues(new Uint8Array(TOKEN_ID_BYTES))),
    claims: Object.entries(claims).map(([name, value]) => claimOf(name, value)),
  });
  const header = encodeJsonPart(jwsHeader(JWT_TYPE, thumbprint, null));
  const body = encodeJsonPart(payload);
  return {
    signingInput: `${header}.${body}`,
    complete: (signature) => compactJws(header, body, signature),
  };
}

function claimOf(name: string, value: unknown): Claim {
  const claim = parseJsonClaim(`${name}=${JSON.stringify(value)}`);
  if (claim.name === name) return claim;
  throw new AmeshError(
    "ERR_USAGE",
    `cannot use the claim ${JSON.stringify(name.slice(0, 40))}: its name has a "="`,
  );
}
