import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { calculateJwkThumbprint } from "jose";
import {
  concatBytes,
  decodeHex,
  encodeBase64,
  encodeBase64Url,
  encodeHex,
  utf8,
} from "../../../src/bytes.ts";
import {
  compressPoint,
  encodeSpki,
  formatPublicKey,
  parsePublicKey,
  PUBLIC_KEY_FORMATS,
  thumbprintOf,
  toJwk,
} from "../../../src/formats/public_key.ts";
import { ameshError, onlyAmeshErrors } from "../../support/errors.ts";

// The public key of RFC 6979 A.2.5 as OpenSSL 3.0 and python3-cryptography write it.
const X = "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
const Y = "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
const hex = (text: string) => decodeHex(text) as Uint8Array<ArrayBuffer>;
const POINT = hex(`04${X}${Y}`);
const COMPRESSED = hex(`03${X}`);
const SPKI = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Z5A/4QCLi8" +
  "maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==";
const PEM = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7
Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==
-----END PUBLIC KEY-----
`;
const COMPRESSED_PEM = `-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADYP7UuiVanTHJYet0xjVtaMBJuJI7
Yfps5mliLmDyn7Y=
-----END PUBLIC KEY-----
`;
const SSH_BLOB =
  "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGD+1LolWp0xyWHrdMY1bWjASbiSO2H6bOZpYi5g" +
  "8p+2eQP+EAi4vJmkGunpVii8ZPLxsgwtfp9Rd6PClNRGIpk=";
const JWK = { kty: "EC", crv: "P-256", x: encodeBase64Url(hex(X)), y: encodeBase64Url(hex(Y)) };

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const pem = (label: string, content: string) =>
  `-----BEGIN ${label}-----\n${content}\n-----END ${label}-----\n`;

const written: [format: typeof PUBLIC_KEY_FORMATS[number], want: string][] = [
  ["pem", PEM],
  ["jwk", `${JSON.stringify(JWK)}\n`],
  ["ssh", `ecdsa-sha2-nistp256 ${SSH_BLOB} my server\n`],
  ["base64", `${encodeBase64(COMPRESSED)}\n`],
  ["hex", `03${X}\n`],
];
for (const [format, want] of written) {
  test(`formatPublicKey() writes ${format} as other programs do`, async () => {
    assert.equal(text(await formatPublicKey(POINT, format, "my server")), want);
  });
}

test("formatPublicKey() writes der and encodeSpki() its SubjectPublicKeyInfo", async () => {
  assert.equal(encodeBase64(await formatPublicKey(POINT, "der", "")), SPKI);
  assert.equal(encodeBase64(encodeSpki(POINT)), SPKI);
});

test("toJwk() gives both coordinates with leading zeros", () => {
  const point = concatBytes(Uint8Array.of(4), new Uint8Array(64));
  assert.deepEqual(toJwk(point), { kty: "EC", crv: "P-256", x: "A".repeat(43), y: "A".repeat(43) });
});

// RFC 9449 §4.1 and §6.1: a key, and the thumbprint that a token is bound to by.
const DPOP_POINT = concatBytes(
  Uint8Array.of(4),
  Uint8Array.fromBase64("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", { alphabet: "base64url" }),
  Uint8Array.fromBase64("9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", { alphabet: "base64url" }),
);
const DPOP_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

test("thumbprintOf() gives the thumbprint of RFC 9449", async () => {
  assert.equal(await thumbprintOf(DPOP_POINT), DPOP_THUMBPRINT);
});

test("thumbprintOf() gives what jose gives, also for coordinates with leading zeros", async () => {
  for (const point of [POINT, DPOP_POINT, concatBytes(Uint8Array.of(4), new Uint8Array(64))]) {
    assert.equal(await thumbprintOf(point), await calculateJwkThumbprint(toJwk(point), "sha256"));
  }
});

test("formatPublicKey() writes jwks with what a verifier looks for", async () => {
  assert.deepEqual(JSON.parse(text(await formatPublicKey(DPOP_POINT, "jwks", ""))), {
    keys: [{ ...toJwk(DPOP_POINT), kid: DPOP_THUMBPRINT, use: "sig", alg: "ES256" }],
  });
});

test("compressPoint() keeps the parity of y and a point that is compressed already", () => {
  assert.deepEqual(compressPoint(POINT), COMPRESSED);
  const even = Uint8Array.from(POINT);
  even[64] = (even[64] as number) ^ 1;
  assert.equal(compressPoint(even)[0], 2);
  assert.deepEqual(compressPoint(COMPRESSED), COMPRESSED);
});

const coordinates = fc.uint8Array({ minLength: 64, maxLength: 64 });
for (const format of PUBLIC_KEY_FORMATS) {
  test(`parsePublicKey() reads every ${format} that formatPublicKey() writes`, async () => {
    await fc.assert(fc.asyncProperty(coordinates, async (xy) => {
      const point = concatBytes(Uint8Array.of(4), xy);
      const parsed = parsePublicKey(await formatPublicKey(point, format, "my server, 2nd floor"));
      assert.deepEqual(compressPoint(parsed), compressPoint(point));
    }));
  });
}

const accepted: [name: string, input: string | Uint8Array, want: Uint8Array][] = [
  ["PEM with CRLF", PEM.replaceAll("\n", "\r\n"), POINT],
  ["PEM without a final newline", PEM.trimEnd(), POINT],
  ["PEM with white space around", `\n  ${PEM}\n\n`, POINT],
  ["PEM in one line", pem("PUBLIC KEY", SPKI), POINT],
  ["PEM of a compressed point", COMPRESSED_PEM, COMPRESSED],
  ["PEM with a byte order mark", `\ufeff${PEM}`, POINT],
  [
    "PEM with text around, as openssl -text writes it",
    `Public-Key: (256 bit)\n${PEM}ASN1 OID: prime256v1\n`,
    POINT,
  ],
  [
    "DER of a compressed point",
    hex(`3039301306072a8648ce3d020106082a8648ce3d03010703220003${X}`),
    COMPRESSED,
  ],
  ["a JWK with other members", JSON.stringify({ ...JWK, kid: "1", use: "sig", alg: "ES256" }), POINT],
  ["a JWK in several lines", JSON.stringify(JWK, null, 2), POINT],
  ["a JWK set of one", JSON.stringify({ keys: [JWK] }), POINT],
  ["an ssh line without a comment", `ecdsa-sha2-nistp256 ${SSH_BLOB}`, POINT],
  ["an ssh line with a comment of several words", `ecdsa-sha2-nistp256 ${SSH_BLOB} me@host at work\n`, POINT],
  ["an ssh line with tabs", `ecdsa-sha2-nistp256\t${SSH_BLOB}\tme`, POINT],
  [
    "an ssh line between comments and empty lines, with CRLF",
    `# server 1\r\n\r\necdsa-sha2-nistp256 ${SSH_BLOB} me\r\n# end\r\n`,
    POINT,
  ],
  ["the uncompressed point in base64", encodeBase64(POINT), POINT],
  ["the uncompressed point in hex", encodeHex(POINT), POINT],
  ["upper-case hex", `03${X}`.toUpperCase(), COMPRESSED],
];
for (const [name, input, want] of accepted) {
  test(`parsePublicKey() reads ${name}`, () => {
    assert.deepEqual(parsePublicKey(typeof input === "string" ? utf8(input) : input), want);
  });
}

const jwk = (change: Record<string, unknown>) => JSON.stringify({ ...JWK, ...change });
const spkiHead = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const refused: [name: string, input: string | Uint8Array][] = [
  ["nothing", ""],
  ["text", "not a key"],
  ["a P-384 key", pem("PUBLIC KEY", `MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE${"A".repeat(128)}`)],
  [
    "a secp256k1 key",
    pem("PUBLIC KEY", `MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE${encodeBase64(POINT.subarray(1))}`),
  ],
  ["an Ed25519 key", pem("PUBLIC KEY", "MCowBQYDK2VwAyEAUZ3OnY7uyyfeXoyo3Rac5Zc0Nkmbp5Rp2buubNzRJ58=")],
  ["an RSA key in PKCS#1", pem("RSA PUBLIC KEY", "MAYCAQECAQM=")],
  ["a certificate", pem("CERTIFICATE", SPKI)],
  ["EC PARAMETERS alone", pem("EC PARAMETERS", "BggqhkjOPQMBBw==")],
  ["PEM with labels that differ", PEM.replace("END PUBLIC", "END EC PUBLIC")],
  ["PEM without an end", PEM.replace(/-----END.*/, "")],
  ["PEM with headers", PEM.replace("-----\n", "-----\nProc-Type: 4\n\n")],
  ["two keys in PEM", PEM + PEM],
  ["a key and a certificate in PEM", PEM + pem("CERTIFICATE", SPKI)],
  ["PEM with another BEGIN in front of its own line", `x${PEM}`],
  ["PEM with a pad bit set", PEM.replace("imQ==", "imR==")],
  ["PEM with a byte behind the key", pem("PUBLIC KEY", encodeBase64(hex(`${spkiHead}04${X}${Y}00`)))],
  ["PEM of a hybrid point", pem("PUBLIC KEY", encodeBase64(hex(`${spkiHead}07${X}${Y}`)))],
  [
    "PEM of a compressed point in the room of an uncompressed one",
    pem("PUBLIC KEY", encodeBase64(hex(`${spkiHead}03${X}${Y}`))),
  ],
  ["DER with a length in long form", hex(`308159${spkiHead.slice(4)}04${X}${Y}`)],
  ["DER cut off", hex(`${spkiHead}04${X}`)],
  ["a JWK of another type", jwk({ kty: "OKP" })],
  ["a JWK of another curve", jwk({ crv: "P-384" })],
  ["a JWK with a short x", jwk({ x: encodeBase64Url(hex(X).subarray(1)) })],
  ["a JWK with a long y", jwk({ y: encodeBase64Url(hex(`00${Y}`)) })],
  [
    "a JWK with a short x and a long y",
    jwk({ x: encodeBase64Url(hex(X).subarray(1)), y: encodeBase64Url(hex(`00${Y}`)) }),
  ],
  ["a JWK with padded base64url", jwk({ x: `${JWK.x}=` })],
  ["a JWK in base64", jwk({ y: encodeBase64(hex(Y)).replace("=", "") })],
  ["a JWK without y", jwk({ y: undefined })],
  ["a JWK with a number for x", jwk({ x: 1 })],
  ["a JWK set of none", JSON.stringify({ keys: [] })],
  ["a JWK set of two", JSON.stringify({ keys: [JWK, JWK] })],
  ["a JWK set of something else", JSON.stringify({ keys: [null] })],
  ["a JWK set in a JWK set", JSON.stringify({ keys: [{ keys: [JWK] }] })],
  ["a JWK set that is no list", JSON.stringify({ keys: { 0: JWK, length: 1 } })],
  ["a JWK cut off", jwk({}).slice(0, -1)],
  ["an ssh line with options", `no-pty,from="10.0.0.0/8" ecdsa-sha2-nistp256 ${SSH_BLOB}`],
  [
    "an ssh line of another type",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFGdzp2O7ssn3l6MqN0WnOWXNDZJm6eUadm7rmzc0Sef",
  ],
  [
    "an ssh line whose blob is of another type",
    `ecdsa-sha2-nistp256 ${SSH_BLOB.replace("HAyNTYA", "HAzODQA")}`,
  ],
  ["two ssh lines", `ecdsa-sha2-nistp256 ${SSH_BLOB} a\necdsa-sha2-nistp256 ${SSH_BLOB} b\n`],
  ["an ssh line in front of another one's", `ecdsa-sha2-nistp256 ${SSH_BLOB}\nssh-ed25519 AAAA\n`],
  ["comments alone", "# nothing\n# here\n"],
  ["an ssh line without a blob", "ecdsa-sha2-nistp256"],
  ["an ssh line with a blob cut off", `ecdsa-sha2-nistp256 ${SSH_BLOB.slice(0, -4)}`],
  ["a point at infinity", "00"],
  ["a compressed point with another prefix", `04${X}`],
  ["an uncompressed point with another prefix", `03${X}${Y}`],
  ["a point of 32 bytes", X],
];
for (const [name, input] of refused) {
  test(`parsePublicKey() refuses ${name}`, () => {
    const bytes = typeof input === "string" ? utf8(input) : input;
    assert.throws(() => parsePublicKey(bytes), ameshError("ERR_CORRUPT", /not a P-256 key in a known form/));
  });
}

// Made of the private key of RFC 6979 A.2.5.
const D = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
const privateKeys: [name: string, input: string | Uint8Array][] = [
  ["PKCS#8 in DER", hex(`3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420${D}`)],
  [
    "PKCS#8 in DER with its public key",
    hex(`308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420${D}a14403420004${X}${Y}`),
  ],
  ["SEC 1 in DER", hex(`30770201010420${D}a00a06082a8648ce3d030107a14403420004${X}${Y}`)],
  ["SEC 1 behind EC PARAMETERS", pem("EC PARAMETERS", "BggqhkjOPQMBBw==") + pem("EC PRIVATE KEY", SPKI)],
  ["PKCS#8 behind its public half", PEM + pem("PRIVATE KEY", SPKI)],
  ["PKCS#8", pem("PRIVATE KEY", SPKI)],
  ["encrypted PKCS#8", pem("ENCRYPTED PRIVATE KEY", SPKI)],
  ["SEC 1", pem("EC PRIVATE KEY", SPKI)],
  ["SEC 1 with encryption headers", pem("EC PRIVATE KEY", `Proc-Type: 4,ENCRYPTED\n\n${SPKI}`)],
  ["OpenSSH", pem("OPENSSH PRIVATE KEY", SPKI)],
  ["JWK", jwk({ d: encodeBase64Url(hex(X)) })],
];
for (const [name, input] of privateKeys) {
  test(`parsePublicKey() names a private key in ${name}, and does not quote it`, () => {
    assert.throws(() => parsePublicKey(typeof input === "string" ? utf8(input) : input), (error) => {
      ameshError("ERR_CORRUPT", /it is a private key$/)(error);
      assert.match((error as { hint: string }).hint, /openssl pkey/);
      return true;
    });
  });
}

test("parsePublicKey() fails with an AmeshError only", async () => {
  const words = fc.constantFrom(
    "-----BEGIN PUBLIC KEY-----\n",
    "-----END PUBLIC KEY-----",
    "{",
    '"x":',
    "}",
    SPKI,
    "\n",
  );
  const texts = fc.array(fc.oneof(words, fc.string()), { maxLength: 6 }).map((parts) => utf8(parts.join("")));
  const jwks = fc.json().map((json) => utf8(`{"kty":"EC","crv":"P-256","x":${json},"y":${json}}`));
  const input = fc.oneof(fc.uint8Array({ maxLength: 200 }), texts, jwks);
  await fc.assert(fc.asyncProperty(input, (bytes) => onlyAmeshErrors(() => parsePublicKey(bytes))));
});

test("parsePublicKey() refuses PEM cut off at every character", () => {
  for (let length = 0; length < PEM.trimEnd().length; length++) {
    assert.throws(() => parsePublicKey(utf8(PEM.slice(0, length))), ameshError("ERR_CORRUPT"));
  }
});
