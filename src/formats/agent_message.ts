/**
 * Messages of the SSH agent protocol (draft-ietf-sshm-ssh-agent), as an agent reads and writes them, and as a client of
 * one does. A frame is a length (u32), a type (byte) and contents.
 */
import { type Bytes, concatBytes, u32be } from "../bytes.ts";
import { SSH_KEY_TYPE } from "./public_key.ts";
import { sshMpint, SshReader, sshString, WireError } from "./ssh_wire.ts";

/** Largest frame without its length in bytes, as OpenSSH's agent has it. */
export const MAX_FRAME_BYTES = 256 * 1024;
/** Bytes of the length before a frame. */
export const FRAME_LENGTH_BYTES = 4;

/** Types of messages (section 7.1). */
export const MESSAGE = {
  FAILURE: 5,
  SUCCESS: 6,
  REQUEST_IDENTITIES: 11,
  IDENTITIES_ANSWER: 12,
  SIGN_REQUEST: 13,
  SIGN_RESPONSE: 14,
  LOCK: 22,
  UNLOCK: 23,
  EXTENSION: 27,
  EXTENSION_FAILURE: 28,
  EXTENSION_RESPONSE: 29,
} as const;

/** Extensions that our agent knows. The last three are its own; docs/file-formats.md has their forms. */
export const EXTENSION = {
  QUERY: "query",
  SESSION_BIND: "session-bind@openssh.com",
  SIGN_DIGEST: "sign-digest@amesh.dev",
  STATUS: "status@amesh.dev",
  STOP: "stop@amesh.dev",
} as const;

/** What a client asks. Byte fields are views into the frame. */
export type AgentRequest =
  | { readonly kind: "list" }
  | { readonly kind: "sign"; readonly publicKey: Uint8Array; readonly data: Uint8Array }
  | { readonly kind: "lock" | "unlock"; readonly passphrase: Uint8Array }
  | { readonly kind: "extension"; readonly name: string; readonly contents: Uint8Array }
  /** Adding, removing, loading and whatever else there is: never done. */
  | { readonly kind: "unsupported" };

/**
 * @param payload a frame without its length.
 * @throws {WireError} it is malformed.
 */
export function parseRequest(payload: Uint8Array): AgentRequest {
  const reader = new SshReader(payload);
  const type = reader.byte();
  switch (type) {
    case MESSAGE.REQUEST_IDENTITIES:
      reader.end();
      return { kind: "list" };
    case MESSAGE.SIGN_REQUEST: {
      const publicKey = reader.string();
      const data = reader.string();
      // Flags choose among the digests of RSA; an ECDSA key has one.
      reader.u32();
      reader.end();
      return { kind: "sign", publicKey, data };
    }
    case MESSAGE.LOCK:
    case MESSAGE.UNLOCK: {
      const passphrase = reader.string();
      reader.end();
      return { kind: type === MESSAGE.LOCK ? "lock" : "unlock", passphrase };
    }
    case MESSAGE.EXTENSION:
      return { kind: "extension", name: reader.text(), contents: reader.rest };
    default:
      return { kind: "unsupported" };
  }
}

/** Contents of session-bind@openssh.com (OpenSSH PROTOCOL.agent §1). */
export interface SessionBind {
  readonly hostKey: Uint8Array;
  readonly sessionId: Uint8Array;
  /** The host's signature over the session id, made in the key exchange. */
  readonly signature: Uint8Array;
  readonly isForwarding: boolean;
}

/** @throws {WireError} */
export function parseSessionBind(contents: Uint8Array): SessionBind {
  const reader = new SshReader(contents);
  const bind = {
    hostKey: reader.string(),
    sessionId: reader.string(),
    signature: reader.string(),
    isForwarding: reader.boolean(),
  };
  reader.end();
  return bind;
}

/** Contents of sign-digest@amesh.dev. */
export interface SignDigest {
  readonly deviceId: string;
  /** SHA-256, 32 bytes. */
  readonly digest: Bytes;
}

const DIGEST_BYTES = 32;

/** @throws {WireError} */
export function parseSignDigest(contents: Uint8Array): SignDigest {
  const reader = new SshReader(contents);
  const deviceId = reader.text();
  const digest = Uint8Array.from(reader.string());
  reader.end();
  if (digest.length !== DIGEST_BYTES) throw new WireError(`a digest of ${digest.length} bytes`);
  return { deviceId, digest };
}

/** A frame. */
export function encodeFrame(type: number, ...contents: readonly Uint8Array[]): Bytes {
  const length = contents.reduce((sum, { length }) => sum + length, 1);
  return concatBytes(u32be(length), Uint8Array.of(type), ...contents);
}

/** SSH_AGENT_FAILURE: no, and nothing more. */
export const FAILURE_FRAME = encodeFrame(MESSAGE.FAILURE);
/** SSH_AGENT_SUCCESS */
export const SUCCESS_FRAME = encodeFrame(MESSAGE.SUCCESS);
/** SSH_AGENT_EXTENSION_FAILURE: the extension is known, and this request of it refused. */
export const EXTENSION_FAILURE_FRAME = encodeFrame(MESSAGE.EXTENSION_FAILURE);

/** A key as the agent lists it. */
export interface ListedKey {
  /** Key blob (RFC 5656 §3.1), 104 bytes. */
  readonly blob: Uint8Array;
  readonly comment: string;
}

/** SSH_AGENT_IDENTITIES_ANSWER */
export function encodeIdentities(keys: readonly ListedKey[]): Bytes {
  const entries = keys.flatMap(({ blob, comment }) => [sshString(blob), sshString(comment)]);
  return encodeFrame(MESSAGE.IDENTITIES_ANSWER, u32be(keys.length), ...entries);
}

/** SSH_AGENT_SIGN_RESPONSE with an ECDSA signature (RFC 5656 §3.1.2). @param raw `r || s`, 64 bytes. */
export function encodeSignResponse(raw: Uint8Array): Bytes {
  const signature = concatBytes(sshMpint(raw.subarray(0, 32)), sshMpint(raw.subarray(32)));
  const blob = concatBytes(sshString(SSH_KEY_TYPE), sshString(signature));
  return encodeFrame(MESSAGE.SIGN_RESPONSE, sshString(blob));
}

/** SSH_AGENT_EXTENSION_RESPONSE */
export function encodeExtensionResponse(name: string, ...fields: readonly (Uint8Array | string)[]): Bytes {
  return encodeFrame(MESSAGE.EXTENSION_RESPONSE, sshString(name), ...fields.map(sshString));
}

/** SSH_AGENTC_EXTENSION, as a client sends it. */
export function encodeExtensionRequest(name: string, ...fields: readonly (Uint8Array | string)[]): Bytes {
  return encodeFrame(MESSAGE.EXTENSION, sshString(name), ...fields.map(sshString));
}

/** Why `sign-digest` was not done, as it crosses the socket: a code of `errors.ts`, its message and hint. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** Answer to sign-digest: the raw signature, or why there is none. */
export function encodeDigestAnswer(answer: Uint8Array | Refusal): Bytes {
  return answer instanceof Uint8Array
    ? encodeExtensionResponse(EXTENSION.SIGN_DIGEST, "signed", answer)
    : encodeExtensionResponse(EXTENSION.SIGN_DIGEST, "refused", answer.code, answer.message, answer.hint);
}

/** The fields of an extension's answer; `null` when the agent does not know the extension, or refuses. @throws {WireError} */
export function parseExtensionResponse(payload: Uint8Array, name: string): Bytes[] | null {
  const reader = new SshReader(payload);
  if (reader.byte() !== MESSAGE.EXTENSION_RESPONSE) return null;
  if (reader.text() !== name) throw new WireError("an answer to another request");
  const fields: Bytes[] = [];
  while (reader.rest.length > 0) fields.push(Uint8Array.from(reader.string()));
  return fields;
}

/** What the fields of an answer to sign-digest say. @throws {WireError} */
export function parseDigestAnswer(fields: readonly Uint8Array[]): Bytes | Refusal {
  const [kind, ...rest] = fields;
  const text = (field: Uint8Array | undefined) => new TextDecoder().decode(field);
  if (text(kind) === "signed" && rest[0]?.length === 64 && rest.length === 1) return Uint8Array.from(rest[0]);
  if (text(kind) !== "refused" || rest.length !== 3) throw new WireError("an unknown answer");
  return { code: text(rest[0]), message: text(rest[1]), hint: text(rest[2]) };
}

/** SSH_AGENTC_REQUEST_IDENTITIES, as a client sends it. */
export function encodeListRequest(): Bytes {
  return encodeFrame(MESSAGE.REQUEST_IDENTITIES);
}

/** SSH_AGENTC_SIGN_REQUEST, as a client sends it. */
export function encodeSignRequest(blob: Uint8Array, data: Uint8Array): Bytes {
  return encodeFrame(MESSAGE.SIGN_REQUEST, sshString(blob), sshString(data), u32be(0));
}

/** The keys of an answer; none when the agent refuses. @throws {WireError} */
export function parseIdentities(payload: Uint8Array): ListedKey[] {
  const reader = new SshReader(payload);
  if (reader.byte() !== MESSAGE.IDENTITIES_ANSWER) return [];
  const keys: ListedKey[] = [];
  for (let count = reader.u32(); count > 0; count--) {
    keys.push({ blob: Uint8Array.from(reader.string()), comment: reader.text() });
  }
  reader.end();
  return keys;
}

/** The raw ECDSA P-256 signature of an answer, 64 bytes; `null` when the agent refuses. @throws {WireError} */
export function parseSignResponse(payload: Uint8Array): Bytes | null {
  const reader = new SshReader(payload);
  if (reader.byte() !== MESSAGE.SIGN_RESPONSE) return null;
  const blob = new SshReader(reader.string());
  reader.end();
  if (blob.text() !== SSH_KEY_TYPE) throw new WireError("a signature of another kind");
  const numbers = new SshReader(blob.string());
  blob.end();
  const raw = new Uint8Array(64);
  for (const at of [32, 64]) raw.set(coordinate(numbers.string()), at - 32);
  numbers.end();
  return raw;
}

/** An mpint as 32 bytes. @throws {WireError} it is negative, or longer. */
function coordinate(mpint: Uint8Array): Bytes {
  const value = mpint[0] === 0 ? mpint.subarray(1) : mpint;
  if (value.length > 32 || ((mpint[0] ?? 0) & 0x80) !== 0) {
    throw new WireError("a number that is no P-256 number");
  }
  return concatBytes(new Uint8Array(32 - value.length), value);
}
