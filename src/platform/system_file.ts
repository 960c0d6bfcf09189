/**
 * Files, descriptors and the terminal through libc: what lies below `/proc`, `/sys` and `/dev`, which Deno keeps from every
 * program that has less than all permissions, and what this process was given open. Unix only.
 */
import { concatBytes } from "../bytes.ts";
import { errnoOf } from "../errors.ts";
import { FfiLoadError, library } from "../ffi/ffi.ts";
import { type FileHandle, host } from "./host.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  readStatx,
  STATX_BASIC_STATS,
  STATX_BYTES,
  STATX_SYSCALL,
  SYS_STATX,
  type SystemFileInfo,
} from "./statx.ts";
import { checked, cString, libcPaths, withoutLibc } from "./libc.ts";
import { openFlags } from "./open_flags.ts";

const libc = library(libcPaths, {
  close: { parameters: ["i32"], result: "i32" },
  // Called for F_GETFD, which takes no third argument.
  fcntl: { parameters: ["i32", "i32"], result: "i32" },
  isatty: { parameters: ["i32"], result: "i32" },
  // Called without a mode, so the missing third argument of this variadic function is never read.
  open: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "size"], result: "size" },
  syscall: STATX_SYSCALL,
  write: { parameters: ["i32", "buffer", "size"], result: "size" },
});

/** fcntl(2) (fcntl.h). */
const F_GETFD = 1;
const FD_CLOEXEC = 1;

/**
 * Opens for reading what Deno keeps from every program that has less than all permissions: `/proc`, `/sys` and
 * `/dev` (`/dev/fd/63` is what a shell's `<(…)` passes).
 *
 * @throws {Error} with `code`.
 */
export function openSystemFile(path: string): FileHandle {
  const fd = checked("open", () => libc.open(cString(path), openFlags(host).closeOnExec));
  return systemHandle(fd, () => void libc.close(fd));
}

/** Whether a descriptor is a terminal's. @throws {FfiLoadError} no libc. */
export function isTerminal(fd: number): boolean {
  return libc.isatty(fd) === 1;
}

/**
 * A descriptor that this process was given; closing the handle leaves it open.
 *
 * @throws {Error} with `code`: `EBADF` when it is not open or is the runtime's own.
 */
export function openDescriptor(fd: number): FileHandle {
  if (isOfRuntime(fd)) throw Object.assign(new Error("not open"), { code: "EBADF" });
  return systemHandle(fd, () => {});
}

/**
 * Whether the runtime opened a descriptor for itself. Deno's are closed on exec(2), which inherited ones never are; Bun
 * marks all of them so when it starts, but its own (epoll, eventfd) have no file type.
 */
function isOfRuntime(fd: number): boolean {
  const flags = checked("fcntl", () => libc.fcntl(fd, F_GETFD));
  if (host.runtime === "deno") return (flags & FD_CLOEXEC) !== 0;
  return host.os === "linux" && fileInfo(fd, "", AT_EMPTY_PATH)?.hasType !== true;
}

/** Opens the terminal of this process, which is no one's standard stream. @throws {Error} with `code`: there is none. */
export function openTerminal(): { readonly fd: number; readonly handle: FileHandle } {
  const { readWrite, closeOnExec, nonBlocking } = openFlags(host);
  const flags = readWrite | closeOnExec | nonBlocking;
  const fd = checked("open", () => libc.open(cString("/dev/tty"), flags));
  return { fd, handle: systemHandle(fd, () => void libc.close(fd)) };
}

function systemHandle(fd: number, close: () => void): FileHandle {
  return {
    read: (buffer) => {
      const length = BigInt(buffer.length);
      return Number(checked("read", () => BigInt.asIntN(64, libc.read(fd, buffer, length))));
    },
    write: (bytes) => {
      const length = BigInt(bytes.length);
      return Number(checked("write", () => BigInt.asIntN(64, libc.write(fd, bytes, length))));
    },
    sync: () => {},
    info: () => {
      const { gid: _gid, isCharacterDevice: _isCharacterDevice, hasType: _hasType, ...info } =
        fileInfo(fd, "", AT_EMPTY_PATH) ??
          UNKNOWN_FILE;
      return info;
    },
    close,
    [Symbol.dispose]: close,
  };
}

const UNKNOWN_FILE = {
  kind: "other",
  mode: null,
  uid: null,
  gid: 0,
  isCharacterDevice: false,
  hasType: false,
  size: 0,
  dev: 0,
  ino: 0,
  modifiedMs: 0,
} as const;

/** stat(2) for what Deno keeps from programs. @returns `null` when it cannot be looked at. */
export function systemFileInfo(path: string): SystemFileInfo | null {
  return withoutLibc(() => fileInfo(AT_FDCWD, path, 0), () => null);
}

/** statx(2), whose structure is the same on every processor (linux/stat.h); `null` where there is none. */
function fileInfo(fd: number, path: string, flags: number): SystemFileInfo | null {
  if (host.os !== "linux") return null;
  const buffer = new Uint8Array(STATX_BYTES);
  const number = SYS_STATX[host.arch];
  const statx = () => libc.syscall(number, fd, cString(path), flags, STATX_BASIC_STATS, buffer) === 0;
  return withoutLibc(statx, () => false) ? readStatx(buffer) : null;
}

/** Text of a file below `/proc`, `/sys`, `/dev` or `/etc`; `null` when it cannot be read. */
export function readSystemFile(path: string): string | null {
  try {
    using file = openSystemFile(path);
    const pieces: Uint8Array[] = [];
    const buffer = new Uint8Array(1 << 14);
    for (let count; (count = file.read(buffer)) > 0;) pieces.push(buffer.slice(0, count));
    return new TextDecoder().decode(concatBytes(...pieces));
  } catch (error) {
    if (error instanceof FfiLoadError || errnoOf(error) !== undefined) return null;
    throw error;
  }
}
