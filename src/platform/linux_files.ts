/**
 * Looking at files and reading and writing them through libc, for Bun on Linux: loading its node:fs takes as long as all else
 * that a small command does. What changes directories stays with node:fs.
 */
import { library } from "../ffi/ffi.ts";
import { utf8 } from "../bytes.ts";
import { errnoOf } from "../errors.ts";
import { ERRNO } from "./errno.ts";
import type { FileHandle, FileInfo, OpenMode } from "./host.ts";
import { LINUX_FLAGS } from "./open_flags.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  readStatx,
  STATX_BASIC_STATS,
  STATX_BYTES,
  STATX_SYSCALL,
  SYS_STATX,
} from "./statx.ts";

/** The calls, as `Host` has them. */
export interface LinuxFiles {
  lstat(path: string): FileInfo;
  stat(path: string): FileInfo;
  open(path: string, how: OpenMode, mode?: number): FileHandle;
  /** A handle for a descriptor that is open and stays so. */
  handle(fd: number): FileHandle;
}

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: 0,
  create: LINUX_FLAGS.writeOnly | LINUX_FLAGS.create | LINUX_FLAGS.exclusive,
  truncate: LINUX_FLAGS.writeOnly | LINUX_FLAGS.create | LINUX_FLAGS.truncate,
};
/** As node:fs has it. */
const DEFAULT_MODE = 0o666;

/** Looking at a file in another way. */
export type Looks = Pick<LinuxFiles, "lstat" | "stat"> & { fstat(fd: number): FileInfo };

/** What a sandbox of containers answers that does not know statx(2); the files themselves never do. */
const NO_STATX = ["EPERM", "ENOSYS"];

/**
 * @param paths of libc, absolute.
 * @param arch the processor.
 * @param otherwise for where statx(2) is forbidden.
 */
export function linuxFiles(
  paths: () => readonly string[],
  arch: () => keyof typeof SYS_STATX,
  otherwise?: Looks,
): LinuxFiles {
  const libc = library(paths, {
    close: { parameters: ["i32"], result: "i32" },
    fsync: { parameters: ["i32"], result: "i32" },
    memcpy: { parameters: ["buffer", "address", "size"], result: "address" },
    // On Linux a variadic argument is passed as any other.
    open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
    // Of these two the result is an ssize_t; its lower half tells all, because no buffer here has 2 GiB.
    read: { parameters: ["i32", "buffer", "size"], result: "i32" },
    write: { parameters: ["i32", "buffer", "size"], result: "i32" },
    syscall: STATX_SYSCALL,
    __errno_location: { parameters: [], result: "address" },
  });
  const errno = new Int32Array(1);
  let location = 0n;

  /** @throws {Error} with `code`, as node:fs does. */
  const checked = (name: string, call: () => number): number => {
    // Binding opens libraries, which would overwrite errno.
    if (location === 0n) location = libc.__errno_location();
    for (;;) {
      const result = call();
      if (result >= 0) return result;
      libc.memcpy(new Uint8Array(errno.buffer), location, 4n);
      const code = ERRNO.linux[errno[0] as number] ?? "EIO";
      if (code !== "EINTR") throw Object.assign(new Error(`${name}: ${code}`), { code });
    }
  };

  const path = (text: string): Uint8Array => {
    // A path with a zero byte would name another file.
    if (text.includes("\0")) throw Object.assign(new Error("zero byte in a path"), { code: "EINVAL" });
    return utf8(`${text}\0`);
  };

  const info = (fd: number, name: string, flags: number, instead: (looks: Looks) => FileInfo): FileInfo => {
    try {
      return statx(fd, name, flags);
    } catch (error) {
      if (otherwise === undefined || !NO_STATX.includes(errnoOf(error) ?? "")) throw error;
      return instead(otherwise);
    }
  };

  const statx = (fd: number, name: string, flags: number): FileInfo => {
    const buffer = new Uint8Array(STATX_BYTES);
    const named = path(name);
    checked("statx", () => libc.syscall(SYS_STATX[arch()], fd, named, flags, STATX_BASIC_STATS, buffer));
    const { kind, mode, uid, size, dev, ino, modifiedMs } = readStatx(buffer);
    return { kind, mode, uid, size, dev, ino, modifiedMs };
  };

  const handleOf = (fd: number, close: () => void): FileHandle => ({
    read: (buffer) => {
      const length = BigInt(buffer.length);
      return checked("read", () => libc.read(fd, buffer, length));
    },
    write: (bytes) => {
      const length = BigInt(bytes.length);
      return checked("write", () => libc.write(fd, bytes, length));
    },
    sync: () => void checked("fsync", () => libc.fsync(fd)),
    info: () => info(fd, "", AT_EMPTY_PATH, (looks) => looks.fstat(fd)),
    close,
    [Symbol.dispose]: close,
  });

  return {
    lstat: (name) => info(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, (looks) => looks.lstat(name)),
    stat: (name) => info(AT_FDCWD, name, 0, (looks) => looks.stat(name)),
    open: (name, how, mode = DEFAULT_MODE) => {
      const named = path(name);
      const fd = checked("open", () => libc.open(named, FLAGS[how] | LINUX_FLAGS.closeOnExec, mode));
      return handleOf(fd, () => void libc.close(fd));
    },
    handle: (fd) => handleOf(fd, () => {}),
  };
}
