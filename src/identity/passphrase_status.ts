/** What can be said of the passphrase in force without telling it: where it comes from, how strong it is, who can read it. */
import { wipe } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { PassphraseProtection } from "../keystore/keystore.ts";
import { nextPath } from "../passphrase/files.ts";
import { Passphrases } from "../passphrase/passphrases.ts";
import type { PassphraseSource } from "../passphrase/sources.ts";
import { measureStrength, type Strength } from "../passphrase/strength.ts";
import { findInput } from "../platform/input.ts";
import { findFileSystem, isVolatile } from "../platform/mounts.ts";
import { type PassphraseCommand, requirePassphraseKey } from "./passphrase_key.ts";
import { listInterrupted } from "./passphrase_next.ts";
import { withIdentity } from "./store.ts";

/** What there is to know. */
export interface PassphraseStatus {
  readonly identity: Identity;
  readonly protection: PassphraseProtection;
  readonly source: PassphraseSource;
  readonly strength: Strength;
  /** Where its file lies, for people; `null` for a source without a file. */
  readonly place: string | null;
  /** Files of interrupted changes. */
  readonly interrupted: readonly string[];
}

/**
 * Reads the passphrase in force and the key file; opens no key and changes nothing.
 *
 * @throws {AmeshError} `ERR_USAGE` for a key that has no passphrase; `ERR_UNLOCK_FAILED` without one that can be read.
 */
export async function readPassphraseStatus(
  { layout, input, warn }: PassphraseCommand,
): Promise<PassphraseStatus> {
  using passphrases = new Passphrases(layout, undefined, warn, input);
  return await withIdentity(layout, async (identity) => {
    const { tier } = await requirePassphraseKey(identity);
    passphrases.useLegacyField(identity.fields.passphrase);
    const protection = tier.passphrase.describe({ layout, passphrases }, identity);
    const { source, bytes } = passphrases.readCurrent();
    const strength = measureStrength(bytes);
    wipe(bytes);
    const place = "path" in source ? describePlace(source.path, layout.keys) : null;
    const interrupted = listInterrupted(layout).map(nextPath);
    return { identity, protection, source, strength, place, interrupted };
  });
}

/** Whether a thief of the key file gets this file with it. */
function describePlace(path: string, keys: string): string | null {
  try {
    const [file, key] = [findInput(path), findInput(keys)];
    if (file === null || key === null) return null;
    if (isVolatile(findFileSystem(file))) return "in memory: gone when the machine restarts";
    return file.dev === key.dev
      ? "on the same file system as the key: who reads the one can read the other"
      : "on another file system than the key";
  } catch (error) {
    if (error instanceof AmeshError) return null;
    throw error;
  }
}
