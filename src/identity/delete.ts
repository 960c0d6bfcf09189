/**
 * Deleting the identity. Renaming identity.json away is the commit point; then the key is destroyed, then the passphrase
 * file, which nothing needs any more, and last the record. A killed `delete` is finished by the next changing command.
 */
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import { Passphrases } from "../passphrase/passphrases.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { type Deletion, findDeleted, finishDeletion } from "./records.ts";
import { findIdentity, noIdentity, retireIdentity } from "./store.ts";
import { settle } from "./unfinished.ts";

/** What `delete` asks for. */
export interface DeleteOptions {
  readonly layout: Layout;
  /** Asks whether to go on. @throws when not. */
  readonly confirm: (identity: Identity) => Promise<void>;
  /** Shows a warning to the user. */
  readonly warn: (message: string) => void;
}

/**
 * Destroys the key and the identity, or finishes what a killed `delete` began.
 *
 * @throws {AmeshError} `ERR_NO_IDENTITY`, `ERR_CORRUPT` (an unreadable identity names no key), `ERR_BUSY`, `ERR_SYSTEM`, and
 *   what the tier throws; the identity may then be deleted and its key not.
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
    throw new AmeshError("ERR_BUSY", "the identity was replaced meanwhile: nothing was deleted", {
      hint: "look at it with: amesh status",
    });
  }
  if (identity !== null) {
    await settle(context, identity, "keep passphrases");
    retireIdentity(layout);
  }
  return await finishDeletion(context, shown);
}
