import assert from "node:assert/strict";
import { test } from "node:test";
import {
  encodeNames,
  MAX_NAMES,
  parseNames,
  type RequestedName,
  requireNames,
} from "../../../src/formats/alternative_name.ts";
import { ameshError } from "../../support/errors.ts";

type Kind = RequestedName["kind"];
const taken = (kind: Kind, value: string) => requireNames([{ kind, value }])[0]!.value;

const TAKEN: Readonly<Record<Kind, Readonly<Record<string, string>>>> = {
  dns: {
    "Web-1.Example.ORG": "web-1.example.org",
    localhost: "localhost",
    "*.example.org": "*.example.org",
    "bücher.example": "xn--bcher-kva.example",
    "*.BÜCHER.example": "*.xn--bcher-kva.example",
    "例え.jp": "xn--r8jz45g.jp",
    "1.example": "1.example",
  },
  ip: {
    "192.0.2.7": "192.0.2.7",
    "0.0.0.0": "0.0.0.0",
    "2001:DB8:0:0::7": "2001:db8::7",
    "::": "::",
    "::ffff:192.0.2.7": "::ffff:c000:207",
    "fe80::1": "fe80::1",
  },
  uri: {
    "spiffe://example.org/web": "spiffe://example.org/web",
    "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6": "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "https://Example.org/a%20b?c#d": "https://Example.org/a%20b?c#d",
  },
  email: { "a.b+c@Example.org": "a.b+c@example.org" },
};

const REFUSED: Readonly<Record<Kind, readonly string[]>> = {
  dns: [
    ...["", ".", "a.", ".a", "a..b", "a b", "-a", "a-", "a_b", "*", "*.", "*.*.example", "a.*", "*.example"],
    ...[
      "192.0.2.7",
      "1",
      "a.0x10",
      "a/b",
      "a:80",
      "a@b",
      "user@bücher.example",
      "bücher.example/x",
      "a\0",
      "a\n",
    ],
    ...["ü\u0001", "ü%2e", "a".repeat(64), Array(64).fill("abc").join(".")],
  ],
  ip: [
    ...[
      "",
      "1",
      "1.2.3",
      "1.2.3.4.5",
      "256.0.0.1",
      "01.2.3.4",
      "0x1.2.3.4",
      "1.2.3.4/8",
      " 1.2.3.4",
      "1.2.3.4 ",
    ],
    ...[":", ":::", "1:2", "::1%eth0", "[::1]", "::1/128", "1::2::3", "12345::", "::256.0.0.1", "localhost"],
  ],
  uri: [
    "",
    "a",
    "/a",
    "//a/b",
    "https:",
    "1a:b",
    "https://a b",
    "https://ü",
    "a:\n",
    "a:%2",
    "https://[",
    "a:" + "b".repeat(1023),
  ],
  email: ["", "a", "@a", "a@", "a@b@c", "a b@c", "ü@c", "a@*.example.org", "a@-b"],
};

test("requireNames() takes names as people write them, and writes them as certificates do", () => {
  for (const [kind, names] of Object.entries(TAKEN)) {
    for (const [value, expected] of Object.entries(names)) assert.equal(taken(kind as Kind, value), expected);
  }
});

test("requireNames() refuses what has not the form of its kind", () => {
  for (const [kind, values] of Object.entries(REFUSED)) {
    for (const value of values) {
      assert.throws(
        () => taken(kind as Kind, value),
        ameshError("ERR_USAGE", /^cannot use the /),
        `${kind} ${value}`,
      );
    }
  }
});

test("requireNames() takes each name once, and not too many", () => {
  const dns = (value: string): RequestedName => ({ kind: "dns", value });
  assert.deepEqual(requireNames([dns("a"), dns("B"), dns("A"), { kind: "uri", value: "a:b" }]), [
    dns("a"),
    dns("b"),
    { kind: "uri", value: "a:b" },
  ]);
  const many = Array.from({ length: MAX_NAMES }, (_, i) => dns(`a${i}`));
  assert.equal(requireNames(many).length, MAX_NAMES);
  assert.throws(() => requireNames([...many, dns("b")]), ameshError("ERR_USAGE", /the most is 100/));
});

test("parseNames() reads what encodeNames() writes", () => {
  for (const [kind, names] of Object.entries(TAKEN)) {
    const wanted = Object.values(names).map((value) => ({ kind: kind as Kind, value }));
    assert.deepEqual(parseNames(encodeNames(wanted)), wanted);
  }
  const names: RequestedName[] = [{ kind: "ip", value: "192.0.2.7" }, { kind: "ip", value: "::1" }];
  assert.equal(encodeNames(names).toHex(), "3018" + "8704c0000207" + "8710" + "1".padStart(32, "0"));
});

test("parseNames() shows names of other kinds, and none where there is something else", () => {
  const names = (hex: string) => parseNames(Uint8Array.fromHex(hex));
  assert.deepEqual(names("3005" + "88032a0304"), [{ kind: "other", value: "88032a0304" }]);
  assert.deepEqual(names("3011" + "a40f300d310b300906035504030c026161"), [{
    kind: "directory",
    value: "CN=aa",
  }]);
  assert.deepEqual(names("3005" + "8703010203"), [{ kind: "ip", value: "010203" }]);
  // A terminal would obey these characters, and IA5String has none of them.
  for (const content of ["611b61", "6100", "619b33316d", "c3bc"]) {
    const name = `82${(content.length / 2).toString(16).padStart(2, "0")}${content}`;
    const sequence = `30${(name.length / 2).toString(16).padStart(2, "0")}${name}`;
    assert.deepEqual(names(sequence), [{ kind: "other", value: name }]);
  }
  assert.equal(names("0500"), null);
  assert.equal(names("30050500"), null);
});
