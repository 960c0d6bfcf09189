/** Mutations of JSON documents, of their text rather than of their values: a field can stand twice, an escape can differ. */
import { type Bytes, utf8 } from "../../src/bytes.ts";
import { respell } from "./base64_mutators.ts";
import type { Mutator } from "./bytes_mutators.ts";
import type { Random } from "./random.ts";

/** A JSON value whose scalars and names are text as it stands in the file. */
type Node = { text: string } | { items: Node[] } | { members: Member[] };
interface Member {
  name: string;
  value: Node;
}

function nodeOf(value: unknown): Node {
  if (Array.isArray(value)) return { items: value.map(nodeOf) };
  if (typeof value !== "object" || value === null) return { text: JSON.stringify(value) };
  return {
    members: Object.entries(value).map(([name, child]) => ({
      name: JSON.stringify(name),
      value: nodeOf(child),
    })),
  };
}

/** The text with `gap` between all tokens. */
function write(node: Node, gap: string): string {
  if ("text" in node) return node.text;
  if ("items" in node) return `[${gap}${node.items.map((item) => write(item, gap)).join(`,${gap}`)}${gap}]`;
  const members = node.members.map(({ name, value }) => `${name}:${gap}${write(value, gap)}`);
  return `{${gap}${members.join(`,${gap}`)}${gap}}`;
}

const GAPS = ["", "", " ", "\n", "\n  ", "\r\n\t", "\t \n"];

/** Numbers that say the same in another spelling, are too large or no JSON. */
const NUMBERS = [
  ..."0 -0 1 -1 1.0 1e0 10E-1 2.5 NaN Infinity 0x10 01 +1 .5 1. 1e400 -1e400 1e-400 4294967296 2147483648"
    .split(" "),
  ..."9007199254740993 18446744073709551616 65536.0 1048577 19455 17".split(" "),
  "9".repeat(1000),
  `0.${"0".repeat(1000)}1`,
];
const TEXTS = [
  "",
  "\0",
  "\ud800",
  "\u007f",
  "\u202e",
  "\uffff",
  "é",
  "e\u0301",
  "a".repeat(1000),
  "__proto__",
]
  .map((text) => JSON.stringify(text));
const SCALARS = [
  ...NUMBERS,
  ...TEXTS,
  "null",
  "true",
  "false",
  "undefined",
  '"\\u0"',
  '"\t"',
  "[]",
  "{}",
  "[[]]",
];
/** Names that every object already has something under, or that differ from a known one in what cannot be seen. */
const NAMES = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "length",
  "",
  "0",
  "version ",
  "a".repeat(300),
];

/** How often a value is put into another at most; more than a file has room for. */
const DEPTHS = [2, 16, 100, 1000, 4000];

function nested(random: Random, inner: string): string {
  const depth = random.pick(DEPTHS);
  return random.oneIn(2)
    ? "[".repeat(depth) + inner + "]".repeat(depth)
    : '{"a":'.repeat(depth) + inner + "}".repeat(depth);
}

/** Some of the characters as escapes of one or another spelling. */
function escaped(random: Random, text: string): string {
  return text.replaceAll(/[A-Za-z0-9+/=]/g, (character) => {
    if (!random.oneIn(4)) return character;
    if (character === "/" && random.oneIn(2)) return "\\/";
    const hex = character.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${random.oneIn(2) ? hex : hex.toUpperCase()}`;
  });
}

/** Every object of the document; the outermost comes first and is taken more often. */
function pickObject(random: Random, root: Node): Member[] {
  const objects: Member[][] = [];
  const visit = (node: Node) => {
    if ("members" in node) {
      objects.push(node.members);
      for (const { value } of node.members) visit(value);
    } else if ("items" in node) {
      node.items.forEach(visit);
    }
  };
  visit(root);
  return random.oneIn(3) ? random.pick(objects) : objects[0]!;
}

type Change = (random: Random, members: Member[], other: readonly Member[]) => void;

/** The place of a member, and the member. */
function pickMember(random: Random, members: Member[]): [at: number, member: Member] {
  const at = random.below(members.length);
  return [at, members[at]!];
}

/** Changes after which the document says the same. */
const HARMLESS: readonly Change[] = [
  (random, members) => {
    const [at, member] = pickMember(random, members);
    members.splice(at, 1);
    members.splice(random.below(members.length + 1), 0, member);
  },
  (_, members) => {
    members.reverse();
  },
];

const CHANGES: readonly Change[] = [
  (random, members) => {
    members.splice(random.below(members.length), 1);
  },
  (random, members) => {
    const [, { name, value }] = pickMember(random, members);
    const again = random.oneIn(2) ? value : { text: random.pick(SCALARS) };
    members.splice(random.below(members.length + 1), 0, { name, value: again });
  },
  (random, members) => {
    const [, member] = pickMember(random, members);
    const name = JSON.parse(member.name.replaceAll(/\\u.{0,4}/g, ""));
    member.name = JSON.stringify(random.pick([...NAMES, name.toUpperCase(), `${name}\0`, `${name} `]));
  },
  (random, members) => {
    members.splice(random.below(members.length + 1), 0, {
      name: JSON.stringify(random.pick(NAMES)),
      value: { text: random.pick(SCALARS) },
    });
  },
  (random, members) => {
    pickMember(random, members)[1].value = { text: random.pick(SCALARS) };
  },
  (random, members) => {
    const [, member] = pickMember(random, members);
    member.value = { text: nested(random, write(member.value, "")) };
  },
  (random, members) => {
    const [, member] = pickMember(random, members);
    member.value = random.oneIn(2) ? { items: [member.value] } : { members: [{ ...member }] };
  },
  (random, members) => {
    const [, member] = pickMember(random, members);
    if (random.oneIn(3)) member.name = escaped(random, member.name);
    else if ("text" in member.value) member.value = { text: escaped(random, member.value.text) };
  },
  (random, members) => {
    const [, one] = pickMember(random, members);
    const [, two] = pickMember(random, members);
    [one.value, two.value] = [two.value, one.value];
  },
  (random, members, other) => {
    const [, member] = pickMember(random, members);
    const same = other.find(({ name }) => name === member.name);
    if (same !== undefined) member.value = same.value;
  },
  (random, members) => {
    const [, member] = pickMember(random, members);
    if (!("text" in member.value)) return;
    const { text } = member.value;
    if (text.startsWith('"')) member.value = { text: JSON.stringify(respell(random, text.slice(1, -1))) };
    else if (/^\d+$/.test(text)) {
      member.value = {
        text: random.pick([`${Number(text) + 1}`, `${Number(text) - 1}`, `${text}.0`, `${text}e0`]),
      };
    }
  },
];

/** Values that a field may have, as the text of JSON. */
export type FreshValues = Readonly<Record<string, (random: Random) => string>>;

/**
 * Mutations of a JSON object: fields left out, twice, renamed, exchanged, of another type, deeply nested; escapes, white
 * space and the order changed.
 *
 * @param fresh by field: other values that are valid.
 */
export function jsonMutator(fresh: FreshValues): Mutator {
  const fields = Object.keys(fresh);
  return (random, input, corpus) => {
    const root = readObject(input);
    const other = readObject(random.pick(corpus));
    if (root === null || other === null) return input;
    if (random.oneIn(200)) return utf8(random.pick(SCALARS));
    if (fields.length > 0 && random.oneIn(2)) {
      const name = random.pick(fields);
      const member = findMember(root, JSON.stringify(name));
      if (member !== undefined) member.value = { text: fresh[name]!(random) };
    }
    for (let times = random.pick([0, 0, 0, 1, 1, 1, 2, 3]); times > 0; times--) {
      const members = pickObject(random, root);
      if (members.length === 0) continue;
      random.pick(random.oneIn(4) ? HARMLESS : CHANGES)(
        random,
        members,
        "members" in other ? other.members : [],
      );
    }
    return utf8(
      write(root, random.pick(GAPS)) + random.pick(["", "", "\n", "\n", " ", "\0", "\ufeff", "{}"]),
    );
  };
}

function readObject(input: Bytes): Node | null {
  try {
    const node = nodeOf(JSON.parse(new TextDecoder().decode(input)));
    return "members" in node ? node : null;
  } catch {
    return null;
  }
}

function findMember(node: Node, name: string): Member | undefined {
  if (!("members" in node)) return undefined;
  for (const member of node.members) {
    const found = member.name === name ? member : findMember(member.value, name);
    if (found !== undefined) return found;
  }
  return undefined;
}
