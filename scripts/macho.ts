/**
 * Whether the code signature inside a Mach-O executable fits the file: what `codesign --verify` does, less the
 * certificates, and without a Mac. The kernel of macOS compares the same hashes when it loads a page, and kills the
 * process at the first that differs.
 *
 * Layouts: `mach-o/loader.h`, `mach-o/fat.h`, and of the signature xnu's `osfmk/kern/cs_blobs.h` (big-endian).
 */
import { createHash } from "node:crypto";

const FAT_MAGIC = 0xcafebabe;
const MH_MAGIC_64 = 0xfeedfacf;
const CPU_TYPES: Readonly<Record<number, string>> = { 0x01000007: "x86_64", 0x0100000c: "arm64" };
const LC_CODE_SIGNATURE = 0x1d;

const CSMAGIC_EMBEDDED_SIGNATURE = 0xfade0cc0;
const CSMAGIC_CODEDIRECTORY = 0xfade0c02;
const CSMAGIC_BLOBWRAPPER = 0xfade0b01;
const CSSLOT_CODEDIRECTORY = 0;
const CSSLOT_ENTITLEMENTS = 5;
const CSSLOT_SIGNATURESLOT = 0x10000;
/** Slots whose blobs lie in the file too: requirements, entitlements, and these in DER. */
const CSSLOTS_WITH_BLOBS = [2, CSSLOT_ENTITLEMENTS, 7];
const CS_HASHTYPE_SHA256 = 2;
const CS_SUPPORTSTEAMID = 0x20200;
const CS_SUPPORTSCODELIMIT64 = 0x20300;

/** Flags of a code directory. */
export const CS_ADHOC = 0x2;
export const CS_RUNTIME = 0x10000;
export const CS_LINKER_SIGNED = 0x20000;

/** What the signature says; nobody has looked whether it is true. */
export interface CodeSignature {
  readonly identifier: string;
  /** Of a signature by a certificate of Apple's; ad-hoc signatures have none. */
  readonly team: string | null;
  /** {@linkcode CS_ADHOC} and others. */
  readonly flags: number;
  /** Whether there is a CMS signature, by whatever certificate. */
  readonly certified: boolean;
  /** Keys of the entitlements, in their order; `null` when there are none. */
  readonly entitlements: readonly string[] | null;
  readonly pages: number;
}

/** The executable for one processor. */
export interface Slice {
  readonly arch: string;
  /** `null` when there is none, or when it cannot be read; `problems` then says so. */
  readonly signature: CodeSignature | null;
  /** Why macOS would not run it, each a sentence; empty when the signature fits. */
  readonly problems: readonly string[];
}

/** A file that is no Mach-O executable, or whose structures lead out of it. */
export class MachOError extends Error {
  override readonly name: string = "MachOError";
}

/** A part of the file; reading behind its end is an error, not a shorter part. */
class Part {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get length(): number {
    return this.#bytes.length;
  }

  get text(): string {
    return new TextDecoder().decode(this.#bytes);
  }

  bytes(offset: number, length: number): Uint8Array {
    if (offset < 0 || offset + length > this.length) {
      throw new MachOError(`${length} bytes at ${offset} are said to be there, and there are ${this.length}`);
    }
    return this.#bytes.subarray(offset, offset + length);
  }

  part(offset: number, length: number): Part {
    return new Part(this.bytes(offset, length));
  }

  u8(offset: number): number {
    return this.bytes(offset, 1)[0]!;
  }

  u32(offset: number, littleEndian = false): number {
    this.bytes(offset, 4);
    return this.#view.getUint32(offset, littleEndian);
  }

  u64(offset: number): number {
    this.bytes(offset, 8);
    return Number(this.#view.getBigUint64(offset));
  }

  /** A C string. */
  string(offset: number): string {
    const end = this.#bytes.indexOf(0, offset);
    if (end < 0) throw new MachOError("a string does not end");
    return new TextDecoder().decode(this.bytes(offset, end - offset));
  }
}

/**
 * Reads a Mach-O executable, for one processor or several (universal).
 *
 * @throws {MachOError} it is none, or is cut off before its signature. A signature that is broken is no error.
 */
export function readMachO(bytes: Uint8Array): Slice[] {
  const file = new Part(bytes);
  if (file.u32(0) !== FAT_MAGIC) return [readSlice(file)];
  const slices: Slice[] = [];
  for (let index = 0; index < file.u32(4); index++) {
    const fatArch = 8 + 20 * index;
    slices.push(readSlice(file.part(file.u32(fatArch + 8), file.u32(fatArch + 12))));
  }
  return slices;
}

function readSlice(file: Part): Slice {
  if (file.u32(0, true) !== MH_MAGIC_64) throw new MachOError("it is not a 64-bit Mach-O executable");
  const arch = CPU_TYPES[file.u32(4, true)] ?? `CPU type ${file.u32(4, true)}`;
  const commands = file.part(32, file.u32(20, true));
  let offset = 0;
  for (let index = 0; index < file.u32(16, true); index++) {
    if (commands.u32(offset, true) === LC_CODE_SIGNATURE) {
      const start = commands.u32(offset + 8, true);
      const size = commands.u32(offset + 12, true);
      return { arch, ...checkSignature(file, start, size) };
    }
    const size = commands.u32(offset + 4, true);
    if (size < 8) throw new MachOError("a load command has no size");
    offset += size;
  }
  return { arch, signature: null, problems: ["it has no signature"] };
}

function checkSignature(file: Part, start: number, size: number): Omit<Slice, "arch"> {
  const problems: string[] = [];
  try {
    const behind = file.length - start - size;
    if (behind > 0) problems.push(`${behind} bytes lie behind the signature`);
    const blobs = readBlobs(file.part(start, size));
    const directory = blobs.get(CSSLOT_CODEDIRECTORY);
    if (directory?.u32(0) !== CSMAGIC_CODEDIRECTORY) throw new MachOError("it has no code directory");
    problems.push(...checkPages(file, directory, start), ...checkSpecialSlots(directory, blobs));
    return { signature: describe(directory, blobs), problems };
  } catch (error) {
    if (!(error instanceof MachOError)) throw error;
    return { signature: null, problems: [...problems, `the signature is malformed: ${error.message}`] };
  }
}

/** The blobs of an embedded signature by their slots. */
function readBlobs(signature: Part): Map<number, Part> {
  if (signature.u32(0) !== CSMAGIC_EMBEDDED_SIGNATURE) throw new MachOError("it has another magic number");
  const superBlob = signature.part(0, signature.u32(4));
  const blobs = new Map<number, Part>();
  for (let index = 0; index < superBlob.u32(8); index++) {
    const offset = superBlob.u32(16 + 8 * index);
    blobs.set(superBlob.u32(12 + 8 * index), superBlob.part(offset, superBlob.u32(offset + 4)));
  }
  return blobs;
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

function equal(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

/** Compares every page before the signature with its hash. */
function checkPages(file: Part, directory: Part, signatureStart: number): string[] {
  const hashSize = directory.u8(36);
  const pageShift = directory.u8(39);
  if (directory.u8(37) !== CS_HASHTYPE_SHA256 || hashSize !== 32) {
    throw new MachOError("its hashes are not SHA-256");
  }
  if (pageShift < 12 || pageShift > 16) throw new MachOError(`its pages have 2^${pageShift} bytes`);
  const pageSize = 1 << pageShift;
  const limit = codeLimit(directory);
  const pages = directory.u32(28);
  const problems: string[] = [];
  if (limit !== signatureStart) {
    problems.push(`the signature covers ${limit} bytes, and ${signatureStart} lie before it`);
  }
  if (pages !== Math.ceil(limit / pageSize)) {
    throw new MachOError(`it has ${pages} hashes for ${limit} bytes`);
  }
  const hashes = directory.u32(16);
  const bad: number[] = [];
  for (let page = 0; page < pages; page++) {
    const start = page * pageSize;
    const content = file.bytes(start, Math.min(pageSize, limit - start));
    if (!equal(sha256(content), directory.bytes(hashes + page * hashSize, hashSize))) bad.push(page);
  }
  if (bad.length > 0) {
    problems.push(`${bad.length} of ${pages} pages do not have their hash, the first is page ${bad[0]}`);
  }
  return problems;
}

function codeLimit(directory: Part): number {
  const long = directory.u32(8) >= CS_SUPPORTSCODELIMIT64 ? directory.u64(56) : 0;
  return long === 0 ? directory.u32(32) : long;
}

/** Compares requirements and entitlements with their hashes, which lie before those of the pages. */
function checkSpecialSlots(directory: Part, blobs: ReadonlyMap<number, Part>): string[] {
  const problems: string[] = [];
  for (const slot of CSSLOTS_WITH_BLOBS) {
    const blob = blobs.get(slot);
    if (blob === undefined) continue;
    const hash = slot <= directory.u32(24) ? directory.bytes(directory.u32(16) - slot * 32, 32) : undefined;
    if (hash === undefined || !equal(sha256(blob.bytes(0, blob.length)), hash)) {
      problems.push(`the blob of slot ${slot} does not have its hash`);
    }
  }
  return problems;
}

function describe(directory: Part, blobs: ReadonlyMap<number, Part>): CodeSignature {
  const teamOffset = directory.u32(8) >= CS_SUPPORTSTEAMID ? directory.u32(48) : 0;
  const wrapper = blobs.get(CSSLOT_SIGNATURESLOT);
  const entitlements = blobs.get(CSSLOT_ENTITLEMENTS)?.text.matchAll(/<key>([^<]*)<\/key>/g);
  return {
    identifier: directory.string(directory.u32(20)),
    team: teamOffset === 0 ? null : directory.string(teamOffset),
    flags: directory.u32(12),
    certified: wrapper?.u32(0) === CSMAGIC_BLOBWRAPPER && wrapper.length > 8,
    entitlements: entitlements === undefined ? null : [...entitlements].map(([, key]) => key!),
    pages: directory.u32(28),
  };
}
