/**
 * The passphrase that old versions kept in identity.json moves to its own file (or just away, when the key opens with
 * another source). Every step leaves a directory that opens, so a crash is made good by the next run.
 */
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import { describeSource, type Passphrases, writePassphraseFile } from "../passphrase/sources.ts";
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
    if (
      current === null || current.fields.deviceId !== identity.fields.deviceId ||
      !hasLegacyPassphrase(current)
    ) {
      return;
    }
    const where = moveSecret(passphrases);
    if (where === null) return;
    const { passphrase: _moved, ...rest } = current.fields;
    saveIdentity(layout, rest, "replace");
    warn(`the passphrase in identity.json was migrated: it now comes from ${where}`);
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
    warn(`the passphrase in identity.json could not be migrated: ${error.message}`);
  }
}

/** @returns where the passphrase comes from now; `null` when the field must stay. */
function moveSecret({ layout, openedBy, warn }: Passphrases): string | null {
  if (openedBy === undefined) return null;
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
