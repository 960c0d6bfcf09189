/** The names that amesh gives in its directory, and which of them are there. Nothing else in it is ever touched. */
import { errnoOf, isNotCapable } from "../errors.ts";
import { findInfo, findProblem, temporaryStart } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { baseName, joinPath, type Layout, parentPath } from "../platform/paths.ts";

/** What `writeFileAtomic` leaves behind when it is killed. */
export const TEMPORARY_NAME = /^\..+\.[0-9a-f]{16}\.tmp$/;
/** A key of any tier that has a file. */
export const KEY_FILE_NAME = /^am_[A-Za-z0-9_-]{16}\.(key\.json|tss2\.pem|se\.json)$/;
/** The same in `orphans/`, where it may have had to make way for another. */
export const ORPHAN_NAME = /^am_[A-Za-z0-9_-]{16}\.(key\.json|tss2\.pem|se\.json)(\.\d+)?$/;
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
  const isOfFile = (name: string) =>
    name.startsWith(start) && /^[0-9a-f]{16}\.tmp$/.test(name.slice(start.length));
  return listNames(parentPath(path), TEMPORARY_NAME).filter((name) => isOfFile(baseName(name)));
}

/** Whether a file of `keys/` or `orphans/`, or a part of one, is of this device id. */
export function isOfDevice(path: string, deviceId: string): boolean {
  return baseName(path).startsWith(`${deviceId}.`) || baseName(path).startsWith(`.${deviceId}.`);
}

/**
 * Key files in `keys/` and `orphans/` that are not of this device id. A directory that cannot be listed, or that is a link,
 * is named itself: it may hold some.
 */
export function listOtherKeys({ keys, orphans }: Layout, deviceId: string): string[] {
  const listed = (folder: string, pattern: RegExp) =>
    canList(folder) ? listNames(folder, pattern).filter((path) => !isOfDevice(path, deviceId)) : [folder];
  return [...listed(keys, KEY_FILE_NAME), ...listed(orphans, ORPHAN_NAME)];
}

/** Whether a folder is there and can be listed, or is surely not there. */
function canList(folder: string): boolean {
  try {
    if (host.lstat(folder).kind !== "directory") return false;
    host.readDir(folder);
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return true;
    if (errnoOf(error) !== undefined || isNotCapable(error)) return false;
    throw error;
  }
}

/** Whether there is a regular file of ours under this name, which nobody else can have touched. */
export function isOwnFile(path: string, mode: number): boolean {
  const info = findInfo(path);
  return info?.kind === "file" && findProblem(path, info, mode) === null;
}
