/** Keys that nothing refers to. They are kept apart until a person says that nobody needs them. */
import { systemError } from "../errors.ts";
import { ensureDirectory, FILE_MODE, findInfo, removeFile, syncDirectory } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { baseName, joinPath, type Layout, parentPath } from "../platform/paths.ts";
import { isOwnFile, KEY_FILE_NAME, listNames } from "./directory.ts";

/** The keys that are kept apart. */
export function listOrphans({ orphans }: Layout): string[] {
  return listNames(orphans, KEY_FILE_NAME).filter((path) => isOwnFile(path, FILE_MODE));
}

/** Moves a key file out of the way; the caller holds the lock. @returns its new path. @throws {AmeshError} `ERR_SYSTEM`. */
export function moveToOrphans({ orphans }: Layout, path: string): string {
  ensureDirectory(orphans);
  const target = freeName(joinPath(orphans, baseName(path)));
  try {
    host.rename(path, target);
    syncDirectory(orphans);
    syncDirectory(parentPath(path));
    return target;
  } catch (error) {
    throw systemError(`move "${path}" to "${orphans}"`, error);
  }
}

/** The name, or where it is taken the name and a number. */
function freeName(path: string): string {
  let free = path;
  for (let number = 1; findInfo(free) !== null; number++) free = `${path}.${number}`;
  return free;
}

/** Destroys a key that was kept apart. @throws {AmeshError} `ERR_SYSTEM`. */
export function deleteOrphan(path: string): string | null {
  return removeFile(path) ? `destroyed ${path}` : null;
}
