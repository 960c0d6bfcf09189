/** `amesh jwt`: a token by which this machine shows to a service who it is. */
import { signJws } from "../../agent/token.ts";
import { encodeBase64Url, utf8 } from "../../bytes.ts";
import { inOnePiece } from "../../crypto/p256.ts";
import type { Identity } from "../../formats/identity_file.ts";
import { compactJws, encodeJsonPart, JWT_TYPE } from "../../formats/jws.ts";
import {
  parseJsonClaim,
  parseTextClaim,
  requireLifetime,
  TOKEN_ID_BYTES,
  tokenClaims,
} from "../../formats/jwt_claims.ts";
import { withIdentity } from "../../identity/store.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { loadHeaderChain } from "../header_chain.ts";
import { print, printJson, warn } from "../output.ts";

/** Options of `jwt`. */
export type JwtFlags = {
  readonly audience: readonly string[];
  readonly claim?: readonly string[];
  readonly claimJson?: readonly string[];
  /** Seconds. */
  readonly expires: number;
  readonly longLived: boolean;
  readonly headerX5c: boolean;
  readonly noAgent: boolean;
  readonly passphraseFd?: number;
  readonly json: boolean;
};

/** Servers that take headers of 8 KiB count the rest of the line as well. */
const LARGE_TOKEN_CHARACTERS = 8000;
/** A clock that is behind by more is said to be wrong, in milliseconds. */
const CLOCK_SLACK_MS = 60_000;

/** @throws {AmeshError} `ERR_USAGE`: an option makes no good token; as `signJws`. */
export async function jwt(flags: JwtFlags): Promise<void> {
  const { audience, expires: lifetime, longLived, headerX5c, noAgent, passphraseFd, json } = flags;
  requireLifetime(lifetime, longLived);
  const claims = [
    ...(flags.claim ?? []).map(parseTextClaim),
    ...(flags.claimJson ?? []).map(parseJsonClaim),
  ];
  forbidInspection();
  const layout = await ameshLayout();
  const made = await withIdentity(layout, async (identity) => {
    const nowMs = Date.now();
    warnOfClock(identity, nowMs);
    const payload = tokenClaims({
      deviceId: identity.fields.deviceId,
      audience,
      issuedAt: Math.floor(nowMs / 1000),
      lifetime,
      id: encodeBase64Url(crypto.getRandomValues(new Uint8Array(TOKEN_ID_BYTES))),
      claims,
    });
    const request = {
      typ: JWT_TYPE,
      chain: headerX5c ? await loadHeaderChain(layout, identity) : null,
      payload: inOnePiece(utf8(JSON.stringify(payload))),
    };
    const options = { useAgent: !noAgent, background: false, passphraseFd, warn };
    return { payload, ...await signJws(layout, identity, request, options) };
  });
  const { header, payload } = made;
  const token = compactJws(made.encodedHeader, encodeJsonPart(payload), made.signature);
  if (token.length > LARGE_TOKEN_CHARACTERS) {
    warn(`the token has ${token.length} characters, which is more than many servers take in a header`);
  }
  if (!json) return await print(`${token}\n`);
  await printJson({ token, header, claims: payload, expiresAt: new Date(payload.exp * 1000).toISOString() });
}

/** A machine without a clock of its own starts in the past, and verifiers would find every token expired. */
function warnOfClock({ fields: { createdAt } }: Identity, nowMs: number): void {
  if (nowMs + CLOCK_SLACK_MS >= Date.parse(createdAt)) return;
  const now = new Date(nowMs).toISOString();
  warn(`the clock says ${now}, but this identity was made at ${createdAt}: verifiers may refuse the token`);
}
