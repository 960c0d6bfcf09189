/**
 * Writes the golden transcripts of the Secure Enclave helper (swift-helper/PROTOCOL.md):
 * `deno run -A tests/vectors/make_helper_transcripts.ts`. The key is that of RFC 6979 A.2.5, the signature that of
 * "sample" with SHA-256; everything else is words.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeBase64, utf8 } from "../../src/bytes.ts";

const DIRECTORY = join(import.meta.dirname!, "..", "..", "swift-helper", "Tests", "Fixtures");

const fromHex = (hex: string) => encodeBase64(Uint8Array.fromHex(hex));
const text = (value: string) => encodeBase64(utf8(value));

const BLOB = text("golden blob");
const KEY = fromHex(
  "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6" +
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
);
/** Its S is high, as the Secure Enclave may give it. */
const SIGNATURE = fromHex(
  "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716" +
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
);
const PROBE = {
  helper: "0.1.0",
  protocol: [1],
  secureEnclave: true,
  os: "golden 1.0",
  arch: "golden",
};

type Fields = Readonly<Record<string, unknown>>;
type Exchange = readonly [request: Fields | string, answer: Fields];

const ask = (id: unknown, action: string, fields: Fields = {}) => ({ v: 1, id, action, ...fields });
const give = (id: number, result: Fields = {}) => ({ v: 1, id, ok: true, result });
const refuse = (id: number, code: string, message: string, apple: Fields = {}) => ({
  v: 1,
  id,
  ok: false,
  error: { code, ...apple, message },
});

const LARGEST_ID = Number.MAX_SAFE_INTEGER;
const NO_REQUEST = "not a JSON object with an id";
const NOT_BEGUN = "no signature has been begun";
const OTHER_VERSION = "this helper speaks version 1";
const NO_ENCLAVE = "this Mac has no Secure Enclave";
const NO_BLOB = "blob is not base64 of 1 to 8192 bytes";
const NO_DATA = "data is not base64 of 1 to 48000 bytes";

const SESSION: readonly Exchange[] = [
  [ask(1, "probe"), give(1, PROBE)],
  [ask(2, "generate"), give(2, { blob: BLOB, publicKey: KEY })],
  [ask(3, "public-key", { blob: BLOB }), give(3, { publicKey: KEY })],
  [ask(4, "sign-begin", { blob: BLOB }), give(4, { publicKey: KEY })],
  [ask(5, "sign-update", { data: text("sam") }), give(5)],
  [ask(6, "sign-update", { data: text("ple") }), give(6)],
  [ask(7, "sign-end"), give(7, { signature: SIGNATURE })],
  // A message that was begun is thrown away by the next.
  [ask(8, "sign-begin", { blob: BLOB }), give(8, { publicKey: KEY })],
  [ask(9, "sign-update", { data: text("other") }), give(9)],
  [ask(10, "sign-begin", { blob: BLOB }), give(10, { publicKey: KEY })],
  [ask(11, "sign-update", { data: text("sample") }), give(11)],
  [ask(LARGEST_ID, "sign-end"), give(LARGEST_ID, { signature: SIGNATURE })],
];

const REQUESTS: readonly Exchange[] = [
  ["not JSON", refuse(0, "bad-request", NO_REQUEST)],
  ["", refuse(0, "bad-request", NO_REQUEST)],
  ["[]", refuse(0, "bad-request", NO_REQUEST)],
  [{ v: 1, action: "probe" }, refuse(0, "bad-request", NO_REQUEST)],
  [ask(0, "probe"), refuse(0, "bad-request", NO_REQUEST)],
  [ask("1", "probe"), refuse(0, "bad-request", NO_REQUEST)],
  [{ id: 1, action: "probe" }, refuse(1, "unsupported-version", OTHER_VERSION)],
  [{ v: 2, id: 2, action: "probe" }, refuse(2, "unsupported-version", OTHER_VERSION)],
  [{ v: 1, id: 3 }, refuse(3, "bad-request", "no action")],
  [ask(4, "delete"), refuse(4, "unknown-action", "unknown action of 6 bytes")],
  [ask(5, "probe", { other: [1] }), give(5, PROBE)],
  [ask(6, "public-key"), refuse(6, "bad-request", NO_BLOB)],
  [ask(7, "public-key", { blob: "?" }), refuse(7, "bad-request", NO_BLOB)],
  [ask(8, "sign-begin", { blob: "" }), refuse(8, "bad-request", NO_BLOB)],
  [ask(9, "sign-begin", { blob: text("a".repeat(8193)) }), refuse(9, "bad-request", NO_BLOB)],
  [ask(10, "sign-update", { data: text("a") }), refuse(10, "bad-request", NOT_BEGUN)],
  [ask(11, "sign-end"), refuse(11, "bad-request", NOT_BEGUN)],
  [ask(12, "sign-begin", { blob: BLOB }), give(12, { publicKey: KEY })],
  [ask(13, "sign-update"), refuse(13, "bad-request", NO_DATA)],
  [ask(14, "sign-update", { data: text("a".repeat(48_001)) }), refuse(14, "bad-request", NO_DATA)],
  [ask(15, "sign-update", { data: text("sample") }), give(15)],
  [ask(16, "sign-end"), give(16, { signature: SIGNATURE })],
  [ask(17, "sign-end"), refuse(17, "bad-request", NOT_BEGUN)],
  // A begin that fails leaves nothing to go on with.
  [ask(18, "sign-begin", { blob: BLOB }), give(18, { publicKey: KEY })],
  [
    ask(19, "sign-begin", { blob: text("of another Mac") }),
    refuse(19, "bad-blob", "no key", { status: -50, domain: "NSOSStatusErrorDomain" }),
  ],
  [ask(20, "sign-end"), refuse(20, "bad-request", NOT_BEGUN)],
];

const APPLE = [
  ["NSOSStatusErrorDomain", -34018, "missing-entitlement"],
  ["NSOSStatusErrorDomain", -25308, "interaction-not-allowed"],
  ["NSOSStatusErrorDomain", -25315, "interaction-not-allowed"],
  ["NSOSStatusErrorDomain", -25320, "interaction-not-allowed"],
  ["NSOSStatusErrorDomain", -25293, "access-denied"],
  ["NSOSStatusErrorDomain", -128, "user-canceled"],
  ["NSOSStatusErrorDomain", -50, "bad-blob"],
  ["CryptoTokenKit", -3, "bad-blob"],
  ["CryptoTokenKit", -4, "user-canceled"],
  ["CryptoTokenKit", -5, "access-denied"],
  ["CryptoTokenKit", -6, "bad-blob"],
  ["CryptoTokenKit", -8, "bad-blob"],
  ["CryptoTokenKit", -9, "interaction-not-allowed"],
  ["com.apple.LocalAuthentication", -1, "access-denied"],
  ["com.apple.LocalAuthentication", -2, "user-canceled"],
  ["com.apple.LocalAuthentication", -1004, "interaction-not-allowed"],
  ["NSOSStatusErrorDomain", -26275, "bad-blob"],
  // What CryptoKit does not accept is the blob; an error from elsewhere can pass.
  ["CryptoKit.CryptoKitError", 1, "bad-blob"],
  ["CryptoTokenKit", -2, "internal"],
  ["unknown", 7, "internal"],
] as const;

const REFUSALS: readonly Exchange[] = APPLE.map(([domain, status, code], index) => [
  ask(index + 1, "public-key", { blob: text(`${domain} ${status}`) }),
  refuse(index + 1, code, "no key", { status, domain }),
]);

const WITHOUT_ENCLAVE: readonly Exchange[] = [
  [ask(1, "probe"), give(1, { ...PROBE, secureEnclave: false })],
  [ask(2, "generate"), refuse(2, "enclave-unavailable", NO_ENCLAVE)],
  [ask(3, "public-key", { blob: BLOB }), refuse(3, "enclave-unavailable", NO_ENCLAVE)],
  [ask(4, "sign-begin", { blob: BLOB }), refuse(4, "enclave-unavailable", NO_ENCLAVE)],
  [ask(5, "sign-end"), refuse(5, "bad-request", NOT_BEGUN)],
];

const ALL = { session: SESSION, requests: REQUESTS, refusals: REFUSALS, no_enclave: WITHOUT_ENCLAVE };
for (const [name, exchanges] of Object.entries(ALL)) {
  const lines = exchanges.map(([request, answer]) => `${JSON.stringify({ request, answer })}\n`);
  writeFileSync(join(DIRECTORY, `${name}.jsonl`), lines.join(""));
}
