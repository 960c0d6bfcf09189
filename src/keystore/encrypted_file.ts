/**
 * The encrypted-file tier: the scalar in `keys/<deviceId>.key.json`, AES-256-GCM under an Argon2id-stretched
 * passphrase. Available everywhere; software-only.
 */
import { type Bytes, equalBytes, wipe } from "../bytes.ts";
import * as aesGcm from "../crypto/aes_gcm.ts";
import { notEnoughMemory, stretchPassphrase } from "../crypto/argon2id.ts";
import { generateKeyPair, importPrivateKey, type Message, sign } from "../crypto/p256.ts";
import { AmeshError, systemError } from "../errors.ts";
import { deviceIdOf, type Identity } from "../formats/identity_file.ts";
import {
  associatedData,
  DEFAULT_ARGON2_PARAMS,
  encodeKeyFile,
  type EncryptedKey,
  MAX_KEY_FILE_BYTES,
  NONCE_BYTES,
  parseKeyFile,
  SALT_BYTES,
} from "../formats/key_file.ts";
import { type Passphrases, trimmedForm } from "../passphrase/sources.ts";
import {
  checkDirectory,
  ensureDirectory,
  FILE_MODE,
  findInfo,
  readPrivateFile,
  removeFile,
  writeFileAtomic,
} from "../platform/files.ts";
import { availableMemory } from "../platform/memory.ts";
import { joinPath, type Layout } from "../platform/paths.ts";
import type { NewKey, Signer, Tier, TierContext } from "./keystore.ts";

/** The tier; its contract is `Tier`'s. */
export const encryptedFileTier: Tier = {
  name: "encrypted-file",
  probe: () => Promise.resolve({ available: true }),
  generate,
  open,
  inspect: (context, identity) => Promise.resolve(void loadFor(context.layout, identity)),
  delete: ({ layout }, { fields }) => {
    removeFile(keyPath(layout, fields.deviceId));
    return Promise.resolve();
  },
};

function keyPath(layout: Layout, deviceId: string): string {
  return joinPath(layout.keys, `${deviceId}.key.json`);
}

async function generate({ layout, passphrases }: TierContext): Promise<NewKey> {
  const passphrase = passphrases.forNewKey();
  const { scalar, publicKey } = await generateKeyPair();
  try {
    const header = {
      version: "3.0.0",
      argon2Params: DEFAULT_ARGON2_PARAMS,
      salt: crypto.getRandomValues(new Uint8Array(SALT_BYTES)),
      nonce: crypto.getRandomValues(new Uint8Array(NONCE_BYTES)),
      publicKey,
    } as const;
    requireMemory(header.argon2Params.m);
    const { salt, argon2Params: params } = header;
    const aesKey = await stretchPassphrase({ passphrase: passphrase.bytes, salt, params }, false);
    try {
      const ciphertext = aesGcm.seal(aesKey, header.nonce, scalar, associatedData(header));
      const path = keyPath(layout, await deviceIdOf(publicKey));
      ensureDirectory(layout.keys);
      if (findInfo(path) !== null) throw systemError(`write "${path}"`, { code: "EEXIST" });
      const discard = async () => {
        await Promise.resolve(removeFile(path));
      };
      try {
        writeFileAtomic(path, encodeKeyFile({ ...header, ciphertext }), FILE_MODE, "refuse");
        const key = await reopen(path, aesKey);
        return {
          signer: signerOf(publicKey, Promise.resolve(key)),
          identityFields: {},
          persistSecrets: passphrase.persist,
          discard,
        };
      } catch (error) {
        await discard().catch(() => {});
        throw error;
      }
    } finally {
      wipe(aesKey);
    }
  } finally {
    wipe(scalar);
  }
}

/** Proves the stored file without stretching the passphrase again: read back, decrypted, matched with its key. */
async function reopen(path: string, aesKey: Bytes): Promise<CryptoKey> {
  const key = await decrypt(load(path), aesKey, path);
  if (key === null) throw new AmeshError("ERR_INTERNAL", `cannot read back "${path}": it does not open`);
  return key;
}

function load(path: string): EncryptedKey {
  const bytes = readPrivateFile(path, MAX_KEY_FILE_BYTES);
  if (bytes === null) {
    throw new AmeshError("ERR_CORRUPT", `cannot open the key: "${path}" is missing`, {
      hint: "restore it from a backup of the amesh directory; without it this identity cannot sign",
    });
  }
  return parseKeyFile(bytes, path);
}

/** @returns `null` when the ciphertext does not open. @throws {AmeshError} `ERR_CORRUPT` for another key inside. */
async function decrypt(file: EncryptedKey, aesKey: Bytes, path: string): Promise<CryptoKey | null> {
  const scalar = aesGcm.open(aesKey, file.nonce, file.ciphertext, associatedData(file));
  if (scalar === null) return null;
  try {
    const key = await importPrivateKey(scalar, file.publicKey);
    if (key !== null) return key;
    throw new AmeshError("ERR_CORRUPT", `cannot open the key: "${path}" holds another key than it says`);
  } finally {
    wipe(scalar);
  }
}

function loadFor(layout: Layout, { fields, publicKey }: Identity): { file: EncryptedKey; path: string } {
  const path = keyPath(layout, fields.deviceId);
  checkDirectory(layout.keys);
  const file = load(path);
  if (!equalBytes(file.publicKey, publicKey)) {
    throw new AmeshError("ERR_CORRUPT", `cannot open the key: "${path}" belongs to another identity`);
  }
  return { file, path };
}

async function open(context: TierContext, identity: Identity, background: boolean): Promise<Signer> {
  const { layout, passphrases } = context;
  const { file, path } = loadFor(layout, identity);
  requireMemory(file.argon2Params.m);
  const key = unlock(file, path, passphrases, background);
  // A wrong passphrase is told when the key is asked for; until then nobody waits for this promise.
  key.catch(() => {});
  if (!background) await key;
  return signerOf(identity.publicKey, key);
}

async function unlock(
  file: EncryptedKey,
  path: string,
  passphrases: Passphrases,
  background: boolean,
): Promise<CryptoKey> {
  for (const { source, bytes } of passphrases.candidates()) {
    // amesh 0.7 trimmed what it read from a file, so its keys may have been made with the shorter form.
    const trimmed = file.version === "2.0.0" ? trimmedForm(bytes) : null;
    try {
      for (const form of trimmed === null ? [bytes] : [bytes, trimmed]) {
        const key = await tryPassphrase(file, path, form, background);
        if (key === null) continue;
        passphrases.opened(source, form);
        return key;
      }
    } finally {
      wipe(bytes, trimmed ?? undefined);
    }
  }
  throw new AmeshError(
    "ERR_UNLOCK_FAILED",
    "cannot unlock the key: the passphrase is wrong or the key file damaged",
    {
      hint: "run: amesh doctor, to see where the passphrase comes from",
    },
  );
}

async function tryPassphrase(
  file: EncryptedKey,
  path: string,
  passphrase: Bytes,
  background: boolean,
): Promise<CryptoKey | null> {
  const aesKey = await stretchPassphrase(
    { passphrase, salt: file.salt, params: file.argon2Params },
    background,
  );
  try {
    return await decrypt(file, aesKey, path);
  } finally {
    wipe(aesKey);
  }
}

function requireMemory(kib: number): void {
  const available = availableMemory();
  if (available !== null && available < kib * 1024) throw notEnoughMemory(kib);
}

function signerOf(publicKey: Bytes, key: Promise<CryptoKey>): Signer {
  let opened: Promise<CryptoKey> | undefined = key;
  return {
    publicKey,
    sign: (message: Message) => {
      if (opened === undefined) throw new TypeError("the signer has been disposed of");
      return sign(opened, message);
    },
    [Symbol.dispose]: () => {
      opened = undefined;
    },
  };
}
