/** Certificate requests: PKCS #10 (RFC 2986 §4) with the extensions that are asked for (RFC 2985 §5.4.2). */
import * as asn1 from "asn1js";
import { type Bytes, encodeHex } from "../bytes.ts";
import { type AlternativeName, encodeNames, parseNames, type RequestedName } from "./alternative_name.ts";
import {
  ALTERNATIVE_NAMES_OID,
  type Certificate,
  EXTENDED_KEY_USAGE_OID,
  type Extension,
} from "./certificate.ts";
import { type DerValue, encoded, encodeDer } from "./der.ts";
import { formatName } from "./distinguished_name.ts";
import { encodeSpki } from "./public_key.ts";

/** `ecdsa-with-SHA256` (RFC 5758 §3.2): an AlgorithmIdentifier without parameters. */
const ECDSA_SHA256_OID = "1.2.840.10045.4.3.2";
/** `extensionRequest` (RFC 2985 §5.4.2). */
const EXTENSION_REQUEST_OID = "1.2.840.113549.1.9.14";
/** `keyUsage` (RFC 5280 §4.2.1.3). */
const KEY_USAGE_OID = "2.5.29.15";
/** The first bit of KeyUsage, with the 7 behind it that are not used. */
const DIGITAL_SIGNATURE = { valueHex: Uint8Array.of(0x80), unusedBits: 7 };
/** RFC 5280 §4.2.1.12. */
const SERVER_AUTH_OID = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH_OID = "1.3.6.1.5.5.7.3.2";

/** Names that clients look up. */
const IS_OF_SERVER: Readonly<Record<RequestedName["kind"], boolean>> = {
  dns: true,
  ip: true,
  uri: false,
  email: false,
};

/** What is asked for. */
export interface RequestContent {
  /** Name in DER. */
  readonly subject: Bytes;
  readonly extensions: readonly Extension[];
}

/**
 * What a new request asks for: signing, as a client, and where there is a name that clients look up, as a server.
 *
 * @param subject name in DER.
 * @param names as `requireNames` gives them.
 */
export function requestContent(subject: Bytes, names: readonly RequestedName[]): RequestContent {
  const isServer = names.some(({ kind }) => IS_OF_SERVER[kind]);
  const usages = [...isServer ? [SERVER_AUTH_OID] : [], CLIENT_AUTH_OID];
  const usage = new asn1.Sequence({ value: usages.map((value) => new asn1.ObjectIdentifier({ value })) });
  return {
    subject,
    extensions: [
      ...names.length === 0 ? [] : [extension(ALTERNATIVE_NAMES_OID, encodeNames(names))],
      extension(EXTENDED_KEY_USAGE_OID, encodeDer(usage)),
    ],
  };
}

/** What a request asks for that is to be like a certificate: the same subject, names and purposes. */
export function renewalContent({ subject, extensions }: Certificate): RequestContent {
  const kept = [ALTERNATIVE_NAMES_OID, EXTENDED_KEY_USAGE_OID];
  return { subject, extensions: extensions.filter(({ oid }) => kept.includes(oid)) };
}

/** What is asked for, as people read it. */
export function describeContent(
  { subject, extensions }: RequestContent,
): { subject: string; names: readonly AlternativeName[] } {
  const names = extensions.find(({ oid }) => oid === ALTERNATIVE_NAMES_OID);
  return {
    subject: formatName(encoded(subject)) ?? "",
    names: names === undefined ? [] : parseNames(names.content) ?? [],
  };
}

function extension(oid: string, content: Bytes): Extension {
  return { oid, isCritical: false, content };
}

/**
 * CertificationRequestInfo: the bytes that are signed.
 *
 * @param point of the public key, 65 bytes.
 */
export function encodeRequestInfo({ subject, extensions }: RequestContent, point: Uint8Array): Bytes {
  const usage = encodeDer(new asn1.BitString(DIGITAL_SIGNATURE));
  const asked = [{ oid: KEY_USAGE_OID, isCritical: true, content: usage }, ...extensions];
  const attribute = new asn1.Sequence({
    value: [
      new asn1.ObjectIdentifier({ value: EXTENSION_REQUEST_OID }),
      new asn1.Set({ value: [new asn1.Sequence({ value: asked.map(encodeExtension) })] }),
    ],
  });
  return encodeDer(
    new asn1.Sequence({
      value: [
        asn1.Integer.fromBigInt(0),
        encoded(subject),
        encoded(encodeSpki(point)),
        new asn1.Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: [attribute] }),
      ],
    }),
  );
}

function encodeExtension({ oid, isCritical, content }: Extension): DerValue {
  return new asn1.Sequence({
    value: [
      new asn1.ObjectIdentifier({ value: oid }),
      ...isCritical ? [new asn1.Boolean({ value: true })] : [],
      new asn1.OctetString({ valueHex: content }),
    ],
  });
}

/**
 * CertificationRequest.
 *
 * @param info what {@linkcode encodeRequestInfo} gave.
 * @param signature of it, raw, 64 bytes.
 */
export function encodeRequest(info: Bytes, signature: Bytes): Bytes {
  const algorithm = new asn1.Sequence({ value: [new asn1.ObjectIdentifier({ value: ECDSA_SHA256_OID })] });
  // Ecdsa-Sig-Value (RFC 3279 §2.2.3) by the library that is loaded already: the one of `formatSignature` costs as much again.
  const numbers = [signature.subarray(0, 32), signature.subarray(32)].map((half) =>
    asn1.Integer.fromBigInt(`0x${encodeHex(half)}`)
  );
  const valueHex = encodeDer(new asn1.Sequence({ value: numbers }));
  return encodeDer(
    new asn1.Sequence({ value: [encoded(info), algorithm, new asn1.BitString({ valueHex })] }),
  );
}
