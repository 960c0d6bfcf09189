import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, encodeBase64, utf8 } from "../../../src/bytes.ts";
import {
  encodeSeKey,
  MAX_BLOB_BYTES,
  MAX_SE_KEY_BYTES,
  parseSeKey,
  type SeKey,
} from "../../../src/formats/se_key.ts";
import { ameshError } from "../../support/errors.ts";

const KEY: SeKey = {
  blob: Uint8Array.fromHex("00010203fffefd") as Bytes,
  publicKey: Uint8Array.fromHex(
    "0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
  ) as Bytes,
  createdAt: "2026-03-01T09:00:00.000Z",
};
const TEXT = `{
  "version": "1.0.0",
  "blob": "AAECA//+/Q==",
  "publicKey": "A2D+1LolWp0xyWHrdMY1bWjASbiSO2H6bOZpYi5g8p+2",
  "createdAt": "2026-03-01T09:00:00.000Z"
}
`;
const FIELDS = JSON.parse(TEXT);

test("encodeSeKey() writes the form of docs/file-formats.md, and parseSeKey() reads it", () => {
  assert.equal(new TextDecoder().decode(encodeSeKey(KEY)), TEXT);
  assert.deepEqual(parseSeKey(utf8(TEXT), "f"), KEY);
  assert.deepEqual(parseSeKey(utf8(JSON.stringify(FIELDS)), "f"), KEY);
});

test("the longest blob fits into a file, and comes back", () => {
  const key = { ...KEY, blob: new Uint8Array(MAX_BLOB_BYTES).fill(7) as Bytes };
  const file = encodeSeKey(key);
  assert.ok(file.length <= MAX_SE_KEY_BYTES);
  assert.deepEqual(parseSeKey(file, "f"), key);
});

const text = (fields: unknown) => JSON.stringify(fields);
const REFUSED: [what: string, content: string, message: RegExp][] = [
  ["no JSON", TEXT.slice(0, -3), /not valid JSON$/],
  ["a list", "[]", /not a JSON object$/],
  ["another version", text({ ...FIELDS, version: "2.0.0" }), /version is not supported$/],
  ["no version", text({ ...FIELDS, version: undefined }), /"version" is missing/],
  ["a version that is no text", text({ ...FIELDS, version: 1 }), /"version"/],
  ["no blob", text({ ...FIELDS, blob: undefined }), /"blob" is missing/],
  ["an empty blob", text({ ...FIELDS, blob: "" }), /"blob"/],
  ["a blob that is too long", text({ ...FIELDS, blob: encodeBase64(new Uint8Array(8193)) }), /"blob"/],
  ["a blob in base64url", text({ ...FIELDS, blob: "AAECA__-_Q==" }), /"blob"/],
  ["pad bits", text({ ...FIELDS, blob: "AAECA//+/R==" }), /"blob"/],
  [
    "an uncompressed key",
    text({ ...FIELDS, publicKey: encodeBase64(new Uint8Array(65).fill(4)) }),
    /"publicKey"/,
  ],
  [
    "a key that is no point",
    text({ ...FIELDS, publicKey: encodeBase64(new Uint8Array(33).fill(5)) }),
    /"publicKey"/,
  ],
  ["a time without milliseconds", text({ ...FIELDS, createdAt: "2026-03-01T09:00:00Z" }), /"createdAt"/],
  ["a time that is none", text({ ...FIELDS, createdAt: "2026-13-01T09:00:00.000Z" }), /"createdAt"/],
  ["another field", text({ ...FIELDS, passphrase: "x" }), /"passphrase" is missing, unknown or wrong$/],
  ["a field twice", TEXT.replace('"blob"', '"blob": "AAAA", "blob"'), /occurs twice/],
  ["an escape", TEXT.replace("1.0.0", "1.0.\\u0030"), /canonical spelling/],
];
for (const [what, content, message] of REFUSED) {
  test(`parseSeKey() refuses ${what}`, () => {
    assert.throws(() => parseSeKey(utf8(content), "/k/f"), ameshError("ERR_CORRUPT", message));
  });
}

test("parseSeKey() names the file and quotes nothing of it", () => {
  assert.throws(() => parseSeKey(utf8(text({ ...FIELDS, blob: "secret!" })), "/k/f"), (error) => {
    ameshError("ERR_CORRUPT", /^cannot read "\/k\/f": /)(error);
    return !String(error).includes("secret");
  });
});
