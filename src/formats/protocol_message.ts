/**
 * Messages that mean something in a protocol that this key serves, and that `sign` must not sign unasked.
 *
 * Whoever gives them chooses every byte, so each kind is told by what no verifier can do without, in every
 * spelling that some verifier takes: more lenient than the standards, and than the parser of any one program.
 */
import { equalBytes } from "../bytes.ts";
import { MAX_SESSION_ID_BYTES, SSHSIG_MAGIC, USERAUTH_REQUEST } from "./ssh_signed_data.ts";
import { SshReader, WireError } from "./ssh_wire.ts";

/** How much of a message tells what it is, in bytes. Certificates in the header of a token take thousands. */
export const PROTOCOL_START_BYTES = 65_536;

/** Whether a message begins as one of these. @throws {WireError} so far it does, and it ends too early to tell. */
type Recogniser = (start: Uint8Array) => boolean;

const PROTOCOLS: readonly (readonly [name: string, isOne: Recogniser])[] = [
  ["a statement of amesh itself", isAmeshStatement],
  ["a login request of ssh", isUserauthRequest],
  ["the body of an SSH signature (SSHSIG)", isSshsig],
  ["the body of a certificate request (PKCS#10)", isCertificateRequestInfo],
  ["the signing input of a token (JWS)", isTokenInput],
];

/**
 * @param start a message, or its first {@linkcode PROTOCOL_START_BYTES} or more.
 * @param isWhole whether that is all of it; if not, a message that may still become one of them counts as one.
 * @returns what it is, after "it is"; `null` when it is nothing of that kind.
 */
export function findProtocol(start: Uint8Array, isWhole: boolean): string | null {
  for (const [name, isOne] of PROTOCOLS) {
    try {
      if (isOne(start)) return name;
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      if (!isWhole) return name;
    }
  }
  return null;
}

const latin1 = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);

/** What amesh itself defines and signs begins with an ASCII label, a version and a zero byte. */
const AMESH_LABEL = /^amesh [a-z0-9 -]{1,40} v[0-9]{1,4}\0/;

function isAmeshStatement(start: Uint8Array): boolean {
  return AMESH_LABEL.test(latin1(start.subarray(0, 64)));
}

/** RFC 4250 §4.6.1. */
const SSH_NAME = /^[\x21-\x7e]{1,64}$/;

/** RFC 4252 §5: string session id, byte, string user, string service, string method; whatever the method signs. */
function isUserauthRequest(start: Uint8Array): boolean {
  const length = new SshReader(start).u32();
  if (length === 0 || length > MAX_SESSION_ID_BYTES) return false;
  const reader = new SshReader(start);
  reader.string();
  if (reader.byte() !== USERAUTH_REQUEST) return false;
  // A server that knows people by their keys takes any user name: one that is long, and one that is no text.
  reader.string();
  return SSH_NAME.test(latin1(reader.string())) && SSH_NAME.test(latin1(reader.string()));
}

/** The magic, then the length of a namespace or, in a signature file without its armour, a version: a zero byte first. */
function isSshsig(start: Uint8Array): boolean {
  const { length } = SSHSIG_MAGIC;
  return equalBytes(start.subarray(0, length), SSHSIG_MAGIC) && start[length] === 0;
}

const INTEGER = 0x02;
const OBJECT_IDENTIFIER = 0x06;
const SEQUENCE = 0x30;
const SET = 0x31;

/**
 * RFC 2986 §4.1: SEQUENCE { INTEGER, Name, SEQUENCE { SEQUENCE { OBJECT IDENTIFIER, where Name is a SEQUENCE of SETs.
 * A private key (PKCS #8) has an algorithm in that place: a SEQUENCE that begins with an OBJECT IDENTIFIER.
 */
function isCertificateRequestInfo(start: Uint8Array): boolean {
  const info = readHeader(start, 0);
  if (info.tag !== SEQUENCE) return false;
  const version = readHeader(start, info.content);
  if (version.tag !== INTEGER || version.end === Infinity) return false;
  const name = readHeader(start, version.end);
  if (name.tag !== SEQUENCE) return false;
  let { end } = name;
  if (end !== name.content) {
    const first = readHeader(start, name.content);
    const isEmpty = end === Infinity && first.tag === 0;
    if (first.tag !== SET && !isEmpty) return false;
    if (isEmpty) end = first.content;
    // Looking for the end of a name without a length would need a parser; nothing else that is BER begins so.
    else if (end === Infinity) return true;
  }
  const key = readHeader(start, end);
  if (key.tag !== SEQUENCE) return false;
  const algorithm = readHeader(start, key.content);
  return algorithm.tag === SEQUENCE && readHeader(start, algorithm.content).tag === OBJECT_IDENTIFIER;
}

/** Identifier and length octets (X.690 §8.1). */
interface Header {
  /** The identifier in its one-byte form; -1 when it has none. */
  readonly tag: number;
  /** Where the content begins. */
  readonly content: number;
  /** Where it ends; `Infinity` when that is not said. */
  readonly end: number;
}

/** Reads every spelling that OpenSSL takes: long forms where short ones would do, indefinite lengths. @throws {WireError} */
function readHeader(bytes: Uint8Array, start: number): Header {
  let at = start;
  const next = () => {
    const octet = bytes[at++];
    if (octet === undefined) throw new WireError("the bytes end too early");
    return octet;
  };
  let tag = next();
  if ((tag & 0x1f) === 0x1f) {
    let number = next();
    while (number === 0x80) number = next();
    tag = number < 0x1f ? (tag & 0xe0) | number : -1;
  }
  let length = next();
  if (length === 0x80) return { tag, content: at, end: Infinity };
  if (length > 0x80) {
    let count = length & 0x7f;
    for (length = 0; count > 0; count--) length = length * 0x100 + next();
  }
  return { tag, content: at, end: at + length };
}

/**
 * RFC 7515 §5.1: base64url of a JSON object, a dot, and anything (RFC 7797). A complete token is refused as well:
 * to verifiers that pass over a dot in the payload it is the signing input of another one.
 */
function isTokenInput(start: Uint8Array): boolean {
  const dot = start.indexOf(".".charCodeAt(0));
  const header = decodeLeniently(latin1(dot === -1 ? start : start.subarray(0, dot)));
  if (dot !== -1) return hasAlgorithm(header);
  if (beginsAsJson(header)) throw new WireError("the header has no end");
  return false;
}

/** As verifiers do that take both alphabets and pass over what is in neither; bytes as latin1. */
function decodeLeniently(text: string): string {
  const digits = text.replaceAll("-", "+").replaceAll("_", "/").replaceAll(/[^A-Za-z0-9+/]+/g, "");
  return latin1(Uint8Array.fromBase64(digits.length % 4 === 1 ? digits.slice(0, -1) : digits));
}

/**
 * Whether a member is called "alg", which every header has. Not by a JSON parser: others take NaN, comments and of
 * two members of one name the first, and Python's UTF-16 and UTF-32 too.
 */
function hasAlgorithm(json: string): boolean {
  const text = json.replaceAll("\0", "")
    .replaceAll(/\\u00([46][0-9a-f])/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return /"alg"/i.test(text);
}

/** An object, or white space in front of one, after a byte order mark of UTF-8 or UTF-16. */
const JSON_START = /^(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?(?:\s+$|\s*\{\s*(?:["/]|$))/;
/** What JSON has nowhere: control characters of ASCII that are no white space. */
const NOT_JSON = /(?![\t\n\r\x7f-\x9f])\p{Cc}/u;

function beginsAsJson(json: string): boolean {
  const isWide = json.slice(0, 4).includes("\0");
  // Characters of two or four bytes can have any byte.
  return isWide ? JSON_START.test(json.replaceAll("\0", "")) : JSON_START.test(json) && !NOT_JSON.test(json);
}
