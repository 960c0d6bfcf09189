/**
 * Claims of JSON Web Tokens (RFC 7519 §4): those that amesh sets, those that the user adds, and what must not be.
 *
 * The user's claims can override none of amesh's, in no spelling that some verifier takes for one of them.
 */
import { utf8 } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { printable } from "./printable.ts";

/** Lifetimes in seconds: the shortest, the longest that is given unasked, and the longest of all. */
export const MIN_LIFETIME_SECONDS = 10;
export const MAX_LIFETIME_SECONDS = 3600;
export const MAX_LONG_LIFETIME_SECONDS = 86_400;
/** How long a token is valid when nothing is said, in seconds. */
export const DEFAULT_LIFETIME_SECONDS = 300;
/** Length of a token's own id: as many random bits as make two of one id impossible. */
export const TOKEN_ID_BYTES = 16;
/** The longest claims, as JSON in bytes: servers take headers of 8 KiB, and base64url makes 4 of 3. */
export const MAX_CLAIMS_BYTES = 4096;
/** How far the clock of a verifier may be behind, in seconds. */
export const NOT_BEFORE_SLACK_SECONDS = 60;

/** The claims that amesh sets (RFC 7519 §4.1). */
const OWN_CLAIMS: readonly string[] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/** A claim of the user's. */
export interface Claim {
  readonly name: string;
  /** Anything that JSON has. */
  readonly value: unknown;
}

/** What a token says of itself. */
export interface TokenFacts {
  /** Who makes it, and about whom it is. */
  readonly deviceId: string;
  /** Whom it is for, one at least. */
  readonly audience: readonly string[];
  /** When it is made, in whole seconds since 1970. */
  readonly issuedAt: number;
  /** For how many seconds it is valid. */
  readonly lifetime: number;
  /** Its own id, that no other token has. */
  readonly id: string;
  readonly claims: readonly Claim[];
}

/** The payload of a token. */
export interface TokenClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string | readonly string[];
  /** Seconds since 1970, as `nbf` and `exp`. */
  readonly iat: number;
  readonly nbf: number;
  readonly exp: number;
  readonly jti: string;
  readonly [name: string]: unknown;
}

/** `NAME=VALUE`: the value is a text, whatever it looks like. @throws {AmeshError} `ERR_USAGE`. */
export function parseTextClaim(argument: string): Claim {
  const { name, value } = splitClaim(argument, "VALUE");
  if (!value.isWellFormed()) throw unusable(name, "its value is no valid Unicode");
  return { name, value };
}

/** `NAME=JSON`. @throws {AmeshError} `ERR_USAGE`. */
export function parseJsonClaim(argument: string): Claim {
  const { name, value: text } = splitClaim(argument, "JSON");
  // The parser of one runtime runs out of stack on what is nested too deep.
  if (text.length > MAX_CLAIMS_BYTES) throw tooLarge();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw unusable(name, "its value is not valid JSON", "quote texts, or use --claim for a text");
  }
  const members = countMembers(name, value);
  // The parser passes over all members of one name but the last.
  if (members !== [...text.replaceAll(JSON_STRING, "").matchAll(/:/g)].length) {
    throw unusable(name, "two members of its value have the same name");
  }
  return { name, value };
}

/**
 * Everything that a token says.
 *
 * @throws {AmeshError} `ERR_USAGE`: an audience is empty or named twice, two claims have one name, or all of it is too large.
 */
export function tokenClaims({ deviceId, audience, issuedAt, lifetime, id, claims }: TokenFacts): TokenClaims {
  requireAudience(audience);
  const names = claims.map(({ name }) => folded(name));
  const twice = names.findIndex((name, i) => names.indexOf(name) !== i);
  if (twice >= 0) {
    throw unusable(
      claims[twice]?.name ?? "",
      "there are two of this name",
      "names that differ in case are one",
    );
  }
  const [first] = audience;
  const all = {
    iss: deviceId,
    sub: deviceId,
    aud: audience.length === 1 ? first as string : audience,
    iat: issuedAt,
    nbf: issuedAt - NOT_BEFORE_SLACK_SECONDS,
    exp: issuedAt + lifetime,
    jti: id,
    ...Object.fromEntries(claims.map(({ name, value }) => [name, value])),
  };
  if (utf8(JSON.stringify(all)).length > MAX_CLAIMS_BYTES) throw tooLarge();
  return all;
}

/** @param lifetime in seconds. @throws {AmeshError} `ERR_USAGE`. */
export function requireLifetime(lifetime: number, isLongWanted: boolean): void {
  if (lifetime < MIN_LIFETIME_SECONDS) {
    throw new AmeshError("ERR_USAGE", `cannot make a token for ${lifetime}s: it would expire on its way`, {
      hint: `give --expires ${MIN_LIFETIME_SECONDS}s or more, such as 5m`,
    });
  }
  if (lifetime > MAX_LONG_LIFETIME_SECONDS) {
    throw new AmeshError("ERR_USAGE", "cannot make a token that is valid for longer than 24h", {
      hint: "let the machine make a new one when it needs one; nobody can take a token back",
    });
  }
  if (lifetime > MAX_LIFETIME_SECONDS && !isLongWanted) {
    throw new AmeshError("ERR_USAGE", "cannot make a token that is valid for longer than 1h unasked", {
      hint: "nobody can take a token back; if it must live for up to 24h: --long-lived",
    });
  }
}

/** White space, what a terminal does not show, and halves of characters. */
const UNFIT_FOR_NAMES = /[\s\p{Cc}\p{Cf}\p{Cs}]/u;

function splitClaim(argument: string, form: "VALUE" | "JSON"): { name: string; value: string } {
  const at = argument.indexOf("=");
  if (at <= 0) {
    throw new AmeshError("ERR_USAGE", `cannot read the claim ${quoted(argument)}: it is not NAME=${form}`);
  }
  const name = argument.slice(0, at);
  if (UNFIT_FOR_NAMES.test(name)) {
    throw unusable(name, "its name has white space or characters that are not shown");
  }
  if (OWN_CLAIMS.includes(folded(name))) {
    throw unusable(name, "amesh sets it itself", "aud comes from --audience, exp from --expires");
  }
  requireMemberName(name, name);
  return { name, value: argument.slice(at + 1) };
}

/**
 * What programs compare names by that are lenient: Go's encoding/json takes `EXP`, and `iſs` with a long s, for the fields
 * of these names; equalsIgnoreCase of Java also `ıss` without a dot, which has the capital letter of the i.
 */
function folded(name: string): string {
  return name.normalize("NFKC").toUpperCase().toLowerCase();
}

/** A string of JSON that is valid. */
const JSON_STRING = /"(?:[^"\\]|\\.)*"/g;

/** How many members a value has, those of members too. @throws {AmeshError} `ERR_USAGE`: it means other things to others. */
function countMembers(claim: string, value: unknown): number {
  if (typeof value === "string" && !value.isWellFormed()) throw unusable(claim, "it has no valid Unicode");
  // Beyond these, what is read and written again is another number.
  if (typeof value === "number" && (!Number.isFinite(value) || isInexact(value))) {
    throw unusable(claim, "a number in it is too large to be exact", "give it as a text");
  }
  if (typeof value !== "object" || value === null) return 0;
  const counts = Object.values(value).map((inner) => countMembers(claim, inner));
  const names = Array.isArray(value) ? [] : Object.keys(value);
  for (const name of names) requireMemberName(claim, name);
  return counts.reduce((sum, count) => sum + count, names.length);
}

function isInexact(value: number): boolean {
  return Number.isInteger(value) && !Number.isSafeInteger(value);
}

/** In JavaScript an assignment to this name gives an object the members of another one. */
function requireMemberName(claim: string, name: string): void {
  if (name === "__proto__" || !name.isWellFormed()) {
    throw unusable(claim, `no member can be called ${quoted(name)}`);
  }
}

function requireAudience(audience: readonly string[]): void {
  if (audience.length === 0) {
    throw new AmeshError("ERR_USAGE", "cannot make a token for nobody: it has no audience");
  }
  for (const [i, name] of audience.entries()) {
    const why = name === ""
      ? "it is empty"
      : UNFIT_FOR_NAMES.test(name)
      ? "it has white space or characters that are not shown"
      : audience.indexOf(name) !== i
      ? "it is given twice"
      : null;
    if (why !== null) throw new AmeshError("ERR_USAGE", `cannot use the audience ${quoted(name)}: ${why}`);
  }
}

function unusable(name: string, why: string, hint?: string): AmeshError {
  return new AmeshError(
    "ERR_USAGE",
    `cannot use the claim ${quoted(name)}: ${why}`,
    hint === undefined ? {} : { hint },
  );
}

function tooLarge(): AmeshError {
  return new AmeshError(
    "ERR_USAGE",
    `cannot make the token: its claims are larger than ${MAX_CLAIMS_BYTES} bytes`,
    {
      hint: "tokens go into HTTP headers; leave claims out, or sign a document with: amesh jws",
    },
  );
}

const quoted = (text: string) => `"${printable(text.slice(0, 40))}"`;

/** A JSON object after what may stand in front of one, or white space alone, in latin1 and without zero bytes. */
const OBJECT_START = /^(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?(?:\s*\{|\s+$)/;
const SOME_OWN_CLAIM = new RegExp(`"(?:${OWN_CLAIMS.join("|")})"`, "i");
/** The letter that lenient programs take for an s, in UTF-8 and escaped. */
const LONG_S = /\xc5\xbf|\\u017f/gi;
/** The same for an i. */
const DOTLESS_I = /\xc4\xb1|\\u0131/gi;
/** A name of {@linkcode SOME_OWN_CLAIM} in its longest spelling: six characters for a letter, four bytes for a character. */
export const LONGEST_CLAIM_NAME_BYTES = (2 + 3 * 6) * 4;

/** Whether a payload, or its beginning, can be that of a token: an object, in any encoding of Unicode, behind any white space. */
export function beginsAsClaims(start: Uint8Array): boolean {
  return OBJECT_START.test(asLatin1(start));
}

/**
 * Whether a verifier of tokens would find claims in a payload.
 *
 * @param payload a JSON object as a whole, as {@linkcode beginsAsClaims} tells.
 */
export function hasOwnClaims(payload: Uint8Array): boolean {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(payload);
    return Object.keys(JSON.parse(text)).some((name) => OWN_CLAIMS.includes(folded(name)));
  } catch {
    // Others read what this parser does not: NaN, UTF-16, comments.
    return mentionsOwnClaims(payload);
  }
}

/** Whether a part of an object has the name of a claim anywhere, as a member or not. */
export function mentionsOwnClaims(part: Uint8Array): boolean {
  const text = asLatin1(part)
    .replaceAll(/\\u00([4-7][0-9a-f])/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
    .replaceAll(LONG_S, "s")
    .replaceAll(DOTLESS_I, "i");
  return SOME_OWN_CLAIM.test(text);
}

/** Bytes as characters; without the zero bytes that UTF-16 and UTF-32 have in ASCII. */
function asLatin1(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes).replaceAll("\0", "");
}
