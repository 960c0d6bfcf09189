import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, utf8 } from "../../../src/bytes.ts";
import { refuseClaims, refuseTokenType } from "../../../src/cli/claims_guard.ts";
import { PROTOCOL_START_BYTES } from "../../../src/formats/protocol_message.ts";
import { pieces } from "../../contract/keystore_contract.ts";
import { ameshError } from "../../support/errors.ts";

async function passOn(payload: Uint8Array, size: number): Promise<Uint8Array> {
  const passed: Uint8Array[] = [];
  for await (const piece of refuseClaims(pieces(payload, size))) passed.push(Uint8Array.from(piece));
  return concatBytes(...passed);
}

const padding = "x".repeat(PROTOCOL_START_BYTES);
const refused = ameshError("ERR_USAGE", /^cannot sign this payload: verifiers would take it for a token/);
const SIZES = [1, 7, 4096, 131_072];

for (const size of SIZES) {
  test(`refuseClaims() finds claims in pieces of ${size} bytes`, async () => {
    for (
      const json of [
        '{"exp":1}',
        '{"a":1,"aud":2}',
        `{"a":"${padding}","exp":1}`,
        `{"exp":1,"a":"${padding}"}`,
        `${" ".repeat(PROTOCOL_START_BYTES)}{"exp":1}`,
        `${"\r\n\t ".repeat(PROTOCOL_START_BYTES / 3)}{"a":1,"exp":1}`,
      ]
    ) {
      await assert.rejects(passOn(utf8(json), size), refused, json.slice(0, 20));
    }
  });

  test(`refuseClaims() passes on everything else in pieces of ${size} bytes`, async () => {
    const documents = [
      "",
      "{",
      '{"a":{"exp":1}}',
      "exp",
      `["exp","${padding}"]`,
      `{"a":"${padding}"}`,
      padding,
      " ".repeat(PROTOCOL_START_BYTES + 1),
      "\0".repeat(PROTOCOL_START_BYTES) + '{"exp":1}',
    ];
    for (const document of documents) assert.deepEqual(await passOn(utf8(document), size), utf8(document));
  });
}

test("refuseClaims() finds a claim wherever a long object is cut", async () => {
  for (let before = 0; before < 25; before++) {
    const json = `{"a":"${padding.slice(30)}${"y".repeat(before)}","\\u0065xp":1,"b":"${padding}"}`;
    await assert.rejects(passOn(utf8(json), PROTOCOL_START_BYTES), refused, `${before}`);
  }
});

test("refuseTokenType() refuses types of tokens only", () => {
  assert.throws(() => refuseTokenType("at+jwt"), ameshError("ERR_USAGE", /"at\+jwt" is the type of one$/));
  refuseTokenType("JOSE");
});
