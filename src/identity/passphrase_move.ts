/** Moving the passphrase file: a copy, the proof that the key opens with it, and only then, if asked for, the old one goes. */
import { type Bytes, equalBytes, wipe } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { readOperatorPassphrase, readOwnPassphrase, writePassphraseFile } from "../passphrase/files.ts";
import { Passphrases } from "../passphrase/passphrases.ts";
import { describeSource, type FileSource, type PassphraseSource } from "../passphrase/sources.ts";
import { findInfo, PASSPHRASE_MODE, removeFile } from "../platform/files.ts";
import { findInput } from "../platform/input.ts";
import { findFileSystem, isVolatile } from "../platform/mounts.ts";
import { baseName, type Layout, parentPath } from "../platform/paths.ts";
import { isOwnFile, listLeftovers } from "./directory.ts";
import { type LockedKey, type PassphraseCommand, underLock } from "./passphrase_key.ts";

/** What `passphrase move` asks for. */
export interface MoveOptions extends PassphraseCommand {
  /** Absolute path of the new file. */
  readonly target: string;
  /** Remove the old file when the key opens with the new one. */
  readonly removeOld: boolean;
}

/** What became of it. */
export interface Move {
  /** The old file; `null` when the passphrase was at the target already and nowhere else. */
  readonly from: string | null;
  /** Whether that one is gone. */
  readonly isRemoved: boolean;
}

/**
 * @throws {AmeshError} `ERR_USAGE`: no file is in force, something else is at the target; `ERR_UNLOCK_FAILED`: the key does
 *   not open with it; `ERR_BUSY`; `ERR_SYSTEM`. The old file is then as it was.
 */
export async function movePassphrase(options: MoveOptions): Promise<Move> {
  const { layout, target, removeOld } = options;
  requirePlace(layout, target);
  return await underLock(options, () => Promise.resolve(), async (key) => {
    const source = findFile(key, target);
    // A killed `move` may have left a part of it, which holds the passphrase.
    listLeftovers(target).filter((path) => isOwnFile(path, PASSPHRASE_MODE)).forEach(removeFile);
    const isNew = source !== null && copy(key, target);
    try {
      await proveCopy(key, target);
    } catch (error) {
      if (isNew) removeFile(target);
      throw error;
    }
    const from = source?.path ?? (removeOld ? findOld(layout, target) : null);
    if (from === null || !removeOld) return { from, isRemoved: false };
    const info = findInput(target);
    if (info !== null && isVolatile(findFileSystem(info))) {
      options.warn(
        `${target} is gone when the machine restarts, and ${from} is removed now: keep the passphrase elsewhere`,
      );
    }
    return { from, isRemoved: removeFile(from) };
  });
}

/** The default file, where an earlier move has left it: another file with the same passphrase. */
function findOld({ passphrase }: Layout, target: string): string | null {
  if (findInfo(passphrase) === null || isSame(passphrase, target)) return null;
  const { bytes } = readOperatorPassphrase(target, `file ${target}`);
  const isOld = holds(passphrase, bytes);
  wipe(bytes);
  return isOld ? passphrase : null;
}

/** Where a passphrase file may be made. @throws {AmeshError} `ERR_USAGE` */
function requirePlace(layout: Layout, target: string): void {
  const kind = findInput(target)?.kind ?? findInfo(target)?.kind ?? "file";
  if (kind !== "file") {
    throw new AmeshError("ERR_USAGE", `cannot move the passphrase to "${target}": it is no file`, {
      hint: "name the new file, not its directory",
    });
  }
  const folder = parentPath(target);
  const isOurs = [layout.directory, layout.keys, layout.history, layout.run, layout.orphans]
    .some((own) => isSame(own, folder));
  if (!isOurs || (isSame(layout.directory, folder) && baseName(target) === baseName(layout.passphrase))) {
    return;
  }
  throw new AmeshError(
    "ERR_USAGE",
    `cannot move the passphrase to "${target}": amesh keeps its own files there`,
    {
      hint: "choose a place outside of the amesh directory",
    },
  );
}

/** Whether two names lead to one file, however they are spelt. */
function isSame(one: string, other: string): boolean {
  const [first, second] = [findInput(one), findInput(other)];
  if (first === null || second === null) return false;
  // Where no inode is known, the name must do.
  return first.ino === 0 ? one === other : first.dev === second.dev && first.ino === second.ino;
}

/** The passphrase file in force; `null` when it is the target, or when only the target is left of an earlier move. */
function findFile({ context: { passphrases } }: LockedKey, target: string): FileSource | null {
  const source = passphrases.current;
  if (source === undefined && findInfo(target) !== null) return null;
  if (source?.kind === "default-file" || source?.kind === "named-file") {
    // By the file and not by its name: removing the one would remove the other.
    if (isSame(source.path, target)) return null;
    const info = findInfo(source.path);
    if (info?.kind === "file") return source;
    if (info === null && findInfo(target) !== null) return null;
  }
  const from = source === undefined ? "nowhere" : describeSource(source);
  throw new AmeshError(
    "ERR_USAGE",
    `cannot move the passphrase: it comes from ${from}, which is no file of amesh`,
    { hint: "move it where it is kept, and set the variable that names its new place" },
  );
}

/** @returns whether it was made; `false` when the same passphrase was there. @throws {AmeshError} `ERR_USAGE` */
function copy({ context: { passphrases } }: LockedKey, target: string): boolean {
  const { bytes } = passphrases.readCurrent();
  try {
    if (findInfo(target) === null) {
      writePassphraseFile(target, bytes);
      return true;
    }
    if (holds(target, bytes)) return false;
  } finally {
    wipe(bytes);
  }
  throw new AmeshError("ERR_USAGE", `cannot move the passphrase to "${target}": something else is there`, {
    hint: "choose another place, or move that file away",
  });
}

/** Whether a file of our own holds this passphrase. */
function holds(path: string, passphrase: Bytes): boolean {
  try {
    const there = readOwnPassphrase(path, `file ${path}`);
    const isEqual = there !== null && equalBytes(there, passphrase);
    wipe(there ?? undefined);
    return isEqual;
  } catch (error) {
    if (error instanceof AmeshError) return false;
    throw error;
  }
}

/** Opens the key with what is at the target and nothing else. @throws {AmeshError} as `Tier.open`. */
async function proveCopy({ context, tier, identity }: LockedKey, target: string): Promise<void> {
  const { layout, passphrases: { warn } } = context;
  const only: PassphraseSource[] = [{ kind: "named-file", path: target }];
  using passphrases = new Passphrases(layout, undefined, warn, { only });
  (await tier.open({ layout, passphrases }, identity, false))[Symbol.dispose]();
}
