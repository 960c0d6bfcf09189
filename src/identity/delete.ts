/**
 * Deleting the identity. Renaming identity.json away is the commit point; then the key is destroyed, then the passphrase
 * file and the certificate, which nothing needs any more, and last the record. A killed `delete` is finished by the next changing
 * command, all but for these two files, which only `delete` itself removes: by then they may be meant for another key.
 */
import { afterCommit } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import { loadTier } from "../keystore/select.ts";
import { Passphrases } from "../passphrase/passphrases.ts";
import { removeFile } from "../platform/files.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { listOtherKeys } from "./directory.ts";
import { destroyKey, findDeleted, removeCertificate, removePassphrase } from "./records.ts";
import { findIdentity, noIdentity, replacedMeanwhile, retireIdentity } from "./store.ts";
import { settle } from "./unfinished.ts";

/** What `delete` asks for. */
export interface DeleteOptions {
  readonly layout: Layout;
  /** Asks whether to go on. @throws when not. */
  readonly confirm: (identity: Identity) => Promise<void>;
  /** Shows a warning to the user. */
  readonly warn: (message: string) => void;
}

/** What became of it. */
export interface Deletion {
  readonly identity: Identity;
  /** Passphrase files that were removed, and the certificate. */
  readonly removed: readonly string[];
  /** Keys of other identities that are still there, or directories that may hold some. */
  readonly otherKeys: readonly string[];
}

/**
 * Destroys the key and the identity, or finishes what a killed `delete` began.
 *
 * @throws {AmeshError} `ERR_NO_IDENTITY`, `ERR_CORRUPT` (an unreadable identity names no key), `ERR_BUSY`, `ERR_SYSTEM`, and
 *   what the tier throws; after the commit the message says so.
 */
export async function deleteIdentity({ layout, confirm, warn }: DeleteOptions): Promise<Deletion> {
  const shown = await findIdentity(layout) ?? await findDeleted(layout);
  if (shown === null) throw noIdentity(layout);
  await confirm(shown);
  using _lock = acquireLock(layout.lock);
  using passphrases = new Passphrases(layout, undefined, warn);
  const context = { layout, passphrases };
  const identity = await findIdentity(layout);
  if ((identity ?? await findDeleted(layout))?.fields.deviceId !== shown.fields.deviceId) {
    throw replacedMeanwhile();
  }
  if (identity !== null) {
    await settle(context, identity, "keep passphrases");
    await (await loadTier(identity.fields.storageBackend)).checkDelete(context, identity);
    retireIdentity(layout);
  }
  try {
    await destroyKey(context, shown);
    const otherKeys = listOtherKeys(layout, shown.fields.deviceId);
    const removed = [...removePassphrase(layout, otherKeys), ...removeCertificate(layout)];
    removeFile(layout.deleted);
    return { identity: shown, removed, otherKeys };
  } catch (error) {
    throw afterCommit(error, "the identity is deleted, but not all that it had", "amesh delete");
  }
}
