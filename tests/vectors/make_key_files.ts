/**
 * Makes the key file vectors beside it from nothing but the description of the format, Debian's `argon2` (the
 * reference C implementation) and `node:crypto`; it imports no part of amesh. Every input is fixed, so a second run
 * changes nothing: `deno run -A tests/vectors/make_key_files.ts && git diff --exit-code tests/vectors`.
 */
import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { createCipheriv, createECDH, createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

interface Inputs {
  readonly version: "2.0.0" | "3.0.0";
  /** ASCII, so that anybody can type it. */
  readonly passphrase: string;
  readonly cost: { readonly t: number; readonly m: number; readonly p: number };
  /** 16 bytes below 0x80 and none of them zero: `argon2` takes the salt as an argument. */
  readonly salt: Buffer;
  readonly nonce: Buffer;
}

/** RFC 6979 A.2.5: the private key x of its P-256 examples, whose public key stands there too. */
const SCALAR = Buffer.from("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721", "hex");

const counting = (first: number, length: number) => Buffer.from(Array.from({ length }, (_, i) => first + i));

const VECTORS: readonly Inputs[] = [
  {
    version: "3.0.0",
    passphrase: "correct horse battery staple",
    cost: { t: 3, m: 65536, p: 1 },
    salt: counting(0x10, 16),
    nonce: counting(0x80, 12),
  },
  {
    version: "2.0.0",
    passphrase: "correct horse battery staple",
    cost: { t: 3, m: 65536, p: 1 },
    salt: counting(0x40, 16),
    nonce: counting(0x90, 12),
  },
];

function stretch({ passphrase, cost: { t, m, p }, salt }: Inputs): Buffer {
  const cost = ["-t", `${t}`, "-k", `${m}`, "-p", `${p}`];
  const args = [salt.toString("latin1"), "-id", ...cost, "-l", "32", "-r"];
  return Buffer.from(execFileSync("argon2", args, { input: passphrase }).toString().trim(), "hex");
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function associatedData({ version, cost: { t, m, p }, salt, nonce }: Inputs, publicKey: Buffer): Buffer {
  if (version === "2.0.0") return Buffer.alloc(0);
  const ascii = [Buffer.from("aes-256-gcm"), Buffer.from("argon2id")];
  const fields = [...ascii, uint32(t), uint32(m), uint32(p), salt, nonce, publicKey];
  return Buffer.concat([
    Buffer.from("amesh-key-3.0.0\0"),
    ...fields.flatMap((field) => [uint32(field.length), field]),
  ]);
}

for (const inputs of VECTORS) {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(SCALAR);
  const publicKey = ecdh.getPublicKey(null, "compressed") as unknown as Buffer;
  const derivedKey = stretch(inputs);
  const authenticated = associatedData(inputs, publicKey);
  const cipher = createCipheriv("aes-256-gcm", derivedKey, inputs.nonce);
  cipher.setAAD(authenticated);
  const ciphertext = Buffer.concat([cipher.update(SCALAR), cipher.final(), cipher.getAuthTag()]);
  const vector = {
    passphrase: inputs.passphrase,
    salt: inputs.salt.toString("hex"),
    derivedKey: derivedKey.toString("hex"),
    nonce: inputs.nonce.toString("hex"),
    associatedData: authenticated.toString("hex"),
    scalar: SCALAR.toString("hex"),
    ciphertext: ciphertext.toString("hex"),
    publicKey: publicKey.toString("hex"),
    deviceId: `am_${createHash("sha256").update(publicKey).digest("base64url").slice(0, 16)}`,
    file: {
      version: inputs.version,
      algorithm: "aes-256-gcm",
      kdf: "argon2id",
      argon2Params: inputs.cost,
      salt: inputs.salt.toString("base64"),
      nonce: inputs.nonce.toString("base64"),
      ciphertext: ciphertext.toString("base64"),
      publicKey: publicKey.toString("base64"),
    },
  };
  const name = `key_file_${inputs.version.replaceAll(".", "_")}.json`;
  writeFileSync(join(import.meta.dirname!, name), `${JSON.stringify(vector, null, 2)}\n`);
}
