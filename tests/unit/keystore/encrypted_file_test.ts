import assert from "node:assert/strict";
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Bytes, utf8 } from "../../../src/bytes.ts";
import { open as openGcm, seal } from "../../../src/crypto/aes_gcm.ts";
import { stretchPassphrase } from "../../../src/crypto/argon2id.ts";
import { importPrivateKey, verify } from "../../../src/crypto/p256.ts";
import { AmeshError } from "../../../src/errors.ts";
import { type Identity, parseIdentity } from "../../../src/formats/identity_file.ts";
import {
  associatedData,
  encodeKeyFile,
  type EncryptedKey,
  parseKeyFile,
} from "../../../src/formats/key_file.ts";
import { encryptedFileTier } from "../../../src/keystore/encrypted_file.ts";
import { Passphrases } from "../../../src/passphrase/passphrases.ts";
import { type Layout, layoutOf } from "../../../src/platform/paths.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureKeyFile, type FixtureName } from "../../support/fixture.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const message = async function* () {
  yield utf8("message");
};

/** A copy of a fixture, and a way to open its key as a command does. */
async function place(name: FixtureName) {
  const directory = temporaryDirectory();
  const environment = setEnvironment();
  const layout = copyFixture(name, directory.file("amesh"));
  const identity = await parseIdentity(readFileSync(layout.identity), "x");
  return {
    layout,
    identity,
    keyPath: join(layout.keys, `${identity.fields.deviceId}.key.json`),
    open: (background = false) => open(layout, identity, background),
    [Symbol.dispose]: () => {
      environment[Symbol.dispose]();
      directory[Symbol.dispose]();
    },
  };
}

async function open(layout: Layout, identity: Identity, background: boolean) {
  const passphrases = new Passphrases(layout, identity.fields.passphrase, () => {});
  return { passphrases, signer: await encryptedFileTier.open({ layout, passphrases }, identity, background) };
}

for (const name of ["floor", "amesh-0.7-floor", "odd-bytes", "four-lanes"] satisfies FixtureName[]) {
  test(`open() opens the key of ${name}`, async () => {
    using here = await place(name);
    const { signer } = await here.open();
    assert.ok(await verify(here.identity.publicKey, [await signer.sign(message())], message()));
  });
}

test("open() remembers the source that opened the key", async () => {
  using here = await place("amesh-0.7-floor");
  writeFileSync(here.layout.passphrase, "another one\n", { mode: 0o400 });
  const { passphrases } = await here.open();
  assert.deepEqual(passphrases.openedBy?.source, { kind: "legacy-field" });
});

const wrongPassphrase = ameshError(
  "ERR_UNLOCK_FAILED",
  /^cannot unlock the key: the passphrase is wrong or the key file damaged$/,
);

test("open() tells a wrong passphrase at once, in the background when the key is needed", async () => {
  using here = await place("floor");
  rmSync(here.layout.passphrase);
  writeFileSync(here.layout.passphrase, "not the lowest cost\n", { mode: 0o400 });
  await assert.rejects(here.open(), wrongPassphrase);
  const { signer } = await here.open(true);
  await assert.rejects(signer.sign(message()), wrongPassphrase);
});

test("open() tries the trimmed passphrase for 2.0.0 files and only for those", async () => {
  for (const name of ["amesh-0.7-floor", "floor"] as const) {
    using here = await place(name);
    const { passphrase } = here.identity.fields;
    const spaced = ` ${passphrase ?? "the lowest cost"} \t`;
    using _environment = setEnvironment({ AUTH_MESH_PASSPHRASE: spaced });
    if (name === "floor") await assert.rejects(here.open(), wrongPassphrase);
    else assert.equal((await here.open()).passphrases.openedBy?.source.kind, "environment");
  }
});

// 3.0.0: every field but the ciphertext is associated data, and the ciphertext has its tag, so whatever is swapped with
// another file's, the file does not open, even with the key that the right salt and cost would give.
const derivedKeys = new Map<string, Promise<Bytes>>();
function floorKey(name: "floor" | "amesh-0.7-floor"): Promise<Bytes> {
  const passphrase = utf8(name === "floor" ? "the lowest cost" : "Grüße, 世界 🔑");
  const { salt, argon2Params: params } = parseKeyFile(utf8(fixtureKeyFile(name).text), "x");
  const key = derivedKeys.get(name) ?? stretchPassphrase({ passphrase, salt, params }, false);
  derivedKeys.set(name, key);
  return key;
}
const opens = (file: EncryptedKey, key: Bytes) =>
  openGcm(key, file.nonce, file.ciphertext, associatedData(file));

const otherFields = fixtureKeyFile("floor-other").fields;
const swaps: [field: string, value: unknown, code: "ERR_UNLOCK_FAILED" | "ERR_CORRUPT"][] = [
  ["salt", otherFields["salt"], "ERR_UNLOCK_FAILED"],
  ["nonce", otherFields["nonce"], "ERR_UNLOCK_FAILED"],
  ["ciphertext", otherFields["ciphertext"], "ERR_UNLOCK_FAILED"],
  ["publicKey", otherFields["publicKey"], "ERR_CORRUPT"],
  ["argon2Params", { t: 3, m: 19_456, p: 1 }, "ERR_UNLOCK_FAILED"],
  ["argon2Params", { t: 2, m: 19_457, p: 1 }, "ERR_UNLOCK_FAILED"],
  ["argon2Params", { t: 2, m: 19_456, p: 2 }, "ERR_UNLOCK_FAILED"],
  ["version", "2.0.0", "ERR_UNLOCK_FAILED"],
];
for (const [field, value, code] of swaps) {
  test(`open() refuses a 3.0.0 file with another ${field}: ${JSON.stringify(value)}`, async () => {
    using here = await place("floor");
    const fields = { ...fixtureKeyFile("floor").fields, [field]: value };
    const changed = utf8(JSON.stringify(fields));
    // One field at a time, so that nothing but the authentication can notice.
    assert.equal(opens(parseKeyFile(changed, "x"), await floorKey("floor")), null);
    rmSync(here.keyPath);
    writeFileSync(here.keyPath, changed, { mode: 0o600 });
    await assert.rejects(here.open(), ameshError(code));
  });
}

test("open() refuses the whole file of another identity", async () => {
  using here = await place("floor");
  writeFileSync(here.keyPath, fixtureKeyFile("floor-other").text);
  await assert.rejects(here.open(), ameshError("ERR_CORRUPT", /belongs to another identity$/));
});

test("no single flipped bit of a 3.0.0 file leaves it open, though the cost is paid", async () => {
  const bytes = utf8(fixtureKeyFile("floor").text);
  const key = await floorKey("floor");
  assert.notEqual(opens(parseKeyFile(bytes, "x"), key), null);
  let parsed = 0;
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Uint8Array.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    try {
      const file = parseKeyFile(changed, "x");
      parsed++;
      assert.equal(opens(file, key), null, `bit ${bit}`);
    } catch (error) {
      assert.ok(error instanceof AmeshError && error.code === "ERR_CORRUPT", `bit ${bit}: ${error}`);
    }
  }
  assert.ok(parsed > 100, `${parsed} of them reach the decryption`);
});

test("a flipped bit of a 2.0.0 file leaves nonce and ciphertext shut and gives away another public key", async () => {
  const { text, fields } = fixtureKeyFile("amesh-0.7-floor");
  const bytes = utf8(text);
  const key = await floorKey("amesh-0.7-floor");
  const range = (field: string): [number, number] => {
    const at = text.indexOf(fields[field] as string);
    return [at * 8, (at + (fields[field] as string).length) * 8];
  };
  for (const field of ["nonce", "ciphertext", "publicKey"]) {
    const [from, to] = range(field);
    let parsed = 0;
    for (let bit = from; bit < to; bit++) {
      const changed = Uint8Array.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      let file: EncryptedKey;
      try {
        file = parseKeyFile(changed, "x");
      } catch (error) {
        ameshError("ERR_CORRUPT")(error);
        continue;
      }
      parsed++;
      const scalar = opens(file, key);
      if (field !== "publicKey") assert.equal(scalar, null, `bit ${bit}`);
      // The tier says corrupt to both: no point at all, and the point of another scalar.
      else {assert.equal(
          await importPrivateKey(scalar as Bytes, file.publicKey).catch(() => null),
          null,
          `bit ${bit}`,
        );}
    }
    assert.ok(parsed > 10, `${field}: ${parsed}`);
  }
});

test("open() refuses a file that was made anew around another scalar", async () => {
  using here = await place("floor");
  const file = parseKeyFile(readFileSync(here.keyPath), "x");
  const key = await floorKey("floor");
  for (const scalar of [new Uint8Array(32).fill(1), new Uint8Array(32), new Uint8Array(32).fill(255)]) {
    const ciphertext = seal(key, file.nonce, scalar, associatedData(file));
    writeFileSync(here.keyPath, encodeKeyFile({ ...file, ciphertext }));
    await assert.rejects(here.open(), ameshError("ERR_CORRUPT", /holds another key than it says$/));
  }
});

const unusable: [
  name: string,
  change: (path: string, keys: string) => void,
  code: "ERR_CORRUPT" | "ERR_UNSAFE_PERMISSIONS",
][] = [
  ["no key file", (path) => rmSync(path), "ERR_CORRUPT"],
  ["no folder of keys", (_, keys) => rmSync(keys, { recursive: true }), "ERR_CORRUPT"],
  ["a wide key file", (path) => chmodSync(path, 0o644), "ERR_UNSAFE_PERMISSIONS"],
  ["a wide folder of keys", (_, keys) => chmodSync(keys, 0o755), "ERR_UNSAFE_PERMISSIONS"],
  ["a directory for a key file", (path) => {
    rmSync(path);
    mkdirSync(path, { mode: 0o700 });
  }, "ERR_CORRUPT"],
  ["an empty key file", (path) => writeFileSync(path, ""), "ERR_CORRUPT"],
  ["a key file of a megabyte", (path) => writeFileSync(path, " ".repeat(1 << 20)), "ERR_CORRUPT"],
];
for (const [name, change, code] of unusable) {
  test(`open() and inspect() refuse ${name} before any passphrase is asked for`, async () => {
    using here = await place("floor");
    change(here.keyPath, here.layout.keys);
    rmSync(here.layout.passphrase);
    await assert.rejects(here.open(), ameshError(code));
    using passphrases = new Passphrases(here.layout, undefined, () => {});
    const context = { layout: here.layout, passphrases };
    await assert.rejects(
      async () => await encryptedFileTier.inspect(context, here.identity),
      ameshError(code),
    );
  });
}

test("generate() writes a 3.0.0 file 0600 of the default cost, fresh salt and nonce, and the passphrase later", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  using passphrases = new Passphrases(layout, undefined, () => {});
  const key = await encryptedFileTier.generate({ layout, passphrases });
  const [name] = readdirSync(layout.keys);
  const path = join(layout.keys, name!);
  assert.equal(lstatSync(path).mode & 0o7777, 0o600);
  assert.equal(lstatSync(layout.keys).mode & 0o7777, 0o700);
  const { version, argon2Params, salt, nonce, publicKey } = parseKeyFile(readFileSync(path), "x");
  assert.deepEqual([version, argon2Params], ["3.0.0", { t: 3, m: 65_536, p: 1 }]);
  assert.notDeepEqual([...salt], [...new Uint8Array(16)]);
  assert.notDeepEqual([...nonce], [...new Uint8Array(12)]);
  assert.deepEqual(publicKey, key.signer.publicKey);
  assert.deepEqual(readdirSync(layout.directory), ["keys"]);
  assert.deepEqual(key.identityFields, {});
  key.persistSecrets();
  assert.deepEqual(readdirSync(layout.directory).sort(), [".passphrase", "keys"]);
});

test("generate() that cannot write leaves nothing", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  writeFileSync(layout.keys, "a file where the folder should be", { mode: 0o600 });
  using passphrases = new Passphrases(layout, undefined, () => {});
  await assert.rejects(encryptedFileTier.generate({ layout, passphrases }), ameshError("ERR_SYSTEM"));
  assert.deepEqual(readdirSync(layout.directory), ["keys"]);
});
