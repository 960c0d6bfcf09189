/** Small Mach-O executables with an embedded signature, each part of which a test can get wrong. */
import { createHash } from "node:crypto";

const PAGE = 4096;
const IDENTIFIER_OFFSET = 88;

/** What is in the file; everything has a value that makes it a good one. */
export interface MachOParts {
  /** Little-endian, as in the header. */
  readonly cpuType: number;
  /** Size in bytes of what the signature covers. */
  readonly codeSize: number;
  readonly identifier: string;
  readonly team: string | null;
  readonly flags: number;
  /** XML; `null`: none. */
  readonly entitlements: string | null;
  /** Size in bytes of a CMS signature of zeros; 0: ad-hoc. */
  readonly certificateSize: number;
  /** What the code directory says of the size of the code. */
  readonly codeLimit: number;
  /** Whether the size stands in the 64-bit field. */
  readonly longLimit: boolean;
  readonly pageShift: number;
  readonly hashType: number;
  /** How many pages the code directory says there are. */
  readonly slots: number;
  /** How many special slots it says there are. */
  readonly specialSlots: number;
  readonly signed: boolean;
  /** Bytes behind the signature. */
  readonly trailing: number;
}

function u32be(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  values.forEach((value, index) => new DataView(bytes.buffer).setUint32(4 * index, value));
  return bytes;
}

function u32le(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  values.forEach((value, index) => new DataView(bytes.buffer).setUint32(4 * index, value, true));
  return bytes;
}

function join(...parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

const ascii = (text: string) => new TextEncoder().encode(text);
const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
const blob = (magic: number, content: Uint8Array) => join(u32be(magic, 8 + content.length), content);

/** Version 0x20400, with the hashes of the special blobs and of every page. */
function codeDirectory(
  parts: MachOParts,
  code: Uint8Array,
  special: ReadonlyMap<number, Uint8Array>,
): Uint8Array {
  const names = ascii(`${parts.identifier}\0${parts.team === null ? "" : `${parts.team}\0`}`);
  const teamOffset = parts.team === null ? 0 : IDENTIFIER_OFFSET + parts.identifier.length + 1;
  const specials = Array.from({ length: parts.specialSlots }, (_, index) => {
    const content = special.get(parts.specialSlots - index);
    return content === undefined ? new Uint8Array(32) : sha256(content);
  });
  const pages: Uint8Array[] = [];
  for (let start = 0; start < code.length; start += PAGE) {
    pages.push(sha256(code.subarray(start, start + PAGE)));
  }
  const hashOffset = IDENTIFIER_OFFSET + names.length + 32 * parts.specialSlots;
  const length = hashOffset + 32 * pages.length;
  const shortLimit = parts.longLimit ? 0 : parts.codeLimit;
  const longLimit = parts.longLimit ? parts.codeLimit : 0;
  return join(
    u32be(0xfade0c02, length, 0x20400, parts.flags, hashOffset, IDENTIFIER_OFFSET),
    u32be(parts.specialSlots, parts.slots, shortLimit),
    Uint8Array.of(32, parts.hashType, 0, parts.pageShift),
    u32be(0, 0, teamOffset, 0, 0, longLimit),
    new Uint8Array(IDENTIFIER_OFFSET - 64),
    names,
    ...specials,
    ...pages,
  );
}

/** Makes the file. @param changes what differs from a good ad-hoc signed executable of three pages for arm64. */
export function machOFile(changes: Partial<MachOParts> = {}): Uint8Array {
  const codeSize = changes.codeSize ?? 3 * PAGE - 100;
  const parts: MachOParts = {
    cpuType: 0x0100000c,
    codeSize,
    identifier: "dev.amesh.cli",
    team: null,
    flags: 0x2,
    entitlements: null,
    certificateSize: 0,
    codeLimit: codeSize,
    longLimit: false,
    pageShift: 12,
    hashType: 2,
    slots: Math.ceil(codeSize / PAGE),
    specialSlots: 7,
    signed: true,
    trailing: 0,
    ...changes,
  };
  const entitlements = parts.entitlements === null ? null : blob(0xfade7171, ascii(parts.entitlements));
  const special = new Map([[2, blob(0xfade0c01, u32be(0))]]);
  if (entitlements !== null) special.set(5, entitlements);
  const wrapper = blob(0xfade0b01, new Uint8Array(parts.certificateSize));

  // The length of the signature stands in the code that it covers; no hash changes it.
  const draft = superBlob(codeDirectory(parts, new Uint8Array(codeSize), special), special, wrapper);
  const code = new Uint8Array(codeSize).fill(0x41);
  const segment = join(u32le(0x19, 72), new Uint8Array(64));
  const command = u32le(parts.signed ? 0x1d : 0x26, 16, codeSize, draft.length);
  code.set(
    join(u32le(0xfeedfacf, parts.cpuType, 0, 2, 2, segment.length + command.length, 0, 0), segment, command),
  );
  const signature = superBlob(codeDirectory(parts, code, special), special, wrapper);
  return join(code, parts.signed ? signature : new Uint8Array(), new Uint8Array(parts.trailing));
}

function superBlob(
  directory: Uint8Array,
  special: ReadonlyMap<number, Uint8Array>,
  wrapper: Uint8Array,
): Uint8Array {
  const blobs = [[0, directory] as const, ...special, [0x10000, wrapper] as const];
  let offset = 12 + 8 * blobs.length;
  const index = blobs.map(([slot, content]) => {
    const entry = u32be(slot, offset);
    offset += content.length;
    return entry;
  });
  return join(u32be(0xfade0cc0, offset, blobs.length), ...index, ...blobs.map(([, content]) => content));
}

/** A universal file of several. */
export function universalFile(...slices: Uint8Array[]): Uint8Array {
  let offset = PAGE;
  const archs = slices.map((slice) => {
    const entry = u32be(0, 0, offset, slice.length, 12);
    offset += slice.length;
    return entry;
  });
  const head = new Uint8Array(PAGE);
  head.set(join(u32be(0xcafebabe, slices.length), ...archs));
  return join(head, ...slices);
}
