import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import { encodeHex, utf8 } from "../../../src/bytes.ts";
import {
  associatedData,
  DEFAULT_ARGON2_PARAMS,
  encodeKeyFile,
  type EncryptedKey,
  parseKeyFile,
} from "../../../src/formats/key_file.ts";
import { ameshError, onlyAmeshErrors } from "../../support/errors.ts";
import { fixtureKeyFile, type FixtureName } from "../../support/fixture.ts";

const { text: TEXT_3, fields: FIELDS_3 } = fixtureKeyFile("floor");
const { text: TEXT_2, fields: FIELDS_2 } = fixtureKeyFile("amesh-0.7-floor");
const bytesOf = (value: unknown) => utf8(JSON.stringify(value));
const parse = (value: unknown) => parseKeyFile(bytesOf(value), "key.json");

const ofLength = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((b) => Uint8Array.from(b));
const cost = fc.tuple(
  fc.integer({ min: 2, max: 16 }),
  fc.integer({ min: 19_456, max: 1 << 20 }),
  fc.integer({ min: 1, max: 4 }),
)
  .filter(([t, m]) => t * m <= 1 << 22).map(([t, m, p]) => ({ t, m, p }));
const keyFile: fc.Arbitrary<EncryptedKey> = fc.record({
  version: fc.constantFrom("2.0.0" as const, "3.0.0" as const),
  argon2Params: cost,
  salt: ofLength(16),
  nonce: ofLength(12),
  ciphertext: ofLength(48),
  publicKey: ofLength(33),
}, { noNullPrototype: true });

/** What was parsed, without the fields that are constants. */
function essence(parsed: EncryptedKey): EncryptedKey {
  const { version, argon2Params, salt, nonce, ciphertext, publicKey } = parsed;
  return { version, argon2Params, salt, nonce, ciphertext, publicKey };
}

test("parseKeyFile() reads what encodeKeyFile() writes", () => {
  fc.assert(fc.property(keyFile, (key) => {
    assert.deepEqual(essence(parseKeyFile(encodeKeyFile(key), "x")), key);
  }));
});

test("encodeKeyFile() writes indented JSON with a final newline", () => {
  for (const text of [TEXT_2, TEXT_3]) {
    assert.equal(new TextDecoder().decode(encodeKeyFile(parseKeyFile(utf8(text), "x"))), text);
  }
});

test("DEFAULT_ARGON2_PARAMS are three passes over 64 MiB in one lane", () => {
  assert.deepEqual(DEFAULT_ARGON2_PARAMS, { t: 3, m: 65536, p: 1 });
});

for (const name of ["floor", "amesh-0.7-floor", "four-lanes"] satisfies FixtureName[]) {
  test(`parseKeyFile() reads the key file of ${name}`, () => {
    const { text, fields } = fixtureKeyFile(name);
    const parsed = parseKeyFile(utf8(text), "x");
    const base64 = (value: Uint8Array) => Buffer.from(value).toString("base64");
    assert.deepEqual(
      [
        parsed.version,
        parsed.argon2Params,
        base64(parsed.salt),
        base64(parsed.nonce),
        base64(parsed.ciphertext),
        base64(parsed.publicKey),
      ],
      [
        fields["version"],
        fields["argon2Params"],
        fields["salt"],
        fields["nonce"],
        fields["ciphertext"],
        fields["publicKey"],
      ],
    );
  });
}

test("parseKeyFile() takes fields in any order and any white space between them", () => {
  const reversed = Object.fromEntries(Object.entries(FIELDS_3).reverse());
  for (const spaces of [0, 1, 8]) {
    const text = JSON.stringify(reversed, null, spaces);
    assert.deepEqual(essence(parseKeyFile(utf8(text), "x")), essence(parse(FIELDS_3)));
    assert.deepEqual(
      essence(parseKeyFile(utf8(text.replaceAll("\n", "\r\n\t")), "x")),
      essence(parse(FIELDS_3)),
    );
  }
});

for (const [version, text] of [["3.0.0", TEXT_3], ["2.0.0", TEXT_2]] as const) {
  test(`parseKeyFile() refuses a ${version} file cut off at every byte`, () => {
    // Without the final newline it is still whole.
    for (let length = 0; length < text.length - 1; length++) {
      const cut = utf8(text.slice(0, length));
      assert.throws(() => parseKeyFile(cut, "x"), ameshError("ERR_CORRUPT"), `${length} bytes`);
    }
  });
}

const files = [["3.0.0", FIELDS_3], ["2.0.0", FIELDS_2]] as const;
for (const [version, fields] of files) {
  for (const field of Object.keys(fields)) {
    const message = field === "version" ? /version is not supported$/ : new RegExp(`field "${field}"`);
    test(`parseKeyFile() refuses a ${version} file without ${field}`, () => {
      assert.throws(() => parse({ ...fields, [field]: undefined }), ameshError("ERR_CORRUPT", message));
    });
    for (const value of [null, 0, "", [], {}, true]) {
      test(`parseKeyFile() refuses ${JSON.stringify(value)} for ${field} of a ${version} file`, () => {
        assert.throws(() => parse({ ...fields, [field]: value }), ameshError("ERR_CORRUPT"));
      });
    }
  }
}

const GIB = 1 << 20;
const floor = { t: 2, m: 19_456, p: 1 };
const withinLimits: [t: unknown, m: unknown, p: unknown][] = [
  [2, 19_456, 1],
  [3, 65_536, 1],
  [16, 19_456, 4],
  [4, GIB, 1],
  [2, GIB, 4],
  [16, GIB / 4, 1],
];
const outsideLimits: [t: unknown, m: unknown, p: unknown][] = [
  [1, 19_456, 1],
  [0, 19_456, 1],
  [-2, 19_456, 1],
  [17, 19_456, 1],
  [2.5, 19_456, 1],
  ["2", 19_456, 1],
  [null, 19_456, 1],
  [[2], 19_456, 1],
  [true, 19_456, 1],
  [2 ** 32 + 2, 19_456, 1],
  [1e400, 19_456, 1],
  [2, 19_455, 1],
  [2, 0, 1],
  [2, 8, 1],
  [2, -65_536, 1],
  [2, GIB + 1, 1],
  [2, 2 ** 32 + 65_536, 1],
  [2, 19_456.5, 1],
  [2, "65536", 1],
  [2, 19_456, 0],
  [2, 19_456, -1],
  [2, 19_456, 5],
  [2, 19_456, 1.5],
  [2, 19_456, "1"],
  [5, GIB, 1],
  [16, GIB / 4 + 1, 1],
  [9, 500_000, 4],
];
for (const [version, fields] of files) {
  for (const [t, m, p] of withinLimits) {
    test(`parseKeyFile() accepts t=${t} m=${m} p=${p} in a ${version} file`, () => {
      assert.deepEqual(parse({ ...fields, argon2Params: { t, m, p } }).argon2Params, { t, m, p });
    });
  }
  for (const [t, m, p] of outsideLimits) {
    test(`parseKeyFile() refuses t=${JSON.stringify(t)} m=${JSON.stringify(m)} p=${JSON.stringify(p)} in a ${version} file`, () => {
      assert.throws(
        () => parse({ ...fields, argon2Params: { t, m, p } }),
        ameshError("ERR_CORRUPT", /field "argon2Params(\.[tmp])?" is missing, unknown or wrong$/),
      );
    });
  }
  for (
    const params of [{ t: 2, m: 19_456 }, { t: 2, p: 1 }, { m: 19_456, p: 1 }, { ...floor, v: 19 }, [
      2,
      19_456,
      1,
    ]]
  ) {
    test(`parseKeyFile() refuses ${JSON.stringify(params)} in a ${version} file`, () => {
      assert.throws(
        () => parse({ ...fields, argon2Params: params }),
        ameshError("ERR_CORRUPT", /argon2Params/),
      );
    });
  }
}

const junk: [name: string, (base64: string) => string][] = [
  ["a newline behind it", (text) => `${text}\n`],
  ["a space in it", (text) => `${text.slice(0, 4)} ${text.slice(4)}`],
  ["padding too much", (text) => `${text}====`],
  ["a character less", (text) => text.slice(1)],
  ["four characters more", (text) => `AAAA${text}`],
  ["four characters less", (text) => text.slice(4)],
  ["base64url's alphabet", (text) => `_-_-${text.slice(4)}`],
  ["a character of no alphabet", (text) => `!${text.slice(1)}`],
  ["an escape for a character", (text) => `${text.slice(0, -1)}\u0000`],
];
for (const [version, fields] of files) {
  for (const field of ["salt", "nonce", "ciphertext", "publicKey"]) {
    for (const [name, change] of junk) {
      test(`parseKeyFile() refuses base64 with ${name} for ${field} of a ${version} file`, () => {
        const value = change(fields[field] as string);
        assert.throws(() => parse({ ...fields, [field]: value }), ameshError("ERR_CORRUPT"));
      });
    }
  }
  test(`parseKeyFile() refuses a pad bit in the salt of a ${version} file`, () => {
    const salt = fields["salt"] as string;
    const last = salt.at(-3) as string;
    const next = String.fromCharCode(last.charCodeAt(0) + 1);
    assert.throws(
      () => parse({ ...fields, salt: salt.replace(/.==$/, `${next}==`) }),
      ameshError("ERR_CORRUPT"),
    );
  });
}

const versions = ["1.0.0", "2.0.1", "3.0.1", "4.0.0", "3", "", "3.0.0 "];
for (const version of versions) {
  test(`parseKeyFile() refuses version ${JSON.stringify(version)}`, () => {
    assert.throws(
      () => parse({ ...FIELDS_3, version }),
      ameshError("ERR_CORRUPT", /version is not supported$/),
    );
  });
}

for (
  const [field, value] of [["algorithm", "aes-128-gcm"], ["algorithm", "AES-256-GCM"], ["kdf", "argon2i"], [
    "kdf",
    "scrypt",
  ]]
) {
  test(`parseKeyFile() refuses ${field} ${value}`, () => {
    assert.throws(
      () => parse({ ...FIELDS_3, [field as string]: value }),
      ameshError("ERR_CORRUPT", new RegExp(`"${field}"`)),
    );
    assert.throws(
      () => parse({ ...FIELDS_2, [field as string]: value }),
      ameshError("ERR_CORRUPT", new RegExp(`"${field}"`)),
    );
  });
}

for (const field of ["comment", "Salt", "", "0", "toString", "constructor", "hasOwnProperty", "__proto__"]) {
  test(`parseKeyFile() refuses an unknown field ${JSON.stringify(field)} in a 3.0.0 file`, () => {
    const text = TEXT_3.replace("{", `{${JSON.stringify(field)}: 1,`);
    assert.throws(() => parseKeyFile(utf8(text), "x"), ameshError("ERR_CORRUPT"));
  });
}

test("parseKeyFile() ignores an unknown field in a 2.0.0 file, which stays readable for ever", () => {
  assert.deepEqual(essence(parse({ ...FIELDS_2, comment: "x" })), essence(parse(FIELDS_2)));
});

for (const field of Object.keys(FIELDS_3)) {
  test(`parseKeyFile() refuses a 3.0.0 file with two of ${field}`, () => {
    const again = `${JSON.stringify(field)}: ${JSON.stringify(FIELDS_3[field])}`;
    assert.throws(
      () => parseKeyFile(utf8(TEXT_3.replace("{", `{${again},`)), "x"),
      ameshError("ERR_CORRUPT"),
    );
    assert.throws(
      () => parseKeyFile(utf8(TEXT_3.replace(/\n}\n$/, `,${again}}`)), "x"),
      ameshError("ERR_CORRUPT"),
    );
  });
}

const otherSpellings: [name: string, from: string, to: string][] = [
  ["two of t", '"t": 2', '"t": 3, "t": 2'],
  ["a field name with an escape", '"kdf"', '"\\u006bdf"'],
  ["a value with an escape", '"argon2id"', '"argon2i\\u0064"'],
  ["a number with a fraction", '"t": 2', '"t": 2.0'],
  ["a number with an exponent", '"t": 2', '"t": 2e0'],
];
for (const [name, from, to] of otherSpellings) {
  test(`parseKeyFile() refuses a 3.0.0 file with ${name}`, () => {
    assert.ok(TEXT_3.includes(from));
    assert.throws(() => parseKeyFile(utf8(TEXT_3.replace(from, to)), "x"), ameshError("ERR_CORRUPT"));
  });
}

test("parseKeyFile() fails with an AmeshError only", async () => {
  const field = fc.constantFrom(...Object.keys(FIELDS_3), "__proto__", "constructor");
  const changes = fc.tuple(
    fc.constantFrom(FIELDS_2, FIELDS_3),
    fc.dictionary(field, fc.jsonValue(), { maxKeys: 3 }),
  )
    .map(([fields, change]) => bytesOf({ ...fields, ...change }));
  const input = fc.oneof(fc.uint8Array(), fc.json().map(utf8), changes);
  await fc.assert(fc.asyncProperty(input, (bytes) => onlyAmeshErrors(() => parseKeyFile(bytes, "x"))));
});

test("parseKeyFile() survives nesting as deep as a file can hold", async () => {
  for (const [open, close] of [["[", "]"], ['{"a":', "}"]] as const) {
    const depth = Math.floor(16_000 / (open.length + 1));
    const text = `{"version":"3.0.0","salt":${open.repeat(depth)}1${close.repeat(depth)}}`;
    await onlyAmeshErrors(() => parseKeyFile(utf8(text), "x"));
  }
});

test("parseKeyFile() never quotes the content", () => {
  for (const fields of [FIELDS_2, FIELDS_3]) {
    assert.throws(() => parse({ ...fields, salt: "secret" }), (error) => {
      assert.doesNotMatch((error as Error).message, /secret/);
      return true;
    });
  }
});

/** The associated data as design and documents describe it, written with DataView and Buffer. */
function expectedAssociatedData({ argon2Params: { t, m, p }, salt, nonce, publicKey }: EncryptedKey): string {
  const frame = (field: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(field.length);
    return Buffer.concat([length, field]);
  };
  const number = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const fields = [
    Buffer.from("aes-256-gcm"),
    Buffer.from("argon2id"),
    ...[t, m, p].map(number),
    ...[salt, nonce, publicKey].map((b) => Buffer.from(b)),
  ];
  return Buffer.concat([Buffer.from("amesh-key-3.0.0\0"), ...fields.map(frame)]).toString("hex");
}

test("associatedData() of 3.0.0 frames every field but the ciphertext, of 2.0.0 it is empty", () => {
  fc.assert(fc.property(keyFile, (key) => {
    const want = key.version === "2.0.0" ? "" : expectedAssociatedData(key);
    assert.equal(encodeHex(associatedData(key)), want);
  }));
});
