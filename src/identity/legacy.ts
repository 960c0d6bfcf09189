/**
 * The passphrase that old versions kept in identity.json moves to its own file (or just away, when the key opens with
 * another source). Every step leaves a directory that opens, so a crash is made good by the next run.
 */
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import { loadTier } from "../keystore/select.ts";
import { writePassphraseFile } from "../passphrase/files.ts";
import type { Passphrases } from "../passphrase/passphrases.ts";
import { describeSource } from "../passphrase/sources.ts";
import { findInfo } from "../platform/files.ts";
import { acquireLock } from "../platform/lock.ts";
import { findIdentity, saveIdentity } from "./store.ts";

/** Whether the identity still holds a passphrase. */
export function hasLegacyPassphrase(identity: Identity): boolean {
  return identity.fields.passphrase !== undefined;
}

/**
 * Moves the passphrase out, after the key has been opened with `passphrases`. What prevents it (a read-only
 * directory, another amesh at work) is a warning: the command itself has what it needs.
 */
export async function migrateLegacyPassphrase(identity: Identity, passphrases: Passphrases): Promise<void> {
  if (!hasLegacyPassphrase(identity)) return;
  const { layout, warn } = passphrases;
  try {
    using _lock = acquireLock(layout.lock);
    const current = await findIdentity(layout);
    // Somebody else has migrated or replaced it since it was read.
    if (current?.fields.deviceId === identity.fields.deviceId) moveField(current, passphrases);
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
    warn(`the passphrase in identity.json could not be migrated: ${error.message}`);
  }
}

/**
 * The same for a command that holds the lock: opens the key first.
 *
 * @returns the identity as it is now; it still has the field where a passphrase file of another passphrase is in the way.
 * @throws {AmeshError} as `Tier.open`; `ERR_SYSTEM`.
 */
export async function migrateUnderLock(identity: Identity, passphrases: Passphrases): Promise<Identity> {
  if (!hasLegacyPassphrase(identity)) return identity;
  const { layout } = passphrases;
  passphrases.useLegacyField(identity.fields.passphrase);
  const tier = await loadTier(identity.fields.storageBackend);
  (await tier.open({ layout, passphrases }, identity, false))[Symbol.dispose]();
  moveField(identity, passphrases);
  const migrated = await findIdentity(layout) ?? identity;
  passphrases.useLegacyField(migrated.fields.passphrase);
  return migrated;
}

function moveField(identity: Identity, passphrases: Passphrases): void {
  const { layout, warn } = passphrases;
  if (!hasLegacyPassphrase(identity)) return;
  const where = moveSecret(passphrases);
  if (where === null) return;
  const { passphrase: _moved, ...rest } = identity.fields;
  saveIdentity(layout, rest, "replace");
  warn(`the passphrase in identity.json was migrated: it now comes from ${where}`);
}

/** @returns where the passphrase comes from now; `null` when the field must stay. */
function moveSecret({ layout, openedBy, warn }: Passphrases): string | null {
  // A key of a tier without passphrases, and what was given for one command only, prove nothing about the field.
  if (openedBy === undefined || ["caller", "descriptor"].includes(openedBy.source.kind)) return null;
  if (openedBy.source.kind !== "legacy-field") return describeSource(openedBy.source);
  if (findInfo(layout.passphrase) !== null) {
    warn(
      `${layout.passphrase} does not open the key, but the passphrase in identity.json does; both were left alone`,
    );
    return null;
  }
  writePassphraseFile(layout.passphrase, openedBy.bytes);
  return `file ${layout.passphrase}`;
}
