/**
 * TPM 2.0 structures in their wire form (big-endian, as TPM 2.0 Part 2 defines them): what amesh sends, and the parts
 * that it reads. Pure. A name `TPM2B_X` means: u16 size, then that many bytes.
 */
import { type Bytes, concatBytes, u32be } from "../bytes.ts";

/** TPM_ALG_ID (Part 2 §6.3). */
const ALG = {
  SHA256: 0x000b,
  AES: 0x0006,
  NULL: 0x0010,
  ECDSA: 0x0018,
  ECC: 0x0023,
  SYMCIPHER: 0x0025,
  CFB: 0x0043,
};
/** TPM_ECC_CURVE (Part 2 §6.4): TPM_ECC_NIST_P256. */
const NIST_P256 = 0x0003;
/** Length of a P-256 coordinate in bytes. */
const COORDINATE_BYTES = 32;

/** TPMA_OBJECT bits (Part 2 §8.3). */
export const OBJECT = {
  fixedTPM: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  userWithAuth: 1 << 6,
  adminWithPolicy: 1 << 7,
  noDA: 1 << 10,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

/** TPM_RH_OWNER: in a key file the parent that is made anew from the owner seed (Part 2 §7.4). */
export const RH_OWNER = 0x40000001;
/** Where the TCG provisioning guidance puts the storage root key (TCG TPM v2.0 Provisioning Guidance §7.8). */
export const PERSISTENT_SRK = 0x81000001;
/** Persistent handles that the owner may use (TCG Registry of Reserved TPM 2.0 Handles §2.3.1). */
export const OWNER_PERSISTENT = { first: 0x81000000, last: 0x817fffff } as const;

const u16be = (value: number): Bytes => Uint8Array.of(value >>> 8, value);

/** A TPM2B: the bytes behind their length. */
export function sized(bytes: Uint8Array): Bytes {
  return concatBytes(u16be(bytes.length), bytes);
}

const NO_BYTES = new Uint8Array(0);
const AES_128_CFB = concatBytes(u16be(ALG.AES), u16be(128), u16be(ALG.CFB));

function eccTemplate(
  attributes: number,
  symmetric: Uint8Array,
  policy: Uint8Array = NO_BYTES,
  unique: Uint8Array = NO_BYTES,
): Bytes {
  return sized(concatBytes(
    u16be(ALG.ECC),
    u16be(ALG.SHA256),
    u32be(attributes),
    sized(policy),
    symmetric,
    u16be(ALG.NULL), // scheme
    u16be(NIST_P256),
    u16be(ALG.NULL), // kdf
    sized(unique),
    sized(unique),
  ));
}

const BORN_HERE = OBJECT.fixedTPM | OBJECT.fixedParent | OBJECT.sensitiveDataOrigin;

/**
 * TPM2B_PUBLIC of the storage root key that OpenSSL's tpm2 provider and ssh-tpm-agent make for a parent of
 * TPM_RH_OWNER: with any other one (its `unique` included) their keys and ours would not load each other's way.
 */
export const SRK_TEMPLATE: Bytes = eccTemplate(
  BORN_HERE | OBJECT.userWithAuth | OBJECT.noDA | OBJECT.restricted | OBJECT.decrypt,
  AES_128_CFB,
);

/** TPM2B_PUBLIC of a key of ours: signs and nothing else, born in this TPM, bound to it, open during a lockout. */
export const KEY_TEMPLATE: Bytes = eccTemplate(
  BORN_HERE | OBJECT.userWithAuth | OBJECT.noDA | OBJECT.sign,
  u16be(ALG.NULL),
);

/**
 * TPM2B_PUBLIC of the endorsement key L-2 (TCG EK Credential Profile §B.3.4). The endorsement seed outlives
 * TPM2_Clear, so this key's Name tells one TPM from another where the SRK's cannot.
 */
export const EK_TEMPLATE: Bytes = eccTemplate(
  BORN_HERE | OBJECT.adminWithPolicy | OBJECT.restricted | OBJECT.decrypt,
  AES_128_CFB,
  Uint8Array.fromHex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"),
  new Uint8Array(COORDINATE_BYTES),
);

/** TPMT_PUBLIC_PARMS for TPM2_TestParms: P-256. */
export const PARMS_P256: Bytes = concatBytes(
  u16be(ALG.ECC),
  u16be(ALG.NULL),
  u16be(ALG.NULL),
  u16be(NIST_P256),
  u16be(ALG.NULL),
);
/** TPMT_PUBLIC_PARMS for TPM2_TestParms: AES-128-CFB. */
export const PARMS_AES_128_CFB: Bytes = concatBytes(u16be(ALG.SYMCIPHER), AES_128_CFB);
/** TPMT_SYM_DEF of a session that encrypts parameters. */
export const SESSION_SYMMETRIC: Bytes = AES_128_CFB;
/** TPMI_ALG_HASH of sessions. */
export const SESSION_HASH = ALG.SHA256;
/** TPM2B_SENSITIVE_CREATE: empty auth value, no data. */
export const EMPTY_SENSITIVE: Bytes = sized(concatBytes(sized(NO_BYTES), sized(NO_BYTES)));
/** TPM2B_DATA without data. */
export const EMPTY_DATA: Bytes = sized(NO_BYTES);
/** TPML_PCR_SELECTION of no PCR. */
export const NO_PCRS: Bytes = u32be(0);
/** TPMT_SIG_SCHEME. */
export const ECDSA_SHA256: Bytes = concatBytes(u16be(ALG.ECDSA), u16be(ALG.SHA256));
/** TPMT_TK_HASHCHECK: the digest was not made by the TPM (Part 3 §20.2.1). */
export const NULL_TICKET: Bytes = concatBytes(u16be(0x8024), u32be(0x40000007), EMPTY_DATA);

/** Reads big-endian fields one after the other. @throws {RangeError} past the end. */
class Reader {
  #at = 0;
  readonly #view: DataView;
  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  u16(): number {
    const value = this.#view.getUint16(this.#at);
    this.#at += 2;
    return value;
  }
  u32(): number {
    const value = this.#view.getUint32(this.#at);
    this.#at += 4;
    return value;
  }
  sized(): Uint8Array {
    const length = this.u16();
    if (this.#at + length > this.bytes.length) throw new RangeError("size leads past the end");
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }
  end(): void {
    if (this.#at !== this.bytes.length) throw new RangeError("bytes are left over");
  }
}

/** What `read` gives, or `null` where the bytes are too few or too many. */
function readAll<T>(bytes: Uint8Array, read: (reader: Reader) => T): T | null {
  try {
    const reader = new Reader(bytes);
    const value = read(reader);
    reader.end();
    return value;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** The public area of an ECC P-256 key (TPMT_PUBLIC, Part 2 §12.2.4). */
export interface EccPublic {
  /** TPMI_ALG_HASH of its Name. */
  readonly nameAlg: number;
  /** {@linkcode OBJECT} bits. */
  readonly attributes: number;
  /** Whether the key protects its children by AES-128-CFB. */
  readonly wrapsWithAes128Cfb: boolean;
  /** Whether it can sign by ECDSA with SHA-256: it leaves the scheme open or names that one. */
  readonly signsEcdsaSha256: boolean;
  /** Uncompressed point, 65 bytes; not checked to be on the curve. */
  readonly point: Bytes;
}

/** @param bytes TPM2B_PUBLIC. @returns `null` when it is malformed or no ECC P-256 key. */
export function parseEccPublic(bytes: Uint8Array): EccPublic | null {
  const area = readAll(bytes, (reader) => reader.sized());
  return area === null ? null : readAll(area, (reader) => {
    if (reader.u16() !== ALG.ECC) throw new RangeError("not ECC");
    const [nameAlg, attributes] = [reader.u16(), reader.u32()];
    reader.sized(); // authPolicy
    const symmetric = reader.u16();
    const wrapsWithAes128Cfb = symmetric !== ALG.NULL && reader.u16() === 128 && reader.u16() === ALG.CFB &&
      symmetric === ALG.AES;
    const scheme = reader.u16();
    const schemeHash = scheme === ALG.NULL ? null : reader.u16();
    if (reader.u16() !== NIST_P256) throw new RangeError("not P-256");
    if (reader.u16() !== ALG.NULL) reader.u16(); // kdf and its hash
    const [x, y] = [reader.sized(), reader.sized()];
    return {
      nameAlg,
      attributes,
      wrapsWithAes128Cfb,
      signsEcdsaSha256: schemeHash === null || (scheme === ALG.ECDSA && schemeHash === ALG.SHA256),
      point: concatBytes(Uint8Array.of(4), coordinate(x), coordinate(y)),
    };
  });
}

/** Name of an object whose Name algorithm is SHA-256 (Part 1 §16), 34 bytes. @param publicArea TPM2B_PUBLIC. */
export async function nameOfPublic(publicArea: Bytes): Promise<Bytes> {
  const digest = await crypto.subtle.digest("SHA-256", publicArea.subarray(2));
  return concatBytes(u16be(ALG.SHA256), new Uint8Array(digest));
}

/** A TPM may strip leading zero bytes. @throws {RangeError} longer than 32 bytes. */
function coordinate(bytes: Uint8Array): Bytes {
  if (bytes.length > COORDINATE_BYTES) throw new RangeError("longer than a coordinate");
  return concatBytes(new Uint8Array(COORDINATE_BYTES - bytes.length), bytes);
}

const has = (attributes: number, wanted: number): boolean => (attributes & wanted) === wanted;

/**
 * Whether a persistent key can be the parent of ours: a storage key of ECC P-256 with AES-128-CFB that was born in
 * this TPM, cannot leave it, and is used with its auth value. `unique` may be anything.
 */
export function isStorageParent({ attributes, wrapsWithAes128Cfb, nameAlg }: EccPublic): boolean {
  return wrapsWithAes128Cfb && nameAlg === ALG.SHA256 &&
    has(attributes, BORN_HERE | OBJECT.userWithAuth | OBJECT.restricted | OBJECT.decrypt);
}

/** Whether a key can sign what amesh signs. */
export function isSigningKey({ attributes, signsEcdsaSha256 }: EccPublic): boolean {
  return signsEcdsaSha256 && has(attributes, OBJECT.sign) && !has(attributes, OBJECT.restricted);
}

/** Whether a key can take the salt of a session (TPM2_StartAuthSession, Part 3 §11.1). */
export function canHoldSalt({ attributes }: EccPublic): boolean {
  return has(attributes, OBJECT.decrypt);
}

/**
 * @param bytes TPMT_SIGNATURE.
 * @returns raw `r || s`, 64 bytes, or `null` when it is no ECDSA signature of P-256 with SHA-256.
 */
export function parseEcdsaSignature(bytes: Uint8Array): Bytes | null {
  return readAll(bytes, (reader) => {
    if (reader.u16() !== ALG.ECDSA || reader.u16() !== ALG.SHA256) throw new RangeError("not ECDSA SHA-256");
    return concatBytes(coordinate(reader.sized()), coordinate(reader.sized()));
  });
}

/** TPM_CAP_TPM_PROPERTIES (Part 2 §6.12). */
export const CAP_TPM_PROPERTIES = 6;

/** @param bytes TPMS_CAPABILITY_DATA of TPM properties. @returns TPM_PT → value, or `null` when malformed. */
export function parseProperties(bytes: Uint8Array): ReadonlyMap<number, number> | null {
  return readAll(bytes, (reader) => {
    if (reader.u32() !== CAP_TPM_PROPERTIES) throw new RangeError("another capability");
    const count = reader.u32();
    const properties = new Map<number, number>();
    for (let i = 0; i < count; i++) properties.set(reader.u32(), reader.u32());
    return properties;
  });
}
