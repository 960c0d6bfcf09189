import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { type Bytes, concatBytes, encodeHex, u32be, utf8 } from "../../../src/bytes.ts";
import {
  encodeDigestAnswer,
  encodeExtensionRequest,
  encodeExtensionResponse,
  encodeFrame,
  encodeIdentities,
  encodeListRequest,
  encodeSignRequest,
  encodeSignResponse,
  EXTENSION,
  EXTENSION_FAILURE_FRAME,
  FAILURE_FRAME,
  MESSAGE,
  parseDigestAnswer,
  parseExtensionResponse,
  parseIdentities,
  parseRequest,
  parseSessionBind,
  parseSignDigest,
  parseSignResponse,
  SUCCESS_FRAME,
} from "../../../src/formats/agent_message.ts";
import { SshReader, sshString, WireError } from "../../../src/formats/ssh_wire.ts";

const hex = (text: string) => Uint8Array.fromHex(text.replaceAll(/\s+/g, ""));
/** What follows the length, which must be right. */
function payloadOf(frame: Bytes): Bytes {
  assert.equal(new SshReader(frame).u32(), frame.length - 4);
  return frame.subarray(4);
}

/** By hand, after draft-ietf-sshm-ssh-agent sections 4 and 5. */
const requests: [bytes: string, expected: ReturnType<typeof parseRequest>][] = [
  ["0b", { kind: "list" }],
  ["0d 00000002 aabb 00000003 010203 00000000", {
    kind: "sign",
    publicKey: hex("aabb"),
    data: hex("010203"),
  }],
  ["0d 00000000 00000000 00000006", { kind: "sign", publicKey: hex(""), data: hex("") }],
  ["16 00000003 ff0061", { kind: "lock", passphrase: hex("ff0061") }],
  ["17 00000000", { kind: "unlock", passphrase: hex("") }],
  ["1b 00000005 7175657279", { kind: "extension", name: "query", contents: hex("") }],
  ["1b 00000001 61 00000001ff77", { kind: "extension", name: "a", contents: hex("00000001ff77") }],
];
for (const [bytes, expected] of requests) {
  test(`parseRequest() reads ${bytes}`, () => assert.deepEqual(parseRequest(hex(bytes)), expected));
}

test("parseRequest() takes every other number for something that is not done, whatever follows", () => {
  const known = [11, 13, 22, 23, 27];
  for (let type = 0; type < 256; type++) {
    if (known.includes(type)) continue;
    for (const contents of ["", "00000001ff", "00"]) {
      const request = parseRequest(concatBytes(Uint8Array.of(type), hex(contents)));
      assert.deepEqual(request, { kind: "unsupported" }, `${type}`);
    }
  }
});

test("parseRequest() gives views into the frame", () => {
  const frame = hex("0d 00000001 aa 00000001 bb 00000000");
  const request = parseRequest(frame);
  assert.ok(request.kind === "sign");
  frame.fill(7);
  assert.deepEqual([request.publicKey, request.data], [Uint8Array.of(7), Uint8Array.of(7)]);
});

const malformed: [what: string, bytes: string][] = [
  ["nothing", ""],
  ["a list with contents", "0b 00"],
  ["a signature without flags", "0d 00000001aa 00000001bb"],
  ["a signature with half of its flags", "0d 00000001aa 00000001bb 0000"],
  ["a signature with more behind it", "0d 00000001aa 00000001bb 00000000 00"],
  ["a signature whose data goes on behind the end", "0d 00000001aa 00000005bb 00000000"],
  ["a signature whose key is longer than everything", "0d ffffffff"],
  ["a lock without a passphrase", "16"],
  ["a lock with more behind it", "16 00000001 61 61"],
  ["an unlock that is cut", "17 00000002 61"],
  ["an extension without a name", "1b"],
  ["an extension whose name is cut", "1b 00000002 61"],
  ["an extension whose name is no text", "1b 00000001 ff"],
  ["an extension whose name a terminal would obey", "1b 00000002 1b63"],
];
for (const [what, bytes] of malformed) {
  test(`parseRequest() refuses ${what}`, () => assert.throws(() => parseRequest(hex(bytes)), WireError));
}

test("parseSessionBind() reads key, session, signature and what the session is for", () => {
  const head = "00000002 0102 00000001 aa 00000003 bbbbbb";
  const fields = { hostKey: hex("0102"), sessionId: hex("aa"), signature: hex("bbbbbb") };
  assert.deepEqual(parseSessionBind(hex(`${head} 00`)), { ...fields, isForwarding: false });
  assert.deepEqual(parseSessionBind(hex(`${head} 01`)), { ...fields, isForwarding: true });
  // RFC 4251 §5: every value but 0 is true.
  assert.deepEqual(parseSessionBind(hex(`${head} ff`)), { ...fields, isForwarding: true });
});

test("parseSessionBind() and parseSignDigest() refuse what is cut anywhere, and what goes on", () => {
  const cases = [
    [parseSessionBind, hex("00000002 0102 00000001 aa 00000003 bbbbbb 00")],
    [parseSignDigest, concatBytes(sshString("am_x"), sshString(new Uint8Array(32)))],
  ] as const;
  for (const [parse, whole] of cases) {
    parse(whole);
    for (let length = 0; length < whole.length; length++) {
      assert.throws(() => parse(whole.subarray(0, length)), WireError, `${parse.name} ${length}`);
    }
    assert.throws(() => parse(concatBytes(whole, Uint8Array.of(0))), WireError, parse.name);
  }
});

test("parseSignDigest() gives a digest of its own, of 32 bytes and no other length", () => {
  const contents = concatBytes(sshString("am_x"), sshString(new Uint8Array(32).fill(9)));
  const { deviceId, digest } = parseSignDigest(contents);
  contents.fill(0);
  assert.deepEqual([deviceId, digest], ["am_x", new Uint8Array(32).fill(9)]);
  for (const length of [0, 31, 33, 64]) {
    const other = concatBytes(sshString("am_x"), sshString(new Uint8Array(length)));
    assert.throws(() => parseSignDigest(other), WireError, `${length}`);
  }
  const noText = concatBytes(sshString(hex("ff")), sshString(new Uint8Array(32)));
  assert.throws(() => parseSignDigest(noText), WireError);
});

test("frames have their length, type and contents", () => {
  assert.equal(encodeHex(FAILURE_FRAME), "0000000105");
  assert.equal(encodeHex(SUCCESS_FRAME), "0000000106");
  assert.equal(encodeHex(EXTENSION_FAILURE_FRAME), "000000011c");
  assert.equal(encodeHex(encodeFrame(7, hex("01"), hex(""), hex("0203"))), "0000000407010203");
});

test("encodeIdentities() lists keys with their comments", () => {
  assert.equal(encodeHex(encodeIdentities([])), "000000050c00000000");
  const keys = [{ blob: hex("aa"), comment: "é" }, { blob: hex("bbcc"), comment: "" }];
  const expected = "0c 00000002 00000001aa 00000002c3a9 00000002bbcc 00000000";
  assert.deepEqual(payloadOf(encodeIdentities(keys)), hex(expected));
});

const scalars: [what: string, scalar: string, mpint: string][] = [
  ["of full length", `11${"00".repeat(30)}22`, `00000020 11${"00".repeat(30)}22`],
  ["with the high bit", `80${"11".repeat(31)}`, `00000021 0080${"11".repeat(31)}`],
  ["with a zero in front", `00${"11".repeat(31)}`, `0000001f ${"11".repeat(31)}`],
  ["with a zero before a high bit", `00ff${"11".repeat(30)}`, `00000020 00ff${"11".repeat(30)}`],
  ["one", `${"00".repeat(31)}01`, "00000001 01"],
  ["128", `${"00".repeat(31)}80`, "00000002 0080"],
];
for (const [r, rBytes, rMpint] of scalars) {
  for (const [s, sBytes, sMpint] of scalars) {
    test(`encodeSignResponse() of r ${r} and s ${s}`, () => {
      const numbers = hex(rMpint + sMpint);
      const blob = concatBytes(sshString("ecdsa-sha2-nistp256"), sshString(numbers));
      const expected = concatBytes(Uint8Array.of(14), sshString(blob));
      assert.deepEqual(payloadOf(encodeSignResponse(hex(rBytes + sBytes))), expected);
    });
  }
}

/** DER of the two numbers of an ssh signature: an mpint has the contents of an INTEGER. */
function derOf(frame: Bytes): Bytes {
  const response = new SshReader(payloadOf(frame));
  assert.equal(response.byte(), MESSAGE.SIGN_RESPONSE);
  const blob = new SshReader(response.string());
  response.end();
  assert.equal(blob.text(), "ecdsa-sha2-nistp256");
  const numbers = new SshReader(blob.string());
  blob.end();
  const integers = [numbers.string(), numbers.string()].map((mpint) => {
    assert.ok(mpint.length > 0 && (mpint[0]! & 0x80) === 0, "negative");
    assert.ok(mpint[0] !== 0 || (mpint[1]! & 0x80) !== 0, "not minimal");
    return concatBytes(Uint8Array.of(2, mpint.length), mpint);
  });
  numbers.end();
  const body = concatBytes(...integers);
  return concatBytes(Uint8Array.of(0x30, body.length), body);
}

test("encodeSignResponse(): node:crypto verifies what was decoded, whatever the first bytes are", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = createPublicKey({ key: publicKey.export({ format: "jwk" }), format: "jwk" });
  const lengths = new Set<number>();
  // One number in 256 is short, half have the high bit.
  for (let i = 0; i < 300; i++) {
    const message = u32be(i);
    const raw = sign("sha256", message, { key: privateKey, dsaEncoding: "ieee-p1363" });
    const der = derOf(encodeSignResponse(raw));
    lengths.add(der.length);
    assert.ok(verify("sha256", message, { key, dsaEncoding: "der" }, der), encodeHex(raw));
  }
  assert.ok(lengths.size >= 3, `${[...lengths]}`);
});

const names = fc.string({ unit: "grapheme", maxLength: 40 }).filter((text) => !/\p{Cc}/u.test(text));
const fields = fc.array(fc.uint8Array({ maxLength: 200 }).map((bytes) => Uint8Array.from(bytes)), {
  maxLength: 5,
});

test("an extension's answer gives back its fields", () => {
  fc.assert(fc.property(names, fields, (name, values) => {
    const payload = payloadOf(encodeExtensionResponse(name, ...values));
    assert.deepEqual(parseExtensionResponse(payload, name), values);
    assert.throws(() => parseExtensionResponse(payload, `${name}x`), WireError);
  }));
});

test("an extension's request reads as its name and fields", () => {
  fc.assert(fc.property(names, fields, (name, values) => {
    const request = parseRequest(payloadOf(encodeExtensionRequest(name, ...values)));
    const contents = concatBytes(...values.map(sshString));
    assert.deepEqual(request, { kind: "extension", name, contents });
  }));
});

test("parseExtensionResponse() is null for failures, and an error for what is cut", () => {
  for (const type of [5, 6, 28, 12]) {
    assert.equal(parseExtensionResponse(Uint8Array.of(type), "query"), null);
  }
  const whole = payloadOf(encodeExtensionResponse("query", "a", hex("0102")));
  // At the end of a field it is whole again.
  const ends = [1 + 4 + 5, 1 + 4 + 5 + 4 + 1];
  for (let length = 0; length < whole.length; length++) {
    const parse = () => parseExtensionResponse(whole.subarray(0, length), "query");
    if (ends.includes(length)) assert.ok(parse());
    else assert.throws(parse, WireError, `${length}`);
  }
});

test("an answer to sign-digest gives back the signature, or why there is none", () => {
  const signature = new Uint8Array(64).fill(5);
  const refusal = { code: "ERR_BUSY", message: "cannot sign: é", hint: "" };
  for (const answer of [signature, refusal]) {
    const found = parseExtensionResponse(payloadOf(encodeDigestAnswer(answer)), EXTENSION.SIGN_DIGEST);
    assert.deepEqual(parseDigestAnswer(found!), answer);
  }
  assert.equal(EXTENSION.SIGN_DIGEST, "sign-digest@amesh.dev");
});

const unknownAnswers: [what: string, fields: (Uint8Array | string)[]][] = [
  ["nothing", []],
  ["another word", ["maybe", new Uint8Array(64)]],
  ["no signature", ["signed"]],
  ["a short signature", ["signed", new Uint8Array(63)]],
  ["a long signature", ["signed", new Uint8Array(65)]],
  ["a signature and more", ["signed", new Uint8Array(64), ""]],
  ["a refusal without a hint", ["refused", "ERR_BUSY", "cannot"]],
  ["a refusal with more behind it", ["refused", "ERR_BUSY", "cannot", "", ""]],
];
for (const [what, values] of unknownAnswers) {
  test(`parseDigestAnswer() refuses ${what}`, () => {
    const bytes = values.map((value) => typeof value === "string" ? utf8(value) : value);
    assert.throws(() => parseDigestAnswer(bytes), WireError);
  });
}

test("a client's requests are what the agent reads", () => {
  assert.deepEqual(parseRequest(payloadOf(encodeListRequest())), { kind: "list" });
  const request = parseRequest(payloadOf(encodeSignRequest(hex("aabb"), hex("01"))));
  assert.deepEqual(request, { kind: "sign", publicKey: hex("aabb"), data: hex("01") });
  assert.equal(encodeHex(encodeSignRequest(hex("aa"), hex("01"))), "0000000f0d00000001aa000000010100000000");
});

test("parseIdentities() reads what encodeIdentities() writes, and nothing that is cut or goes on", () => {
  const keys = [{ blob: hex("aa"), comment: "é" }, { blob: hex("bbcc"), comment: "" }];
  const whole = payloadOf(encodeIdentities(keys));
  assert.deepEqual(parseIdentities(whole), keys);
  assert.deepEqual(parseIdentities(payloadOf(encodeIdentities([]))), []);
  assert.deepEqual(parseIdentities(hex("05")), []);
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => parseIdentities(whole.subarray(0, length)), WireError, `${length}`);
  }
  assert.throws(() => parseIdentities(concatBytes(whole, hex("00"))), WireError);
  assert.throws(() => parseIdentities(hex("0c ffffffff")), WireError);
});

test("parseSignResponse() gives back any signature, whatever its first bytes are", () => {
  for (const [, r] of scalars) {
    for (const [, s] of scalars) {
      assert.deepEqual(parseSignResponse(payloadOf(encodeSignResponse(hex(r + s)))), hex(r + s));
    }
  }
  assert.equal(parseSignResponse(hex("05")), null);
});

const response = (algorithm: string, numbers: string) =>
  concatBytes(hex("0e"), sshString(concatBytes(sshString(algorithm), sshString(hex(numbers)))));
const noResponse: [what: string, payload: Uint8Array][] = [
  ["another algorithm", response("ssh-ed25519", "00000001 01 00000001 01")],
  ["one number", response("ecdsa-sha2-nistp256", "00000001 01")],
  ["three numbers", response("ecdsa-sha2-nistp256", "00000001 01 00000001 01 00000001 01")],
  ["a negative number", response("ecdsa-sha2-nistp256", "00000001 81 00000001 01")],
  ["a long number", response("ecdsa-sha2-nistp256", `00000021 01${"00".repeat(32)} 00000001 01`)],
  ["more behind it", concatBytes(response("ecdsa-sha2-nistp256", "00000001 01 00000001 01"), hex("00"))],
  ["nothing", hex("0e")],
];
for (const [what, payload] of noResponse) {
  test(`parseSignResponse() refuses ${what}`, () =>
    assert.throws(() => parseSignResponse(payload), WireError));
}

test("nothing but a WireError comes of any bytes", () => {
  const parsers: ((bytes: Uint8Array) => unknown)[] = [
    parseRequest,
    parseSessionBind,
    parseSignDigest,
    (bytes) => parseExtensionResponse(bytes, "query"),
    parseIdentities,
    parseSignResponse,
  ];
  const type = fc.constantFrom(11, 12, 13, 14, 22, 23, 27, 29, 0);
  fc.assert(fc.property(type, fc.uint8Array({ maxLength: 60 }), (type, rest) => {
    for (const bytes of [Uint8Array.from(rest), concatBytes(Uint8Array.of(type), rest)]) {
      for (const parse of parsers) {
        try {
          parse(bytes);
        } catch (error) {
          assert.ok(error instanceof WireError, `${error}`);
        }
      }
    }
  }));
});
