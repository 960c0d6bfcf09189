/**
 * Makes `continuity.json` beside it from nothing but the description of the format and `node:crypto`; it imports no part
 * of amesh. Keys, ids and messages follow from fixed inputs. Signatures are not: those that stand in the file stay as
 * long as they are valid, so a second run changes nothing:
 * `deno run -A tests/vectors/make_continuity.ts && git diff --exit-code tests/vectors`.
 */
import { Buffer } from "node:buffer";
import { createECDH, createHash, createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Party {
  readonly scalar: Buffer;
  /** 65 bytes. */
  readonly point: Buffer;
  /** 33 bytes. */
  readonly publicKey: Buffer;
  readonly deviceId: string;
  readonly backend: string;
}

const PATH = join(import.meta.dirname!, "continuity.json");
const CREATED_AT = "2026-03-01T09:00:00.000Z";
/** Order of the P-256 group (SEC 2 §2.4.2). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

function party(scalar: Buffer, backend: string): Party {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(scalar);
  const point = Buffer.from(ecdh.getPublicKey());
  const publicKey = Buffer.concat([Buffer.from([2 + (point[64]! & 1)]), point.subarray(1, 33)]);
  const deviceId = `am_${createHash("sha256").update(publicKey).digest("base64url").slice(0, 16)}`;
  return { scalar, point, publicKey, deviceId, backend };
}

/** RFC 6979 A.2.5: the private key x of its P-256 examples. */
const OLD = party(
  Buffer.from("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721", "hex"),
  "encrypted-file",
);
const NEW = party(createHash("sha256").update("amesh continuity vector: new key").digest(), "tpm2");

function message(role: "old" | "new"): Buffer {
  const parts = [
    Buffer.from(role),
    ...[OLD, NEW].flatMap(({ deviceId, publicKey, backend }) => [
      Buffer.from(deviceId),
      publicKey,
      Buffer.from(backend),
    ]),
    Buffer.from(CREATED_AT),
  ];
  const framed = parts.flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  return Buffer.concat([Buffer.from("amesh continuity v1\0"), ...framed]);
}

/** Raw `r || s` with a low s: `kept` where that is a valid one. */
function signature({ scalar, point }: Party, signed: Buffer, kept: Buffer): Buffer {
  const jwk = {
    kty: "EC",
    crv: "P-256",
    x: point.subarray(1, 33).toString("base64url"),
    y: point.subarray(33).toString("base64url"),
  };
  const publicKey = createPublicKey({ key: jwk, format: "jwk" });
  if (verify("sha256", signed, { key: publicKey, dsaEncoding: "ieee-p1363" }, kept)) return kept;
  const privateKey = createPrivateKey({ key: { ...jwk, d: scalar.toString("base64url") }, format: "jwk" });
  const made = Buffer.from(sign("sha256", signed, { key: privateKey, dsaEncoding: "ieee-p1363" }));
  const s = BigInt(`0x${made.toString("hex", 32)}`);
  const low = s > ORDER / 2n ? ORDER - s : s;
  return Buffer.concat([made.subarray(0, 32), Buffer.from(low.toString(16).padStart(64, "0"), "hex")]);
}

function keptSignature(field: "oldSignature" | "newSignature"): Buffer {
  try {
    return Buffer.from(JSON.parse(readFileSync(PATH, "utf8"))[field], "hex");
  } catch {
    return Buffer.alloc(64);
  }
}

const oldSignature = signature(OLD, message("old"), keptSignature("oldSignature"));
const newSignature = signature(NEW, message("new"), keptSignature("newSignature"));
const shown = ({ scalar, publicKey, deviceId, backend }: Party) => ({
  scalar: scalar.toString("hex"),
  publicKey: publicKey.toString("hex"),
  deviceId,
  backend,
});
const vector = {
  old: shown(OLD),
  new: shown(NEW),
  createdAt: CREATED_AT,
  oldMessage: message("old").toString("hex"),
  newMessage: message("new").toString("hex"),
  oldSignature: oldSignature.toString("hex"),
  newSignature: newSignature.toString("hex"),
  file: {
    version: "1.0.0",
    oldDeviceId: OLD.deviceId,
    oldPublicKey: OLD.publicKey.toString("base64"),
    oldBackend: OLD.backend,
    newDeviceId: NEW.deviceId,
    newPublicKey: NEW.publicKey.toString("base64"),
    newBackend: NEW.backend,
    createdAt: CREATED_AT,
    oldSignature: oldSignature.toString("base64"),
    newSignature: newSignature.toString("base64"),
  },
};
writeFileSync(PATH, `${JSON.stringify(vector, null, 2)}\n`);
