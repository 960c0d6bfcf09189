/**
 * Flags of descriptors by fcntl(2), copies of them above a number, and which ones a program would inherit.
 */
import { library } from "../ffi/ffi.ts";
import { host } from "./host.ts";
import { checked, cString, libcPaths, readCString } from "./libc.ts";
import { openFlags } from "./open_flags.ts";

/**
 * fcntl(2) is variadic. On macOS on arm64 what is variadic lies on the stack, however many registers are
 * free; so the argument is passed twice, as the third one, where all others look for it, and as the ninth,
 * which is the first that does not fit into a register there. The ones between are never read.
 */
const libc = library(libcPaths, {
  fcntl: {
    parameters: ["i32", "i32", "size", "size", "size", "size", "size", "size", "size"],
    result: "i32",
  },
});

const listing = library(libcPaths, {
  closedir: { parameters: ["address"], result: "i32" },
  opendir: { parameters: ["buffer"], result: "address" },
  readdir: { parameters: ["address"], result: "address" },
});

/** fcntl.h */
const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const FD_CLOEXEC = 1;
const F_DUPFD_CLOEXEC = { linux: 1030, darwin: 67 } as const;

const system = () => host.os === "darwin" ? "darwin" : "linux";

function fcntl(fd: number, command: number, argument: number): number {
  const value = BigInt(argument);
  return checked("fcntl", () => libc.fcntl(fd, command, value, 0n, 0n, 0n, 0n, 0n, value));
}

/** Keeps a descriptor from programs that this process starts. @throws {Error} with `code`. */
export function closeOnExec(fd: number): void {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/** Whether a descriptor is open and reaches programs that this process starts. */
function isInherited(fd: number): boolean {
  try {
    return (fcntl(fd, F_GETFD, 0) & FD_CLOEXEC) === 0;
  } catch {
    return false;
  }
}

/** Makes reading and writing return at once. @throws {Error} with `code`. */
export function setNonblocking(fd: number): void {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | openFlags(host).nonBlocking);
}

/** Makes reading and writing wait, as programs expect of their standard streams. @throws {Error} with `code`. */
export function setBlocking(fd: number): void {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) & ~openFlags(host).nonBlocking);
}

/**
 * A copy of a descriptor, close-on-exec, with a number that is at least `lowest`.
 *
 * @throws {Error} with `code`.
 */
export function duplicateAbove(fd: number, lowest: number): number {
  return fcntl(fd, F_DUPFD_CLOEXEC[system()], lowest);
}

/** Enough to find what a shell or a supervisor leaves open, where the kernel does not list it. */
const SCANNED = 1024;
/** Where the name begins in a struct dirent (64-bit glibc and musl). */
const NAME_OFFSET = 19n;

/**
 * Descriptors that reach programs which this process starts: what it was given itself, because the runtimes
 * and amesh open theirs close-on-exec. None on macOS, where a program gets no more than it is meant to.
 */
export function inheritedDescriptors(): number[] {
  if (host.os === "darwin") return [];
  const listed = listDescriptors() ?? Array.from({ length: SCANNED }, (_, fd) => fd);
  return listed.filter(isInherited);
}

/** All that are open; `null` without /proc. Deno lets nobody else read it. */
function listDescriptors(): number[] | null {
  const directory = listing.opendir(cString("/proc/self/fd"));
  if (directory === 0n) return null;
  const found: number[] = [];
  for (let entry; (entry = listing.readdir(directory)) !== 0n;) {
    const name = readCString(entry + NAME_OFFSET);
    if (/^\d+$/.test(name)) found.push(Number(name));
  }
  listing.closedir(directory);
  return found;
}
