import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { utf8 } from "../../../src/bytes.ts";
import {
  beginsAsClaims,
  type Claim,
  hasOwnClaims,
  LONGEST_CLAIM_NAME_BYTES,
  MAX_CLAIMS_BYTES,
  mentionsOwnClaims,
  parseJsonClaim,
  parseTextClaim,
  requireLifetime,
  tokenClaims,
} from "../../../src/formats/jwt_claims.ts";
import { ameshError } from "../../support/errors.ts";

const FACTS = { deviceId: "am_x", audience: ["a"], issuedAt: 1_000_000, lifetime: 300, id: "i", claims: [] };
const OWN = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

test("tokenClaims() has its claims in one order", () => {
  const claims: Claim[] = [{ name: "role", value: "r" }, { name: "n", value: [1, { a: null }] }];
  assert.equal(
    JSON.stringify(tokenClaims({ ...FACTS, claims })),
    '{"iss":"am_x","sub":"am_x","aud":"a","iat":1000000,"nbf":999940,"exp":1000300,"jti":"i","role":"r","n":[1,{"a":null}]}',
  );
  assert.deepEqual(tokenClaims({ ...FACTS, audience: ["a", "b"] }).aud, ["a", "b"]);
});

const texts: [argument: string, name: string, value: string][] = [
  ["a=b", "a", "b"],
  ["a=", "a", ""],
  ["a==", "a", "="],
  ["a=b=c", "a", "b=c"],
  ["n=5", "n", "5"],
  ["n=null", "n", "null"],
  ['n={"a":1}', "n", '{"a":1}'],
  ["https://example.com/role=\u00e9 \u{1f511}\n", "https://example.com/role", "\u00e9 \u{1f511}\n"],
  ["constructor=x", "constructor", "x"],
  ["expires=x", "expires", "x"],
];
for (const [argument, name, value] of texts) {
  test(`parseTextClaim() takes ${JSON.stringify(argument)} as it stands`, () => {
    assert.deepEqual(parseTextClaim(argument), { name, value });
  });
}

const values: [json: string, value: unknown][] = [
  ["5", 5],
  ["-0.5", -0.5],
  ["9007199254740991", Number.MAX_SAFE_INTEGER],
  ["true", true],
  ["null", null],
  ['"a:b"', "a:b"],
  [' [ 1 , "}" ] ', [1, "}"]],
  ['{"a":{"exp":1,"b":[{"a":2}]},"\\"":":"}', { a: { exp: 1, b: [{ a: 2 }] }, '"': ":" }],
];
for (const [json, value] of values) {
  test(`parseJsonClaim() reads ${json}`, () => {
    assert.deepEqual(parseJsonClaim(`c=${json}`), { name: "c", value });
  });
}

for (const name of OWN) {
  test(`no spelling of ${name} is a claim of the user's`, () => {
    const spellings = [name, name.toUpperCase(), `${name[0]?.toUpperCase()}${name.slice(1)}`];
    spellings.push(
      name.replaceAll("s", "\u017f"),
      name.replaceAll("i", "\u0131"),
      [...name].map((c) => String.fromCodePoint(c.charCodeAt(0) + 0xfee0)).join(""),
    );
    for (const spelling of spellings) {
      assert.throws(() => parseTextClaim(`${spelling}=1`), ameshError("ERR_USAGE", /amesh sets it itself$/));
      assert.throws(() => parseJsonClaim(`${spelling}=1`), ameshError("ERR_USAGE", /amesh sets it itself$/));
    }
    for (
      const around of [` ${name}`, `${name} `, `${name}\0`, `\u200b${name}`, `${name}\u00ad`, `${name}\ud800`]
    ) {
      assert.throws(
        () => parseTextClaim(`${around}=1`),
        ameshError("ERR_USAGE", /white space or characters/),
      );
    }
  });
}

const refused: [argument: string, message: RegExp][] = [
  ["", /it is not NAME=JSON$/],
  ["a", /it is not NAME=JSON$/],
  ["=1", /it is not NAME=JSON$/],
  ["a=", /not valid JSON$/],
  ["a=text", /not valid JSON$/],
  ["a=NaN", /not valid JSON$/],
  ["a=1 2", /not valid JSON$/],
  ["a={'b':1}", /not valid JSON$/],
  ['a={"b":1,"b":2}', /same name$/],
  ['a={"b":1,"\\u0062":2}', /same name$/],
  ['a=[{"c":{"b":1,"b":1}}]', /same name$/],
  ['a={"__proto__":{"exp":1}}', /"__proto__"$/],
  ['a=[{"b":{"__proto__":1}}]', /"__proto__"$/],
  ["__proto__=1", /"__proto__"$/],
  ["a=1e400", /too large to be exact$/],
  ["a=[-1e400]", /too large to be exact$/],
  ["a=9007199254740993", /too large to be exact$/],
  ['a={"b":12345678901234567890}', /too large to be exact$/],
  ['a="\\ud800"', /no valid Unicode$/],
  ['a={"\\ud800":1}', /no member can be called/],
  [`a=${"[".repeat(MAX_CLAIMS_BYTES + 1)}`, /larger than 4096 bytes$/],
  [`a=${"[".repeat(4000)}`, /not valid JSON$/],
];
for (const [argument, message] of refused) {
  test(`parseJsonClaim() refuses ${JSON.stringify(argument.slice(0, 40))}`, () => {
    assert.throws(() => parseJsonClaim(argument), ameshError("ERR_USAGE", message));
  });
}

test("parseTextClaim() refuses halves of characters", () => {
  assert.throws(() => parseTextClaim("a=\ud800"), ameshError("ERR_USAGE", /no valid Unicode$/));
});

test("tokenClaims() refuses two claims of one name, however it is spelt", () => {
  for (const [one, other] of [["a", "a"], ["role", "Role"], ["s", "\u017f"]] as const) {
    const claims = [{ name: one, value: 1 }, { name: "x", value: 1 }, { name: other, value: 2 }];
    assert.throws(() => tokenClaims({ ...FACTS, claims }), ameshError("ERR_USAGE", /two of this name$/));
  }
});

test("tokenClaims() refuses an audience that is empty, unfit or named twice", () => {
  assert.throws(() => tokenClaims({ ...FACTS, audience: [] }), ameshError("ERR_USAGE", /no audience$/));
  for (const audience of [[""], ["a", ""], ["a b"], ["a\n"], ["\u200b"]]) {
    assert.throws(() => tokenClaims({ ...FACTS, audience }), ameshError("ERR_USAGE", /audience/));
  }
  assert.throws(
    () => tokenClaims({ ...FACTS, audience: ["a", "b", "a"] }),
    ameshError("ERR_USAGE", /twice$/),
  );
});

test("tokenClaims() takes claims of exactly 4096 bytes and no more, counted in UTF-8", () => {
  const rest = JSON.stringify(tokenClaims({ ...FACTS, claims: [{ name: "x", value: "" }] })).length;
  const room = MAX_CLAIMS_BYTES - rest;
  const claim = (value: string) => ({ ...FACTS, claims: [{ name: "x", value }] });
  assert.ok(tokenClaims(claim("y".repeat(room))));
  assert.throws(() => tokenClaims(claim("y".repeat(room + 1))), ameshError("ERR_USAGE", /4096 bytes$/));
  assert.throws(() => tokenClaims(claim("\u00e9".repeat(room / 2 + 1))), ameshError("ERR_USAGE"));
});

const lifetimes: [seconds: number, isLongWanted: boolean, message: RegExp | null][] = [
  [0, true, /expire on its way$/],
  [9, false, /for 9s: it would expire on its way$/],
  [10, false, null],
  [3600, false, null],
  [3601, false, /longer than 1h unasked$/],
  [3601, true, null],
  [86_400, true, null],
  [86_401, true, /longer than 24h$/],
  [86_401, false, /longer than 24h$/],
];
for (const [seconds, isLongWanted, message] of lifetimes) {
  test(`requireLifetime() ${message === null ? "takes" : "refuses"} ${seconds} s${isLongWanted ? ", long-lived" : ""}`, () => {
    const require = () => requireLifetime(seconds, isLongWanted);
    if (message === null) require();
    else assert.throws(require, ameshError("ERR_USAGE", message));
  });
}

test("whatever the claims are, those of amesh stand, and the rest is what was given", () => {
  const name = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.constantFrom(...OWN, "__proto__", "EXP", "constructor"),
  );
  const claim = fc.tuple(name, fc.jsonValue({ maxDepth: 3 }));
  fc.assert(
    fc.property(fc.array(claim, { maxLength: 4 }), (given) => {
      let made;
      try {
        const claims = given.map(([name, value]) => parseJsonClaim(`${name}=${JSON.stringify(value)}`));
        made = tokenClaims({ ...FACTS, claims });
      } catch (error) {
        return ameshError("ERR_USAGE")(error);
      }
      const read = JSON.parse(JSON.stringify(made));
      const own = Object.fromEntries(OWN.map((name) => [name, read[name]]));
      assert.deepEqual(own, JSON.parse(JSON.stringify(tokenClaims(FACTS))));
      assert.equal(Object.keys(read).length, OWN.length + given.length);
      for (const [name, value] of given) {
        const at = name.indexOf("=");
        if (at < 0) assert.equal(JSON.stringify(read[name]), JSON.stringify(value));
      }
      return true;
    }),
    { numRuns: 500 },
  );
});

const utf16 = (text: string) => Uint8Array.from([...text].flatMap((c) => [c.charCodeAt(0), 0]));
const asClaims: [name: string, payload: string | Uint8Array][] = [
  ["a claim", '{"exp":1}'],
  ["a claim after others", '{"a":{"b":"}"},"iss":"x"}'],
  ["a claim in capitals", '{"EXP":1}'],
  ["a claim with a long s", '{"i\u017fs":1}'],
  ["an escaped claim", '{"\\u0065x\\u0070":1}'],
  ["a claim of two, the last of which is another type", '{"exp":1,"exp":{}}'],
  ["a claim after a byte order mark", '\ufeff{"aud":1}'],
  ["a claim after white space", ' \r\n\t{"jti":1}'],
  ["a claim beside what this parser does not read", '{"nbf":1,"a":NaN}'],
  ["an escaped claim beside NaN", '{"\\u0065x\\u0070":1,"a":NaN}'],
  ["a long s beside NaN", '{"i\u017fs":1,"a":NaN}'],
  ["an escaped long s beside NaN", '{"i\\u017Fs":1,"a":NaN}'],
  ["an i without a dot", '{"\u0131at":1}'],
  ["an i without a dot beside NaN", '{"\u0131at":1,"a":NaN}'],
  ["an escaped i without a dot beside NaN", '{"\\u0131at":1,"a":NaN}'],
  ["a claim in UTF-16", utf16('{"sub":1}')],
  [
    "a claim beside bytes that are no UTF-8",
    Uint8Array.from([...utf8('{"iat":1,"a":"'), 0xff, ...utf8('"}')]),
  ],
];
for (const [name, payload] of asClaims) {
  test(`hasOwnClaims() finds ${name}`, () => {
    const bytes = typeof payload === "string" ? utf8(payload) : payload;
    assert.ok(beginsAsClaims(bytes));
    assert.ok(hasOwnClaims(bytes));
  });
}

test("hasOwnClaims() finds none in documents", () => {
  for (const json of ["{}", '{"a":{"exp":1}}', '{"a":"exp"}', '{"a":"\\"exp\\":1"}', '{"expires":1}']) {
    assert.ok(beginsAsClaims(utf8(json)));
    assert.ok(!hasOwnClaims(utf8(json)), json);
  }
});

test("beginsAsClaims() is true of objects, and of white space behind which one may come", () => {
  for (const text of [" ", "\n\n", "\ufeff\t"]) assert.ok(beginsAsClaims(utf8(text)), JSON.stringify(text));
  for (const text of ["", "x", "[1]", '"{"', "1{", '[{"exp":1}]', "\0"]) {
    assert.ok(!beginsAsClaims(utf8(text)), text);
  }
});

test("mentionsOwnClaims() finds the longest spelling in as many bytes as it says", () => {
  const escaped = (code: string) => `\\u00${code}`;
  const longest = utf16(
    utf16(`"${escaped("65")}${escaped("78")}${escaped("70")}"`).reduce(
      (s, b) => s + String.fromCharCode(b),
      "",
    ),
  );
  assert.equal(longest.length, LONGEST_CLAIM_NAME_BYTES);
  assert.ok(mentionsOwnClaims(longest));
  assert.ok(!mentionsOwnClaims(longest.subarray(4)));
});
