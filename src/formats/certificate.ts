/**
 * X.509 certificates (RFC 5280 §4.1), read as far as amesh needs them: whose key, whose name, for how long. No signature and no
 * extension but the names is looked at: whoever trusts a certificate does that.
 */
import * as asn1 from "asn1js";
import { type Bytes, encodeHex } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { type AlternativeName, parseNames } from "./alternative_name.ts";
import { contentOf, derBytes, type DerValue, oidOf, readDer, sequenceOf, taggedValues } from "./der.ts";
import { formatName } from "./distinguished_name.ts";
import { compressPoint, isPoint, spkiPoint } from "./public_key.ts";

/** Above this no certificate of a machine is, in bytes. */
export const MAX_CERTIFICATE_BYTES = 16_384;

/** `subjectAltName` (RFC 5280 §4.2.1.6). */
export const ALTERNATIVE_NAMES_OID = "2.5.29.17";
/** `extKeyUsage` (RFC 5280 §4.2.1.12). */
export const EXTENDED_KEY_USAGE_OID = "2.5.29.37";

/** An extension; its content is DER. */
export interface Extension {
  readonly oid: string;
  readonly isCritical: boolean;
  readonly content: Bytes;
}

/** What a certificate says. */
export interface Certificate {
  /** All of it. */
  readonly der: Bytes;
  /** Hex of the serial number in two's complement, as it is encoded. */
  readonly serial: string;
  /** Name of the issuer in DER. */
  readonly issuer: Bytes;
  /** The same as RFC 4514 string. */
  readonly issuerText: string;
  /** Name of the subject in DER. */
  readonly subject: Bytes;
  /** The same as RFC 4514 string; may be empty. */
  readonly subjectText: string;
  /** First second of its validity, seconds since 1970; negative before. */
  readonly notBefore: number;
  /** Last second of its validity, seconds since 1970. */
  readonly notAfter: number;
  /** Compressed point, 33 bytes; `null` for a key that is not of P-256. */
  readonly publicKey: Bytes | null;
  readonly names: readonly AlternativeName[];
  readonly extensions: readonly Extension[];
}

/**
 * @param name of the file, for messages.
 * @throws {AmeshError} `ERR_CORRUPT`: no certificate in DER.
 */
export function parseCertificate(der: Uint8Array, name: string): Certificate {
  const certificate = der.length > MAX_CERTIFICATE_BYTES ? null : read(der);
  if (certificate !== null) return certificate;
  throw unreadable(name, "a certificate in it is damaged or not in DER");
}

/** `ERR_CORRUPT` for a file that should hold certificates. */
export function unreadable(name: string, reason: string): AmeshError {
  return new AmeshError("ERR_CORRUPT", `cannot read "${name}": ${reason}`, {
    hint: "give the certificate that the CA has made for this machine: amesh certificate set FILE",
  });
}

function read(der: Uint8Array): Certificate | null {
  const root = readDer(der);
  const [tbs, algorithm, signature, ...behind] = (root && sequenceOf(root)) ?? [];
  if (!(signature instanceof asn1.BitString) || sequenceOf(algorithm) === null || behind.length > 0) {
    return null;
  }
  const fields = sequenceOf(tbs) ?? [];
  // `version`, which the first version of X.509 leaves out.
  if (fields[0] !== undefined && taggedValues(fields[0], 0) !== null) fields.shift();
  const [serial, , issuer, validity, subject, key, ...rest] = fields;
  const [notBefore, notAfter, ...more] = (sequenceOf(validity) ?? []).map(secondsOf);
  const extensions = readExtensions(rest);
  if (!(serial instanceof asn1.Integer) || contentOf(serial).length === 0) return null;
  if (key === undefined || extensions === null) return null;
  if (notBefore == null || notAfter == null || more.length > 0) return null;
  const texts = [issuer, subject].map((value) => (value === undefined ? null : formatName(value)));
  const [issuerText, subjectText] = texts as [string | null, string | null];
  const names = readNames(extensions);
  if (issuerText === null || subjectText === null || names === null) return null;
  return {
    der: Uint8Array.from(der),
    serial: encodeHex(contentOf(serial)),
    issuer: derBytes(issuer as DerValue),
    issuerText,
    subject: derBytes(subject as DerValue),
    subjectText,
    notBefore,
    notAfter,
    publicKey: pointOf(derBytes(key)),
    names,
    extensions,
  };
}

/** Extensions in `[3]`; `null` when they are damaged, or one is there twice (RFC 5280 §4.2). */
function readExtensions(rest: readonly DerValue[]): Extension[] | null {
  const tagged = rest.map((value) => taggedValues(value, 3)).find((values) => values !== null);
  if (tagged === undefined) return [];
  const extensions = sequenceOf(tagged[0])?.map(readExtension);
  if (tagged.length !== 1 || extensions === undefined || extensions.includes(null)) return null;
  const found = extensions as Extension[];
  return new Set(found.map(({ oid }) => oid)).size === found.length ? found : null;
}

function readExtension(value: DerValue): Extension | null {
  const [type, ...parts] = sequenceOf(value) ?? [];
  const oid = oidOf(type);
  const critical = parts.length === 2 ? parts.shift() : undefined;
  const [content] = parts;
  if (oid === null || parts.length !== 1 || !(content instanceof asn1.OctetString)) return null;
  if (critical !== undefined && !(critical instanceof asn1.Boolean)) return null;
  return { oid, isCritical: critical?.getValue() ?? false, content: contentOf(content) };
}

function readNames(extensions: readonly Extension[]): AlternativeName[] | null {
  const extension = extensions.find(({ oid }) => oid === ALTERNATIVE_NAMES_OID);
  return extension === undefined ? [] : parseNames(extension.content);
}

/** The compressed point of a SubjectPublicKeyInfo of P-256; whether it is on the curve is not checked. */
function pointOf(spki: Bytes): Bytes | null {
  const point = spkiPoint(spki);
  return point !== null && isPoint(point) ? compressPoint(point) : null;
}

/**
 * UTCTime or GeneralizedTime in seconds since 1970, in the one form that RFC 5280 §4.1.2.5 allows: to the second, in UTC.
 *
 * @returns `null` for other forms, and times that do not exist.
 */
function secondsOf(value: DerValue): number | null {
  if (!(value instanceof asn1.UTCTime) && !(value instanceof asn1.GeneralizedTime)) return null;
  const text = new TextDecoder("latin1").decode(contentOf(value));
  const digits = value instanceof asn1.GeneralizedTime
    ? text
    // A year of two digits is of the 20th century from 50 on.
    : `${text < "5" ? "20" : "19"}${text}`;
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits);
  if (match === null) return null;
  const [year, month, day, hour, minute, second] = match.slice(1);
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // Some engines take the 30th of February for the 1st or 2nd of March.
  if (Number.isNaN(time) || Number(day) > daysOfMonth(Number(year), Number(month))) return null;
  return time / 1000;
}

/** @param month 1 to 12. */
function daysOfMonth(year: number, month: number): number {
  // The calendar repeats after 400 years, and Date.UTC has other plans for the first hundred.
  const like = 2000 + year % 400;
  return (Date.UTC(like, month, 1) - Date.UTC(like, month - 1, 1)) / 86_400_000;
}

/** SHA-256 of a certificate: what other programs call its fingerprint, 32 bytes. */
export async function fingerprintOf(der: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", der));
}
