/** What statx(2) tells. Its structure is the same on every processor (linux/stat.h). */
import type { FileInfo } from "./host.ts";

/** Length of struct statx. */
export const STATX_BYTES = 256;
/** Flag: the descriptor itself is meant. */
export const AT_EMPTY_PATH = 0x1000;
/** Flag: a link itself is meant. */
export const AT_SYMLINK_NOFOLLOW = 0x100;
/** In place of a descriptor: paths are relative to the working directory. */
export const AT_FDCWD = -100;
/** All that stat(2) tells. */
export const STATX_BASIC_STATS = 0x7ff;

/** statx(2) among the calls of the kernel, by processor (asm/unistd.h). */
export const SYS_STATX = { x64: 332n, arm64: 291n } as const;
/**
 * syscall(2) with the arguments of statx(2): musl before 1.2.4 (Alpine 3.17, Debian 12) has no function of that name.
 * Off Linux it is not called.
 */
export const STATX_SYSCALL = {
  parameters: ["size", "i32", "buffer", "i32", "u32", "buffer"],
  result: "i32",
} as const;

/** By the upper four bits of a mode. */
const KINDS: Readonly<Record<number, FileInfo["kind"]>> = {
  0o04: "directory",
  0o10: "file",
  0o12: "symlink",
  0o14: "socket",
};

/** What stat(2) tells besides {@linkcode FileInfo}. */
export interface SystemFileInfo extends FileInfo {
  readonly gid: number;
  readonly isCharacterDevice: boolean;
  /** Whether it has a file type; an anonymous inode of the kernel has none. */
  readonly hasType: boolean;
}

/** Reads struct statx, {@linkcode STATX_BYTES}. */
export function readStatx(bytes: Uint8Array): SystemFileInfo {
  const view = new DataView(bytes.buffer, bytes.byteOffset, STATX_BYTES);
  const [mode, major, minor] = [
    view.getUint16(28, true),
    view.getUint32(136, true),
    view.getUint32(140, true),
  ];
  return {
    kind: KINDS[mode >>> 12] ?? "other",
    mode: mode & 0o7777,
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    isCharacterDevice: mode >>> 12 === 0o02,
    hasType: mode >>> 12 !== 0,
    size: Number(view.getBigUint64(40, true)),
    // As makedev(3) puts the two together, for the numbers that Linux hands out.
    dev: ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0,
    ino: Number(view.getBigUint64(32, true)),
    // stx_mtime: seconds and nanoseconds.
    modifiedMs: Number(view.getBigInt64(112, true)) * 1000 + Math.floor(view.getUint32(120, true) / 1e6),
  };
}
