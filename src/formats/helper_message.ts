/**
 * Lines of the Secure Enclave helper's protocol, version 1 (swift-helper/PROTOCOL.md): one JSON object per line, a
 * request to the helper, an answer from it.
 */
import * as v from "valibot";
import { type Bytes, encodeBase64, utf8 } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { RAW_SIGNATURE_BYTES } from "./ecdsa_signature.ts";
import { base64Bytes, parseJsonObject } from "./json_document.ts";
import { isPoint, UNCOMPRESSED_POINT_BYTES } from "./public_key.ts";
import { base64Blob } from "./se_key.ts";

/** The version that is spoken. */
export const PROTOCOL_VERSION = 1;
/** Longest line of either side in bytes, its newline included. */
export const MAX_LINE_BYTES = 65_536;
/** Longest piece of a message that one request carries, in bytes: in base64 it leaves room for the rest of a line. */
export const MAX_PIECE_BYTES = 48_000;

/** What the helper is asked. */
export type HelperRequest =
  | { readonly action: "probe" | "generate" | "sign-end" }
  | { readonly action: "public-key" | "sign-begin"; readonly blob: Bytes }
  /** @property data 1 to 48,000 bytes. */
  | { readonly action: "sign-update"; readonly data: Bytes };

/** Name of a request. */
export type HelperAction = HelperRequest["action"];

/** Why the helper does not do what it was asked. */
export const REFUSAL_CODES = [
  "bad-request",
  "unsupported-version",
  "unknown-action",
  "enclave-unavailable",
  "bad-blob",
  "missing-entitlement",
  "interaction-not-allowed",
  "user-canceled",
  "access-denied",
  "internal",
] as const;
export type RefusalCode = typeof REFUSAL_CODES[number];

/** A refusal, as the helper words it. */
export interface HelperRefusal {
  readonly code: RefusalCode;
  /** Apple's number for it, in its domain; both are absent where it did not come from Apple. */
  readonly status?: number | undefined;
  readonly domain?: string | undefined;
  /** For developers; not to be shown unasked. */
  readonly message: string;
}

const point = v.pipe(base64Bytes(UNCOMPRESSED_POINT_BYTES), v.check((bytes: Bytes) => isPoint(bytes)));
/** What stands on one line and cannot move a terminal's cursor. */
const word = v.pipe(v.string(), v.regex(/^[A-Za-z0-9._+ -]{1,64}$/));

/** Results, by action; what else is in them is left out. */
const RESULTS = {
  "probe": v.object({
    helper: word,
    protocol: v.pipe(v.array(v.pipe(v.number(), v.safeInteger())), v.maxLength(64)),
    secureEnclave: v.boolean(),
    os: word,
    arch: word,
  }),
  "generate": v.object({ blob: base64Blob, publicKey: point }),
  "public-key": v.object({ publicKey: point }),
  "sign-begin": v.object({ publicKey: point }),
  "sign-update": v.object({}),
  "sign-end": v.object({ signature: base64Bytes(RAW_SIGNATURE_BYTES) }),
} as const satisfies Readonly<Record<HelperAction, v.GenericSchema>>;

/** What comes of a request; points have 65 bytes, signatures are raw `r || s`, 64 bytes, of either S. */
export type HelperResult<A extends HelperAction> = v.InferOutput<(typeof RESULTS)[A]>;

const REFUSAL = v.object({
  code: v.picklist(REFUSAL_CODES),
  status: v.optional(v.pipe(v.number(), v.safeInteger())),
  domain: v.optional(word),
  message: v.pipe(v.string(), v.maxLength(4096)),
});

const ANSWER = v.variant("ok", [
  v.object({ ok: v.literal(true), id: v.number(), result: v.looseObject({}) }),
  v.object({ ok: v.literal(false), id: v.number(), error: REFUSAL }),
]);

/** An answer, or what is wrong with the line. */
export type HelperAnswer<A extends HelperAction> =
  | { readonly kind: "result"; readonly result: HelperResult<A> }
  | { readonly kind: "refusal"; readonly refusal: HelperRefusal }
  | { readonly kind: "malformed" | "wrong-version" | "wrong-id" };

/** A request as a line, its newline included. @throws {RangeError} it would be too long (caller bug). */
export function encodeRequest(id: number, request: HelperRequest): Bytes {
  const { action, ...rest } = request;
  const fields = Object.entries(rest).map(([name, bytes]) => [name, encodeBase64(bytes)] as const);
  const line = utf8(
    `${JSON.stringify({ v: PROTOCOL_VERSION, id, action, ...Object.fromEntries(fields) })}\n`,
  );
  if (line.length > MAX_LINE_BYTES) throw new RangeError(`a request of ${line.length} bytes`);
  return line;
}

/**
 * Reads the answer to a request.
 *
 * @param line without its newline.
 * @param id of the request. A helper that could not read it answers with 0.
 */
export function parseAnswer<A extends HelperAction>(
  line: Uint8Array,
  id: number,
  action: A,
): HelperAnswer<A> {
  const value = readObject(line);
  if (value === null) return { kind: "malformed" };
  // Before the rest: an answer of another version may look different.
  if (value["v"] !== PROTOCOL_VERSION) return { kind: "wrong-version" };
  const answer = v.safeParse(ANSWER, value);
  if (!answer.success) return { kind: "malformed" };
  const { output } = answer;
  if (!output.ok) {
    const isOurs = output.id === id || (output.id === 0 && output.error.code === "bad-request");
    return isOurs ? { kind: "refusal", refusal: output.error } : { kind: "wrong-id" };
  }
  if (output.id !== id) return { kind: "wrong-id" };
  const result = v.safeParse(RESULTS[action], output.result);
  return result.success
    ? { kind: "result", result: result.output as HelperResult<A> }
    : { kind: "malformed" };
}

function readObject(line: Uint8Array): Record<string, unknown> | null {
  try {
    return parseJsonObject(line, "answer").value;
  } catch (error) {
    if (error instanceof AmeshError) return null;
    throw error;
  }
}
