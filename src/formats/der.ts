/**
 * Reading DER (X.690 §10) by asn1js, which takes BER, and names of its blocks that several formats share.
 */
import * as asn1 from "asn1js";
import type { Bytes } from "../bytes.ts";

/** A value as asn1js gives it. */
export type DerValue = asn1.AsnType;

/** Nesting of a certificate: 9 for a name in an extension, some more for what extensions hold. */
const MAX_DEPTH = 24;
/** Values in one certificate or request: there are hundreds of names in some. */
const MAX_VALUES = 4096;

/** `tagClass` of asn1js for `[n]`. */
const CONTEXT_CLASS = 3;

/**
 * All of the bytes as one value in DER: definite lengths of the shortest form, no primitive string in pieces, no bytes behind it.
 * What an OCTET STRING holds stays bytes.
 *
 * @returns `null` when they are not.
 */
export function readDer(bytes: Uint8Array): DerValue | null {
  try {
    const limits = { maxDepth: MAX_DEPTH, maxNodes: MAX_VALUES, parseEmbedded: false };
    const { result, offset } = asn1.fromBER(Uint8Array.from(bytes), limits);
    return offset === bytes.length && isDer(result) ? result : null;
  } catch (error) {
    // The library throws at some malformed values, such as a time without digits.
    if (error instanceof Error) return null;
    throw error;
  }
}

/** Length octets of a length in DER (X.690 §10.1): the shortest. */
function lengthOctets(length: number): number {
  if (length < 0x80) return 1;
  return length < 0x100 ? 2 : length < 0x1_0000 ? 3 : 4;
}

function isDer(value: DerValue): boolean {
  const { lenBlock, idBlock, valueBlock } = value;
  if (lenBlock.isIndefiniteForm || lenBlock.blockLength !== lengthOctets(lenBlock.length)) return false;
  const inner: unknown = (valueBlock as { value?: unknown }).value;
  if (!idBlock.isConstructed || !Array.isArray(inner)) return !idBlock.isConstructed;
  // SEQUENCE, SET, and [n]: all else of the universal class is primitive in DER.
  return (value instanceof asn1.Constructed || idBlock.tagClass === CONTEXT_CLASS) && inner.every(isDer);
}

/** The bytes of a value that was read, tag and length included; new bytes. */
export function derBytes(value: DerValue): Bytes {
  return Uint8Array.from(value.valueBeforeDecodeView);
}

/** The values in a SEQUENCE; `null` for anything else. */
export function sequenceOf(value: DerValue | undefined): DerValue[] | null {
  return value instanceof asn1.Sequence ? [...value.valueBlock.value] : null;
}

/** The values in a SET; `null` for anything else. */
export function setOf(value: DerValue | undefined): DerValue[] | null {
  return value instanceof asn1.Set ? [...value.valueBlock.value] : null;
}

/** The values in `[tag]` of the context class that is constructed; `null` for anything else. */
export function taggedValues(value: DerValue | undefined, tag: number): DerValue[] | null {
  if (!(value instanceof asn1.Constructed) || contextTag(value) !== tag) return null;
  return [...value.valueBlock.value];
}

/** The number of a tag of the context class; `null` for a value of another class. */
export function contextTag({ idBlock }: DerValue): number | null {
  return idBlock.tagClass === CONTEXT_CLASS ? idBlock.tagNumber : null;
}

/** Dotted numbers; `null` for what is no OBJECT IDENTIFIER. */
export function oidOf(value: DerValue | undefined): string | null {
  return value instanceof asn1.ObjectIdentifier ? value.getValue() : null;
}

/** The bytes of a primitive value without tag and length; new bytes. */
export function contentOf(value: DerValue): Bytes {
  const { valueHexView } = value.valueBlock as { valueHexView?: Uint8Array };
  return valueHexView === undefined ? new Uint8Array(0) : Uint8Array.from(valueHexView);
}

/** A value that is encoded already, to stand in another one. @param der what {@linkcode readDer} takes. */
export function encoded(der: Uint8Array): DerValue {
  const value = readDer(der);
  if (value === null) throw new RangeError("not DER");
  return value;
}

/** `[tag]` IMPLICIT, primitive, of the context class. */
export function implicit(tag: number, content: Uint8Array): DerValue {
  return new asn1.Primitive({ idBlock: { tagClass: CONTEXT_CLASS, tagNumber: tag }, valueHex: content });
}

/** DER of a value that was built. */
export function encodeDer(value: DerValue): Bytes {
  return new Uint8Array(value.toBER());
}
