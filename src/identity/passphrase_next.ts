/**
 * A change of the passphrase that was interrupted: the next file (`nextPath`) holds the new passphrase, and the key is under
 * the one or the other. Whoever opens the key tells which.
 */
import { AmeshError, systemError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { TierContext } from "../keystore/keystore.ts";
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

/** Passphrase files with an interrupted change beside them. */
export function listInterrupted(layout: Layout): string[] {
  const named = namedPassphraseFile();
  return [...new Set(named === null ? [layout.passphrase] : [layout.passphrase, named])]
    .filter(hasNext);
}

/**
 * Finishes or undoes a change by finding out which of the two opens the key; where neither does, what the user gives in
 * another way may, and then the change did not come into force.
 *
 * @param path the passphrase file.
 * @returns what was done.
 * @throws {AmeshError} as `Tier.open`: nothing opens it, and both stay.
 */
export async function finishChange(context: TierContext, identity: Identity, path: string): Promise<string> {
  const { layout } = context;
  const next = nextPath(path);
  const kind = path === layout.passphrase ? "default-file" : "named-file";
  const only: PassphraseSource[] = [{ kind: "next-file", path: next, replaces: path }];
  if (findInfo(path) !== null) only.unshift({ kind, path });
  using passphrases = new Passphrases(layout, undefined, () => {}, { only });
  const opened = await findOpener({ layout, passphrases }, identity) ??
    await findOtherOpener(context, identity, path);
  if (opened?.kind === "next-file") {
    takeNext(path);
    return `put the new passphrase, which the key is under, at ${path}`;
  }
  if (opened === null) {
    throw new AmeshError("ERR_UNLOCK_FAILED", `neither "${path}" nor "${next}" opens the key`, {
      hint: "give the passphrase that does in another way, or restore one of them",
    });
  }
  removeFile(next);
  return `removed ${next}: the key is under the passphrase that it was to replace`;
}

/** The source that opens the key; `null` when none does. @throws {AmeshError} as `Tier.open`. */
async function findOpener(context: TierContext, identity: Identity): Promise<PassphraseSource | null> {
  const tier = await loadTier(identity.fields.storageBackend);
  try {
    (await tier.open(context, identity, false))[Symbol.dispose]();
    return context.passphrases.openedBy?.source ?? null;
  } catch (error) {
    if (error instanceof AmeshError && error.code === "ERR_UNLOCK_FAILED") return null;
    throw error;
  }
}

/** As {@linkcode findOpener}, with what the command itself has, unless that is the file in question. */
async function findOtherOpener(
  context: TierContext,
  identity: Identity,
  path: string,
): Promise<PassphraseSource | null> {
  const { current } = context.passphrases;
  if (current === undefined || ("path" in current && current.path === path)) return null;
  return await findOpener(context, identity);
}
