/**
 * A change of the passphrase that was interrupted: `FILE.next` holds the new passphrase of `FILE`, and the key is under
 * the one or the other. Whoever opens the key tells which.
 */
import { AmeshError, systemError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import { loadTier } from "../keystore/select.ts";
import { nextPath } from "../passphrase/files.ts";
import { Passphrases } from "../passphrase/passphrases.ts";
import { hasNext, namedPassphraseFile, type PassphraseSource } from "../passphrase/sources.ts";
import { findInfo, removeFile, syncDirectory } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { type Layout, parentPath } from "../platform/paths.ts";

/** Puts the new passphrase in the place of the old one, or where there was none. @throws {AmeshError} `ERR_SYSTEM`. */
export function takeNext(path: string): void {
  try {
    host.rename(nextPath(path), path);
    syncDirectory(parentPath(path));
  } catch (error) {
    throw systemError(`write passphrase file "${path}"`, error);
  }
}

/** Finishes or undoes a change, after a source of this kind has opened the key. @returns what was done, or `null`. */
export function settleNext(opened: PassphraseSource): string | null {
  if (opened.kind === "next-file") {
    takeNext(opened.replaces);
    return `put the new passphrase, which the key is under, at ${opened.replaces}`;
  }
  if (opened.kind !== "default-file" && opened.kind !== "named-file") return null;
  if (!hasNext(opened.path)) return null;
  removeFile(nextPath(opened.path));
  return `removed ${nextPath(opened.path)}: the key is under the passphrase that it was to replace`;
}

/** Passphrase files with an interrupted change beside them. */
export function listInterrupted(layout: Layout): string[] {
  const named = namedPassphraseFile();
  return [...new Set(named === null ? [layout.passphrase] : [layout.passphrase, named])]
    .filter(hasNext);
}

/**
 * Finishes or undoes a change by finding out which of the two opens the key.
 *
 * @param path the passphrase file.
 * @returns what was done.
 * @throws {AmeshError} as `Tier.open`: neither opens it, and both stay.
 */
export async function finishChange(layout: Layout, identity: Identity, path: string): Promise<string> {
  const current = path === layout.passphrase ? "default-file" : "named-file";
  const only: PassphraseSource[] = [{ kind: "next-file", path: nextPath(path), replaces: path }];
  if (findInfo(path) !== null) only.unshift({ kind: current, path });
  using passphrases = new Passphrases(layout, undefined, () => {}, { only });
  const tier = await loadTier(identity.fields.storageBackend);
  (await tier.open({ layout, passphrases }, identity, false))[Symbol.dispose]();
  const opened = passphrases.openedBy?.source;
  const done = opened === undefined ? null : settleNext(opened);
  if (done !== null) return done;
  throw new AmeshError("ERR_UNLOCK_FAILED", `a key of this backend does not need "${nextPath(path)}"`);
}
