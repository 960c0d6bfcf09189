/** Public keys in every form, and native crypto's word on whether they are points. */
import assert from "node:assert/strict";
import { createECDH } from "node:crypto";
import { p256 } from "@noble/curves/nist.js";
import { type Bytes, concatBytes, encodeBase64, encodeBase64Url, encodeHex, utf8 } from "../../src/bytes.ts";
import { expandPoint } from "../../src/crypto/p256.ts";
import { AmeshError } from "../../src/errors.ts";
import {
  compressPoint,
  formatPublicKey,
  MAX_PUBLIC_KEY_FILE_BYTES,
  parsePublicKey,
  PUBLIC_KEY_FORMATS,
} from "../../src/formats/public_key.ts";
import { respell } from "./base64_mutators.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { mutateDer, tlv } from "./der_mutators.ts";
import { jsonMutator } from "./json_mutators.ts";
import { pem, pemMutator } from "./pem_mutators.ts";
import type { Random } from "./random.ts";
import { makeTarget, readSeeds, type Target } from "./target.ts";

/** SEQUENCE { id-ecPublicKey, prime256v1 } */
const ALGORITHM = Uint8Array.fromHex("301306072a8648ce3d020106082a8648ce3d030107");
const SSH_TYPE = "ecdsa-sha2-nistp256";

/** Points of the private keys 1 to 8. */
const POINTS: readonly Bytes[] = Array.from({ length: 8 }, (_, i) => {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(concatBytes(new Uint8Array(31), Uint8Array.of(i + 1)));
  return Uint8Array.from(ecdh.getPublicKey());
});

/** Coordinates: of a point, random, at and above the order of the field, 0. */
const FIELD = Uint8Array.fromHex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
const coordinate = (random: Random) =>
  random.pick([
    random.bytes(32),
    random.pick(POINTS).slice(1, 33),
    FIELD,
    new Uint8Array(32),
    new Uint8Array(32).fill(255),
  ]);

/** A point, most of them on the curve, compressed or not. */
function freshPoint(random: Random): Bytes {
  const point = Uint8Array.from(random.pick(POINTS));
  switch (random.below(8)) {
    case 0:
      return concatBytes(Uint8Array.of(random.below(8)), coordinate(random));
    case 1:
      return concatBytes(Uint8Array.of(random.below(8)), coordinate(random), coordinate(random));
    case 2:
      // The right x with the wrong y, or hybrid.
      point[random.pick([0, 64])]! ^= random.pick([1, 2, 3]);
      return point;
    case 3:
      return Uint8Array.of(0);
    case 4:
    case 5:
      return compressPoint(point);
    default:
      return point;
  }
}

/** A string of RFC 4251 §5, its length sometimes a lie. */
function sshString(random: Random, bytes: Uint8Array): Bytes {
  const said = random.oneIn(40) ? bytes.length + random.pick([-1, 1, 256]) : bytes.length;
  return concatBytes(Uint8Array.of(0, 0, said >> 8, said & 0xff), bytes);
}

function sshLine(random: Random, point: Uint8Array): string {
  const type = random.oneIn(20) ? "ecdsa-sha2-nistp384" : SSH_TYPE;
  const blob = concatBytes(...[utf8(type), utf8("nistp256"), point].map((bytes) => sshString(random, bytes)));
  const text = random.oneIn(8) ? respell(random, encodeBase64(blob)) : encodeBase64(blob);
  const comment = random.pick(["", " me@host", " a b c", "\tx", " \0"]);
  return random.pick(["", "", "# comment\n", "\n\n"]) +
    `${SSH_TYPE}${random.pick([" ", "  ", "\t"])}${text}${comment}\n`;
}

/** A key in one of the forms, written by nothing of amesh. */
function freshKey(random: Random): Bytes {
  const point = freshPoint(random);
  const spki = tlv(0x30, ALGORITHM, tlv(0x03, Uint8Array.of(0), point));
  const maybeRespelt = (text: string) => (random.oneIn(6) ? respell(random, text) : text);
  switch (random.below(7)) {
    case 0:
      return random.oneIn(3) ? mutateDer(random, spki) : spki;
    case 1:
      return utf8(pem("PUBLIC KEY", random.oneIn(3) ? mutateDer(random, spki) : spki));
    case 2: {
      // Rarely with the border between the coordinates at another place.
      const border = random.oneIn(6) ? random.between(31, 34) : 33;
      const [x, y] = [point.subarray(1, border), point.subarray(border)].map(encodeBase64Url) as [
        string,
        string,
      ];
      const jwk = { kty: "EC", crv: "P-256", x: maybeRespelt(x), y: maybeRespelt(y) };
      return utf8(JSON.stringify(random.oneIn(3) ? { keys: [jwk] } : jwk));
    }
    case 3:
      return utf8(sshLine(random, point));
    case 4:
      return utf8(maybeRespelt(encodeBase64(point)) + random.pick(["", "\n", "\r\n", " comment"]));
    case 5:
      return utf8(maybeRespelt(encodeHex(point)) + random.pick(["", "\n", "\r\n", " comment"]));
    default:
      return utf8(`# ${"x".repeat(random.below(40))}\n${encodeHex(point)}\n`);
  }
}

const mutateJwk = jsonMutator({
  x: (random) => JSON.stringify(encodeBase64Url(coordinate(random))),
  y: (random) => JSON.stringify(encodeBase64Url(coordinate(random))),
});
const mutatePem = pemMutator();

/** The mutation that fits the form of the input. */
const byForm: Mutator = (random, input, corpus) => {
  const text = new TextDecoder().decode(input);
  if (text.startsWith("{")) return mutateJwk(random, input, corpus);
  if (text.includes("-----BEGIN")) return mutatePem(random, input, corpus);
  if (input[0] === 0x30 && text.includes("\ufffd")) return mutateDer(random, input);
  const words = text.split(" ");
  const at = random.below(words.length);
  if (words[at] !== "") words[at] = respell(random, words[at]!);
  return utf8(words.join(random.pick([" ", " ", "\t", "  ", "\n"])));
};

/** Whether the second implementation takes the bytes for a point. */
function isOnCurve(point: Bytes): boolean {
  try {
    p256.Point.fromBytes(point).assertValidity();
    return true;
  } catch {
    return false;
  }
}

async function check(point: Bytes, input: Bytes): Promise<void> {
  assert.ok(point.length === 33 ? point[0] === 2 || point[0] === 3 : point.length === 65 && point[0] === 4);
  const text = new TextDecoder().decode(input).trim();
  if (text.startsWith("{")) {
    const jwk = JSON.parse(text);
    const { x, y } = jwk.keys?.[0] ?? jwk;
    assert.deepEqual(
      [x, y],
      [point.subarray(1, 33), point.subarray(33)].map(encodeBase64Url),
      "not canonical",
    );
  }
  if (point.length === 65) {
    for (const format of PUBLIC_KEY_FORMATS) {
      const again = parsePublicKey(await formatPublicKey(point, format, "comment"));
      assert.deepEqual(again, format === "base64" || format === "hex" ? compressPoint(point) : point, format);
    }
  }
  let expanded: Bytes | null = null;
  try {
    expanded = await expandPoint(point);
  } catch (error) {
    assert.ok(error instanceof AmeshError && error.code === "ERR_CORRUPT", `expandPoint() threw ${error}`);
  }
  assert.equal(expanded !== null, isOnCurve(point), "two implementations differ about the curve");
  if (expanded === null) return;
  assert.equal(expanded.length, 65);
  assert.deepEqual(point.length === 33 ? compressPoint(expanded) : expanded, point);
}

/** Target of `verify --key`. */
export const PUBLIC_KEY_TARGET: Target = makeTarget<Bytes>({
  name: "public-key",
  seeds: readSeeds("public-key"),
  mutators: [byForm, byForm, freshKey],
  limit: MAX_PUBLIC_KEY_FILE_BYTES,
  codes: ["ERR_CORRUPT"],
  parse: parsePublicKey,
  check,
});
