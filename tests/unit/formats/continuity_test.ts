import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { type Bytes, concatBytes, decodeHex, encodeBase64, encodeHex, utf8 } from "../../../src/bytes.ts";
import {
  type Continuity,
  continuityFields,
  continuityMessage,
  type ContinuityStatement,
  encodeContinuity,
  MAX_CONTINUITY_BYTES,
  parseContinuity,
} from "../../../src/formats/continuity.ts";
import { TIER_NAMES } from "../../../src/formats/identity_file.ts";
import { ameshError, onlyAmeshErrors } from "../../support/errors.ts";

/** What tests/vectors/make_continuity.ts writes; signatures, messages and keys are hex. */
interface ContinuityVector {
  readonly old: { readonly publicKey: string; readonly deviceId: string; readonly backend: string };
  readonly new: { readonly publicKey: string; readonly deviceId: string; readonly backend: string };
  readonly createdAt: string;
  readonly oldMessage: string;
  readonly newMessage: string;
  readonly oldSignature: string;
  readonly newSignature: string;
  readonly file: Readonly<Record<string, string>>;
}

const ROLES = ["old", "new"] as const;
const vectorPath = join(import.meta.dirname!, "..", "..", "vectors", "continuity.json");
const vector: ContinuityVector = JSON.parse(readFileSync(vectorPath, "utf8"));
const FIELDS = vector.file;
const TEXT = `${JSON.stringify(FIELDS, null, 2)}\n`;

const hex = (text: string) => decodeHex(text) as Bytes;
const bytesOf = (value: unknown) => utf8(JSON.stringify(value));
const parse = (value: unknown) => parseContinuity(bytesOf(value), "statement.json");
const parseText = (text: string) => parseContinuity(utf8(text), "statement.json");
const idOf = (key: Uint8Array) => `am_${createHash("sha256").update(key).digest("base64url").slice(0, 16)}`;

const ofLength = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Uint8Array.from(bytes));
const party = fc.record({
  x: ofLength(32),
  prefix: fc.constantFrom(2, 3),
  backend: fc.constantFrom(...TIER_NAMES),
}).map(({ x, prefix, backend }) => {
  const publicKey = concatBytes(Uint8Array.of(prefix), x);
  return { deviceId: idOf(publicKey), publicKey, backend };
});
// Years of four digits.
const time = fc.date({ min: new Date(0), max: new Date("9999-12-31T23:59:59.999Z"), noInvalidDate: true })
  .map((date) => date.toISOString());
const statement: fc.Arbitrary<ContinuityStatement> = fc.record({
  old: party,
  new: party,
  createdAt: time,
  oldSignature: ofLength(64),
  newSignature: ofLength(64),
}, { noNullPrototype: true }).filter(({ old, new: next }) => old.deviceId !== next.deviceId);

test("parseContinuity() reads what encodeContinuity() writes", async () => {
  await fc.assert(fc.asyncProperty(statement, async (value) => {
    assert.deepEqual(await parseContinuity(encodeContinuity(value), "x"), value);
  }));
});

test("parseContinuity() reads the values of the vector", async () => {
  const parsed = await parseText(TEXT);
  for (const role of ROLES) {
    assert.equal(encodeHex(parsed[role].publicKey), vector[role].publicKey);
    assert.equal(parsed[role].deviceId, vector[role].deviceId);
    assert.equal(parsed[role].backend, vector[role].backend);
    assert.equal(encodeHex(parsed[`${role}Signature`]), vector[`${role}Signature`]);
  }
  assert.equal(parsed.createdAt, vector.createdAt);
});

test("encodeContinuity() makes the vector's file again, byte for byte", async () => {
  assert.equal(new TextDecoder().decode(encodeContinuity(await parseText(TEXT))), TEXT);
});

test("continuityFields() are the fields of the file, in their order", async () => {
  const fields = continuityFields(await parseText(TEXT));
  assert.deepEqual(fields, FIELDS);
  assert.deepEqual(Object.keys(fields), Object.keys(FIELDS));
});

test("the longest statement has room in a file", async () => {
  const longest = TIER_NAMES.toSorted((a, b) => b.length - a.length)[0];
  const text = JSON.stringify({ ...FIELDS, oldBackend: longest, newBackend: longest }, null, 2);
  await parseText(text);
  assert.equal(MAX_CONTINUITY_BYTES, 8192);
  assert.ok(text.length * 4 < MAX_CONTINUITY_BYTES);
});

// Keys whose bytes count upwards; spelled out by hand from docs/file-formats.md.
const SIMPLE: Continuity = {
  old: {
    deviceId: "am_AAAAAAAAAAAAAAAA",
    publicKey: hex("02000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    backend: "encrypted-file",
  },
  new: {
    deviceId: "am_BBBBBBBBBBBBBBBB",
    publicKey: hex("03202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"),
    backend: "tpm2",
  },
  createdAt: "2026-03-01T09:00:00.000Z",
};
const BEHIND_ROLE = [
  "00000013 616d5f 41414141414141414141414141414141",
  "00000021 02 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
  "0000000e 656e63727970746564 2d 66696c65",
  "00000013 616d5f 42424242424242424242424242424242",
  "00000021 03 202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
  "00000004 74706d32",
  "00000018 323032362d30332d3031 54 30393a30303a30302e303030 5a",
].join("").replaceAll(" ", "");
// "amesh continuity v1" and a zero byte.
const LABEL = "616d657368 20 636f6e74696e75697479 20 7631 00".replaceAll(" ", "");

for (const [role, name] of [["old", "00000003 6f6c64"], ["new", "00000003 6e6577"]] as const) {
  test(`continuityMessage() of ${role} is label, role, both parties and time, each with its length`, () => {
    const want = `${LABEL}${name.replaceAll(" ", "")}${BEHIND_ROLE}`;
    assert.equal(encodeHex(continuityMessage(role, SIMPLE)), want);
  });

  test(`continuityMessage() of ${role} is what stands in the vector`, async () => {
    assert.equal(encodeHex(continuityMessage(role, await parseText(TEXT))), vector[`${role}Message`]);
  });
}

test("node:crypto verifies each signature of the vector over the message of its role only", async () => {
  const parsed = await parseText(TEXT);
  for (const signer of ROLES) {
    // SubjectPublicKeyInfo of a compressed point.
    const head = hex("3039301306072a8648ce3d020106082a8648ce3d030107032200");
    const der = concatBytes(head, parsed[signer].publicKey);
    const key = createPublicKey({ key: der as never, format: "der", type: "spki" });
    for (const role of ROLES) {
      for (const signature of ROLES) {
        const valid = verify(
          "sha256",
          continuityMessage(role, parsed),
          { key, dsaEncoding: "ieee-p1363" },
          parsed[`${signature}Signature`],
        );
        assert.equal(valid, signer === role && signer === signature, `${signer} key, ${role}, ${signature}`);
      }
    }
  }
});

test("continuityMessage() differs between the roles, and for parties that have changed places", () => {
  fc.assert(fc.property(statement, (value) => {
    const messages = ROLES.flatMap((role) => [
      encodeHex(continuityMessage(role, value)),
      encodeHex(continuityMessage(role, { ...value, old: value.new, new: value.old })),
    ]);
    assert.equal(new Set(messages).size, 4);
  }));
});

test("continuityMessage() differs whenever a value does, and not for the signatures", () => {
  fc.assert(fc.property(statement, statement, (one, two) => {
    const message = encodeHex(continuityMessage("old", one));
    assert.equal(
      encodeHex(continuityMessage("old", { ...two, old: one.old, new: one.new, createdAt: one.createdAt })),
      message,
    );
    const changed: Continuity[] = [
      ...(["deviceId", "publicKey", "backend"] as const).flatMap((field) =>
        ROLES.map((role) => ({ ...one, [role]: { ...one[role], [field]: two[role][field] } }))
      ),
      { ...one, createdAt: two.createdAt },
    ];
    for (const other of changed) {
      const same = JSON.stringify(partiesOf(other)) === JSON.stringify(partiesOf(one));
      assert.equal(encodeHex(continuityMessage("old", other)) === message, same);
    }
  }));
});

/** What the message is about, as JSON compares it. */
function partiesOf({ old, new: next, createdAt }: Continuity): unknown[] {
  return [...[old, next].map((one) => ({ ...one, publicKey: encodeHex(one.publicKey) })), createdAt];
}

test("parseContinuity() takes fields in any order and any white space between them", async () => {
  const parsed = await parseText(TEXT);
  const reversed = Object.fromEntries(Object.entries(FIELDS).reverse());
  for (const spaces of [0, 1, 8]) {
    const text = JSON.stringify(reversed, null, spaces);
    assert.deepEqual(await parseText(text), parsed);
    assert.deepEqual(await parseText(text.replaceAll("\n", "\r\n\t")), parsed);
  }
});

test("parseContinuity() does not look at the signatures", async () => {
  const none = encodeBase64(new Uint8Array(64));
  const parsed = await parse({ ...FIELDS, oldSignature: none, newSignature: none });
  assert.deepEqual(parsed.oldSignature, new Uint8Array(64));
});

test("parseContinuity() refuses a file cut off at every byte", async () => {
  // Without the final newline it is still whole.
  for (let length = 0; length < TEXT.length - 1; length++) {
    await assert.rejects(parseText(TEXT.slice(0, length)), ameshError("ERR_CORRUPT"), `${length} bytes`);
  }
});

const notJson: [name: string, text: string, message: RegExp][] = [
  ["nothing", "", /^cannot read "statement\.json": it is not valid JSON$/],
  ["text", "hello", /not valid JSON$/],
  ["a byte order mark", `\ufeff${TEXT}`, /not valid JSON$/],
  ["something behind it", `${TEXT}{}`, /not valid JSON$/],
  ["a list of statements", `[${TEXT}]`, /not a JSON object$/],
  ["null", "null", /not a JSON object$/],
  ["an empty object", "{}", /field "version" is missing, unknown or wrong$/],
];
for (const [name, text, message] of notJson) {
  test(`parseContinuity() refuses ${name}`, async () => {
    await assert.rejects(parseText(text), ameshError("ERR_CORRUPT", message));
  });
}

for (const version of ["0.9.0", "1.0.1", "1.0", "2.0.0", "", "1.0.0 "]) {
  test(`parseContinuity() refuses version ${JSON.stringify(version)}`, async () => {
    await assert.rejects(
      parse({ ...FIELDS, version }),
      ameshError("ERR_CORRUPT", /^cannot read "statement\.json": its version is not supported$/),
    );
  });
}

for (const field of Object.keys(FIELDS)) {
  const message = new RegExp(`: field "${field}" is missing, unknown or wrong$`);
  test(`parseContinuity() refuses a statement without ${field}`, async () => {
    await assert.rejects(parse({ ...FIELDS, [field]: undefined }), ameshError("ERR_CORRUPT", message));
  });
  for (const value of [null, 0, [], {}, true, [FIELDS[field]]]) {
    test(`parseContinuity() refuses ${JSON.stringify(value)} for ${field}`, async () => {
      await assert.rejects(
        parse({ ...FIELDS, [field]: value }),
        ameshError("ERR_CORRUPT", new RegExp(`: field "${field}(\\.0)?" is`)),
      );
    });
  }
  test(`parseContinuity() refuses two of ${field}`, async () => {
    const again = `${JSON.stringify(field)}: ${JSON.stringify(FIELDS[field])}`;
    for (const text of [TEXT.replace("{", `{${again},`), TEXT.replace(/\n}\n$/, `,${again}}`)]) {
      await assert.rejects(
        parseText(text),
        ameshError("ERR_CORRUPT", /occurs twice or is not in its canonical/),
      );
    }
  });
}

for (const field of ["comment", "Version", "", "0", "toString", "constructor", "__proto__"]) {
  test(`parseContinuity() refuses an unknown field ${JSON.stringify(field)}`, async () => {
    const text = TEXT.replace("{", `{${JSON.stringify(field)}: 1,`);
    await assert.rejects(parseText(text), ameshError("ERR_CORRUPT"));
  });
}

const otherSpellings: [name: string, from: string, to: string][] = [
  ["a field name with an escape", '"createdAt"', '"\\u0063reatedAt"'],
  ["a value with an escape", '"tpm2"', '"\\u0074pm2"'],
  ["a solidus with an escape", "/", "\\/"],
];
for (const [name, from, to] of otherSpellings) {
  test(`parseContinuity() refuses ${name}`, async () => {
    assert.ok(TEXT.includes(from));
    await assert.rejects(parseText(TEXT.replace(from, to)), ameshError("ERR_CORRUPT", /canonical spelling$/));
  });
}

/** The same key with the other sign of y: its id is not that of the first. */
const otherSign = (base64: string) => {
  const key = Uint8Array.fromBase64(base64);
  key[0]! ^= 1;
  return encodeBase64(key);
};
const mismatch = (role: string) =>
  new RegExp(`: field "${role}DeviceId" does not belong to "${role}PublicKey"$`);

for (const [role, other] of [["old", "new"], ["new", "old"]] as const) {
  const id = FIELDS[`${role}DeviceId`]!;
  const key = FIELDS[`${role}PublicKey`]!;
  const changed: [name: string, change: Record<string, string>, message: RegExp][] = [
    ["a device id of another key", { [`${role}DeviceId`]: "am_AAAAAAAAAAAAAAAA" }, mismatch(role)],
    ["a device id of the other key", { [`${role}DeviceId`]: FIELDS[`${other}DeviceId`]! }, mismatch(role)],
    ["the other key", { [`${role}PublicKey`]: FIELDS[`${other}PublicKey`]! }, mismatch(role)],
    ["a key of another sign", { [`${role}PublicKey`]: otherSign(key) }, mismatch(role)],
    ["a device id with a path in it", { [`${role}DeviceId`]: "am_../../../../etc/p" }, /DeviceId" is/],
    ["a device id that is too short", { [`${role}DeviceId`]: id.slice(0, -1) }, /DeviceId" is/],
    ["a device id with a newline", { [`${role}DeviceId`]: `${id}\n` }, /DeviceId" is/],
    [
      "a key of 32 bytes",
      { [`${role}PublicKey`]: encodeBase64(new Uint8Array(32).fill(2)) },
      /PublicKey" is/,
    ],
    [
      "a key of 65 bytes",
      { [`${role}PublicKey`]: encodeBase64(new Uint8Array(65).fill(4)) },
      /PublicKey" is/,
    ],
    [
      "a key that is no point",
      { [`${role}PublicKey`]: encodeBase64(new Uint8Array(33).fill(5)) },
      /PublicKey" is/,
    ],
    ["a key without its last character", { [`${role}PublicKey`]: key.slice(0, -1) }, /PublicKey" is/],
    ["an unknown tier", { [`${role}Backend`]: "tpm" }, new RegExp(`"${role}Backend" is`)],
    ["a tier in upper case", { [`${role}Backend`]: "TPM2" }, new RegExp(`"${role}Backend" is`)],
    ["no text for the tier", { [`${role}Backend`]: "" }, new RegExp(`"${role}Backend" is`)],
    ["a signature of 63 bytes", { [`${role}Signature`]: encodeBase64(new Uint8Array(63)) }, /Signature" is/],
    ["a signature of 65 bytes", { [`${role}Signature`]: encodeBase64(new Uint8Array(65)) }, /Signature" is/],
    ["no padding", { [`${role}Signature`]: FIELDS[`${role}Signature`]!.slice(0, -2) }, /Signature" is/],
    ["a pad bit", { [`${role}Signature`]: `${"A".repeat(85)}B==` }, /Signature" is/],
    ["base64url", { [`${role}Signature`]: `${"_".repeat(85)}w==` }, /Signature" is/],
    ["a signature in hex", { [`${role}Signature`]: "0".repeat(128) }, /Signature" is/],
  ];
  for (const [name, change, message] of changed) {
    test(`parseContinuity() refuses ${name} on the ${role} side`, async () => {
      await assert.rejects(parse({ ...FIELDS, ...change }), ameshError("ERR_CORRUPT", message));
    });
  }
}

test("parseContinuity() refuses the same key on both sides", async () => {
  const { oldDeviceId, oldPublicKey } = FIELDS;
  await assert.rejects(
    parse({ ...FIELDS, newDeviceId: oldDeviceId, newPublicKey: oldPublicKey }),
    ameshError("ERR_CORRUPT", /: both keys are the same$/),
  );
});

const times = [
  "2026-03-01T09:00:00Z",
  "2026-03-01T09:00:00.00Z",
  "2026-03-01T09:00:00.0000Z",
  "2026-03-01T10:00:00.000+01:00",
  "2026-03-01T09:00:00.000",
  "2026-03-01t09:00:00.000z",
  "2026-03-01",
  "2026-13-01T09:00:00.000Z",
  "2026-00-01T09:00:00.000Z",
  "2026-03-32T09:00:00.000Z",
  "2026-03-01T24:00:00.000Z",
  "2026-03-01T09:60:00.000Z",
  "12026-03-01T09:00:00.000Z",
  "yesterday",
  "",
];
for (const createdAt of times) {
  test(`parseContinuity() refuses the time ${JSON.stringify(createdAt)}`, async () => {
    await assert.rejects(parse({ ...FIELDS, createdAt }), ameshError("ERR_CORRUPT", /field "createdAt" is/));
  });
}

test("parseContinuity() refuses white space in a value", async () => {
  for (const field of Object.keys(FIELDS)) {
    for (const value of [` ${FIELDS[field]}`, `${FIELDS[field]}\t`]) {
      await assert.rejects(parse({ ...FIELDS, [field]: value }), ameshError("ERR_CORRUPT"));
    }
  }
});

test("parseContinuity() fails with an AmeshError only", async () => {
  const field = fc.constantFrom(...Object.keys(FIELDS), "__proto__", "constructor");
  const changes = fc.dictionary(field, fc.jsonValue(), { maxKeys: 3 }).map((change) =>
    bytesOf({ ...FIELDS, ...change })
  );
  const input = fc.oneof(fc.uint8Array(), fc.json().map(utf8), changes);
  await fc.assert(fc.asyncProperty(input, (bytes) => onlyAmeshErrors(() => parseContinuity(bytes, "x"))));
});

test("parseContinuity() survives nesting as deep as a file can hold", async () => {
  for (const [open, close] of [["[", "]"], ['{"a":', "}"]] as const) {
    const depth = Math.floor((MAX_CONTINUITY_BYTES - 100) / (open.length + 1));
    const text = `{"version":"1.0.0","createdAt":${open.repeat(depth)}1${close.repeat(depth)}}`;
    await assert.rejects(parseText(text), ameshError("ERR_CORRUPT"));
  }
});

test("parseContinuity() never quotes a value", async () => {
  for (const field of Object.keys(FIELDS)) {
    await assert.rejects(parse({ ...FIELDS, [field]: "confidential" }), (error) => {
      assert.doesNotMatch((error as Error).message, /confidential/);
      return true;
    });
  }
});
