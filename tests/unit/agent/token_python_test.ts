/** What amesh signs is read by Python's JOSE library. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { signJws } from "../../../src/agent/token.ts";
import { utf8 } from "../../../src/bytes.ts";
import { expandPoint, inOnePiece } from "../../../src/crypto/p256.ts";
import { compactJws, encodeJsonPart } from "../../../src/formats/jws.ts";
import { tokenClaims } from "../../../src/formats/jwt_claims.ts";
import { formatPublicKey } from "../../../src/formats/public_key.ts";
import { type AmeshPlace, ameshPlace, identityOf } from "../../support/amesh_place.ts";

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

/** A token that was made at this time, its claims, and the JWK set of its key. */
async function tokenOf(place: AmeshPlace, audience: string, issuedAt: number) {
  const identity = await identityOf("floor");
  const jwks = await formatPublicKey(await expandPoint(identity.publicKey), "jwks", "");
  const claims = tokenClaims({
    deviceId: identity.fields.deviceId,
    audience: [audience],
    issuedAt,
    lifetime: 300,
    id: "i",
    claims: [{ name: "role", value: ["r\u00f4le", 5, null] }],
  });
  const request = { typ: "JWT", chain: null, payload: inOnePiece(utf8(JSON.stringify(claims))) };
  const options = { useAgent: false, background: false, warn: place.warn };
  const made = await signJws(place.layout, identity, request, options);
  const token = compactJws(made.encodedHeader, encodeJsonPart(claims), made.signature);
  return {
    token,
    claims: JSON.parse(JSON.stringify(claims)),
    jwks: JSON.parse(new TextDecoder().decode(jwks)),
  };
}

const now = () => Math.floor(Date.now() / 1000);

test("PyJWT verifies a token by the JWK set, and refuses it for somebody else and outside of its time", {
  skip,
}, async () => {
  using place = ameshPlace("floor");
  const answersAt = async (issuedAt: number) => {
    const made = await tokenOf(place, "a", issuedAt);
    const options = { input: JSON.stringify(made), encoding: "utf8" } as const;
    const { status, stdout, stderr } = spawnSync(PYTHON, ["-I", "-c", READ], options);
    assert.equal(status, 0, stderr);
    return { claims: made.claims, answers: JSON.parse(stdout) };
  };
  const { claims, answers } = await answersAt(now());
  assert.deepEqual(answers, [claims, "InvalidAudienceError", "InvalidIssuerError", "InvalidAlgorithmError"]);
  assert.equal((await answersAt(now() - 301)).answers[0], "ExpiredSignatureError");
  // Made by a clock that is two minutes ahead.
  assert.equal((await answersAt(now() + 120)).answers[0], "ImmatureSignatureError");
});

test("the example for Python in docs/tokens.md verifies what its example makes", { skip }, async () => {
  using place = ameshPlace("floor");
  const document = readFileSync(join(import.meta.dirname!, "..", "..", "..", "docs", "tokens.md"), "utf8");
  const [, example = ""] = /^```python\n([\s\S]*?)^```$/m.exec(document) ?? [];
  const verified = async (audience: string) => {
    const { token, claims, jwks } = await tokenOf(place, audience, now());
    writeFileSync(place.file("jwks.json"), JSON.stringify(jwks));
    const options = { cwd: dirname(place.file("jwks.json")), encoding: "utf8" } as const;
    return { claims, ...spawnSync(PYTHON, ["-I", "-c", example, token], options) };
  };
  const { claims, stdout, stderr } = await verified("https://api.example.com");
  assert.deepEqual(JSON.parse(stdout || "null"), claims, stderr);
  assert.match((await verified("https://other.example.com")).stderr, /InvalidAudienceError/);
});
