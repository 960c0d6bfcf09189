import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { concatBytes, encodeBase64, encodeBase64Url, utf8 } from "../../../src/bytes.ts";
import { continuityMessage } from "../../../src/formats/continuity.ts";
import { findProtocol, PROTOCOL_START_BYTES } from "../../../src/formats/protocol_message.ts";
import {
  derValue,
  NAME,
  REQUEST_INFO,
  REQUEST_INFO_EMPTY,
  SPKI,
  SSHSIG,
  sshsigData,
  TOKEN_INPUT,
  TOKEN_INPUT_UNENCODED,
  tokenInput,
  USERAUTH,
  USERAUTH_HOSTBOUND,
  userauthData,
} from "../../support/protocol_messages.ts";

/** The beginning of a message, and whether it is one of amesh itself. */
const starts: [start: string, isAmesh: boolean][] = [
  ["amesh continuity v1\0", true],
  ["amesh proof of a new key v1\0", true],
  ["amesh continuity v1\0and more", true],
  ["amesh x v1\0", true],
  ["amesh x-y 2 v0\0", true],
  ["amesh x v9999\0", true],
  [`amesh ${"x".repeat(40)} v1234\0`, true],
  ["amesh v1 v2\0", true],
  ["", false],
  ["a", false],
  ["amesh", false],
  ["amesh continuity v1", false],
  ["amesh continuity v1 ", false],
  ["amesh continuity v1\n\0", false],
  ["amesh continuity v\0", false],
  ["amesh continuity vx\0", false],
  ["amesh continuity v12345\0", false],
  ["amesh continuity\0", false],
  ["amesh v1\0", false],
  ["amesh  v1\0", false],
  ["amesh Continuity v1\0", false],
  ["Amesh continuity v1\0", false],
  [" amesh continuity v1\0", false],
  ["amesh-continuity v1\0", false],
  ["amesh conti_nuity v1\0", false],
  ["amesh conti\u00e9nuity v1\0", false],
  [`amesh ${"x".repeat(41)} v1\0`, false],
  ["\0amesh continuity v1\0", false],
  ["amesh is a tool, version v1", false],
];
for (const [start, isAmesh] of starts) {
  test(`findProtocol() of ${JSON.stringify(start)} is ${isAmesh ? "a statement of amesh" : "null"}`, () => {
    assert.equal(findProtocol(utf8(start), true), isAmesh ? "a statement of amesh itself" : null);
  });
}

test("findProtocol() takes bytes that are no text for what they are", () => {
  assert.equal(findProtocol(concatBytes(utf8("amesh "), Uint8Array.of(0xff), utf8(" v1\0")), true), null);
  assert.notEqual(findProtocol(concatBytes(utf8("amesh x v1\0"), Uint8Array.of(0xff, 0xfe)), true), null);
});

test("findProtocol() has room for the longest label, and knows what rotate signs", () => {
  assert.ok(`amesh ${"x".repeat(40)} v1234\0`.length <= PROTOCOL_START_BYTES);
  const party = { deviceId: "am_AAAAAAAAAAAAAAAA", publicKey: new Uint8Array(33), backend: "tpm2" } as const;
  for (const role of ["old", "new"] as const) {
    const message = continuityMessage(role, {
      old: party,
      new: party,
      createdAt: "2026-03-01T09:00:00.000Z",
    });
    assert.notEqual(findProtocol(message, true), null);
  }
});

const LOGIN = "a login request of ssh";
const SIGNATURE = "the body of an SSH signature (SSHSIG)";
const REQUEST = "the body of a certificate request (PKCS#10)";
const TOKEN = "the signing input of a token (JWS)";

const hex = (text: string) => Uint8Array.fromHex(text);
const zeros = (length: number) => new Uint8Array(length);
const ascii = (length: number, text = "x") => utf8(text.repeat(length));
/** What the guard passes of a message of any length. */
const found = (message: Uint8Array) =>
  findProtocol(message.subarray(0, PROTOCOL_START_BYTES), message.length < PROTOCOL_START_BYTES);

const login = {
  sessionId: zeros(32),
  user: "root" as string | Uint8Array,
  service: "ssh-connection",
  method: "publickey",
  algorithm: "ecdsa-sha2-nistp256",
  publicKey: zeros(104),
  hostKey: null,
};
const VERSION = hex("020100");
const sequence = (...parts: Uint8Array[]) => derValue(0x30, concatBytes(...parts));
const indefinite = (tag: number, content: Uint8Array) =>
  concatBytes(Uint8Array.of(tag, 0x80), content, Uint8Array.of(0, 0));
/** The tag in the form for large numbers. */
const highTag = (value: Uint8Array, padding: readonly number[] = []) =>
  concatBytes(Uint8Array.of(value[0]! | 0x1f, ...padding, value[0]! & 0x1f), value.subarray(1));
const utf16 = (text: string) => Uint8Array.from([...text].flatMap((letter) => [letter.charCodeAt(0), 0]));
const utf32 = (text: string) =>
  Uint8Array.from([...text].flatMap((letter) => [0, 0, 0, letter.charCodeAt(0)]));
const HEADER = '{"alg":"ES256"}';

/** Each is taken by some program for what it is said to be; the certificate requests all by OpenSSL 3.0. */
const messages: [what: string, message: Uint8Array, protocol: string][] = [
  ["a login with OpenSSH", USERAUTH, LOGIN],
  ["a login bound to the host", USERAUTH_HOSTBOUND, LOGIN],
  ["a login with the longest session id", userauthData({ ...login, sessionId: zeros(128) }), LOGIN],
  ["a login with the shortest session id", userauthData({ ...login, sessionId: zeros(1) }), LOGIN],
  ["a login as nobody", userauthData({ ...login, user: "" }), LOGIN],
  ["a login as no text", userauthData({ ...login, user: hex("00ff0a80") }), LOGIN],
  ["a login with a very long name", userauthData({ ...login, user: ascii(100_000) }), LOGIN],
  ...[80, 79, 78, 77, 76, 70, 60, 50, 40].map((room): [string, Uint8Array, string] => [
    `a login with a name that leaves ${room} bytes`,
    userauthData({ ...login, user: ascii(PROTOCOL_START_BYTES - room) }),
    LOGIN,
  ]),
  ["a login of a host", userauthData({ ...login, method: "hostbased" }), LOGIN],
  ["a login for another service", userauthData({ ...login, service: "x@example.org" }), LOGIN],
  ["what git signs", SSHSIG, SIGNATURE],
  [
    "an SSHSIG with a long namespace",
    sshsigData("x".repeat(100_000), zeros(0), "sha256", zeros(32)),
    SIGNATURE,
  ],
  ["an SSHSIG with a lot reserved", sshsigData("x", zeros(100_000), "sha256", zeros(32)), SIGNATURE],
  ["an SSH signature without its armour", concatBytes(utf8("SSHSIG"), hex("0000000100000068")), SIGNATURE],
  ["a certificate request of OpenSSL", REQUEST_INFO, REQUEST],
  ["a certificate request for no name", REQUEST_INFO_EMPTY, REQUEST],
  ["a request of another version", sequence(hex("020105"), NAME, SPKI), REQUEST],
  ["a request of a long version", sequence(derValue(2, ascii(10)), NAME, SPKI), REQUEST],
  ["a request with an endless version", sequence(derValue(2, ascii(100_000)), NAME, SPKI), REQUEST],
  ["a request with a long length", derValue(0x30, concatBytes(VERSION, NAME, SPKI), 4), REQUEST],
  ["a request with a very long length", derValue(0x30, concatBytes(VERSION, NAME, SPKI), 126), REQUEST],
  ["a request without a length", indefinite(0x30, concatBytes(VERSION, NAME, SPKI)), REQUEST],
  [
    "a request for a name without a length",
    sequence(VERSION, indefinite(0x30, NAME.subarray(2)), SPKI),
    REQUEST,
  ],
  ["a request for no name without a length", sequence(VERSION, indefinite(0x30, zeros(0)), SPKI), REQUEST],
  ["a request with a high tag", highTag(sequence(VERSION, NAME, SPKI)), REQUEST],
  ["a request with a padded tag", highTag(sequence(VERSION, NAME, SPKI), [0x80, 0x80]), REQUEST],
  ["a request with a version of a high tag", sequence(highTag(VERSION), NAME, SPKI), REQUEST],
  ["a request with a name of a high tag", sequence(VERSION, highTag(NAME), SPKI), REQUEST],
  [
    "a request with a set of a high tag",
    sequence(VERSION, sequence(highTag(NAME.subarray(2))), SPKI),
    REQUEST,
  ],
  ["a request with a key of a high tag", sequence(VERSION, NAME, highTag(SPKI)), REQUEST],
  [
    "a request with an algorithm of high tags",
    sequence(VERSION, NAME, sequence(highTag(sequence(highTag(SPKI.subarray(4, 13)))))),
    REQUEST,
  ],
  ["a request with an empty set", sequence(VERSION, sequence(hex("3100"), NAME.subarray(2)), SPKI), REQUEST],
  [
    "a request for a very long name",
    sequence(VERSION, sequence(derValue(0x31, ascii(100_000))), SPKI),
    REQUEST,
  ],
  ["the token of RFC 7515", TOKEN_INPUT, TOKEN],
  ["the token of RFC 7797", TOKEN_INPUT_UNENCODED, TOKEN],
  ["a token without a payload", tokenInput(HEADER, ""), TOKEN],
  ["a token with a payload that is no text", tokenInput('{"alg":"ES256","b64":false}', hex("00ff")), TOKEN],
  ["a token with its signature", concatBytes(TOKEN_INPUT, utf8(".c2lnbmF0dXJl")), TOKEN],
  ["a token with white space first", tokenInput(` \n\t\r${HEADER}`, "e30"), TOKEN],
  ["a token with a byte order mark", tokenInput(`\ufeff${HEADER}`, "e30"), TOKEN],
  ["a token with another letter", tokenInput('{"\\u0061lg":"ES256"}', "e30"), TOKEN],
  ["a token with only other letters", tokenInput('{"\\u0061\\u006C\\u0067":"ES256"}', "e30"), TOKEN],
  ["a token with the name of another case", tokenInput('{"ALG":"ES256"}', "e30"), TOKEN],
  ["a token with two algorithms", tokenInput('{"alg":"ES256","alg":1}', "e30"), TOKEN],
  ["a token with NaN", tokenInput('{"alg":"ES256","x":NaN}', "e30"), TOKEN],
  ["a token with a comment", tokenInput('/**/{"alg":"ES256"}', "e30"), TOKEN],
  ["a token in UTF-16", tokenInput(utf16(HEADER), "e30"), TOKEN],
  ["a token in UTF-32", tokenInput(utf32(HEADER), "e30"), TOKEN],
  [
    "a token in the other base64",
    utf8(`${encodeBase64(utf8('{"x":"\u00ff\u00fe?>","alg":""}'))}.e30`),
    TOKEN,
  ],
  ["a token with padding", utf8(`${encodeBase64(utf8(`${HEADER} `))}.e30`), TOKEN],
  [
    "a token with line breaks",
    utf8(`\n${encodeBase64(utf8(HEADER)).replaceAll(/.{4}/g, "$&\r\n")}.e30`),
    TOKEN,
  ],
  ["a token with what is not base64", concatBytes(hex("0021ff"), TOKEN_INPUT), TOKEN],
  ["a token with a digit too many", utf8(`${encodeBase64Url(utf8(HEADER))}A.e30`), TOKEN],
  [
    "a token with a header that fits just so",
    tokenInput(`{"x5c":"${"A".repeat(49_000)}","alg":""}`, ""),
    TOKEN,
  ],
  ["a token with certificates", tokenInput(`{"x5c":["${"A".repeat(100_000)}"],"alg":"ES256"}`, "e30"), TOKEN],
  ["a token with a lot of white space", tokenInput(`${" ".repeat(100_000)}{"alg":"ES256"}`, "e30"), TOKEN],
  ["a token with white space in it", tokenInput(`{${" ".repeat(100_000)}"alg":"ES256"}`, "e30"), TOKEN],
  ["a token with a long comment", tokenInput(`{/*${"x".repeat(100_000)}*/"alg":"ES256"}`, "e30"), TOKEN],
  [
    "a long token with a byte order mark",
    tokenInput(`\ufeff{"x":"${"\u00e9".repeat(50_000)}","alg":1}`, ""),
    TOKEN,
  ],
  ["a long token in UTF-16", tokenInput(utf16(`{"x":"${"\u0007".repeat(50_000)}","alg":1}`), ""), TOKEN],
  [
    "a long token in marked UTF-16",
    tokenInput(utf16(`\u00ff${" ".repeat(50_000)}`).fill(0xfe, 1, 2), ""),
    TOKEN,
  ],
  ["a long token with what is not base64", concatBytes(utf8("ey"), zeros(70_000), utf8("Jh")), TOKEN],
];
for (const [what, message, protocol] of messages) {
  test(`findProtocol() knows ${what}`, () => {
    assert.equal(found(message), protocol);
    assert.equal(found(concatBytes(message, zeros(100_000))), protocol);
  });
}

const CERTIFICATE = sequence(
  sequence(hex("a003020102"), hex("020101"), sequence(hex("06082a8648ce3d040302")), NAME),
);
const PKCS8 = sequence(VERSION, SPKI.subarray(2, 23), derValue(4, zeros(109)));
const noise = Uint8Array.from({ length: 200_000 }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 23);

/** Files that people sign, and what is nearly a message. */
const ordinary: [what: string, message: Uint8Array][] = [
  ["nothing", zeros(0)],
  ["a dot", utf8(".")],
  ["dots", ascii(100_000, ".")],
  ["a text", utf8("Dear reader,\n\nthis is a text. It has sentences.\n")],
  ["a text about SSHSIG", utf8("SSHSIG is a format of signatures.\n")],
  ["the magic of SSHSIG", utf8("SSHSIG")],
  ["a long text without a dot", ascii(3000, "the quick brown fox jumps over the lazy dog, ")],
  ["an e-mail", utf8("e-mail. eyes. ey.")],
  ["a table of towns", ascii(10_000, "Lyon,eyot,ewok\n")],
  ["JSON", utf8('{"alg":"ES256","x":1.5}')],
  ["long JSON", utf8(JSON.stringify({ alg: "ES256", x: "x".repeat(100_000) }))],
  ["a token in JSON", utf8(JSON.stringify({ token: new TextDecoder().decode(TOKEN_INPUT) }))],
  ["the header of a token alone", utf8(encodeBase64Url(utf8(HEADER)))],
  ["base64 of JSON with a dot", tokenInput('{"user":"algernon"}', "e30")],
  ["base64 of a document", utf8(encodeBase64(utf8(JSON.stringify({ x: "x".repeat(30_000) }))))],
  ["base64 of noise", utf8(encodeBase64(noise))],
  ["base64 of noise that begins as JSON", utf8(encodeBase64(concatBytes(utf8('{"'), noise)))],
  ["base64 of noise in lines", utf8(encodeBase64(noise).replaceAll(/.{76}/g, "$&\n"))],
  ["base64 of a PNG", utf8(encodeBase64(concatBytes(hex("89504e470d0a1a0a0000000d49484452"), noise)))],
  ["noise", noise],
  ["zeros", zeros(100_000)],
  ["spaces", ascii(100_000, " ")],
  ["an erased flash memory", zeros(100_000).fill(0xff)],
  ["tar", concatBytes(utf8("README"), zeros(94), utf8("0000644\0"), zeros(404), utf8("text"), zeros(70_000))],
  ["gzip", concatBytes(hex("1f8b0800000000000003"), noise)],
  ["zip", concatBytes(hex("504b0304140000000800"), noise)],
  ["zstd", concatBytes(hex("28b52ffd04580000"), noise)],
  ["PDF", utf8("%PDF-1.7\n%\u00e2\u00e3\n1 0 obj\n<</Type/Catalog>>\nendobj\n")],
  ["ELF", concatBytes(hex("7f454c46020101"), zeros(9), hex("03003e00"), noise)],
  [
    "MP4",
    concatBytes(
      hex("00000020667479706973 6f6d".replaceAll(" ", "")),
      zeros(20),
      hex("00000008667265650032"),
      noise,
    ),
  ],
  ["MPEG", concatBytes(hex("000001ba4432"), noise)],
  ["a script", utf8("#!/bin/sh\nset -eu\ncd /. && ls\n")],
  ["PEM", utf8(`-----BEGIN CERTIFICATE-----\n${encodeBase64(noise)}\n-----END CERTIFICATE-----\n`)],
  ["a certificate", CERTIFICATE],
  ["a certificate request with its signature", sequence(REQUEST_INFO, sequence(hex("0601")), hex("030100"))],
  ["a public key", SPKI],
  ["a private key in PKCS #8", PKCS8],
  ["a private key of RFC 5915", sequence(hex("020101"), derValue(4, zeros(32)))],
  ["an RSA private key", sequence(VERSION, derValue(2, ascii(257)), hex("0203010001"))],
  ["PKCS #12", sequence(hex("020103"), sequence(hex("06092a864886f70d010701"), hex("a000")))],
  ["CMS without a length", indefinite(0x30, hex("06092a864886f70d010702a080"))],
  ["a request of a time stamp", sequence(hex("020101"), sequence(sequence(hex("0601")), hex("0400")))],
  ["an ECDSA signature", sequence(derValue(2, ascii(32)), derValue(2, ascii(32)))],
  ["a name and no key", sequence(VERSION, NAME)],
  ["a name and another thing", sequence(VERSION, NAME, hex("020100"))],
  ["a name and an empty sequence", sequence(VERSION, NAME, hex("3000"))],
  ["a name and a sequence of numbers", sequence(VERSION, NAME, sequence(sequence(hex("020100"))))],
  ["a request of a version without a length", sequence(hex("0280"), NAME, SPKI)],
  ["a long request of a version without a length", sequence(hex("0280"), NAME, SPKI, zeros(100_000))],
  ["a set in place of a request", concatBytes(hex("31"), REQUEST_INFO.subarray(1))],
  ["a text in place of a version", sequence(hex("040100"), NAME, SPKI)],
  ["a set in place of a name", sequence(VERSION, concatBytes(hex("31"), NAME.subarray(1)), SPKI)],
  ["a name of a sequence", sequence(VERSION, sequence(sequence(NAME)), SPKI)],
  ["a set in place of a key", sequence(VERSION, NAME, concatBytes(hex("31"), SPKI.subarray(1)))],
  ["a set in place of an algorithm", sequence(VERSION, NAME, sequence(hex("31"), SPKI.subarray(3)))],
  ["a token after a dot", concatBytes(utf8("."), TOKEN_INPUT)],
  ["a long text that begins as a token without an algorithm", tokenInput('{"user":1}', zeros(100_000))],
  ["a login without a session", userauthData({ ...login, sessionId: zeros(0) })],
  ["a login of a session that is too long", userauthData({ ...login, sessionId: zeros(129) })],
  ["another message of ssh", userauthData(login).with(36, 51)],
  ["a login for no service", userauthData({ ...login, service: "" })],
  ["a login by a method that is no name", userauthData({ ...login, method: "public key" })],
];
for (const [what, message] of ordinary) {
  test(`findProtocol() takes ${what} for what it is`, () => assert.equal(found(message), null));
}

test("findProtocol() does not refuse what is cut off, when that is all", () => {
  for (const message of [USERAUTH, REQUEST_INFO, TOKEN_INPUT]) {
    const enough = Array.from(message.keys()).findIndex((length) =>
      findProtocol(message.subarray(0, length), true)
    );
    assert.ok(enough > 20 && enough < message.length, `${enough}`);
    // As long as more may come, less is enough, and what is enough stays so.
    for (let length = 0; length < message.length; length++) {
      const start = message.subarray(0, length);
      if (length >= enough) assert.notEqual(findProtocol(start, true), null);
      if (length >= 80 || length >= enough) assert.notEqual(findProtocol(start, false), null);
    }
  }
});

test("findProtocol() knows every login", () => {
  const logins = fc.record({
    sessionId: fc.uint8Array({ minLength: 1, maxLength: 128 }),
    user: fc.oneof(fc.string({ unit: "binary" }), fc.uint8Array({ maxLength: 300 })),
    algorithm: fc.string(),
    publicKey: fc.uint8Array(),
    hostKey: fc.option(fc.uint8Array()),
  });
  fc.assert(
    fc.property(
      logins,
      fc.constantFrom("publickey", "publickey-hostbound-v00@openssh.com"),
      (fields, method) => {
        assert.equal(found(userauthData({ ...login, ...fields, method })), LOGIN);
      },
    ),
  );
});

test("findProtocol() knows every SSHSIG", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.uint8Array(),
      fc.uint8Array(),
      (namespace, reserved, hash) => {
        assert.equal(found(sshsigData(namespace, reserved, "sha512", hash)), SIGNATURE);
      },
    ),
  );
});

test("findProtocol() knows every certificate request, however its lengths are written", () => {
  const octets = fc.nat({ max: 9 });
  const bytes = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(
      fc.array(bytes, { maxLength: 4 }),
      bytes,
      bytes,
      fc.tuple(octets, octets, octets),
      (sets, key, rest, n) => {
        const name = derValue(0x30, concatBytes(...sets.map((set) => derValue(0x31, set))), n[0]);
        const algorithm = derValue(0x30, derValue(6, key), n[1]);
        const info = concatBytes(VERSION, name, sequence(algorithm, rest), derValue(0xa0, rest));
        assert.equal(found(derValue(0x30, info, n[2])), REQUEST);
      },
    ),
  );
});

test("findProtocol() knows every token with an algorithm", () => {
  const header = fc.tuple(
    fc.dictionary(fc.string(), fc.jsonValue()),
    fc.nat({ max: 6 }),
    fc.constantFrom("", " ", "\n\t"),
  );
  fc.assert(fc.property(header, fc.uint8Array(), ([members, at, space], payload) => {
    const entries = Object.entries(members);
    entries.splice(at, 0, ["alg", "ES256"]);
    const json = `{${
      entries.map(([name, value]) => `${space}${JSON.stringify(name)}:${JSON.stringify(value)}`)
    }}`;
    assert.equal(found(tokenInput(`${space}${json}`, payload)), TOKEN);
  }));
});

test("findProtocol() takes no other bytes for a message", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => assert.equal(found(bytes), null)), {
    numRuns: 2000,
  });
});
