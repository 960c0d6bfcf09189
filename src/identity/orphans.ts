/** Keys that nothing refers to. They are kept apart until a person says that nobody needs them. */
import { systemError } from "../errors.ts";
import { ensureDirectory, FILE_MODE, findInfo, removeFile, syncDirectory } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { baseName, joinPath, type Layout, parentPath } from "../platform/paths.ts";
import { isOfDevice, isOwnFile, listNames, ORPHAN_NAME } from "./directory.ts";

/** The keys that are kept apart and that nobody needs. @param named device ids that identity.json and the records name. */
export function listOrphans({ orphans }: Layout, named: readonly string[]): string[] {
  return listNames(orphans, ORPHAN_NAME)
    .filter((path) => isOwnFile(path, FILE_MODE) && !named.some((id) => isOfDevice(path, id)));
}

/** Moves a key file out of the way; the caller holds the lock. @returns its new path. @throws {AmeshError} `ERR_SYSTEM`. */
export function moveToOrphans({ orphans }: Layout, path: string): string {
  ensureDirectory(orphans);
  return rename(path, freeName(joinPath(orphans, baseName(path))));
}

function rename(from: string, to: string): string {
  try {
    host.rename(from, to);
    syncDirectory(parentPath(to));
    syncDirectory(parentPath(from));
    return to;
  } catch (error) {
    throw systemError(`move "${from}" to "${to}"`, error);
  }
}

/** The name, or where it is taken the name and a number. */
function freeName(path: string): string {
  let free = path;
  for (let number = 1; findInfo(free) !== null; number++) free = `${path}.${number}`;
  return free;
}

/** Moves a key back that is needed after all; the caller holds the lock. @returns its new path. @throws {AmeshError} `ERR_SYSTEM`. */
export function moveBack({ keys }: Layout, path: string): string {
  ensureDirectory(keys);
  const target = joinPath(keys, baseName(path).replace(/\.\d+$/, ""));
  if (findInfo(target) !== null) throw systemError(`move "${path}" to "${target}"`, { code: "EEXIST" });
  return rename(path, target);
}

/** Destroys a key that was kept apart. @throws {AmeshError} `ERR_SYSTEM`. */
export function deleteOrphan(path: string): string | null {
  return removeFile(path) ? `destroyed ${path}` : null;
}
