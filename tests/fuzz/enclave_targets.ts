/** What comes from a Secure Enclave helper, and the files that its keys are kept in. */
import assert from "node:assert/strict";
import { type Bytes, encodeBase64, equalBytes, utf8 } from "../../src/bytes.ts";
import { AmeshError } from "../../src/errors.ts";
import {
  type HelperAction,
  type HelperAnswer,
  MAX_LINE_BYTES,
  parseAnswer,
  REFUSAL_CODES,
} from "../../src/formats/helper_message.ts";
import {
  encodeSeKey,
  MAX_BLOB_BYTES,
  MAX_SE_KEY_BYTES,
  parseSeKey,
  type SeKey,
} from "../../src/formats/se_key.ts";
import { type FreshValues, jsonMutator } from "./json_mutators.ts";
import type { Random } from "./random.ts";
import { makeTarget, readSeeds, type Target } from "./target.ts";

const quoted = (bytes: Uint8Array) => `"${encodeBase64(bytes)}"`;
const oneOf = (...texts: readonly string[]) => (random: Random) => JSON.stringify(random.pick(texts));

/** Rarely the first byte of no point. */
function point(random: Random, first: number, length: number): string {
  const bytes = random.bytes(length);
  if (!random.oneIn(16)) bytes[0] = first;
  return quoted(bytes);
}
const blob = (random: Random) =>
  quoted(random.bytes(random.pick([0, 1, 2, 3, 284, MAX_BLOB_BYTES, MAX_BLOB_BYTES + 1])));

const seKeyFresh: FreshValues = {
  blob,
  publicKey: (random) => point(random, 2 + random.below(2), 33),
  createdAt: oneOf(
    "2026-03-01T09:00:00.000Z",
    "2026-02-31T09:00:00.000Z",
    "9999-12-31T23:59:59.999Z",
    "2026-03-01",
  ),
};

const seKey = makeTarget<SeKey>({
  name: "se-key",
  seeds: readSeeds("se-key"),
  mutators: [jsonMutator(seKeyFresh)],
  limit: MAX_SE_KEY_BYTES,
  codes: ["ERR_CORRUPT"],
  parse: (input) => parseSeKey(input, "file.json"),
  check: (key, input) => {
    const encoded = encodeSeKey(key);
    assert.deepEqual(parseSeKey(encoded, "file.json"), key);
    const sorted = (bytes: Bytes) =>
      [...new TextDecoder().decode(bytes).replaceAll(/[ \t\r\n]/g, "")].sort().join("");
    assert.equal(sorted(input), sorted(encoded), "not canonical");
    assert.ok(key.blob.length >= 1 && key.blob.length <= MAX_BLOB_BYTES);
    assert.ok(key.publicKey.length === 33 && (key.publicKey[0] === 2 || key.publicKey[0] === 3));
  },
});

const ACTIONS: readonly HelperAction[] = [
  "probe",
  "generate",
  "public-key",
  "sign-begin",
  "sign-update",
  "sign-end",
];
/** The question that the inputs answer, whatever it was. */
const ID = 7;

const answerFresh: FreshValues = {
  v: (random) => random.pick(["1", "1", "1", "2", '"1"', "1.0"]),
  id: (random) => random.pick(["7", "7", "7", "0", "8", '"7"', "7.0", "-7"]),
  ok: (random) => random.pick(["true", "false", "1"]),
  blob,
  publicKey: (random) => point(random, 4, 65),
  signature: (random) => quoted(random.bytes(random.pick([64, 64, 63, 65, 0]))),
  protocol: (random) => random.pick(["[1]", "[]", "[1,2]", '["1"]', "[1.5]", `[${"1,".repeat(70)}1]`]),
  secureEnclave: (random) => random.pick(["true", "false", "null"]),
  os: oneOf("macOS 15.6.0", "", "\u001b[2J", "a".repeat(65)),
  code: oneOf(...REFUSAL_CODES, "later"),
  status: (random) => random.pick(["-25308", "0", "1e400", "-1.5", '"-50"']),
  domain: oneOf("NSOSStatusErrorDomain", "\n", "é", ""),
  message: oneOf("why", "", "\u001b[2J", "a".repeat(5000)),
};

type Parsed = readonly (readonly [HelperAction, HelperAnswer<HelperAction>])[];

const helperAnswer = makeTarget<Parsed>({
  name: "helper-answer",
  seeds: readSeeds("helper-answer"),
  mutators: [jsonMutator(answerFresh)],
  limit: MAX_LINE_BYTES,
  codes: ["ERR_TIER_UNAVAILABLE"],
  parse: (input) => {
    // Every result has all that this action's has; what is none is not read five times more.
    const { kind } = parseAnswer(input, ID, "sign-update");
    // What the helper's client makes of it.
    if (kind !== "result" && kind !== "refusal") throw new AmeshError("ERR_TIER_UNAVAILABLE", kind);
    return ACTIONS.map((action) => [action, parseAnswer(input, ID, action)] as const);
  },
  check: (parsed, input) => {
    const fields = JSON.parse(new TextDecoder().decode(input));
    for (const [action, answer] of parsed) {
      if (answer.kind === "refusal") {
        const { code, status, domain = "" } = answer.refusal;
        assert.ok(fields.ok === false && (REFUSAL_CODES as readonly string[]).includes(code));
        assert.ok(fields.id === ID || (fields.id === 0 && code === "bad-request"));
        assert.ok(status === undefined || Number.isSafeInteger(status));
        assert.match(domain, /^[ -~]{0,64}$/);
      } else if (answer.kind === "result") {
        assert.ok(fields.ok === true && fields.v === 1 && fields.id === ID);
        checkResult(action, answer.result as Readonly<Record<string, unknown>>, fields.result);
      }
    }
  },
});

/** Bytes have their lengths, and are what stands in the line; words are short and plain. */
function checkResult(
  action: HelperAction,
  result: Readonly<Record<string, unknown>>,
  fields: Readonly<Record<string, unknown>>,
): void {
  const names: Readonly<Record<HelperAction, readonly string[]>> = {
    "probe": ["helper", "protocol", "secureEnclave", "os", "arch"],
    "generate": ["blob", "publicKey"],
    "public-key": ["publicKey"],
    "sign-begin": ["publicKey"],
    "sign-update": [],
    "sign-end": ["signature"],
  };
  assert.deepEqual(Object.keys(result), names[action]);
  for (const [name, value] of Object.entries(result)) {
    if (typeof value === "string") assert.match(value, /^[ -~]{1,64}$/);
    if (!(value instanceof Uint8Array)) continue;
    assert.ok(equalBytes(utf8(encodeBase64(value)), utf8(fields[name] as string)), "not canonical");
    const { length } = value;
    assert.ok(
      name === "blob" ? length > 0 && length <= MAX_BLOB_BYTES : length === (name === "publicKey" ? 65 : 64),
    );
    if (name === "publicKey") assert.equal(value[0], 4);
  }
}

/** Targets of the secure-enclave tier. */
export const ENCLAVE_TARGETS: readonly Target[] = [seKey, helperAnswer];
