import assert from "node:assert/strict";
import { test } from "node:test";
import { readDer } from "../../../src/formats/der.ts";
import { encodeSubject, formatName } from "../../../src/formats/distinguished_name.ts";
import { ameshError } from "../../support/errors.ts";

const hex = (text: string) => encodeSubject(text).toHex();
const formatted = (text: string) => formatName(readDer(encodeSubject(text))!);

/** From RFC 4514 §4, as the string that RFC 4514 §2 makes of them. */
const EXAMPLES: Readonly<Record<string, string>> = {
  "UID=jsmith,DC=example,DC=net": "UID=jsmith,DC=example,DC=net",
  "OU=Sales+CN=J.  Smith,DC=example,DC=net": "OU=Sales+CN=J.  Smith,DC=example,DC=net",
  'CN=James \\"Jim\\" Smith\\, III,DC=example,DC=net': 'CN=James \\"Jim\\" Smith\\, III,DC=example,DC=net',
  "CN=Before\\20After,DC=example": "CN=Before After,DC=example",
  "1.3.6.1.4.1.1466.0=#04024869": "1.3.6.1.4.1.1466.0=#04024869",
  "CN=Lu\\C4\\8Di\\C4\\87": "CN=Lučić",
};

test("encodeSubject() reads the examples of RFC 4514, and formatName() writes them", () => {
  for (const [text, expected] of Object.entries(EXAMPLES)) assert.equal(formatted(text), expected);
});

test("encodeSubject() takes spaces around separators, and keeps those that a backslash goes before", () => {
  assert.equal(formatted(" CN = a , O=b "), "CN=a,O=b");
  assert.equal(formatted("CN=a\\ "), "CN=a\\ ");
  assert.equal(formatted("CN=a\\   ,O=b"), "CN=a\\ ,O=b");
  assert.equal(formatted("CN=a\\\\ "), "CN=a\\\\");
  assert.equal(formatted("CN=\\ a"), "CN=\\ a");
  assert.equal(formatted("CN=\\#a"), "CN=\\#a");
  assert.equal(formatted("CN=a\\\\\\ "), "CN=a\\\\\\ ");
});

test("encodeSubject() gives each value the string type of its attribute, the last part first", () => {
  assert.equal(
    hex("CN=ü,C=CH"),
    "301a" + "310b3009060355040613024348" + "310b300906035504030c02c3bc",
  );
  assert.match(hex("DC=net"), /16036e6574$/);
  assert.match(hex("serialNumber=7"), /130137$/);
  assert.match(hex("2.5.4.6=CH"), /13024348$/);
  assert.match(hex("2.999.1=a"), /0603883701.*0c0161$/);
});

test("encodeSubject() sorts the attributes of one part by their encodings, whatever their order", () => {
  assert.equal(hex("OU=a+CN=b"), hex("CN=b+OU=a"));
  assert.notEqual(hex("OU=a,CN=b"), hex("CN=b,OU=a"));
});

const REFUSED: Readonly<Record<string, string>> = {
  "": "it is empty",
  " ": "it is empty",
  "web-1": '"web-1" is no TYPE=value',
  "=a": '"=a" is no TYPE=value',
  "CN=a,": '"" is no TYPE=value',
  "CN=": "the value of CN is empty",
  "CN=a\u0007": "the value of CN has a control character",
  "CN=a\\00": "the value of CN has a control character",
  "CN=a\u202eb": "the value of CN has a control character",
  "CN=\ud800": "the value of CN is not valid UTF-8",
  "CN=\\ff": "a backslash is missing or wrong",
  "CN=a\\": "a backslash is missing or wrong",
  'CN="a"': "a backslash is missing or wrong",
  "CN=a;b": "a backslash is missing or wrong",
  "C=che": "the value of C is longer than 2 characters",
  "C=1a": "the two letters of a country",
  "DC=ü": "ASCII only",
  "serialNumber=a_b": "letters, digits and",
  "X=a": 'the attribute type "X" is unknown',
  "1.40.1=a": "is unknown",
  "1.2.03=a": "is unknown",
  "CN=#0500": "the value of CN is no string",
  "CN=#0c8001": "is not # and the hex",
  "CN=#": "is not # and the hex",
  "C=#0c0161": "the two letters of a country",
  "CN=a+CN=a": "an attribute is in it twice",
  [`CN=${"a".repeat(65)}`]: "the value of CN is longer than 64 characters",
  [`1.2.3=${"a".repeat(257)}`]: "longer than 256 characters",
  [Array(33).fill("OU=a").join(",")]: "it has more than 32 attributes",
  [`CN=${"a".repeat(2046)}`]: "it is longer than 2048 characters",
};

test("encodeSubject() refuses what no CA should see, and says why", () => {
  for (const [text, reason] of Object.entries(REFUSED)) {
    const pattern = new RegExp(reason.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    assert.throws(() => encodeSubject(text), ameshError("ERR_USAGE", pattern), text);
  }
  assert.equal(formatted(`CN=${"\u{1f600}".repeat(64)}`), `CN=${"\u{1f600}".repeat(64)}`);
});

test("formatName() writes in hex what a terminal must not be shown, and what is no string", () => {
  const name = (value: string) =>
    formatName(
      readDer(
        Uint8Array.fromHex(`30${size(value, 11)}31${size(value, 9)}30${size(value, 7)}0603550403${value}`),
      )!,
    );
  const size = (value: string, more: number) => (value.length / 2 + more - 2).toString(16).padStart(2, "0");
  assert.equal(name("0c021b5b"), "CN=\\1b[");
  assert.equal(name("0c02c328"), "CN=#0c02c328");
  assert.equal(name("1e0200e9"), "CN=é");
  assert.equal(name("1401e9"), "CN=é");
  assert.equal(name("0500"), "CN=#0500");
  assert.equal(formatName(readDer(Uint8Array.fromHex("3000"))!), "");
  assert.equal(formatName(readDer(Uint8Array.fromHex("30023100"))!), null);
  assert.equal(formatName(readDer(Uint8Array.fromHex("0500"))!), null);
});
