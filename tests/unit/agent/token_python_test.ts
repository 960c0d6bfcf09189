/** What amesh signs is read by Python's JOSE library. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { signJws } from "../../../src/agent/token.ts";
import { utf8 } from "../../../src/bytes.ts";
import { expandPoint, inOnePiece } from "../../../src/crypto/p256.ts";
import { compactJws, encodeJsonPart } from "../../../src/formats/jws.ts";
import { tokenClaims } from "../../../src/formats/jwt_claims.ts";
import { formatPublicKey } from "../../../src/formats/public_key.ts";
import { ameshPlace, identityOf } from "../../support/amesh_place.ts";

/** Debian's own: that is where its packages are. */
const PYTHON = "/usr/bin/python3";
const MODULES = ["jwt", "cryptography"].map((name) => `/usr/lib/python3/dist-packages/${name}/__init__.py`);
const skip = [PYTHON, ...MODULES].every((path) => existsSync(path)) ? false : "PyJWT is not installed";

const READ = `
import json, jwt, sys
given = json.load(sys.stdin)
key = jwt.PyJWKSet.from_dict(given["jwks"])[jwt.get_unverified_header(given["token"])["kid"]].key
def read(**changes):
    try:
        options = {"require": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]}
        return jwt.decode(given["token"], key, **{"algorithms": ["ES256"], "audience": "a", "options": options, **changes})
    except jwt.PyJWTError as error:
        return type(error).__name__
print(json.dumps([read(), read(audience="b"), read(issuer="c"), read(algorithms=["ES384"])]))
`;

test("PyJWT verifies a token by the JWK set, and refuses it for somebody else and when it has expired", {
  skip,
}, async () => {
  using place = ameshPlace("floor");
  const identity = await identityOf("floor");
  const { deviceId } = identity.fields;
  const jwks = await formatPublicKey(await expandPoint(identity.publicKey), "jwks", "");
  const answersAt = async (issuedAt: number) => {
    const facts = { deviceId, audience: ["a"], issuedAt, lifetime: 300, id: "i", claims: [] };
    const claims = tokenClaims({ ...facts, claims: [{ name: "role", value: ["r\u00f4le", 5, null] }] });
    const request = { typ: "JWT", chain: null, payload: inOnePiece(utf8(JSON.stringify(claims))) };
    const options = { useAgent: false, background: false, warn: place.warn };
    const made = await signJws(place.layout, identity, request, options);
    const token = compactJws(made.encodedHeader, encodeJsonPart(claims), made.signature);
    const input = JSON.stringify({ token, jwks: JSON.parse(new TextDecoder().decode(jwks)) });
    const { status, stdout, stderr } = spawnSync(PYTHON, ["-I", "-c", READ], { input, encoding: "utf8" });
    assert.equal(status, 0, stderr);
    return { claims, answers: JSON.parse(stdout) };
  };
  const now = Math.floor(Date.now() / 1000);
  const { claims, answers } = await answersAt(now);
  assert.deepEqual(answers, [
    JSON.parse(JSON.stringify(claims)),
    "InvalidAudienceError",
    "InvalidIssuerError",
    "InvalidAlgorithmError",
  ]);
  assert.equal((await answersAt(now - 301)).answers[0], "ExpiredSignatureError");
  // Made by a clock that is two minutes ahead.
  assert.equal((await answersAt(now + 120)).answers[0], "ImmatureSignatureError");
});
