/**
 * The records of changes under way, files in the form of identity.json, and what is left to do when one is found: the key
 * of an identity that was replaced or deleted is destroyed after the commit point, and the record goes last.
 */
import { AmeshError } from "../errors.ts";
import { DEVICE_ID, encodeIdentity, type Identity } from "../formats/identity_file.ts";
import { corrupt } from "../formats/json_document.ts";
import type { TierContext } from "../keystore/keystore.ts";
import { loadTier } from "../keystore/select.ts";
import { nextPath } from "../passphrase/files.ts";
import {
  checkDirectory,
  FILE_MODE,
  findInfo,
  PASSPHRASE_MODE,
  removeFile,
  requireSafe,
  writeFileAtomic,
} from "../platform/files.ts";
import type { Layout } from "../platform/paths.ts";
import { statementPath } from "./continuity.ts";
import { isOfDevice, isOwnFile, listLeftovers, listNames, TEMPORARY_NAME } from "./directory.ts";
import { readIdentity } from "./store.ts";

/** An identity that a command replaces. */
export interface Replaced extends Identity {
  /** Device id of the key that was to come into force. */
  readonly replacedBy: string;
}

/** Records what is about to be replaced, without a passphrase. @throws {AmeshError} `ERR_SYSTEM`, `ERR_UNSAFE_PERMISSIONS`. */
export function recordReplacement(layout: Layout, replaced: Identity, replacedBy: string): void {
  const { passphrase: _secret, ...fields } = replaced.fields;
  const info = findInfo(layout.replaced);
  if (info !== null) requireSafe(layout.replaced, info, FILE_MODE);
  writeFileAtomic(layout.replaced, encodeIdentity({ ...fields, replacedBy }), FILE_MODE, "replace");
}

/** The identity that a command was replacing when it was killed; `null` when there is none. As `findIdentity`. */
export async function findReplaced(layout: Layout): Promise<Replaced | null> {
  const identity = await readIdentity(layout.replaced);
  if (identity === null) return null;
  const { replacedBy } = identity.fields as { replacedBy?: unknown };
  if (typeof replacedBy === "string" && DEVICE_ID.test(replacedBy)) return { ...identity, replacedBy };
  throw corrupt(layout.replaced, 'field "replacedBy" is missing or wrong');
}

/** Takes back a replacement that did not come into force: its continuity statement and its record. */
export function undoReplacement(layout: Layout, { fields, replacedBy }: Replaced): void {
  // Not through a link: what lies behind it is not ours.
  if (checkDirectory(layout.history)) removeFile(statementPath(layout, fields.deviceId, replacedBy));
  removeFile(layout.replaced);
}

/**
 * Destroys the key of an identity that is not in force any more, then forgets the replacement.
 *
 * @throws {AmeshError} what the tier throws; the record stays, unless there is nothing of ours to destroy.
 */
export async function finishReplacement(context: TierContext, replaced: Identity): Promise<void> {
  await destroyKey(context, replaced);
  removeFile(context.layout.replaced);
}

/**
 * Destroys a key, and what killed commands left of its file. Another key in its place is not ours, which is told and no
 * failure.
 *
 * @throws {AmeshError} what the tier throws.
 */
export async function destroyKey(context: TierContext, { fields, publicKey }: Identity): Promise<void> {
  const { layout: { keys }, passphrases } = context;
  try {
    await (await loadTier(fields.storageBackend)).delete(context, { fields, publicKey });
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code !== "ERR_CORRUPT") throw error;
    passphrases.warn(`the old key was not removed: ${error.message}`);
  }
  listNames(keys, TEMPORARY_NAME).filter((path) => isOfDevice(path, fields.deviceId)).forEach(removeFile);
}

/** The identity that a killed `delete` was deleting; `null` when there is none. As `findIdentity`. */
export async function findDeleted(layout: Layout): Promise<Identity | null> {
  return await readIdentity(layout.deleted);
}

/**
 * Destroys the key of a deleted identity, then forgets the deletion. Its passphrase file stays: by now it may be meant for
 * another key.
 *
 * @throws {AmeshError} what the tier throws; the record stays.
 */
export async function finishDeletion(context: TierContext, deleted: Identity): Promise<void> {
  await destroyKey(context, deleted);
  removeFile(context.layout.deleted);
}

/**
 * Removes the passphrase file of the amesh directory, and what killed commands left of it. Without its passphrase a key
 * file that a disk still holds is worthless, but another key may be under the same one.
 *
 * @param otherKeys keys that are still there.
 * @returns the files that were removed.
 */
export function removePassphrase({ passphrase }: Layout, otherKeys: readonly string[]): string[] {
  if (otherKeys.length > 0) return [];
  const next = nextPath(passphrase);
  const files = [...listLeftovers(passphrase), ...listLeftovers(next), next, passphrase];
  return files.filter((path) => isOwnFile(path, PASSPHRASE_MODE) && removeFile(path));
}

/** Removes the certificate of a key that is gone, and what killed commands left of it. @returns the files that were removed. */
export function removeCertificate({ certificate }: Layout): string[] {
  const files = [...listLeftovers(certificate), certificate];
  return files.filter((path) => isOwnFile(path, FILE_MODE) && removeFile(path));
}
