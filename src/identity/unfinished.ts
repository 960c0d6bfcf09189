/** What killed commands left half done, and how it is completed or undone. */
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { TierContext } from "../keystore/keystore.ts";
import { loadTier } from "../keystore/select.ts";
import { nextPath } from "../passphrase/files.ts";
import { FILE_MODE, removeFile } from "../platform/files.ts";
import { isOwnFile } from "./directory.ts";
import { finishChange, listInterrupted } from "./passphrase_next.ts";
import {
  findDeleted,
  findReplaced,
  finishDeletion,
  finishReplacement,
  type Replaced,
  undoReplacement,
} from "./records.ts";

/** A change that was not finished. */
export interface Unfinished {
  readonly path: string;
  /** A predicate: `is …`. */
  readonly problem: string;
  /** What {@linkcode finish} does, after "will". */
  readonly plan: string;
  /** Device id of the key that it destroys. */
  readonly destroys?: string;
  /** Under the lock. @returns what was done. @throws {AmeshError} */
  finish(): Promise<string>;
}

/** What is unfinished in a directory that is ours alone. @param identity the one in force. */
export async function findUnfinished(
  context: TierContext,
  identity: Identity | null,
): Promise<Unfinished[]> {
  const { layout } = context;
  const deleted = isOwnFile(layout.deleted, FILE_MODE) ? await findDeleted(layout) : null;
  const replaced = isOwnFile(layout.replaced, FILE_MODE) ? await findReplaced(layout) : null;
  return [
    ...deleted === null ? [] : [unfinishedDeletion(context, deleted, identity)],
    ...replaced === null ? [] : [unfinishedReplacement(context, replaced, identity)],
    ...isOwnFile(layout.uncommitted, FILE_MODE) ? [unfinishedKey(context, identity)] : [],
    ...identity?.fields.storageBackend === "encrypted-file" ? unfinishedChanges(context, identity) : [],
  ];
}

function unfinishedDeletion(context: TierContext, deleted: Identity, identity: Identity | null): Unfinished {
  const path = context.layout.deleted;
  const id = deleted.fields.deviceId;
  if (id === identity?.fields.deviceId) {
    return {
      path,
      problem: `is of the deletion of ${id}, which is in force`,
      plan: `remove ${path}`,
      finish: () => Promise.resolve(removed(path)),
    };
  }
  return {
    path,
    problem: `is of an unfinished deletion of ${id}`,
    plan: `destroy the key of ${id}, which was being deleted`,
    destroys: id,
    finish: async () => {
      await finishDeletion(context, deleted);
      return `destroyed the key of ${id}, which was being deleted`;
    },
  };
}

function unfinishedReplacement(
  context: TierContext,
  replaced: Replaced,
  identity: Identity | null,
): Unfinished {
  const { layout } = context;
  const path = layout.replaced;
  const id = replaced.fields.deviceId;
  if (identity?.fields.deviceId === id) {
    return {
      path,
      problem: `is of a replacement of ${id} that did not come into force`,
      plan: `remove ${path} and the continuity statement of a key that did not come into force`,
      finish: () => {
        undoReplacement(layout, replaced);
        return Promise.resolve(`took back a replacement of ${id} that did not come into force`);
      },
    };
  }
  // A third identity, or none, does not say what became of the first: its key is then one that nothing names.
  if (identity?.fields.deviceId !== replaced.replacedBy) {
    return {
      path,
      problem: `is of a replacement of ${id} by a key that is not in force any more`,
      plan: `remove ${path}`,
      finish: () => Promise.resolve(removed(path)),
    };
  }
  return {
    path,
    problem: `is of an unfinished replacement: the key of ${id} is not destroyed yet`,
    plan: `destroy the key of ${id}, which ${replaced.replacedBy} has replaced`,
    destroys: id,
    finish: async () => {
      await finishReplacement(context, replaced);
      return `destroyed the key of ${id}, which was replaced`;
    },
  };
}

function unfinishedKey(context: TierContext, identity: Identity | null): Unfinished {
  const path = context.layout.uncommitted;
  return {
    path,
    problem: "is of a key in the keychain that was being made",
    plan: "delete that key from the keychain, unless identity.json names it",
    finish: async () => {
      await (await loadTier("keychain")).removeUncommitted?.(context, identity);
      return "deleted a key from the keychain that never came into force";
    },
  };
}

function unfinishedChanges(context: TierContext, identity: Identity): Unfinished[] {
  return listInterrupted(context.layout).map((path) => ({
    path: nextPath(path),
    problem: "is of an interrupted change of the passphrase",
    plan: `find out which of ${path} and ${nextPath(path)} opens the key, and keep that one`,
    finish: () => finishChange(context, identity, path),
  }));
}

function removed(path: string): string {
  removeFile(path);
  return `removed ${path}`;
}

/**
 * Finishes what a killed command left, before another change begins, and says so.
 *
 * @param passphrases `keep passphrases`: an interrupted change of the passphrase is left as it is.
 * @throws {AmeshError} a record cannot be finished, and another one must not take its place. A passphrase that nobody can
 *   tell is a warning: what needs it will say more.
 */
export async function settle(
  context: TierContext,
  identity: Identity | null,
  passphrases?: "keep passphrases",
): Promise<void> {
  const { layout, passphrases: { warn } } = context;
  for (const { path, finish } of await findUnfinished(context, identity)) {
    const isRecord = path === layout.deleted || path === layout.replaced;
    const isPassphrase = !isRecord && path !== layout.uncommitted;
    if (isPassphrase && passphrases !== undefined) continue;
    try {
      warn(`an interrupted command was finished: ${await finish()}`);
    } catch (error) {
      if (!(error instanceof AmeshError)) throw error;
      if (isRecord) throw unfinishable(error, path);
      warn(`an interrupted command could not be finished: ${error.message}`);
    }
  }
}

function unfinishable({ code, message, hint }: AmeshError, path: string): AmeshError {
  const why = hint === undefined ? "" : `${hint}; `;
  return new AmeshError(code, `cannot finish an interrupted command: ${message}`, {
    hint: `${why}if what it needs is gone for good, remove ${path}`,
  });
}
