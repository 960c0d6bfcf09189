/** Claims that a command line gives: `NAME=JSON`. */
import assert from "node:assert/strict";
import { type Bytes, concatBytes, utf8 } from "../../src/bytes.ts";
import {
  type Claim,
  MAX_CLAIMS_BYTES,
  parseJsonClaim,
  type TokenClaims,
  tokenClaims,
} from "../../src/formats/jwt_claims.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { jsonMutator } from "./json_mutators.ts";
import { makeTarget, readSeeds, type Target } from "./target.ts";

/** A claim, and the token with it. */
interface Made {
  readonly claim: Claim;
  readonly claims: TokenClaims;
}

const FACTS = { deviceId: "am_x", audience: ["a"], issuedAt: 1_000_000, lifetime: 300, id: "i" };
const OWN: TokenClaims = tokenClaims({ ...FACTS, claims: [] });

const NAMES = [
  "exp",
  "EXP",
  "aud",
  "i\u017fs",
  "\uff45xp",
  " exp",
  "__proto__",
  "constructor",
  "role",
  "https://a.b/c",
  "",
];
const mutateJson = jsonMutator({});

const valueOf = (input: Bytes): Bytes => input.slice(input.indexOf("=".charCodeAt(0)) + 1);

/** The value changed as JSON, and sometimes another name. */
const byPart: Mutator = (random, input, corpus) => {
  const value = mutateJson(random, valueOf(input), [valueOf(random.pick(corpus))]);
  const name = random.oneIn(3)
    ? utf8(random.pick(NAMES))
    : input.slice(0, Math.max(input.indexOf("=".charCodeAt(0)), 0));
  return concatBytes(name, utf8("="), value);
};

/** As every verifier reads it, amesh's claims stand, and one more. */
function check({ claim, claims }: Made): void {
  const made = JSON.parse(JSON.stringify(claims));
  assert.equal(Object.getPrototypeOf(made), Object.prototype);
  const { [claim.name]: value, ...rest } = made;
  assert.deepEqual(rest, OWN);
  assert.deepEqual(value, JSON.parse(JSON.stringify(claim.value)));
  const lenient = Object.keys(made).map((name) => name.normalize("NFKC").trim().toLowerCase());
  assert.equal(new Set(lenient).size, Object.keys(OWN).length + 1);
}

/** Target of `jwt --claim-json`. */
export const JWT_CLAIM_TARGET: Target = makeTarget<Made>({
  name: "jwt-claim",
  seeds: readSeeds("jwt-claim"),
  mutators: [byPart],
  limit: MAX_CLAIMS_BYTES,
  codes: ["ERR_USAGE"],
  parse: (input: Bytes) => {
    const claim = parseJsonClaim(new TextDecoder().decode(input));
    return { claim, claims: tokenClaims({ ...FACTS, claims: [claim] }) };
  },
  check,
});
