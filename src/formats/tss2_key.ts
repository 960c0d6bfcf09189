/**
 * TSS2 PRIVATE KEY files: a key wrapped by a TPM, as OpenSSL's tpm2 provider and ssh-tpm-agent read and write it.
 *
 * `SEQUENCE { OBJECT IDENTIFIER 2.23.133.10.1.3, [0] EXPLICIT BOOLEAN emptyAuth OPTIONAL, INTEGER parent,
 * OCTET STRING TPM2B_PUBLIC, OCTET STRING TPM2B_PRIVATE }` in DER, as PEM (draft-bottomley-tpm2-keys-00 §3.1).
 * Strict DER but for the BOOLEAN: tpm2-openssl 1.1.1 writes TRUE as 01.
 */
import * as asn1 from "asn1js";
import { type Bytes, decodeBase64, equalBytes, utf8 } from "../bytes.ts";
import { corrupt } from "./json_document.ts";
import { readDer } from "./der.ts";
import { encodePem } from "./pem.ts";

/** Above this a file holds no key, in bytes. */
export const MAX_TSS2_KEY_BYTES = 8192;

/** id-loadablekey: a key that TPM2_Load takes. */
const LOADABLE_KEY = "2.23.133.10.1.3";

/** What such a file holds. */
export interface Tss2Key {
  /** Handle of the parent; TPM_RH_OWNER (0x40000001) for the SRK that is made from the standard template. */
  readonly parent: number;
  /** TPM2B_PUBLIC, its size field included. */
  readonly publicArea: Bytes;
  /** TPM2B_PRIVATE, its size field included. */
  readonly privateArea: Bytes;
}

/** PEM with a final newline; `emptyAuth` is TRUE. */
export function encodeTss2Key(key: Tss2Key): Bytes {
  return utf8(encodePem("TSS2 PRIVATE KEY", encodeDer(key, Uint8Array.of(0xff))));
}

/** @param emptyAuth content of the BOOLEAN; `null` leaves it out. */
function encodeDer({ parent, publicArea, privateArea }: Tss2Key, emptyAuth: Uint8Array | null): Bytes {
  // A BOOLEAN as raw bytes: the library's own would make 01 or ff of what was another byte.
  const flag = emptyAuth === null ? [] : [
    new asn1.Constructed({
      idBlock: { tagClass: 3, tagNumber: 0 },
      value: [new asn1.Primitive({ idBlock: { tagClass: 1, tagNumber: 1 }, valueHex: emptyAuth })],
    }),
  ];
  const sequence = new asn1.Sequence({
    value: [
      new asn1.ObjectIdentifier({ value: LOADABLE_KEY }),
      ...flag,
      asn1.Integer.fromBigInt(parent),
      new asn1.OctetString({ valueHex: publicArea }),
      new asn1.OctetString({ valueHex: privateArea }),
    ],
  });
  return new Uint8Array(sequence.toBER());
}

/**
 * @param name path of the file, for messages.
 * @throws {AmeshError} `ERR_CORRUPT`.
 */
export function parseTss2Key(bytes: Uint8Array, name: string): Tss2Key {
  const text = new TextDecoder("latin1").decode(bytes).trim();
  const body = /^-----BEGIN TSS2 PRIVATE KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END TSS2 PRIVATE KEY-----$/
    .exec(text);
  const der = body?.[1] === undefined ? null : decodeBase64(body[1].replaceAll(/[\r\n]+/g, ""));
  if (der === null) throw corrupt(name, "it is not a TSS2 PRIVATE KEY file");
  const key = parseDer(der);
  if (key === null) throw corrupt(name, "the key in it is damaged or of an unknown kind");
  return key;
}

function parseDer(der: Bytes): Tss2Key | null {
  const result = readDer(der);
  if (!(result instanceof asn1.Sequence)) return null;
  const [oid, ...rest] = result.valueBlock.value;
  if (!(oid instanceof asn1.ObjectIdentifier) || oid.getValue() !== LOADABLE_KEY) return null;
  const emptyAuth = rest[0] instanceof asn1.Constructed ? booleanContent(rest.shift()) : null;
  const [parent, publicArea, privateArea] = rest;
  if (emptyAuth === undefined || !(parent instanceof asn1.Integer)) return null;
  if (!(publicArea instanceof asn1.OctetString) || !(privateArea instanceof asn1.OctetString)) return null;
  const handle = parent.toBigInt();
  if (handle < 0n || handle > 0xffffffffn) return null;
  const key = {
    parent: Number(handle),
    publicArea: new Uint8Array(publicArea.getValue()),
    privateArea: new Uint8Array(privateArea.getValue()),
  };
  // What does not encode to the same bytes was no DER, or had more in it than this.
  const isCanonical = equalBytes(encodeDer(key, emptyAuth), der);
  return isCanonical && isSized(key.publicArea) && isSized(key.privateArea) ? key : null;
}

/** The one byte of `[0] EXPLICIT BOOLEAN`; `undefined` when it is something else. */
function booleanContent(block: asn1.AsnType | undefined): Uint8Array | undefined {
  const [flag] = block instanceof asn1.Constructed ? block.valueBlock.value : [];
  return flag instanceof asn1.Boolean && flag.valueBlock.valueHexView.length === 1
    ? flag.valueBlock.valueHexView
    : undefined;
}

/** Whether a TPM2B is as long as it says. */
function isSized(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes.length - 2 === ((bytes[0] as number) << 8 | (bytes[1] as number));
}
