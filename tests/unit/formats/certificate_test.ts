import assert from "node:assert/strict";
import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as asn1 from "asn1js";
import { type Bytes, concatBytes, encodeHex, utf8 } from "../../../src/bytes.ts";
import {
  type Certificate,
  fingerprintOf,
  MAX_CERTIFICATE_BYTES,
  parseCertificate,
} from "../../../src/formats/certificate.ts";
import {
  encodeChain,
  MAX_CHAIN_BYTES,
  orderChain,
  parseChain,
} from "../../../src/formats/certificate_chain.ts";
import { encodeDer, readDer, sequenceOf } from "../../../src/formats/der.ts";
import { encodePem, readPem } from "../../../src/formats/pem.ts";
import { ameshError } from "../../support/errors.ts";

/** What OpenSSL has made: tests/fuzz/README.md. */
const file = (name: string): Bytes =>
  Uint8Array.from(readFileSync(join(import.meta.dirname!, "../../fuzz/seeds/certificate", name)));
const leafDer = file("leaf-der");
const parse = (der: Uint8Array) => parseCertificate(der, "a.pem");
const chain = parseChain(file("chain"), "a.pem") as [Certificate, Certificate];
const ourKey = chain[0].publicKey as Bytes;

/** The certificate with bytes of it changed to as many others, given in hex. */
const changed = (from: string, to: string): Bytes => {
  const hex = encodeHex(leafDer);
  assert.equal(hex.split(from).length, 2, `${from} is not in it once`);
  return Uint8Array.fromHex(hex.replace(from, to));
};
const damaged = (der: Uint8Array, name?: string) =>
  assert.throws(() => parse(der), ameshError("ERR_CORRUPT", /damaged or not in DER$/), name);

test("parseCertificate() reads what OpenSSL has written, as node:crypto does", async () => {
  const certificate = parse(leafDer);
  const other = new X509Certificate(leafDer);
  assert.equal(certificate.serial.toUpperCase(), other.serialNumber);
  assert.equal(certificate.notBefore * 1000, Date.parse(other.validFrom));
  assert.equal(certificate.notAfter * 1000, Date.parse(other.validTo));
  assert.equal(certificate.subjectText, "CN=web-1,O=Example,C=CH");
  assert.equal(certificate.issuerText, "CN=Test CA,O=Example");
  assert.equal(
    encodeHex(await fingerprintOf(certificate.der)),
    createHash("sha256").update(leafDer).digest("hex"),
  );
  const { x } = createPublicKey(encodePem("CERTIFICATE", leafDer)).export({ format: "jwk" });
  assert.equal(ourKey.subarray(1).toBase64({ alphabet: "base64url", omitPadding: true }), x);
  assert.deepEqual(certificate.names, [
    { kind: "dns", value: "web-1.example.org" },
    { kind: "ip", value: "192.0.2.7" },
    { kind: "ip", value: "2001:db8::7" },
    { kind: "uri", value: "spiffe://example.org/web-1" },
    { kind: "email", value: "a@b.example" },
    { kind: "directory", value: "CN=dir" },
    { kind: "other", value: "a00a06032a0304a0030c0178" },
    { kind: "other", value: "88022a03" },
  ]);
  assert.deepEqual(certificate.der, leafDer);
});

test("parseCertificate() reads other keys as none of ours, and negative serials as they are", () => {
  assert.equal(parse(file("rsa-der")).publicKey, null);
  assert.equal(parse(file("rsa-der")).serial, "fb");
  assert.equal(parseChain(file("p384"), "a")[0]!.publicKey, null);
});

const time = (text: string) => encodeHex(utf8(text));
const shortTime = (text: string) => `170d${time(text)}`;
const notBefore = shortTime(
  `${new Date(chain[0].notBefore * 1000).toISOString().slice(2, 19).replaceAll(/[-:T]/g, "")}Z`,
);

test("parseCertificate() reads times of both forms and every century, and refuses those that do not exist", () => {
  const at = (text: string) => parse(changed(notBefore, shortTime(text))).notBefore;
  assert.equal(at("700101000000Z"), 0);
  assert.equal(at("691231235959Z"), -1);
  assert.equal(at("500101000000Z"), Date.parse("1950-01-01T00:00:00Z") / 1000);
  assert.equal(at("491231235959Z"), Date.parse("2049-12-31T23:59:59Z") / 1000);
  assert.equal(at("000229000000Z"), Date.parse("2000-02-29T00:00:00Z") / 1000);
  for (
    const text of [
      ...[
        "010229000000Z",
        "260230000000Z",
        "261301000000Z",
        "260001000000Z",
        "260100000000Z",
        "260101250000Z",
      ],
      ...["260101006000Z", "2601010000+01", "26010100000 Z", "xx0101000000Z"],
    ]
  ) damaged(changed(notBefore, shortTime(text)), text);
  // The last of p384 lies in the next century, as GeneralizedTime.
  assert.ok(parseChain(file("p384"), "a")[0]!.notAfter > Date.parse("2100-01-01T00:00:00Z") / 1000);
});

test("parseCertificate() refuses what is no certificate in DER", () => {
  damaged(new Uint8Array(0));
  damaged(concatBytes(leafDer, Uint8Array.of(0)), "bytes behind");
  damaged(leafDer.subarray(0, -1), "cut");
  damaged(Uint8Array.of(0x30, 0x80, ...leafDer.subarray(4), 0, 0), "indefinite length");
  damaged(Uint8Array.of(0x30, 0x83, 0, ...leafDer.subarray(2)), "long length");
  damaged(Uint8Array.from({ length: 4000 }, (_, i) => i % 2 === 0 ? 0x30 : 0x80), "nested without end");
  damaged(new Uint8Array(MAX_CERTIFICATE_BYTES + 1).fill(0x30), "too large");
  damaged(changed("a003020102" + "02021234", "a005020302" + "00000200"), "a serial of no bytes");
  // The same extension twice: keyUsage of another name.
  damaged(changed("0603551d25", "0603551d11"), "two subjectAltName");
});

test("readDer() takes no value that is nested too deeply, and no string in pieces", () => {
  const nested = (depth: number) => {
    let der = new Uint8Array(0);
    for (let i = 0; i < depth; i++) der = concatBytes(Uint8Array.of(0x30, der.length), der);
    return der;
  };
  assert.notEqual(readDer(nested(20)), null);
  assert.equal(readDer(nested(40)), null);
  assert.equal(readDer(Uint8Array.fromHex("2403040161")), null);
  assert.equal(readDer(Uint8Array.fromHex("04810161")), null);
  assert.notEqual(readDer(Uint8Array.fromHex("040161")), null);
});

test("parseChain() takes PEM with text around it, and DER; encodeChain() writes it", () => {
  assert.deepEqual(parseChain(leafDer, "a"), [chain[0]]);
  assert.deepEqual(parseChain(file("leaf-with-text"), "a"), [chain[0]]);
  assert.deepEqual(parseChain(encodeChain(chain), "a"), chain);
  assert.equal(new TextDecoder().decode(encodeChain(chain)), new TextDecoder().decode(file("chain")));
  const windows = new TextDecoder().decode(file("chain")).replaceAll("\n", "\r\n");
  assert.deepEqual(parseChain(utf8(windows), "a"), chain);
});

test("parseChain() refuses files without a certificate, with damaged ones, with too many, and private keys", () => {
  const refused = (text: string | Bytes, message: RegExp) =>
    assert.throws(
      () => parseChain(typeof text === "string" ? utf8(text) : text, "a.pem"),
      ameshError("ERR_CORRUPT", message),
    );
  const pem = encodePem("CERTIFICATE", leafDer);
  refused("", /no certificate in it$/);
  refused("a".repeat(65_537), /larger than 65536 bytes$/);
  refused(file("request"), /no certificate in it$/);
  refused(pem.replace(/-----END.*/, ""), /damaged/);
  refused(`${pem.replace(/-----END.*\n/, "")}${pem}`, /damaged/);
  refused(pem.replace("\n", "\nProc-Type: 4,ENCRYPTED\n\n"), /damaged/);
  refused(pem.repeat(11), /there are 11 certificates in it, more than 10$/);
  for (const label of ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "TSS2 PRIVATE KEY"]) {
    refused(pem + encodePem(label, leafDer), /there is a private key in it$/);
  }
});

test("parseChain() says what to do with PKCS #7", () => {
  const block = utf8(encodePem("PKCS7", leafDer));
  assert.throws(() => parseChain(block, "a.p7b"), {
    code: "ERR_CORRUPT",
    message: /"a.p7b": it is PKCS #7$/,
    hint: /openssl pkcs7 -print_certs$/,
  });
});

test("parseChain() takes a text that begins as DER might", () => {
  for (const text of ["0 s:CN = web-1\n", "0\n", "00"]) {
    const read = parseChain(concatBytes(utf8(`${text}\n`), file("chain")), "a.pem");
    assert.deepEqual(read, chain);
  }
});

test("parseChain() takes nothing that cannot be kept in PEM of 64 KiB, whatever its lines are like", () => {
  const parts = sequenceOf(readDer(leafDer)!)!.slice(0, 2);
  // What is signed with so long a signature would be refused by whoever looks at it.
  const certificate = (signatureBytes: number) =>
    encodeDer(
      new asn1.Sequence({
        value: [...parts, new asn1.BitString({ valueHex: new Uint8Array(signatureBytes) })],
      }),
    );
  const file = (signatureBytes: number) =>
    utf8(
      `-----BEGIN CERTIFICATE-----\n${certificate(signatureBytes).toBase64()}\n-----END CERTIFICATE-----\n`
        .repeat(4),
    );
  const kept = parseChain(file(11_000), "a.pem");
  assert.deepEqual(parseChain(encodeChain(kept), "a.pem"), kept);
  const long = file(11_750);
  assert.ok(long.length < MAX_CHAIN_BYTES);
  assert.throws(
    () => parseChain(long, "a.pem"),
    ameshError("ERR_CORRUPT", /larger than 65536 bytes of PEM$/),
  );
});

test("readPem() passes over what is no block, and says nothing of what has no end", () => {
  assert.deepEqual(readPem("-----BEGIN A-----\nYWI=\n-----END A-----\ntext\n-----BEGIN B-----\nYWI=\n"), [
    { label: "A", bytes: utf8("ab") },
    { label: "B", bytes: null },
  ]);
  assert.deepEqual(readPem("-----BEGIN A-----\nYWI=\n-----END B-----\n"), [{ label: "A", bytes: null }]);
  assert.deepEqual(readPem("text"), []);
});

test("orderChain() puts the certificate of the key first and each issuer behind it", () => {
  const [leaf, ca] = chain;
  assert.deepEqual(orderChain([ca, leaf], ourKey, "a"), [leaf, ca]);
  assert.deepEqual(orderChain([leaf, ca, leaf], ourKey, "a"), [leaf, ca]);
  assert.deepEqual(orderChain([leaf], ourKey, "a"), [leaf]);
});

test("orderChain() refuses chains of other keys, two of the key, and what does not belong to the chain", () => {
  const [leaf, ca] = chain;
  const refused = (certificates: readonly Certificate[], message: RegExp) =>
    assert.throws(() => orderChain(certificates, ourKey, "a.pem"), ameshError("ERR_CORRUPT", message));
  refused([ca], /it is of another key$/);
  refused([parse(file("rsa-der"))], /another key, whose kind is not even P-256$/);
  refused([leaf, parse(changed(notBefore, shortTime("700101000000Z")))], /2 certificates are of this key$/);
  refused([leaf, parse(file("rsa-der"))], /is not of the chain$/);
  refused([leaf, ca, parse(file("rsa-der"))], /is not of the chain$/);
});
