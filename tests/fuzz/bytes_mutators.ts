/** Mutations that know nothing of a format. */
import { type Bytes, concatBytes, utf8 } from "../../src/bytes.ts";
import type { Random } from "./random.ts";

/** Makes another input of one. @param corpus the seeds of the same target. */
export type Mutator = (random: Random, input: Bytes, corpus: readonly Bytes[]) => Bytes;

/** Bytes at which parsers go wrong: ends of ranges, white space, brackets, armour, the first bytes of UTF-8. */
const INTERESTING = Uint8Array.of(
  ...[0x00, 0x01, 0x02, 0x03, 0x04, 0x7f, 0x80, 0x81, 0x82, 0x84, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe2, 0xed],
  ...[0xef, 0xf0, 0xf4, 0xfe, 0xff, 0x30, 0x31, 0x06, 0x09, 0x0a, 0x0c, 0x0d, 0x20],
  ...utf8('"\\{}[]:,-+=/_.eE0uTZ'),
);

/** Texts at which parsers go wrong. */
const TOKENS = [
  "\r\n",
  "\n\n",
  "\ufeff",
  "\u2028",
  "\\u0000",
  "\\ud800",
  "null",
  "1e999",
  "-----BEGIN ",
  "==",
].map(utf8);

function spliced(input: Bytes, at: number, removed: number, inserted: Uint8Array): Bytes {
  return concatBytes(input.subarray(0, at), inserted, input.subarray(at + removed));
}

/** A piece of the input: where it begins, and its length, short ones more often. */
function range(random: Random, input: Bytes): [at: number, length: number] {
  const at = random.below(input.length + 1);
  const longest = input.length - at;
  return [at, random.oneIn(4) ? random.below(longest + 1) : Math.min(longest, random.between(1, 8))];
}

/** The mutations of bytes, by name. */
export const BYTE_MUTATORS: Readonly<Record<string, Mutator>> = {
  flipBit(random, input) {
    const out = Uint8Array.from(input);
    const at = random.below(out.length);
    if (out.length > 0) out[at]! ^= 1 << random.below(8);
    return out;
  },
  interestingByte(random, input) {
    const out = Uint8Array.from(input);
    if (out.length > 0) out[random.below(out.length)] = random.pick([...INTERESTING]);
    return out;
  },
  addToByte(random, input) {
    const out = Uint8Array.from(input);
    if (out.length > 0) out[random.below(out.length)]! += random.pick([-16, -1, 1, 16]);
    return out;
  },
  truncate: (random, input) => input.slice(0, random.below(input.length + 1)),
  dropStart: (random, input) => input.slice(random.below(input.length + 1)),
  remove(random, input) {
    const [at, length] = range(random, input);
    return spliced(input, at, length, new Uint8Array(0));
  },
  insertRandom(random, input) {
    return spliced(input, random.below(input.length + 1), 0, random.bytes(random.between(1, 8)));
  },
  insertRun(random, input) {
    const run = new Uint8Array(random.pick([1, 2, 16, 255, 4096])).fill(random.pick([...INTERESTING]));
    return spliced(input, random.below(input.length + 1), 0, run);
  },
  insertToken: (random, input) =>
    spliced(input, random.below(input.length + 1), random.below(4), random.pick(TOKENS)),
  duplicate(random, input) {
    const [at, length] = range(random, input);
    const piece = input.subarray(at, at + length);
    return spliced(input, at, 0, concatBytes(...Array(random.pick([1, 1, 2, 8])).fill(piece)));
  },
  movePiece(random, input) {
    const [at, length] = range(random, input);
    const rest = spliced(input, at, length, new Uint8Array(0));
    return spliced(rest, random.below(rest.length + 1), 0, input.subarray(at, at + length));
  },
  overwrite(random, input) {
    const [at, length] = range(random, input);
    return spliced(input, at, length, random.bytes(length));
  },
  splice(random, input, corpus) {
    const other = random.pick(corpus);
    const [at, length] = range(random, other);
    const [to, removed] = range(random, input);
    return spliced(input, to, removed, other.subarray(at, at + length));
  },
  crossOver(random, input, corpus) {
    const other = random.pick(corpus);
    return concatBytes(
      input.subarray(0, random.below(input.length + 1)),
      other.subarray(random.below(other.length + 1)),
    );
  },
};

const EVERY = Object.values(BYTE_MUTATORS);

/** A few of the mutations of bytes, one after the other. */
export const mutateBytes: Mutator = (random, input, corpus) => {
  let out = input;
  for (let times = random.pick([1, 1, 1, 2, 3, 6]); times > 0; times--) {
    out = random.pick(EVERY)(random, out, corpus);
  }
  return out;
};

/**
 * Makes an input of a certain size out of one: as it is and filled up with white space, with itself or with zeros, or
 * cut.
 *
 * @param size in bytes.
 */
export function resize(random: Random, input: Bytes, size: number): Bytes {
  if (size <= input.length) return input.slice(0, size);
  const filler = random.pick([
    utf8(" "),
    utf8("\n"),
    utf8("\r\n"),
    utf8("A"),
    Uint8Array.of(0),
    input,
    utf8("["),
  ]);
  const missing = size - input.length;
  const fill = new Uint8Array(missing);
  if (filler.length > 0) { for (let at = 0; at < missing; at++) fill[at] = filler[at % filler.length]!; }
  return spliced(input, random.pick([0, input.length, random.below(input.length + 1)]), 0, fill);
}
