/** DER: writing it, and mutations of its tags, lengths and nesting. */
import { type Bytes, concatBytes } from "../../src/bytes.ts";
import type { Random } from "./random.ts";

/** A value whose content is bytes, or more values; `head` stands in place of its tag and length. */
interface Element {
  tag: number;
  content: Bytes | Element[];
  head?: Uint8Array;
}

/** Length octets (X.690 §10.1): the shortest. */
function lengthOctets(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  return length < 0x100 ? Uint8Array.of(0x81, length) : Uint8Array.of(0x82, length >>> 8, length);
}

/** Tag, length and content. */
export function tlv(tag: number, ...content: readonly Uint8Array[]): Bytes {
  const bytes = concatBytes(...content);
  return concatBytes(Uint8Array.of(tag), lengthOctets(bytes.length), bytes);
}

/** An INTEGER of a number that is not negative. */
export function derInteger(value: bigint): Bytes {
  const digits = value.toString(16);
  const magnitude = Uint8Array.fromHex(digits.length % 2 === 0 ? digits : `0${digits}`);
  return tlv(0x02, magnitude[0]! < 0x80 ? magnitude : concatBytes(Uint8Array.of(0), magnitude));
}

/** What can be read as values with definite lengths; `null` for what cannot. */
function read(bytes: Bytes): Element[] | null {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at++]!;
    let length = bytes[at++] ?? 0x80;
    if (length === 0x80 || length > 0x83 || (tag & 0x1f) === 0x1f) return null;
    if (length > 0x80) {
      const octets = bytes.subarray(at, at += length & 3);
      length = octets.reduce((sum, octet) => sum << 8 | octet, 0);
    }
    if (at + length > bytes.length) return null;
    const content = bytes.slice(at, at += length);
    const inner = (tag & 0x20) === 0 ? null : read(content);
    elements.push({ tag, content: inner ?? content });
  }
  return elements;
}

function write(elements: readonly Element[]): Bytes {
  return concatBytes(...elements.map(({ tag, content, head }) => {
    const bytes = Array.isArray(content) ? write(content) : content;
    return head === undefined ? tlv(tag, bytes) : concatBytes(head, bytes);
  }));
}

/** Values that libraries throw at, and one of each kind that is none of ours. */
const ODD = [
  ...[
    "0500",
    "010100",
    "0101ff",
    "010142",
    "0100",
    "01020000",
    "0200",
    "020100",
    "0201ff",
    "02020001",
    "0209".padEnd(22, "f"),
  ],
  ...[
    "0600",
    "060180",
    "0603808001",
    "06052a864886f7",
    "0300",
    "030109",
    "0302080f",
    "230403020000",
    "2480040100",
    "0000",
  ],
  ...[
    "1700",
    "170d3236303330313039303030305a",
    "17047878787a",
    "1800",
    "180f32303236303330313039303030305a",
    "18025a5a",
  ],
  ...[
    "0c00",
    "0c02c328",
    "1e0100",
    "1e020041",
    "1c03000000",
    "1303414243",
    "1601ff",
    "1a00",
    "0900",
    "090140",
    "0903c00001",
  ],
  ...[
    "0d00",
    "0d0180",
    "1f8100",
    "1f1f00",
    "3f8180808000",
    "a000",
    "a0800000",
    "3080",
    "30840000",
    "bf8f7f00",
    "0a00",
  ],
].map((hex) => Uint8Array.fromHex(hex));

/** Lengths that lie, are not minimal, indefinite or absurd. */
function oddLength(random: Random, length: number): Uint8Array {
  return random.pick([
    Uint8Array.of(0x80),
    Uint8Array.of(0x81, length),
    Uint8Array.of(0x82, length >>> 8, length),
    Uint8Array.of(0x84, 0, 0, length >>> 8, length),
    Uint8Array.of(0x84, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0xff),
    lengthOctets(Math.max(0, length + random.pick([-2, -1, 1, 2]))),
    Uint8Array.of(0xfe, ...new Uint8Array(random.below(127))),
  ]);
}

type Change = (random: Random, siblings: Element[], at: number) => void;

const CHANGES: readonly Change[] = [
  (random, siblings, at) => {
    const element = siblings[at]!;
    const length = Array.isArray(element.content) ? write(element.content).length : element.content.length;
    element.head = concatBytes(Uint8Array.of(element.tag), oddLength(random, length));
  },
  (random, siblings, at) => {
    siblings[at]!.tag = random.oneIn(2)
      ? random.below(256)
      : siblings[at]!.tag ^ random.pick([0x20, 0x40, 0x80]);
  },
  (_, siblings, at) => {
    siblings.splice(at, 1);
  },
  (random, siblings, at) => {
    siblings.splice(random.below(siblings.length + 1), 0, siblings[at]!);
  },
  (random, siblings, at) => {
    const [element] = siblings.splice(at, 1);
    siblings.splice(random.below(siblings.length + 1), 0, element!);
  },
  (random, siblings, at) => {
    const odd = random.pick(ODD);
    siblings.splice(at, random.below(2), { tag: 0, content: new Uint8Array(0), head: odd });
  },
  (random, siblings, at) => {
    const { content } = siblings[at]!;
    if (Array.isArray(content)) return;
    siblings[at]!.content = random.pick([
      concatBytes(Uint8Array.of(0), content),
      concatBytes(Uint8Array.of(0xff), content),
      content.subarray(1) as Bytes,
      content.slice(0, -1),
      random.bytes(content.length),
      random.bytes(random.below(12)),
      new Uint8Array(0),
    ]);
  },
  (random, siblings, at) => {
    let inner: Element = siblings[at]!;
    for (let depth = random.pick([1, 2, 10, 100, 500]); depth > 0; depth--) {
      inner = { tag: random.pick([0x30, 0x31, 0xa0, 0x24]), content: [inner] };
    }
    siblings[at] = inner;
  },
];

/** One or two changes of a DER value; of what is none, the same bytes. */
export function mutateDer(random: Random, der: Bytes): Bytes {
  const root = read(der);
  if (root === null || root.length === 0) return der;
  for (let times = random.pick([1, 1, 2]); times > 0; times--) {
    const lists: Element[][] = [root];
    for (const list of lists) {
      for (const { content } of list) if (Array.isArray(content) && content.length > 0) lists.push(content);
      if (lists.length > 32) break;
    }
    const siblings = random.pick(lists);
    if (siblings.length > 0) random.pick(CHANGES)(random, siblings, random.below(siblings.length));
  }
  return write(root);
}
