/**
 * Flags of open(2), which are also those of fcntl(2), accept4(2) and pipe2(2): numbers that differ between systems
 * and, what is easily missed, between processors.
 *
 * @see Linux: include/uapi/asm-generic/fcntl.h, arch/arm64/include/uapi/asm/fcntl.h. macOS: sys/fcntl.h.
 */

/** What a machine's flags depend on; `host` is one. */
export interface Machine {
  readonly os: "linux" | "darwin" | "windows";
  readonly arch: "x64" | "arm64";
}

/** By their names in fcntl.h: O_RDWR, O_NONBLOCK, O_CLOEXEC, O_NOFOLLOW. */
export interface OpenFlags {
  readonly readWrite: number;
  readonly nonBlocking: number;
  readonly closeOnExec: number;
  readonly noFollow: number;
}

/** Those that Linux has in common for x64 and arm64; with O_WRONLY, O_CREAT, O_EXCL and O_TRUNC. */
export const LINUX_FLAGS = {
  writeOnly: 0o1,
  readWrite: 0o2,
  create: 0o100,
  exclusive: 0o200,
  truncate: 0o1000,
  nonBlocking: 0o4000,
  closeOnExec: 0o2000000,
} as const;

/** The number of the one is O_LARGEFILE of the other, which every open(2) takes without a word. */
const LINUX_NO_FOLLOW = { x64: 0o400000, arm64: 0o100000 } as const;

const DARWIN: OpenFlags = { readWrite: 2, nonBlocking: 0x4, closeOnExec: 0x1000000, noFollow: 0x100 };

/** The flags of a Unix machine. */
export function openFlags({ os, arch }: Machine): OpenFlags {
  return os === "darwin" ? DARWIN : { ...LINUX_FLAGS, noFollow: LINUX_NO_FOLLOW[arch] };
}
