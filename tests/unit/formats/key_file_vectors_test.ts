import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Bytes, decodeHex, encodeHex, utf8 } from "../../../src/bytes.ts";
import { open, seal } from "../../../src/crypto/aes_gcm.ts";
import { stretchPassphrase } from "../../../src/crypto/argon2id.ts";
import { importPrivateKey } from "../../../src/crypto/p256.ts";
import { deviceIdOf } from "../../../src/formats/identity_file.ts";
import { associatedData, encodeKeyFile, parseKeyFile } from "../../../src/formats/key_file.ts";

/** What tests/vectors/make_key_files.ts writes; all but the passphrase, the id and the file is hex. */
interface KeyFileVector {
  readonly passphrase: string;
  readonly salt: string;
  readonly derivedKey: string;
  readonly nonce: string;
  readonly associatedData: string;
  readonly scalar: string;
  readonly ciphertext: string;
  readonly publicKey: string;
  readonly deviceId: string;
  readonly file: Record<string, unknown>;
}

const hex = (text: string) => decodeHex(text) as Bytes;

for (const version of ["3_0_0", "2_0_0"]) {
  const path = join(import.meta.dirname!, "..", "..", "vectors", `key_file_${version}.json`);
  const vector: KeyFileVector = JSON.parse(readFileSync(path, "utf8"));
  const fileText = `${JSON.stringify(vector.file, null, 2)}\n`;

  test(`parseKeyFile() reads the values of the ${version} vector`, () => {
    const parsed = parseKeyFile(utf8(fileText), "x");
    assert.equal(parsed.version, version.replaceAll("_", "."));
    assert.deepEqual(parsed.argon2Params, vector.file["argon2Params"]);
    for (const field of ["salt", "nonce", "ciphertext", "publicKey"] as const) {
      assert.equal(encodeHex(parsed[field]), vector[field], field);
    }
    assert.equal(encodeHex(associatedData(parsed)), vector.associatedData);
  });

  test(`the ${version} vector opens step by step`, async () => {
    const { salt, argon2Params: params, nonce, ciphertext, publicKey } = parseKeyFile(utf8(fileText), "x");
    const key = await stretchPassphrase({ passphrase: utf8(vector.passphrase), salt, params }, false);
    assert.equal(encodeHex(key), vector.derivedKey);
    const scalar = open(key, nonce, ciphertext, hex(vector.associatedData));
    assert.equal(encodeHex(scalar as Bytes), vector.scalar);
    assert.notEqual(await importPrivateKey(scalar as Bytes, publicKey), null);
    assert.equal(await deviceIdOf(publicKey), vector.deviceId);
  });

  test(`encodeKeyFile() makes the ${version} vector again, byte for byte`, () => {
    const header = {
      version: vector.file["version"] as "2.0.0" | "3.0.0",
      argon2Params: vector.file["argon2Params"] as { t: number; m: number; p: number },
      salt: hex(vector.salt),
      nonce: hex(vector.nonce),
      publicKey: hex(vector.publicKey),
    };
    const ciphertext = seal(hex(vector.derivedKey), header.nonce, hex(vector.scalar), associatedData(header));
    assert.equal(new TextDecoder().decode(encodeKeyFile({ ...header, ciphertext })), fileText);
  });
}
