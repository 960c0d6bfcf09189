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
  PASSPHRASE_MODE,
  removeFile,
  writeFileAtomic,
} from "../platform/files.ts";
import type { Layout } from "../platform/paths.ts";
import { statementPath } from "./continuity.ts";
import { isOwnFile, listOtherKeys } from "./directory.ts";
import { findIdentity, readIdentity } from "./store.ts";

/** An identity that a command replaces. */
export interface Replaced extends Identity {
  /** Device id of the key that was to come into force. */
  readonly replacedBy: string;
}

/** Records what is about to be replaced, without a passphrase. @throws {AmeshError} `ERR_SYSTEM`. */
export function recordReplacement(layout: Layout, replaced: Identity, replacedBy: string): void {
  const { passphrase: _secret, ...fields } = replaced.fields;
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

/** Destroys a key. Another one in its place is not ours, which is told and no failure. @throws {AmeshError} */
export async function destroyKey(context: TierContext, identity: Identity): Promise<void> {
  try {
    await (await loadTier(identity.fields.storageBackend)).delete(context, identity);
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code !== "ERR_CORRUPT") throw error;
    context.passphrases.warn(`the old key was not removed: ${error.message}`);
  }
}

/** What became of a deletion. */
export interface Deletion {
  readonly identity: Identity;
  /** Passphrase files that were removed. */
  readonly removed: readonly string[];
  /** Keys of other identities that are still there. */
  readonly otherKeys: readonly string[];
}

/** The identity that a killed `delete` was deleting; `null` when there is none. As `findIdentity`. */
export async function findDeleted(layout: Layout): Promise<Identity | null> {
  return await readIdentity(layout.deleted);
}

/**
 * Destroys what a deleted identity had.
 *
 * @throws {AmeshError} what the tier throws; the record stays.
 */
export async function finishDeletion(context: TierContext, deleted: Identity): Promise<Deletion> {
  const { layout } = context;
  await destroyKey(context, deleted);
  const otherKeys = listOtherKeys(layout, [deleted.fields.deviceId]);
  // Without its passphrase a key file that a disk still holds is worthless, but another key may be under the same one.
  const isLast = otherKeys.length === 0 && await findIdentity(layout) === null;
  const files = [nextPath(layout.passphrase), layout.passphrase];
  const removed = isLast ? files.filter((path) => isOwnFile(path, PASSPHRASE_MODE) && removeFile(path)) : [];
  removeFile(layout.deleted);
  return { identity: deleted, removed, otherKeys };
}
