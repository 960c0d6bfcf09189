import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, decodeBase64, encodeBase64, utf8 } from "../../../src/bytes.ts";
import {
  encodeRequest,
  type HelperAction,
  type HelperRequest,
  MAX_LINE_BYTES,
  MAX_PIECE_BYTES,
  parseAnswer,
  REFUSAL_CODES,
} from "../../../src/formats/helper_message.ts";
import { MAX_BLOB_BYTES } from "../../../src/formats/se_key.ts";
import { type Exchange, readTranscript, TRANSCRIPTS } from "../../support/helper_transcripts.ts";

const json = (value: unknown) => utf8(JSON.stringify(value));
const bytesOf = (text: unknown) => decodeBase64(text as string) as Bytes;

/** The fields of a transcript's request as amesh has them. */
function requestOf({ request }: Exchange): HelperRequest {
  const { v: _v, id: _id, ...fields } = request as Record<string, unknown>;
  const bytes = Object.entries(fields).map(([name, value]) => [
    name,
    name === "action" ? value : bytesOf(value),
  ]);
  return Object.fromEntries(bytes) as HelperRequest;
}

test("requests are the lines of the golden transcript, to the byte", () => {
  for (const exchange of readTranscript("session")) {
    const line = encodeRequest(exchange.answer.id, requestOf(exchange));
    assert.equal(new TextDecoder().decode(line), `${JSON.stringify(exchange.request)}\n`);
  }
});

test("the largest request fits into a line, and one that is larger is a defect", () => {
  const bytes = (length: number) => new Uint8Array(length).fill(0xff) as Bytes;
  const id = Number.MAX_SAFE_INTEGER;
  for (
    const request of [
      { action: "sign-update", data: bytes(MAX_PIECE_BYTES) },
      { action: "sign-begin", blob: bytes(MAX_BLOB_BYTES) },
    ] as const
  ) {
    assert.ok(encodeRequest(id, request).length <= MAX_LINE_BYTES);
  }
  assert.throws(() => encodeRequest(1, { action: "sign-update", data: bytes(50_000) }), RangeError);
});

test("answers of the golden session are understood", () => {
  for (const exchange of readTranscript("session")) {
    const { id, result = {} } = exchange.answer;
    const { action } = requestOf(exchange);
    const answer = parseAnswer(json(exchange.answer), id, action);
    assert.ok(answer.kind === "result", `${action}: ${answer.kind}`);
    const isText = (name: string) => !["blob", "publicKey", "signature"].includes(name);
    const expected = Object.entries(result).map(([name, value]) => [
      name,
      isText(name) ? value : bytesOf(value),
    ]);
    assert.deepEqual({ ...answer.result }, Object.fromEntries(expected));
  }
});

test("refusals of the golden transcripts are understood, every code among them", () => {
  const seen = new Set<string>();
  for (const exchange of TRANSCRIPTS.flatMap(readTranscript)) {
    const { id, ok, error = {} } = exchange.answer;
    if (ok) continue;
    const answer = parseAnswer(json(exchange.answer), id === 0 ? 77 : id, "probe");
    assert.ok(answer.kind === "refusal", `${JSON.stringify(exchange.answer)}: ${answer.kind}`);
    assert.deepEqual({ ...answer.refusal }, error);
    seen.add(answer.refusal.code);
  }
  // Nothing in the transcripts makes a helper fail without a reason.
  assert.deepEqual([...seen].sort(), [...REFUSAL_CODES].sort());
});

const POINT = encodeBase64(Uint8Array.from({ length: 65 }, (_, i) => i === 0 ? 4 : i));
const BLOB = encodeBase64(Uint8Array.of(1, 2, 3));
const PROBE = { helper: "0.1.0", protocol: [1], secureEnclave: true, os: "macOS 15.6.0", arch: "arm64" };
const right = (result: unknown, id = 5) => ({ v: 1, id, ok: true, result });
const wrong = (error: unknown, id = 5) => ({ v: 1, id, ok: false, error });
const refusal = { code: "internal", message: "why" };

test("fields that are not known are passed over", () => {
  const answer = parseAnswer(
    json({ ...right({ ...PROBE, later: { a: [1] } }), trace: 1 }),
    5,
    "probe",
  );
  assert.deepEqual(answer, { kind: "result", result: PROBE });
  assert.deepEqual(parseAnswer(json(right({ any: 1 })), 5, "sign-update"), { kind: "result", result: {} });
});

const FAULTS: [what: string, kind: string, action: HelperAction, line: unknown][] = [
  ["nothing", "malformed", "probe", ""],
  ["no JSON", "malformed", "probe", '{"v":1'],
  ["a list", "malformed", "probe", [right(PROBE)]],
  ["null", "malformed", "probe", null],
  ["bytes that are not UTF-8", "malformed", "probe", Uint8Array.of(0x22, 0xff, 0x22)],
  ["another version", "wrong-version", "probe", { ...right(PROBE), v: 2 }],
  ["another version in another form", "wrong-version", "probe", { v: 2, what: "else" }],
  ["no version", "wrong-version", "probe", { id: 5, ok: true, result: PROBE }],
  ["the version as a text", "wrong-version", "probe", { ...right(PROBE), v: "1" }],
  ["another id", "wrong-id", "probe", right(PROBE, 6)],
  ["a result for id 0", "wrong-id", "probe", right(PROBE, 0)],
  ["another id's refusal", "wrong-id", "probe", wrong(refusal, 6)],
  ["a refusal for id 0 that is no bad request", "wrong-id", "probe", wrong(refusal, 0)],
  ["the id as a text", "malformed", "probe", { ...right(PROBE), id: "5" }],
  ["neither yes nor no", "malformed", "probe", { v: 1, id: 5, result: PROBE }],
  ["yes without a result", "malformed", "probe", { v: 1, id: 5, ok: true }],
  ["no without an error", "malformed", "probe", { v: 1, id: 5, ok: false, result: PROBE }],
  ["a code that is not known", "malformed", "probe", wrong({ code: "later", message: "" })],
  ["an error without a message", "malformed", "probe", wrong({ code: "internal" })],
  [
    "an error with a long message",
    "malformed",
    "probe",
    wrong({ code: "internal", message: "a".repeat(4097) }),
  ],
  ["a status that is no integer", "malformed", "probe", wrong({ ...refusal, status: 1.5 })],
  ["a domain that moves the cursor", "malformed", "probe", wrong({ ...refusal, domain: "\u001b[2J" })],
  ["a version that moves the cursor", "malformed", "probe", right({ ...PROBE, helper: "\u001b[2J" })],
  ["a probe without protocols", "malformed", "probe", right({ ...PROBE, protocol: undefined })],
  ["an enclave that may be there", "malformed", "probe", right({ ...PROBE, secureEnclave: 1 })],
  ["a key without its blob", "malformed", "generate", right({ publicKey: POINT })],
  ["an empty blob", "malformed", "generate", right({ blob: "", publicKey: POINT })],
  [
    "a long blob",
    "malformed",
    "generate",
    right({ blob: encodeBase64(new Uint8Array(8193)), publicKey: POINT }),
  ],
  ["a blob in base64url", "malformed", "generate", right({ blob: "__8=", publicKey: POINT })],
  [
    "a compressed point",
    "malformed",
    "public-key",
    right({ publicKey: encodeBase64(new Uint8Array(33).fill(2)) }),
  ],
  [
    "65 bytes that are no point",
    "malformed",
    "public-key",
    right({ publicKey: encodeBase64(new Uint8Array(65)) }),
  ],
  ["the result of another action", "malformed", "sign-end", right({ publicKey: POINT })],
  ["a short signature", "malformed", "sign-end", right({ signature: encodeBase64(new Uint8Array(63)) })],
  [
    "a signature with spaces",
    "malformed",
    "sign-end",
    right({ signature: ` ${encodeBase64(new Uint8Array(64))}` }),
  ],
];
for (const [what, kind, action, line] of FAULTS) {
  test(`parseAnswer() tells ${what} as ${kind}`, () => {
    const bytes = line instanceof Uint8Array ? line : typeof line === "string" ? utf8(line) : json(line);
    assert.deepEqual(parseAnswer(bytes, 5, action), { kind });
  });
}

test("parseAnswer() takes the right ones that the wrong ones were made of", () => {
  const kinds = [
    parseAnswer(json(right(PROBE)), 5, "probe"),
    parseAnswer(json(right({ blob: BLOB, publicKey: POINT })), 5, "generate"),
    parseAnswer(json(right({ publicKey: POINT })), 5, "public-key"),
    parseAnswer(json(right({ signature: encodeBase64(new Uint8Array(64)) })), 5, "sign-end"),
    parseAnswer(json(wrong({ ...refusal, status: -1, domain: "CryptoTokenKit" })), 5, "probe"),
    parseAnswer(json(wrong({ ...refusal, code: "bad-request" }, 0)), 5, "probe"),
  ].map(({ kind }) => kind);
  assert.deepEqual(kinds, ["result", "result", "result", "result", "refusal", "refusal"]);
});

test("parseAnswer() survives any depth", () => {
  assert.equal(parseAnswer(utf8("[".repeat(60_000)), 5, "probe").kind, "malformed");
  const deep = `{"v":1,"id":5,"ok":true,"result":{"a":${"[".repeat(30_000)}${"]".repeat(30_000)}}}`;
  assert.ok(["malformed", "result"].includes(parseAnswer(utf8(deep), 5, "sign-update").kind));
});
