import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, encodeBase64Url, utf8 } from "../../../src/bytes.ts";
import {
  compactJws,
  encodeJsonPart,
  isMediaType,
  isTokenType,
  jwsHeader,
  signingInput,
} from "../../../src/formats/jws.ts";
import { inPieces } from "../../support/message_pieces.ts";

async function inputText(header: string, payload: Uint8Array, sizes: readonly number[]): Promise<string> {
  let all: Uint8Array = new Uint8Array(0);
  for await (const piece of signingInput(header, inPieces(payload, sizes))) all = concatBytes(all, piece);
  return new TextDecoder().decode(all);
}

test("signingInput() is that of RFC 7515 A.3.1", async () => {
  const payload = utf8('{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}');
  const header = encodeJsonPart({ alg: "ES256" });
  assert.equal(
    await inputText(header, payload, [5, 1, 1, 20]),
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
  );
});

test("signingInput() is the same for every division into pieces, empty ones too", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.nat({ max: 12 }), { maxLength: 60 }),
      async (payload, sizes) => {
        assert.equal(await inputText("h", payload, sizes), `h.${encodeBase64Url(payload)}`);
      },
    ),
  );
});

test("signingInput() keeps nothing back but what makes no whole characters", async () => {
  let given = 0;
  async function* payload(): AsyncGenerator<Uint8Array> {
    for (; given < 10; given++) yield new Uint8Array(100);
  }
  const input = signingInput("h", payload());
  await input.next();
  for (let read = 1; read <= 10; read++) {
    const { value } = await input.next();
    assert.equal(given, read - 1);
    assert.ok(value instanceof Uint8Array && value.length >= 132 && value.length <= 136);
  }
});

test("jwsHeader() has its members in one order, and certificates in base64", () => {
  assert.equal(JSON.stringify(jwsHeader("JWT", "k", null)), '{"alg":"ES256","typ":"JWT","kid":"k"}');
  const chain = [Uint8Array.of(0xfb, 0xff), Uint8Array.of(1)];
  assert.equal(
    JSON.stringify(jwsHeader("JOSE", "k", chain)),
    '{"alg":"ES256","typ":"JOSE","kid":"k","x5c":["+/8=","AQ=="]}',
  );
});

test("compactJws() leaves the place of a detached payload empty", () => {
  assert.equal(compactJws("h", "p", Uint8Array.of(0xfb, 0xff)), "h.p.-_8");
  assert.equal(compactJws("h", "", Uint8Array.of(1)), "h..AQ");
});

test("isTokenType() knows the types of tokens in every spelling, and no other", () => {
  const types = [
    "JWT",
    "jwt",
    "application/jwt",
    "at+jwt",
    "AT+JWT",
    "application/at+JWT",
    "dpop+jwt",
    "a+b+jwt",
    "dc+sd-jwt",
    "application/sd-jwt",
  ];
  for (const typ of types) assert.ok(isTokenType(typ), typ);
  for (const typ of ["JOSE", "jwts", "xjwt", "jwt+json", "application/json", "a/jwt"]) {
    assert.ok(!isTokenType(typ), typ);
  }
});

test("isMediaType() takes names of media types and nothing that could be more", () => {
  for (const typ of ["JOSE", "example", "application/example", "a.b-c+d", "x".repeat(127)]) {
    assert.ok(isMediaType(typ), typ);
  }
  for (const typ of ["", " ", "a b", "a/b/c", "/a", "a/", '"', "é", "a\n", "+jwt", "x".repeat(128)]) {
    assert.ok(!isMediaType(typ), JSON.stringify(typ));
  }
});
