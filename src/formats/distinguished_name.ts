/**
 * Distinguished names: as people write them (RFC 4514), as DER (RFC 5280 §4.1.2.4), and the one from the other.
 *
 * The string begins with the last part of the DER: `CN=web-1,O=Example` is O, then CN.
 */
import * as asn1 from "asn1js";
import { type Bytes, decodeHex, encodeHex, utf8 } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { contentOf, derBytes, type DerValue, encodeDer, oidOf, readDer, sequenceOf, setOf } from "./der.ts";
import { printable } from "./printable.ts";

/** What is known of an attribute type. */
interface AttributeType {
  readonly oid: string;
  /** Most characters (RFC 5280 appendix A.1, upper bounds). */
  readonly maximum: number;
  /** Values that have another type than UTF8String. */
  readonly string?: typeof asn1.PrintableString | typeof asn1.IA5String;
  /** What a value must look like, and that in words. */
  readonly form?: { readonly pattern: RegExp; readonly text: string };
}

/** Characters of a PrintableString (X.680 §41.4). */
const PRINTABLE = { pattern: /^[A-Za-z0-9 '()+,./:=?-]*$/, text: "letters, digits and '()+,-./:=? only" };
const ASCII = { pattern: /^[\x20-\x7e]*$/, text: "ASCII only" };
const COUNTRY = { pattern: /^[A-Za-z]{2}$/, text: "the two letters of a country" };

/** RFC 4514 §3, and what OpenSSL knows besides. */
const TYPES: Readonly<Record<string, AttributeType>> = {
  CN: { oid: "2.5.4.3", maximum: 64 },
  SN: { oid: "2.5.4.4", maximum: 64 },
  SERIALNUMBER: { oid: "2.5.4.5", maximum: 64, string: asn1.PrintableString, form: PRINTABLE },
  C: { oid: "2.5.4.6", maximum: 2, string: asn1.PrintableString, form: COUNTRY },
  L: { oid: "2.5.4.7", maximum: 128 },
  ST: { oid: "2.5.4.8", maximum: 128 },
  STREET: { oid: "2.5.4.9", maximum: 128 },
  O: { oid: "2.5.4.10", maximum: 64 },
  OU: { oid: "2.5.4.11", maximum: 64 },
  TITLE: { oid: "2.5.4.12", maximum: 64 },
  GN: { oid: "2.5.4.42", maximum: 64 },
  UID: { oid: "0.9.2342.19200300.100.1.1", maximum: 256 },
  DC: { oid: "0.9.2342.19200300.100.1.25", maximum: 63, string: asn1.IA5String, form: ASCII },
  EMAILADDRESS: { oid: "1.2.840.113549.1.9.1", maximum: 255, string: asn1.IA5String, form: ASCII },
};
/** Names with small letters in them, for output. */
const SPELLING: Readonly<Record<string, string>> = {
  SERIALNUMBER: "serialNumber",
  EMAILADDRESS: "emailAddress",
  TITLE: "title",
};
const NAME_BY_OID = new Map(Object.entries(TYPES).map(([name, { oid }]) => [oid, SPELLING[name] ?? name]));

/** Above this a subject is no name of a machine, in characters. */
export const MAX_SUBJECT_CHARACTERS = 2048;
/** Most attributes in one name. */
const MAX_ATTRIBUTES = 32;
/** Most characters of a value whose type has no bound of its own. */
const MAX_VALUE_CHARACTERS = 256;

/** Most characters of an attribute type in dotted numbers. */
const MAX_OID_CHARACTERS = 64;

/** Dotted numbers: the first is 0, 1 or 2, the second is below 40 behind 0 and 1, none is larger than 2³¹. */
const OID = /^(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9]\d{0,8}))(?:\.(?:0|[1-9]\d{0,8}))+$/;

function refuse(reason: string): AmeshError {
  return new AmeshError("ERR_USAGE", `cannot use the subject: ${reason}`, {
    hint:
      'write it as RFC 4514 does, such as "CN=web-1,O=Example"; a backslash goes before , + " \\ < > ; and =',
  });
}

/**
 * DER of the name that an RFC 4514 string means. Spaces around separators are passed over.
 *
 * @throws {AmeshError} `ERR_USAGE`: not of that form, an unknown attribute type, control characters, an empty or too long
 *   value, too many of them.
 */
export function encodeSubject(text: string): Bytes {
  if (text.trim() === "") throw refuse("it is empty");
  if (text.length > MAX_SUBJECT_CHARACTERS) {
    throw refuse(`it is longer than ${MAX_SUBJECT_CHARACTERS} characters`);
  }
  const parts = splitUnescaped(text, ",").map((part) => splitUnescaped(part, "+").map(attribute));
  if (parts.flat().length > MAX_ATTRIBUTES) throw refuse(`it has more than ${MAX_ATTRIBUTES} attributes`);
  const sets = parts.reverse().map((attributes) => {
    const encodings = attributes.map((value) => ({ value, hex: encodeHex(encodeDer(value)) }));
    // SET OF: in the order of their encodings (X.690 §11.6), of which none is the beginning of another.
    encodings.sort((a, b) => (a.hex < b.hex ? -1 : 1));
    if (new Set(encodings.map(({ hex }) => hex)).size < attributes.length) {
      throw refuse("an attribute is in it twice");
    }
    return new asn1.Set({ value: encodings.map(({ value }) => value) });
  });
  return encodeDer(new asn1.Sequence({ value: sets }));
}

/** The pieces between separators that no backslash goes before. */
function splitUnescaped(text: string, separator: string): string[] {
  const pieces = [""];
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (character === separator) pieces.push("");
    else pieces.push(`${pieces.pop()}${character}${character === "\\" ? text[++at] ?? "" : ""}`);
  }
  return pieces;
}

/** AttributeTypeAndValue of `type=value`. */
function attribute(piece: string): DerValue {
  const at = piece.indexOf("=");
  const type = piece.slice(0, Math.max(at, 0)).trim();
  if (at < 0 || type === "") throw refuse(`${quote(piece.trim())} is no TYPE=value`);
  const known = TYPES[type.toUpperCase()] ?? Object.values(TYPES).find(({ oid }) => oid === type);
  if (known === undefined && (type.length > MAX_OID_CHARACTERS || !OID.test(type))) {
    throw refuse(`the attribute type ${quote(type)} is unknown; dotted numbers would do`);
  }
  const written = piece.slice(at + 1).trimStart();
  return new asn1.Sequence({
    value: [
      new asn1.ObjectIdentifier({ value: known?.oid ?? type }),
      written.startsWith("#") ? hexValue(type, written.trimEnd(), known) : textValue(type, written, known),
    ],
  });
}

/** `#` and the hex of a value in DER (RFC 4514 §2.4). */
function hexValue(type: string, written: string, known: AttributeType | undefined): DerValue {
  const der = decodeHex(written.slice(1));
  const value = der === null || der.length === 0 ? null : readDer(der);
  if (value === null) throw refuse(`the value of ${type} is not # and the hex of a value in DER`);
  const text = stringOf(value);
  if (text !== null) requireText(type, text, known);
  else if (known !== undefined) throw refuse(`the value of ${type} is no string`);
  return value;
}

function textValue(type: string, written: string, known: AttributeType | undefined): DerValue {
  const value = unescape(type, written);
  requireText(type, value, known);
  return known?.string === undefined ? new asn1.Utf8String({ value }) : new known.string({ value });
}

function requireText(type: string, value: string, known: AttributeType | undefined): void {
  const maximum = known?.maximum ?? MAX_VALUE_CHARACTERS;
  if (value === "") throw refuse(`the value of ${type} is empty`);
  // U+FFFD stands for what the system could not decode as UTF-8, or for what a terminal must not be shown.
  if (printable(value) !== value) throw refuse(`the value of ${type} has a control character`);
  if (!value.isWellFormed() || value.includes("\ufffd")) {
    throw refuse(`the value of ${type} is not valid UTF-8`);
  }
  if ([...value].length > maximum) {
    throw refuse(`the value of ${type} is longer than ${maximum} characters`);
  }
  if (known?.form !== undefined && !known.form.pattern.test(value)) {
    throw refuse(`the value of ${type} must be ${known.form.text}`);
  }
}

/** One character of a value: escaped as it is, escaped as two hex digits of its UTF-8, or by itself (RFC 4514 §3). */
const CHARACTER = /\\([ "#+,;<=>\\])|((?:\\[0-9A-Fa-f]{2})+)|([^"+,;<>\\\0])/uy;

function unescape(type: string, written: string): string {
  // A space at the end counts when a backslash goes before it, and that one does not belong to another backslash.
  const trimmed = written.replace(/(?<!\\)((?:\\\\)*) +$/, "$1");
  let value = "";
  CHARACTER.lastIndex = 0;
  for (let at = 0; at < trimmed.length; at = CHARACTER.lastIndex) {
    const [, special, hex, plain] = CHARACTER.exec(trimmed) ?? [];
    const piece = special ?? (hex === undefined ? plain : utf8Of(hex));
    if (piece === undefined) {
      throw refuse(`a backslash is missing or wrong in the value of ${type}, at ${quote(trimmed.slice(at))}`);
    }
    value += piece;
  }
  return value;
}

/** The text of `\c3\a9`; `undefined` when that is no UTF-8. */
function utf8Of(escaped: string): string | undefined {
  return decodeUtf8(Uint8Array.fromHex(escaped.replaceAll("\\", ""))) ?? undefined;
}

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** The beginning of what the user typed. */
function quote(text: string): string {
  return JSON.stringify(printable(text.length > 20 ? `${text.slice(0, 20)}…` : text));
}

/** The text of a value of a string type; `null` for other types and what is no text of its type. */
function stringOf(value: DerValue): string | null {
  if (value instanceof asn1.Utf8String) return decodeUtf8(contentOf(value));
  if (value instanceof asn1.PrintableString || value instanceof asn1.IA5String) {
    const text = new TextDecoder("latin1").decode(contentOf(value));
    // deno-lint-ignore no-control-regex -- ASCII is meant, and what may be printed is for others to say.
    return /^[\x00-\x7f]*$/.test(text) ? text : null;
  }
  if (value instanceof asn1.BmpString || value instanceof asn1.UniversalString) return value.getValue();
  // T.61 in theory, latin1 in practice.
  if (value instanceof asn1.TeletexString) return new TextDecoder("latin1").decode(contentOf(value));
  return null;
}

/**
 * The RFC 4514 string of a name in DER.
 *
 * @returns `null` when it is no name.
 */
export function formatName(name: DerValue): string | null {
  const parts = sequenceOf(name)?.map((part) => {
    const attributes = setOf(part)?.map(formatAttribute) ?? [];
    return attributes.length === 0 || attributes.includes(null) ? null : attributes.join("+");
  });
  return parts === undefined || parts.includes(null) ? null : parts.reverse().join(",");
}

function formatAttribute(pair: DerValue): string | null {
  const [type, value, ...rest] = sequenceOf(pair) ?? [];
  const oid = oidOf(type);
  if (oid === null || value === undefined || rest.length > 0) return null;
  const text = stringOf(value);
  const name = NAME_BY_OID.get(oid);
  // RFC 4514 §2.4: of a type without a name, and of what is no string, the value is shown in hex.
  if (name === undefined || text === null) return `${name ?? oid}=#${encodeHex(derBytes(value))}`;
  return `${name}=${escape(text)}`;
}

/** RFC 4514 §2.4, and control characters in hex. */
function escape(text: string): string {
  const last = text.length > 1 && text.endsWith(" ") ? "\\ " : "";
  const escaped = (last === "" ? text : text.slice(0, -1))
    .replaceAll(/["+,;<>\\]/g, "\\$&")
    .replace(/^[ #]/, "\\$&")
    .replaceAll(
      /./gsu,
      (character) =>
        printable(character) === character ? character : encodeHex(utf8(character)).replaceAll(/../g, "\\$&"),
    );
  return escaped + last;
}
