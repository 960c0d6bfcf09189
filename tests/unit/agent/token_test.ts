/** What amesh signs is read by another implementation of JOSE. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  compactVerify,
  createLocalJWKSet,
  errors,
  exportJWK,
  flattenedVerify,
  generateKeyPair,
  type JSONWebKeySet,
  jwtVerify,
} from "jose";
import fc from "fast-check";
import { signJws } from "../../../src/agent/token.ts";
import { concatBytes, encodeBase64Url, utf8 } from "../../../src/bytes.ts";
import { expandPoint } from "../../../src/crypto/p256.ts";
import { compactJws } from "../../../src/formats/jws.ts";
import { type Claim, parseJsonClaim, tokenClaims } from "../../../src/formats/jwt_claims.ts";
import { formatPublicKey, thumbprintOf } from "../../../src/formats/public_key.ts";
import { pieces } from "../../contract/keystore_contract.ts";
import { type AmeshPlace, ameshPlace, identityOf } from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const POINT = await expandPoint(FLOOR.publicKey);
const AUDIENCE = "https://api.example.com";
const SECONDS = 1_800_000_000;

async function jwksOf(point: Uint8Array): Promise<JSONWebKeySet> {
  return JSON.parse(new TextDecoder().decode(await formatPublicKey(point, "jwks", "")));
}
const KEYS = createLocalJWKSet(await jwksOf(POINT));

/** As `amesh jws` does. */
async function sign(
  place: AmeshPlace,
  typ: string,
  payload: Uint8Array,
  isDetached = false,
): Promise<string> {
  const options = { useAgent: false, background: false, warn: place.warn };
  const request = { typ, chain: null, payload: pieces(payload, 1000) };
  const made = await signJws(place.layout, FLOOR, request, options);
  return compactJws(made.encodedHeader, isDetached ? "" : encodeBase64Url(payload), made.signature);
}

function claimsOf(audience: readonly string[], claims: readonly Claim[] = []) {
  const { deviceId } = FLOOR.fields;
  return tokenClaims({ deviceId, audience, issuedAt: SECONDS, lifetime: 300, id: "an id", claims });
}

const at = (seconds: number) => ({ audience: AUDIENCE, currentDate: new Date(seconds * 1000) });

test("jose verifies a token by the JWK set, and reads what was said", async () => {
  using place = ameshPlace("floor");
  const claims = claimsOf([AUDIENCE], [{ name: "role", value: "r\u00f4le \u{1f511}" }, {
    name: "n",
    value: [1, null],
  }]);
  const token = await sign(place, "JWT", utf8(JSON.stringify(claims)));
  const { payload, protectedHeader } = await jwtVerify(token, KEYS, {
    ...at(SECONDS),
    issuer: FLOOR.fields.deviceId,
    subject: FLOOR.fields.deviceId,
    typ: "JWT",
    algorithms: ["ES256"],
    requiredClaims: ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"],
  });
  assert.deepEqual(payload, JSON.parse(JSON.stringify(claims)));
  assert.deepEqual(protectedHeader, { alg: "ES256", typ: "JWT", kid: await thumbprintOf(POINT) });
});

test("jose refuses a token before and after its time, for somebody else, and of another key", async () => {
  using place = ameshPlace("floor");
  const token = await sign(place, "JWT", utf8(JSON.stringify(claimsOf([AUDIENCE, "b"]))));
  for (const audience of [AUDIENCE, "b"]) await jwtVerify(token, KEYS, { ...at(SECONDS), audience });
  await jwtVerify(token, KEYS, at(SECONDS - 60));
  await jwtVerify(token, KEYS, at(SECONDS + 299));
  await assert.rejects(jwtVerify(token, KEYS, at(SECONDS - 61)), errors.JWTClaimValidationFailed);
  await assert.rejects(jwtVerify(token, KEYS, at(SECONDS + 300)), errors.JWTExpired);
  await assert.rejects(
    jwtVerify(token, KEYS, { ...at(SECONDS), audience: "c" }),
    errors.JWTClaimValidationFailed,
  );
  const other = createLocalJWKSet(await jwksOf(await expandPoint(OTHER.publicKey)));
  await assert.rejects(jwtVerify(token, other, at(SECONDS)), errors.JWKSNoMatchingKey);
  const { publicKey } = await generateKeyPair("ES256", { extractable: true });
  const forged = { ...await exportJWK(publicKey), kid: await thumbprintOf(POINT), alg: "ES256" };
  await assert.rejects(
    jwtVerify(token, createLocalJWKSet({ keys: [forged] }), at(SECONDS)),
    errors.JWSSignatureVerificationFailed,
  );
});

test("jose reads any claims as they were given", async () => {
  using place = ameshPlace("floor");
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.stringMatching(/^x[a-z]{1,8}$/), fc.jsonValue({ maxDepth: 2 })),
      async (given) => {
        let claims;
        try {
          const parsed = Object.entries(given).map(([name, value]) =>
            parseJsonClaim(`${name}=${JSON.stringify(value)}`)
          );
          claims = claimsOf([AUDIENCE], parsed);
        } catch (error) {
          return ameshError("ERR_USAGE")(error);
        }
        const token = await sign(place, "JWT", utf8(JSON.stringify(claims)));
        const { payload } = await jwtVerify(token, KEYS, at(SECONDS));
        const { iss: _i, sub: _s, aud: _a, exp: _e, nbf: _n, iat: _t, jti: _j, ...rest } = payload;
        assert.deepEqual(JSON.parse(JSON.stringify(rest)), JSON.parse(JSON.stringify(given)));
        return true;
      },
    ),
    { numRuns: 20 },
  );
});

for (const length of [0, 1, 2, 3, 1000, 1001, (1 << 20) + 5]) {
  test(`jose verifies a payload of ${length} bytes, in the result and detached`, async () => {
    using place = ameshPlace("floor");
    const payload = Uint8Array.from({ length }, (_, i) => i * 7);
    const whole = await compactVerify(await sign(place, "JOSE", payload), KEYS);
    assert.deepEqual(new Uint8Array(whole.payload), payload);
    assert.equal(whole.protectedHeader.typ, "JOSE");
    const [head = "", empty, signature = ""] = (await sign(place, "example", payload, true)).split(".");
    assert.equal(empty, "");
    const detached = { protected: head, payload: encodeBase64Url(payload), signature };
    await flattenedVerify(detached, KEYS);
    await assert.rejects(
      flattenedVerify(
        { ...detached, payload: encodeBase64Url(concatBytes(payload, Uint8Array.of(1))) },
        KEYS,
      ),
      errors.JWSSignatureVerificationFailed,
    );
  });
}

test("a header never names another key than the one that has signed", async () => {
  using place = ameshPlace("floor-other");
  await assert.rejects(
    sign(place, "JWT", utf8(JSON.stringify(claimsOf([AUDIENCE])))),
    ameshError("ERR_BUSY", /replaced meanwhile/),
  );
});
