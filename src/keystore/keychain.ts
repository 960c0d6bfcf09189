/**
 * The keychain tier: a P-256 key that is made in the login keychain of macOS and stays there. identity.json remembers
 * its tag; that of a key of amesh 0.7 follows from the alias.
 */
import { type Bytes, encodeHex, equalBytes, utf8 } from "../bytes.ts";
import { CoreFoundationError } from "../apple/core_foundation.ts";
import { createKey, defaultKeychain, deleteKeys, findKeys, type KeychainKey } from "../apple/keychain.ts";
import { appleAvailable, doublePath } from "../apple/library.ts";
import { AppleError } from "../apple/os_status.ts";
import { currentSession, settleDialogs } from "../apple/session.ts";
import { type HashedMessage, hashMessage, type Message, verifyHashed } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import { FfiLoadError } from "../ffi/ffi.ts";
import { normalizeLowS, parseDerSignature } from "../formats/ecdsa_signature.ts";
import { type Identity, isKeychainTag } from "../formats/identity_file.ts";
import { compressPoint, UNCOMPRESSED_POINT_BYTES } from "../formats/public_key.ts";
import {
  ensureDirectory,
  FILE_MODE,
  readPrivateFile,
  removeFile,
  writeFileAtomic,
} from "../platform/files.ts";
import type { Layout } from "../platform/paths.ts";
import type { Availability, NewKey, Signer, Tier } from "./keystore.ts";

const TAG_BYTES = 16;
const MAX_RECORD_BYTES = 256;
const NOT_MACOS = "not macOS";

/** The tier; its contract is `Tier`'s. */
export const keychainTier: Tier = {
  name: "keychain",
  probe: () => Promise.resolve(probe()),
  generate: ({ layout }, replaces) => explained(() => generate(layout, replaces ?? null)),
  open: (_context, identity) => explained(() => open(identity)),
  inspect: (_context, identity) => explained(() => open(identity)[Symbol.dispose]()),
  checkDelete: (_context, identity) => explained(() => checkDelete(identity)),
  delete: (_context, identity) => explained(() => remove(identity)),
  removeUncommitted: ({ layout }, inForce) => explained(() => removeUncommitted(layout, inForce)),
};

/** What `call` gives, with a cause where there is no keychain to call. */
async function explained<T>(call: () => T | Promise<T>): Promise<T> {
  if (!appleAvailable()) {
    throw new AmeshError("ERR_TIER_UNAVAILABLE", `cannot use backend "keychain": ${NOT_MACOS}`, {
      hint: "such a key is in the login keychain of the Mac where it was made, and nowhere else",
    });
  }
  try {
    return await call();
  } catch (error) {
    throw explain(error);
  }
}

function explain(error: unknown): unknown {
  if (error instanceof FfiLoadError || error instanceof CoreFoundationError) {
    return new AmeshError("ERR_TIER_UNAVAILABLE", `cannot use the keychain: ${error.message}`, {
      hint: "use --backend encrypted-file, and report this with the output of: amesh doctor",
      cause: error,
    });
  }
  return error;
}

function probe(): Availability {
  if (!appleAvailable()) return { available: false, cause: NOT_MACOS, remedy: null };
  const details: Record<string, string> = {};
  const double = doublePath();
  if (double !== null) details["Stand-in for macOS"] = double;
  try {
    const { isGraphic, isRemote } = currentSession();
    const mayAsk = settleDialogs();
    details["Session"] = `${isGraphic ? "graphical" : "without a screen"}${isRemote ? ", remote" : ""}; ` +
      `dialogs of macOS ${mayAsk ? "are shown" : "are not shown, because nobody could answer them here"}`;
    const { path, isUnlocked } = defaultKeychain();
    details["Keychain"] = `${path}, ${isUnlocked ? "unlocked" : "locked"}`;
    if (!isUnlocked && !mayAsk) {
      return unavailable(new AppleError("locked", "SecKeychainGetStatus", null), details);
    }
    return { available: true, details };
  } catch (error) {
    const explained = explain(error);
    if (explained instanceof AmeshError) return unavailable(explained, details);
    return { available: false, cause: String(error), remedy: null, details };
  }
}

function unavailable(
  { message, hint }: AmeshError,
  details: Readonly<Record<string, string>>,
): Availability {
  return { available: false, cause: message, remedy: hint ?? null, details };
}

async function generate(layout: Layout, replaces: Identity | null): Promise<NewKey> {
  ensureDirectory(layout.keys);
  removeUncommitted(layout, replaces);
  // Nobody else has it, so that no older key can be found in the place of this one.
  const tag = `dev.amesh.identity.${encodeHex(crypto.getRandomValues(new Uint8Array(TAG_BYTES)))}`;
  const record = layout.uncommitted;
  // Nothing in the keychain tells a key that was never committed from others.
  writeFileAtomic(record, utf8(`${tag}\n`), FILE_MODE, "replace");
  const discard = async () => {
    deleteKeys(tag);
    await Promise.resolve(removeFile(record));
  };
  try {
    // People tell keys apart by it, and find the one that identity.json names.
    using made = createKey(tag, `amesh identity ${tag.slice(-2 * TAG_BYTES)}`);
    const publicKey = pointOf(made);
    if (publicKey === null) throw new AppleError("malformedAnswer", "SecKeyCopyExternalRepresentation", null);
    // Found again: what is proven is the stored key, not the one in memory.
    const key = findKey(tag, publicKey);
    if (key === null) throw new AppleError("notFound", "SecItemCopyMatching", null);
    return {
      signer: signerOf(key, publicKey),
      identityFields: { keychain: { tag } },
      persistSecrets: () => {},
      discard,
      committed: () => forget(record),
    };
  } catch (error) {
    await discard().catch(() => {});
    throw error;
  }
}

/**
 * Deletes the key that a killed command made and did not commit; the caller holds the lock.
 *
 * @param replaces the identity in force, which may name that key after all.
 */
function removeUncommitted(layout: Layout, replaces: Identity | null): void {
  const record = layout.uncommitted;
  const bytes = readPrivateFile(record, MAX_RECORD_BYTES);
  if (bytes === null) return;
  const tag = new TextDecoder().decode(bytes).trimEnd();
  if (isKeychainTag(tag) && tag !== replaces?.fields.keychain?.tag) deleteKeys(tag);
  removeFile(record);
}

/** The next command that makes a key removes a record that cannot be removed now. */
function forget(record: string): void {
  try {
    removeFile(record);
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
  }
}

function tagOf({ fields }: Identity): string {
  return fields.keychain?.tag ?? `dev.amesh.${fields.keyAlias}`;
}

function open(identity: Identity): Signer {
  const key = findKey(tagOf(identity), identity.publicKey);
  if (key !== null) return signerOf(key, identity.publicKey);
  throw new AmeshError(
    "ERR_CORRUPT",
    `cannot open the key: there is none with the tag ${tagOf(identity)} in the keychain`,
    {
      hint: "unlock the keychain that holds it, or make a new identity with: amesh init --force --name NAME",
    },
  );
}

/**
 * The key with this tag and public half. Amesh 0.7 could leave older ones with the same tag.
 *
 * @returns `null` when there is none with the tag.
 * @throws {AmeshError} `ERR_CORRUPT`: there are only others.
 */
function findKey(tag: string, publicKey: Bytes): KeychainKey | null {
  const keys = findKeys(tag);
  let chosen: KeychainKey | undefined;
  try {
    const points = keys.map(pointOf);
    const exact = points.findIndex((point) => point !== null && equalBytes(point, publicKey));
    // One whose public half macOS does not give is shown to be right by its signatures, which are all verified.
    chosen = keys[exact >= 0 ? exact : points.indexOf(null)];
    if (chosen !== undefined || keys.length === 0) return chosen ?? null;
  } finally {
    for (const key of keys) if (key !== chosen) key[Symbol.dispose]();
  }
  throw new AmeshError("ERR_CORRUPT", `cannot open the key: the tag ${tag} has another key in the keychain`, {
    hint: "another program put it there, or identity.json belongs to another Mac",
  });
}

/** Compressed; `null` where macOS does not tell it. */
function pointOf({ publicKey }: KeychainKey): Bytes | null {
  return publicKey?.length === UNCOMPRESSED_POINT_BYTES ? compressPoint(publicKey) : null;
}

/** Another key with the tag is none to delete. */
function checkDelete(identity: Identity): void {
  try {
    findKey(tagOf(identity), identity.publicKey)?.[Symbol.dispose]();
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code !== "ERR_CORRUPT") throw error;
  }
}

/** @throws {AmeshError} `ERR_CORRUPT`: the tag has only other keys, which stay. */
async function remove(identity: Identity): Promise<void> {
  const tag = tagOf(identity);
  using key = findKey(tag, identity.publicKey);
  if (key === null) return;
  // A tag of ours nobody else has. One of amesh 0.7 is a name that others can have given: then the key must prove itself.
  if (!isKeychainTag(tag) && pointOf(key) === null) await prove(key, identity.publicKey);
  deleteKeys(tag);
}

/** @throws {AmeshError} `ERR_CORRUPT`: its signatures are not those of this public key. */
async function prove(key: KeychainKey, publicKey: Bytes): Promise<void> {
  const hashed = await hashMessage(challenge());
  const raw = await parseDerSignature(key.sign(hashed.digest));
  if (raw !== null && await verifyHashed(publicKey, raw, hashed)) return;
  throw new AmeshError(
    "ERR_CORRUPT",
    "cannot delete the key: the one with its tag in the keychain is another",
    {
      hint: "another program put it there, or identity.json belongs to another Mac",
    },
  );
}

async function* challenge(): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(crypto.getRandomValues(new Uint8Array(32)));
}

/** A signer that owns the key. */
function signerOf(key: KeychainKey, publicKey: Bytes): Signer {
  let isOpen = true;
  const signHashed = async (hashed: HashedMessage): Promise<Bytes> => {
    if (!isOpen) throw new TypeError("the signer has been disposed of");
    const raw = await parseDerSignature(await explained(() => key.sign(hashed.digest)));
    if (raw === null) throw new AppleError("malformedAnswer", "SecKeyCreateSignature", null);
    const signature = normalizeLowS(raw);
    if (await verifyHashed(publicKey, signature, hashed)) return signature;
    throw new AmeshError("ERR_TIER_UNAVAILABLE", "cannot use the keychain: its signature does not verify", {
      hint: "see: amesh doctor; the key with this tag may be another one",
    });
  };
  return {
    publicKey,
    sign: async (message: Message) => await signHashed(await hashMessage(message)),
    held: { in: "hardware", signHashed },
    [Symbol.dispose]: () => {
      if (isOpen) key[Symbol.dispose]();
      isOpen = false;
    },
  };
}
