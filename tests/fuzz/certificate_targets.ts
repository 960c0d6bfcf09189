/** Certificates and chains of them, and subjects as people write them. */
import assert from "node:assert/strict";
import { type Bytes, encodeHex, equalBytes, utf8 } from "../../src/bytes.ts";
import type { Certificate } from "../../src/formats/certificate.ts";
import {
  encodeChain,
  MAX_CHAIN_BYTES,
  MAX_CHAIN_LENGTH,
  orderChain,
  parseChain,
} from "../../src/formats/certificate_chain.ts";
import { encodeRequestInfo, renewalContent } from "../../src/formats/certificate_request.ts";
import { readDer } from "../../src/formats/der.ts";
import { encodeSubject, formatName, MAX_SUBJECT_CHARACTERS } from "../../src/formats/distinguished_name.ts";
import { printable } from "../../src/formats/printable.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { mutateDer, tlv } from "./der_mutators.ts";
import { pem, pemMutator } from "./pem_mutators.ts";
import { makeTarget, readSeeds, type Target } from "./target.ts";

const NAME = "chain.pem";
const POINT = new Uint8Array(65).fill(4);
/** 0001-01-01 and 10000-01-01, in seconds since 1970. */
const TIMES = { first: -62_167_219_200, end: 253_402_300_800 };

const seeds = readSeeds("certificate");
const leaf = seeds.find((bytes) => bytes[0] === 0x30) as Bytes;

const mutateInDer: Mutator = (random, input) => {
  const body = input[0] === 0x30 ? input : leaf;
  const changed = mutateDer(random, body);
  return random.oneIn(2) ? changed : utf8(pem("CERTIFICATE", changed));
};

function checkChain(certificates: readonly Certificate[], input: Bytes): void {
  assert.ok(certificates.length >= 1 && certificates.length <= MAX_CHAIN_LENGTH);
  const again = parseChain(encodeChain(certificates), NAME);
  assert.deepEqual(again, certificates);
  if (input[0] === 0x30 && input[1]! > 0x80) assert.deepEqual(certificates[0]!.der, input);
  for (const certificate of certificates) checkCertificate(certificate);
  for (const { publicKey } of certificates) {
    if (publicKey === null) continue;
    assert.ok(publicKey.length === 33 && (publicKey[0] === 2 || publicKey[0] === 3));
    checkOrder(certificates, publicKey);
  }
}

/** A chain that can be put in order holds each certificate once, and each is followed by its issuer. */
function checkOrder(certificates: readonly Certificate[], publicKey: Bytes): void {
  let chain: readonly Certificate[];
  try {
    chain = orderChain(certificates, publicKey, NAME);
  } catch {
    return;
  }
  assert.ok(equalBytes(chain[0]!.publicKey as Bytes, publicKey));
  const all = new Set(certificates.map(({ der }) => encodeHex(der)));
  assert.deepEqual(new Set(chain.map(({ der }) => encodeHex(der))), all);
  assert.equal(chain.length, all.size);
  chain.slice(1).forEach(({ subject }, at) => assert.deepEqual(subject, chain[at]!.issuer));
}

function checkCertificate(certificate: Certificate): void {
  const hex = encodeHex(certificate.der);
  for (const part of [certificate.subject, certificate.issuer]) assert.ok(hex.includes(encodeHex(part)));
  for (const time of [certificate.notBefore, certificate.notAfter]) {
    assert.ok(Number.isInteger(time) && time >= TIMES.first && time < TIMES.end, String(time));
  }
  assert.equal(printable(certificate.subjectText), certificate.subjectText);
  for (const { value } of certificate.names) assert.equal(printable(value), value);
  assert.match(certificate.serial, /^(?:[0-9a-f]{2})+$/);
  // What a certificate has can be asked for again.
  assert.notEqual(readDer(encodeRequestInfo(renewalContent(certificate), POINT)), null);
}

const subjects = readSeeds("subject");
const CHARACTERS = [
  ...'\\,+;="<># \0',
  "\\2C",
  "\\c3\\a9",
  "\\ ",
  "#0500",
  "1.2.3=",
  "CN=",
  "C=",
  "\u{1f600}",
  "\u202e",
  "\ufffd",
  "2.999.1=",
];

const mutateSubject: Mutator = (random, input) => {
  let text = new TextDecoder().decode(input);
  for (let times = random.between(1, 3); times > 0; times--) {
    const at = random.below(text.length + 1);
    const kept = random.oneIn(3) ? random.below(4) : 0;
    text = text.slice(0, at) + random.pick(CHARACTERS) + text.slice(at + kept);
  }
  return utf8(text);
};

/** Any DER in the place of a value. */
const mutateHexValue: Mutator = (random) =>
  utf8(
    `CN=a,${random.pick(["CN", "C", "DC", "1.2.3"])}=#${
      encodeHex(
        mutateDer(random, tlv(random.pick([0x0c, 0x13, 0x16, 0x14, 0x1e, 0x1c, 0x04]), random.bytes(4))),
      )
    }`,
  );

/** PrintableString, TeletexString, IA5String, UniversalString, BMPString. */
const OTHER_STRINGS = [0x13, 0x14, 0x16, 0x1c, 0x1e];

function checkSubject(der: Bytes): void {
  const name = readDer(der);
  assert.notEqual(name, null);
  const text = formatName(name!);
  assert.ok(text !== null && text !== "");
  assert.equal(printable(text), text);
  if (text.length > MAX_SUBJECT_CHARACTERS) return;
  const again = encodeSubject(text);
  // Strings of other types come back as UTF8String, which may put the attributes of one part in another order.
  const isOther = OTHER_STRINGS.some((tag) => der.includes(tag));
  if (!isOther) assert.deepEqual(again, der);
  else if (!text.includes("+")) assert.equal(formatName(readDer(again)!), text);
}

/** Targets of `certificate set` and of `csr --subject`. */
export const CERTIFICATE_TARGETS: readonly Target[] = [
  makeTarget<Certificate[]>({
    name: "certificate",
    seeds,
    mutators: [mutateInDer, mutateInDer, pemMutator()],
    limit: MAX_CHAIN_BYTES,
    codes: ["ERR_CORRUPT"],
    parse: (input) => parseChain(input, NAME),
    check: checkChain,
  }),
  makeTarget<Bytes>({
    name: "subject",
    seeds: subjects,
    mutators: [mutateSubject, mutateSubject, mutateHexValue],
    limit: MAX_SUBJECT_CHARACTERS,
    codes: ["ERR_USAGE"],
    parse: (input) => encodeSubject(new TextDecoder().decode(input)),
    check: checkSubject,
  }),
];
