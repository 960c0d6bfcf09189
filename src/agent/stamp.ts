/**
 * Telling whether a file is the one that it was. Commands replace identity.json by rename(2), so its inode changes; the time
 * tells, too, because the number of an inode comes back when the file before the last one is gone.
 */
import { errnoOf } from "../errors.ts";
import { host } from "../platform/host.ts";

/** Changes when the file is replaced or removed; says nothing else. */
export function fileStamp(path: string): string {
  try {
    const { dev, ino, size, modifiedMs } = host.lstat(path);
    return `${dev}:${ino}:${size}:${modifiedMs}`;
  } catch (error) {
    return errnoOf(error) ?? "unknown";
  }
}
