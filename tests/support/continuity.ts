/** Keys and continuity statements for tests, made and checked by what the runtime has: nothing of amesh. */
import { createECDH, createHash, createPrivateKey, ECDH, type KeyObject, sign } from "node:crypto";
import { Buffer } from "node:buffer";
import type { Bytes } from "../../src/bytes.ts";
import type { ContinuityStatement } from "../../src/formats/continuity.ts";

/** A P-256 key. */
export interface TestKey {
  readonly deviceId: string;
  /** Compressed point, 33 bytes. */
  readonly publicKey: Bytes;
  readonly privateKey: KeyObject;
}

/** Makes a key. */
export function makeTestKey(): TestKey {
  const pair = createECDH("prime256v1");
  const point = pair.generateKeys();
  const coordinate = (at: number) => point.subarray(at, at + 32).toString("base64url");
  const d = Buffer.alloc(32);
  const scalar = pair.getPrivateKey();
  scalar.copy(d, 32 - scalar.length);
  const jwk = { kty: "EC", crv: "P-256", x: coordinate(1), y: coordinate(33), d: d.toString("base64url") };
  const publicKey = Uint8Array.from(pair.getPublicKey(null, "compressed"));
  const digest = createHash("sha256").update(publicKey).digest("base64url");
  return {
    deviceId: `am_${digest.slice(0, 16)}`,
    publicKey,
    privateKey: createPrivateKey({ key: jwk, format: "jwk" }),
  };
}

/** What docs/file-formats.md says that the two keys sign. */
export function statementMessage(
  role: "old" | "new",
  { old, new: next, createdAt }: Omit<ContinuityStatement, "oldSignature" | "newSignature">,
): Buffer {
  const fields = [
    role,
    ...[old.deviceId, old.publicKey, old.backend],
    ...[next.deviceId, next.publicKey, next.backend],
    createdAt,
  ];
  const parts = fields.flatMap((field) => {
    const bytes = Buffer.from(field as string);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [length, bytes];
  });
  return Buffer.concat([Buffer.from("amesh continuity v1\0"), ...parts]);
}

/** A statement that the key `next` follows the key `old`, signed by both. */
export function makeStatement(
  old: TestKey,
  next: TestKey,
  createdAt = "2026-03-01T09:00:00.000Z",
): ContinuityStatement {
  const party = ({ deviceId, publicKey }: TestKey) => ({
    deviceId,
    publicKey,
    backend: "encrypted-file" as const,
  });
  const continuity = { old: party(old), new: party(next), createdAt };
  const says = (role: "old" | "new", key: TestKey): Bytes =>
    Uint8Array.from(
      sign("sha256", statementMessage(role, continuity), { key: key.privateKey, dsaEncoding: "ieee-p1363" }),
    );
  return { ...continuity, oldSignature: says("old", old), newSignature: says("new", next) };
}

/** Whether a raw signature over a message is valid, by the runtime's WebCrypto. */
export async function isValidByWebCrypto(
  publicKey: Uint8Array,
  signature: Bytes,
  message: Uint8Array,
): Promise<boolean> {
  const point = Uint8Array.from(
    ECDH.convertKey(publicKey, "prime256v1", undefined, undefined, "uncompressed") as Buffer,
  );
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const key = await crypto.subtle.importKey("raw", point, algorithm, false, ["verify"]);
  return await crypto.subtle.verify(
    { name: "ECDSA", hash: "SHA-256" },
    key,
    signature,
    Uint8Array.from(message),
  );
}
