import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { encodeBase64, utf8 } from "../../../src/bytes.ts";
import { base64Bytes, corrupt, parseJsonObject, requireSchema } from "../../../src/formats/json_document.ts";
import { ameshError } from "../../support/errors.ts";

test("corrupt() names the file and the reason", () => {
  const error = corrupt("/a/b.json", "reason", "cause");
  assert.deepEqual(
    [error.code, error.message, error.cause],
    ["ERR_CORRUPT", 'cannot read "/a/b.json": reason', "cause"],
  );
});

test("parseJsonObject() gives text and value of every JSON object", () => {
  fc.assert(fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (object) => {
    const text = JSON.stringify(object);
    const parsed = parseJsonObject(utf8(text), "x");
    assert.equal(parsed.text, text);
    assert.deepEqual(parsed.value, JSON.parse(text));
  }));
});

const refused: [name: string, input: Uint8Array, message: RegExp][] = [
  ["nothing", new Uint8Array(0), /not valid JSON$/],
  ["text", utf8("hello"), /not valid JSON$/],
  ["an object cut off", utf8('{"a":1'), /not valid JSON$/],
  ["something behind the object", utf8("{} x"), /not valid JSON$/],
  ["a trailing comma", utf8('{"a":1,}'), /not valid JSON$/],
  ["a comment", utf8("{} // x"), /not valid JSON$/],
  ["single quotes", utf8("{'a':1}"), /not valid JSON$/],
  ["a byte order mark", utf8("\ufeff{}"), /not valid JSON$/],
  ["invalid UTF-8", Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d), /not valid JSON$/],
  ["UTF-16", Uint8Array.of(0x7b, 0, 0x7d, 0), /not valid JSON$/],
  ["a NUL behind the object", utf8("{}\0"), /not valid JSON$/],
  ["an array", utf8("[]"), /not a JSON object$/],
  ["null", utf8("null"), /not a JSON object$/],
  ["a number", utf8("1"), /not a JSON object$/],
  ["a string", utf8('"{}"'), /not a JSON object$/],
];
for (const [name, input, message] of refused) {
  test(`parseJsonObject() refuses ${name}`, () => {
    assert.throws(() => parseJsonObject(input, "x"), ameshError("ERR_CORRUPT", message));
  });
}

test("parseJsonObject() survives nesting as deep as a file can hold", () => {
  for (const deep of ["[".repeat(32_000), '{"a":'.repeat(12_000)]) {
    const close = deep.startsWith("[") ? "]".repeat(32_000) : `1${"}".repeat(12_000)}`;
    const text = `{"a":${deep}${close}}`;
    try {
      assert.equal(parseJsonObject(utf8(text), "x").text, text);
    } catch (error) {
      ameshError("ERR_CORRUPT")(error);
    }
  }
});

test("parseJsonObject() never quotes the content", () => {
  assert.throws(() => parseJsonObject(utf8('{"passphrase":"secret'), "x"), (error) => {
    assert.doesNotMatch((error as Error).message, /secret/);
    return true;
  });
});

const SCHEMA = v.object({ a: v.object({ b: v.number() }), c: base64Bytes(3) });

test("requireSchema() gives the checked value", () => {
  assert.deepEqual(requireSchema(SCHEMA, { a: { b: 1 }, c: "AAEC" }, "x"), {
    a: { b: 1 },
    c: Uint8Array.of(0, 1, 2),
  });
});

test("requireSchema() names the first field that does not fit", () => {
  const wrong = (field: string) =>
    ameshError("ERR_CORRUPT", new RegExp(`: field "${field}" is missing, unknown or wrong$`));
  assert.throws(() => requireSchema(SCHEMA, { a: { b: "1" }, c: "AAEC" }, "x"), wrong("a.b"));
  assert.throws(() => requireSchema(SCHEMA, { c: "AAEC" }, "x"), wrong("a"));
  assert.throws(() => requireSchema(SCHEMA, { a: { b: 1 }, c: "AAE=" }, "x"), wrong("c"));
  assert.throws(() => requireSchema(SCHEMA, [], "x"), ameshError("ERR_CORRUPT"));
});

test("base64Bytes() takes the canonical base64 of exactly that many bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20 }), (bytes) => {
      const result = v.safeParse(base64Bytes(16), encodeBase64(bytes));
      assert.equal(result.success, bytes.length === 16);
      if (result.success) assert.deepEqual(result.output, Uint8Array.from(bytes));
    }),
    { examples: [[new Uint8Array(16)]] },
  );
});

for (const text of ["AAA=\n", " AAA=", "AAB=", "AAA", "__8=", 5, null]) {
  test(`base64Bytes() refuses ${JSON.stringify(text)}`, () => {
    assert.equal(v.safeParse(base64Bytes(2), text).success, false);
  });
}
