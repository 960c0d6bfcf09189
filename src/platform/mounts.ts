/** Which kind of file system a file lies on, as far as Linux tells. */
import type { FileInfo } from "./host.ts";
import { readSystemFile } from "./system_file.ts";

/** File systems that forget everything when the machine restarts. */
const VOLATILE = ["tmpfs", "ramfs"];

/** Type of the file system that a file lies on, as mount(8) calls it; `null` where it cannot be told. */
export function findFileSystem({ dev }: FileInfo): string | null {
  return fileSystemOf(dev, readSystemFile("/proc/self/mountinfo"));
}

/** Whether a file is mounted by itself, as containers do it with secrets; `false` where that cannot be told. */
export function isMountPoint(path: string): boolean {
  return hasMountPoint(path, readSystemFile("/proc/self/mountinfo"));
}

/** @param mountinfo as for {@linkcode fileSystemOf}; the fifth word is the mount point, with `\\040` for a space. */
export function hasMountPoint(path: string, mountinfo: string | null): boolean {
  const unescaped = (word: string) =>
    word.replaceAll(/\\([0-7]{3})/g, (_escape, octal: string) => String.fromCharCode(parseInt(octal, 8)));
  return (mountinfo ?? "").split("\n").some((line) => unescaped(line.split(" ")[4] ?? "") === path);
}

/** Whether a file system of this type lives in memory. */
export function isVolatile(type: string | null): boolean {
  return type !== null && VOLATILE.includes(type);
}

/**
 * @param dev device number as stat(2) gives it, put together by makedev(3).
 * @param mountinfo text of `/proc/self/mountinfo`: `36 35 98:0 / /mnt rw,noatime - ext4 /dev/sda1 rw` (proc(5)).
 */
export function fileSystemOf(dev: number, mountinfo: string | null): string | null {
  const major = Math.floor(dev / 256) & 0xfff;
  const minor = (dev & 0xff) + (Math.floor(dev / 0x100000) << 8);
  for (const line of (mountinfo ?? "").split("\n")) {
    const [, , device] = line.split(" ");
    if (device === `${major}:${minor}`) return / - (\S+) /.exec(line)?.[1] ?? null;
  }
  return null;
}
