/**
 * A Secure Enclave helper with keys in software: it speaks the protocol of swift-helper/PROTOCOL.md, and does wrong what it is
 * told to do wrong. Run by either runtime, alone: it uses nothing of amesh.
 *
 * Its only argument is a list of faults, `ACTION=FAULT,ACTION#2=FAULT,…`; `#2` is only the second request of that action.
 *
 * | fault                                     | what it does instead of the right answer             |
 * | ----------------------------------------- | ---------------------------------------------------- |
 * | `malformed`, `not-utf8`, `array`          | answers what is no answer                            |
 * | `wrong-id`, `wrong-version`               | answers another question, or in another version      |
 * | `huge-line`, `endless`                    | answers more than a line may have, with or without end |
 * | `two-lines`, `half-line`                  | answers twice; answers in part, then ends            |
 * | `hang`, `deaf`                            | does not answer; does not even read                  |
 * | `crash`, `exit`                           | is killed by a signal; ends with exit code 3         |
 * | `stay`                                    | answers, and then does not end with its input        |
 * | `wrong-key`, `wrong-signature`, `zero-signature`, `order-signature` | answers another key, another signature, or numbers that are none |
 * | `old-protocol`, `no-enclave`              | (probe) speaks version 2 only; has no Secure Enclave |
 * | `flood`                                   | writes 1 MiB to its stderr first                     |
 * | a code of the protocol, `CODE:NUMBER`     | refuses with it, with a number of NSOSStatusErrorDomain |
 *
 * With `golden` as the first of them it has the one key of the golden transcripts and refuses blobs as they say.
 * AMESH_FAKE_ENCLAVE tells one Secure Enclave from another.
 */
import { Buffer } from "node:buffer";
import {
  createPrivateKey,
  createPublicKey,
  createSign,
  generateKeyPairSync,
  type KeyObject,
  type Sign,
} from "node:crypto";
import { readSync, writeSync } from "node:fs";
import process from "node:process";

const MAX_LINE_BYTES = 65_536;
const [argument = ""] = process.argv.slice(2);
const isGolden = /^golden(,|$)/.test(argument);
const ENCLAVE = `enclave ${process.env["AMESH_FAKE_ENCLAVE"] ?? "of this machine"}\n`;

class Refusal extends Error {
  constructor(readonly code: string, message: string, readonly status?: number, readonly domain?: string) {
    super(message);
  }
}

interface Request {
  readonly id: number;
  readonly v?: unknown;
  readonly action?: unknown;
  readonly blob?: unknown;
  readonly data?: unknown;
}

/** Faults by action, or by action and which request of it. */
const faults = new Map(argument.split(",").map((entry) => entry.split("=") as [string, string]));
const counts = new Map<string, number>();
function faultOf(action: string): string | undefined {
  const count = (counts.get(action) ?? 0) + 1;
  counts.set(action, count);
  return faults.get(`${action}#${count}`) ?? faults.get(action);
}

/** The scalar of RFC 6979 A.2.5, as PKCS#8. */
const GOLDEN_KEY = Buffer.from(
  "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420" +
    "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
  "hex",
);
const GOLDEN_BLOB = "golden blob";

function pointOf(key: KeyObject): string {
  return createPublicKey(key as never).export({ type: "spki", format: "der" }).subarray(-65).toString(
    "base64",
  );
}

function generate(): { blob: string; publicKey: string } {
  if (isGolden) {
    return { blob: Buffer.from(GOLDEN_BLOB).toString("base64"), publicKey: pointOf(importKey(GOLDEN_KEY)) };
  }
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = privateKey.export({ type: "pkcs8", format: "der" });
  return {
    blob: Buffer.concat([Buffer.from(ENCLAVE), der]).toString("base64"),
    publicKey: pointOf(privateKey),
  };
}

function importKey(der: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.from(der), format: "der", type: "pkcs8" });
}

function open(blob: Buffer): KeyObject {
  if (isGolden) {
    const text = blob.toString();
    if (text === GOLDEN_BLOB) return importKey(GOLDEN_KEY);
    const [, domain, number] = /^(\S+) (-?\d+)$/.exec(text) ?? [];
    if (domain === undefined) throw new Refusal("bad-blob", "no key", -50, "NSOSStatusErrorDomain");
    throw new Refusal(meaningOf(domain, Number(number)), "no key", Number(number), domain);
  }
  if (blob.subarray(0, ENCLAVE.length).toString() === ENCLAVE) {
    try {
      return importKey(blob.subarray(ENCLAVE.length));
    } catch { /* a blob that somebody has changed */ }
  }
  throw new Refusal("bad-blob", "not a key of this Secure Enclave", -3, "CryptoTokenKit");
}

/** As ErrorCodes.swift has them. */
const MEANINGS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  NSOSStatusErrorDomain: {
    [-34018]: "missing-entitlement",
    [-25308]: "interaction-not-allowed",
    [-25315]: "interaction-not-allowed",
    [-25320]: "interaction-not-allowed",
    [-25293]: "access-denied",
    [-128]: "user-canceled",
    [-50]: "bad-blob",
    [-26275]: "bad-blob",
  },
  CryptoTokenKit: {
    [-3]: "bad-blob",
    [-4]: "user-canceled",
    [-5]: "access-denied",
    [-6]: "bad-blob",
    [-8]: "bad-blob",
    [-9]: "interaction-not-allowed",
  },
  "com.apple.LocalAuthentication": {
    [-1]: "access-denied",
    [-2]: "user-canceled",
    [-1004]: "interaction-not-allowed",
  },
};
const meaningOf = (domain: string, number: number) =>
  MEANINGS[domain]?.[number] ?? (domain === "CryptoKit.CryptoKitError" ? "bad-blob" : "internal");

function bytesOf(text: unknown, field: string, maximum: number): Buffer {
  const bytes = typeof text === "string" && /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0
    ? Buffer.from(text, "base64")
    : Buffer.alloc(0);
  if (bytes.length > 0 && bytes.length <= maximum) return bytes;
  throw new Refusal("bad-request", `${field} is not base64 of 1 to ${maximum} bytes`);
}

let signing: { readonly key: KeyObject; readonly stream: Sign } | null = null;
function current(): NonNullable<typeof signing> {
  if (signing === null) throw new Refusal("bad-request", "no signature has been begun");
  return signing;
}

function run({ v, action, blob, data }: Request, fault: string | undefined): Record<string, unknown> {
  if (v !== 1) throw new Refusal("unsupported-version", "this helper speaks version 1");
  const isThere = faults.get("probe") !== "no-enclave";
  const requireEnclave = () => {
    if (!isThere) throw new Refusal("enclave-unavailable", "this Mac has no Secure Enclave");
  };
  switch (action) {
    case "probe":
      return {
        helper: "0.1.0",
        protocol: fault === "old-protocol" ? [2, 3] : [1],
        secureEnclave: isThere,
        os: isGolden ? "golden 1.0" : "fake 1.0",
        arch: isGolden ? "golden" : "fake",
      };
    case "generate":
      requireEnclave();
      return fault === "wrong-key" ? { ...generate(), publicKey: generate().publicKey } : generate();
    case "public-key":
    case "sign-begin": {
      if (action === "sign-begin") signing = null;
      const bytes = bytesOf(blob, "blob", 8192);
      requireEnclave();
      const key = open(bytes);
      if (action === "sign-begin") signing = { key, stream: createSign("SHA256") };
      return { publicKey: fault === "wrong-key" ? generate().publicKey : pointOf(key) };
    }
    case "sign-update": {
      const bytes = bytesOf(data, "data", 48_000);
      current().stream.update(bytes);
      return {};
    }
    case "sign-end": {
      const { key, stream } = current();
      signing = null;
      const signature = stream.sign({ key, dsaEncoding: "ieee-p1363" });
      if (fault === "wrong-signature") signature[63]! ^= 1;
      if (fault === "zero-signature") signature.fill(0);
      if (fault === "order-signature") signature.fill(0xff);
      return { signature: signature.toString("base64") };
    }
    case undefined:
      throw new Refusal("bad-request", "no action");
    default:
      throw new Refusal("unknown-action", `unknown action of ${Buffer.byteLength(String(action))} bytes`);
  }
}

function parse(line: string): Request {
  try {
    const request = JSON.parse(line);
    if (Number.isSafeInteger(request.id) && request.id > 0) return request;
  } catch { /* refused below */ }
  throw new Refusal("bad-request", "not a JSON object with an id");
}

function answerTo(line: string): string | Uint8Array | null {
  let id = 0;
  try {
    const request = parse(line);
    id = request.id;
    const fault = typeof request.action === "string" ? faultOf(request.action) : undefined;
    const [code, number] = fault?.split(":") ?? [];
    if (code !== undefined && CODES.has(code)) {
      const status = number === undefined ? undefined : Number(number);
      throw new Refusal(
        code,
        "as it was told",
        status,
        status === undefined ? undefined : "NSOSStatusErrorDomain",
      );
    }
    const right = { v: 1, id, ok: true, result: run(request, fault) };
    return misbehave(fault, right);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { code, message, status, domain } = error;
    return JSON.stringify({ v: 1, id, ok: false, error: { code, status, domain, message } });
  }
}

const CODES: ReadonlySet<string> = new Set([
  ...["bad-request", "unsupported-version", "unknown-action", "enclave-unavailable", "bad-blob"],
  ...["missing-entitlement", "interaction-not-allowed", "user-canceled", "access-denied", "internal"],
]);

/** What is answered. @returns `null`: nothing at all. */
function misbehave(fault: string | undefined, right: Record<string, unknown>): string | Uint8Array | null {
  const text = JSON.stringify(right);
  switch (fault) {
    case "malformed":
      return text.slice(0, -1);
    case "not-utf8":
      return Buffer.concat([Buffer.from(text), Buffer.of(0xff)]);
    case "array":
      return `[${text}]`;
    case "wrong-id":
      return JSON.stringify({ ...right, id: Number(right["id"]) + 1 });
    case "wrong-version":
      return JSON.stringify({ ...right, v: 2 });
    case "huge-line":
      return text.padEnd(MAX_LINE_BYTES);
    case "two-lines":
      return `${text}\n${text}`;
    case "half-line":
      writeAll(1, text);
      return process.exit(0);
    case "endless":
      for (;;) writeAll(1, " ".repeat(MAX_LINE_BYTES));
    case "hang":
      for (;;) sleep();
    case "crash":
      writeAll(2, "about to crash\u001b[2J\n");
      process.kill(process.pid, "SIGKILL");
      for (;;) sleep();
    case "exit":
      writeAll(2, "about to exit\n");
      return process.exit(3);
    case "stay":
      writeAll(1, `${text}\n`);
      for (;;) sleep();
    case "flood":
      writeAll(2, "flood ".repeat(180_000));
      return text;
    default:
      return text;
  }
}

function sleep(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
}

function writeAll(fd: number, content: string | Uint8Array): void {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}

/** Reads until its input ends. */
function serve(): void {
  if (faults.get("start") === "deaf") { for (;;) sleep(); }
  let received = Buffer.alloc(0);
  const buffer = Buffer.alloc(MAX_LINE_BYTES);
  for (let count; (count = readSync(0, buffer)) > 0;) {
    received = Buffer.concat([received, buffer.subarray(0, count)]);
    for (let end; (end = received.indexOf("\n")) >= 0;) {
      const answer = answerTo(received.subarray(0, end).toString());
      received = received.subarray(end + 1);
      if (answer !== null) {
        writeAll(1, answer);
        writeAll(1, "\n");
      }
    }
  }
}

serve();
