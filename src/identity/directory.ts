/** The names that amesh gives in its directory, and which of them are there. Nothing else in it is ever touched. */
import { errnoOf, isNotCapable } from "../errors.ts";
import { findInfo, findProblem, temporaryStart } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { baseName, joinPath, type Layout, parentPath } from "../platform/paths.ts";

/** What `writeFileAtomic` leaves behind when it is killed. */
export const TEMPORARY_NAME = /^\..+\.[0-9a-f]{16}\.tmp$/;
/** A key of any tier that has a file; also one that had to make way for another in `orphans/`. */
export const KEY_FILE_NAME = /^am_[A-Za-z0-9_-]{16}\.[a-z0-9.]+$/;
/** A continuity statement. */
export const STATEMENT_NAME = /^am_[A-Za-z0-9_-]{16}\.am_[A-Za-z0-9_-]{16}\.json$/;

/** Paths in a directory, sorted; none where it cannot be listed, which is a problem of the directory itself. */
export function listNames(directory: string, pattern: RegExp): string[] {
  try {
    // Not through a link: what lies behind it is not ours.
    if (host.lstat(directory).kind !== "directory") return [];
    return host.readDir(directory).filter((name) => pattern.test(name)).sort().map((name) =>
      joinPath(directory, name)
    );
  } catch (error) {
    if (errnoOf(error) !== undefined || isNotCapable(error)) return [];
    throw error;
  }
}

/** What killed commands left of a file that they were writing. @param path the file. */
export function listLeftovers(path: string): string[] {
  const start = temporaryStart(baseName(path));
  return listNames(parentPath(path), TEMPORARY_NAME).filter((name) => baseName(name).startsWith(start));
}

/** Key files in `keys/` and `orphans/` that belong to none of these device ids. */
export function listOtherKeys({ keys, orphans }: Layout, deviceIds: readonly string[]): string[] {
  const isNamed = (path: string) => deviceIds.some((id) => baseName(path).startsWith(`${id}.`));
  return [
    ...listNames(keys, KEY_FILE_NAME).filter((path) => !isNamed(path)),
    ...listNames(orphans, KEY_FILE_NAME),
  ];
}

/** Whether there is a regular file of ours under this name, which nobody else can have touched. */
export function isOwnFile(path: string, mode: number): boolean {
  const info = findInfo(path);
  return info?.kind === "file" && findProblem(path, info, mode) === null;
}
