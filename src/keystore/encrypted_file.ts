/**
 * The encrypted-file tier: the scalar in `keys/<deviceId>.key.json`, AES-256-GCM under an Argon2id-stretched
 * passphrase. Available everywhere; software-only.
 */
import { type Bytes, concatBytes, equalBytes, wipe } from "../bytes.ts";
import * as aesGcm from "../crypto/aes_gcm.ts";
import { notEnoughMemory, stretchPassphrase } from "../crypto/argon2id.ts";
import { exportScalar, generateKeyPair, importPrivateKey, type Message, sign } from "../crypto/p256.ts";
import { AmeshError, systemError } from "../errors.ts";
import { deviceIdOf, type Identity } from "../formats/identity_file.ts";
import {
  type Argon2Params,
  associatedData,
  DEFAULT_ARGON2_PARAMS,
  encodeKeyFile,
  type EncryptedKey,
  isArgon2Params,
  MAX_KEY_FILE_BYTES,
  NONCE_BYTES,
  parseKeyFile,
  SALT_BYTES,
} from "../formats/key_file.ts";
import { trimmedForm } from "../passphrase/files.ts";
import type { Passphrase } from "../passphrase/passphrases.ts";
import type { PassphraseSource } from "../passphrase/sources.ts";
import {
  checkDirectory,
  ensureDirectory,
  FILE_MODE,
  findInfo,
  removeFile,
  writeFileAtomic,
} from "../platform/files.ts";
import { availableMemory } from "../platform/memory.ts";
import { joinPath, type Layout } from "../platform/paths.ts";
import { readKeyFile } from "./key_file.ts";
import type { NewKey, Reseal, Signer, Tier, TierContext } from "./keystore.ts";

/** The tier; its contract is `Tier`'s. */
export const encryptedFileTier: Tier = {
  name: "encrypted-file",
  probe: () => Promise.resolve({ available: true }),
  passphrase: {
    describe: ({ layout }, identity) => {
      const { version, argon2Params } = loadFor(layout, identity).file;
      return { version, cost: argon2Params };
    },
    reseal,
  },
  generate,
  open,
  inspect: (context, identity) => Promise.resolve(void loadFor(context.layout, identity)),
  checkDelete: ({ layout }) => Promise.resolve(void checkDirectory(layout.keys)),
  delete: ({ layout }, { fields }) => {
    // Not through a link: what lies behind it is not ours.
    if (checkDirectory(layout.keys)) removeFile(keyPath(layout, fields.deviceId));
    return Promise.resolve();
  },
};

function keyPath(layout: Layout, deviceId: string): string {
  return joinPath(layout.keys, `${deviceId}.key.json`);
}

async function generate({ layout, passphrases }: TierContext, replaces?: Identity | null): Promise<NewKey> {
  await passphrases.prepare();
  const passphrase = passphrases.forNewKey();
  const { scalar, publicKey } = await generateKeyPair();
  try {
    const sealed = await seal(scalar, publicKey, passphrase.bytes, costFor(layout, replaces ?? null));
    try {
      const path = keyPath(layout, await deviceIdOf(publicKey));
      ensureDirectory(layout.keys);
      if (findInfo(path) !== null) throw systemError(`write "${path}"`, { code: "EEXIST" });
      const discard = async () => {
        await Promise.resolve(removeFile(path));
      };
      try {
        writeFileAtomic(path, encodeKeyFile(sealed.file), FILE_MODE, "refuse");
        const key = await reopen(path, sealed.aesKey);
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
      wipe(sealed.aesKey);
    }
  } finally {
    wipe(scalar);
  }
}

/** The default cost, or more where the key that is replaced had more. */
function costFor(layout: Layout, replaces: Identity | null): Argon2Params {
  const { t, m, p } = DEFAULT_ARGON2_PARAMS;
  if (replaces?.fields.storageBackend !== "encrypted-file") return { t, m, p };
  try {
    const { argon2Params: old } = loadFor(layout, replaces).file;
    return { t: Math.max(t, old.t), m: Math.max(m, old.m), p: old.p };
  } catch (error) {
    // A key that is lost or damaged is replaced because of that.
    if (error instanceof AmeshError) return { t, m, p };
    throw error;
  }
}

/** A scalar in the newest form of the file. */
interface Sealed {
  readonly file: EncryptedKey;
  /** The stretched passphrase, 32 bytes; the receiver wipes it. */
  readonly aesKey: Bytes;
}

async function seal(scalar: Bytes, publicKey: Bytes, passphrase: Bytes, cost: Argon2Params): Promise<Sealed> {
  const header = {
    version: "3.0.0",
    argon2Params: cost,
    salt: crypto.getRandomValues(new Uint8Array(SALT_BYTES)),
    nonce: crypto.getRandomValues(new Uint8Array(NONCE_BYTES)),
    publicKey,
  } as const;
  requireMemory(cost.m);
  const aesKey = await stretchPassphrase({ passphrase, salt: header.salt, params: cost }, false);
  const ciphertext = aesGcm.seal(aesKey, header.nonce, scalar, associatedData(header));
  return { file: { ...header, ciphertext }, aesKey };
}

async function reseal(context: TierContext, identity: Identity, request: Reseal): Promise<void> {
  const { path } = loadFor(context.layout, identity);
  await context.passphrases.prepare();
  await unlock(context, identity, false, async ({ file, scalar, source, passphrase }) => {
    const cost = { ...file.argon2Params, ...request.cost };
    if (!isArgon2Params(cost)) throw costOutsideLimits();
    // What does not belong to its public key is not written anew.
    await importScalar(scalar, identity.publicKey, path);
    const sealed = await seal(scalar, identity.publicKey, request.passphrase ?? passphrase, cost);
    try {
      request.commit(source, {
        write: () => replaceKeyFile(path, sealed, scalar),
        isInPlace: () => hasSalt(path, sealed.file.salt),
      });
    } finally {
      wipe(sealed.aesKey);
    }
  });
}

/** Renamed into place when it has been read back and opened. */
function replaceKeyFile(path: string, { file, aesKey }: Sealed, scalar: Bytes): void {
  writeFileAtomic(path, encodeKeyFile(file), FILE_MODE, "replace", (written) => {
    const again = decrypt(parseKeyFile(written, path), aesKey);
    const isSame = again !== null && equalBytes(again, scalar);
    wipe(again ?? undefined);
    if (!isSame) throw new AmeshError("ERR_INTERNAL", `cannot read back "${path}": it does not open`);
  });
}

/** Whether a key file has this salt, or cannot be looked at. */
function hasSalt(path: string, salt: Bytes): boolean {
  try {
    return equalBytes(load(path).salt, salt);
  } catch {
    return true;
  }
}

function costOutsideLimits(): AmeshError {
  return new AmeshError("ERR_USAGE", "cannot use this Argon2id cost: it is outside the limits", {
    hint:
      "passes 2 to 16, memory 19456 KiB to 1048576 KiB (1 GiB), lanes 1 to 4, memory times passes up to 4 GiB",
  });
}

/** Proves the stored file without stretching the passphrase again: read back, decrypted, matched with its key. */
async function reopen(path: string, aesKey: Bytes): Promise<CryptoKey> {
  const file = load(path);
  const scalar = decrypt(file, aesKey);
  if (scalar === null) {
    throw new AmeshError("ERR_INTERNAL", `cannot read back "${path}": it does not open`);
  }
  try {
    return await importScalar(scalar, file.publicKey, path);
  } finally {
    wipe(scalar);
  }
}

function load(path: string): EncryptedKey {
  return parseKeyFile(readKeyFile(path, MAX_KEY_FILE_BYTES), path);
}

/** @returns the scalar, 32 bytes, which the caller wipes; `null` when the ciphertext does not open. */
function decrypt(file: EncryptedKey, aesKey: Bytes): Bytes | null {
  return aesGcm.open(aesKey, file.nonce, file.ciphertext, associatedData(file));
}

/** @throws {AmeshError} `ERR_CORRUPT`: the scalar is not that of the public key. */
async function importScalar(scalar: Bytes, publicKey: Bytes, path: string): Promise<CryptoKey> {
  const key = await importPrivateKey(scalar, publicKey);
  if (key !== null) return key;
  throw new AmeshError("ERR_CORRUPT", `cannot open the key: "${path}" holds another key than it says`);
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
  const { path, file } = loadFor(context.layout, identity);
  requireMemory(file.argon2Params.m);
  await context.passphrases.prepare();
  const key = unlock(
    context,
    identity,
    background,
    ({ scalar }) => importScalar(scalar, identity.publicKey, path),
  );
  // A wrong passphrase is told when the key is asked for; until then nobody waits for this promise.
  key.catch(() => {});
  if (!background) await key;
  return signerOf(identity.publicKey, key);
}

/** A key file that was opened. */
interface Unlocked {
  readonly file: EncryptedKey;
  /** 32 bytes; wiped afterwards. */
  readonly scalar: Bytes;
  readonly source: PassphraseSource;
  /** All that the source gave, also where only a part of it opens the key; wiped afterwards. */
  readonly passphrase: Bytes;
}

/** @throws {AmeshError} `ERR_UNLOCK_FAILED`: nothing opens it; what `use` throws. */
async function unlock<T>(
  context: TierContext,
  identity: Identity,
  background: boolean,
  use: (unlocked: Unlocked) => Promise<T>,
): Promise<T> {
  for (const { file, source, bytes } of attempts(context, identity)) {
    // amesh 0.7 trimmed what it read from a file, so its keys may have been made with the shorter form.
    const trimmed = file.version === "2.0.0" ? trimmedForm(bytes) : null;
    try {
      for (const form of trimmed === null ? [bytes] : [bytes, trimmed]) {
        const scalar = await tryPassphrase(file, form, background);
        if (scalar === null) continue;
        try {
          context.passphrases.opened(source, form);
          return await use({ file, scalar, source, passphrase: bytes });
        } finally {
          wipe(scalar);
        }
      }
    } finally {
      wipe(bytes, trimmed ?? undefined);
    }
  }
  throw new AmeshError(
    "ERR_UNLOCK_FAILED",
    "cannot unlock the key: the passphrase is wrong or the key file damaged",
    { hint: "run: amesh doctor, to see where the passphrase comes from" },
  );
}

/**
 * Key files and passphrases to try. Another amesh may put the key under another passphrase meanwhile, so both are read
 * again until nothing is new; the receiver wipes the bytes.
 */
function* attempts(
  { layout, passphrases }: TierContext,
  identity: Identity,
): Generator<Passphrase & { readonly file: EncryptedKey }> {
  const tried: Bytes[] = [];
  let emptyRounds = 0;
  try {
    for (let isNew = true; isNew;) {
      const { file } = loadFor(layout, identity);
      let count = 0;
      isNew = false;
      for (const { source, bytes } of passphrases.candidates()) {
        count++;
        const attempt = concatBytes(file.salt, bytes);
        if (tried.some((other) => equalBytes(other, attempt))) {
          wipe(attempt, bytes);
          continue;
        }
        tried.push(attempt);
        isNew = true;
        yield { file, source, bytes };
      }
      // None at all: the file that was there has just got another name, or is gone.
      isNew ||= count === 0 && emptyRounds++ === 0;
    }
  } finally {
    wipe(...tried);
  }
}

async function tryPassphrase(
  file: EncryptedKey,
  passphrase: Bytes,
  background: boolean,
): Promise<Bytes | null> {
  requireMemory(file.argon2Params.m);
  const { salt, argon2Params: params } = file;
  const aesKey = await stretchPassphrase({ passphrase, salt, params }, background);
  try {
    return decrypt(file, aesKey);
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
  const live = (): Promise<CryptoKey> => {
    if (opened === undefined) throw new TypeError("the signer has been disposed of");
    return opened;
  };
  return {
    publicKey,
    sign: (message: Message) => sign(live(), message),
    held: { in: "memory", takeScalar: async () => await exportScalar(await live()) },
    [Symbol.dispose]: () => {
      opened = undefined;
    },
  };
}
