/**
 * The C library of this process: what neither runtime offers. Unix only; nothing is loaded before a call.
 *
 * Constants are those of Linux (include/uapi) and macOS (sys/file.h).
 */
import { FfiLoadError, library } from "../ffi/ffi.ts";
import { type Bytes, utf8 } from "../bytes.ts";
import { errnoOf } from "../errors.ts";
import { ERRNO } from "./errno.ts";
import { host } from "./host.ts";
import { LIBC, LINUX_DIRECTORIES, MUSL_PATHS } from "./libc_build.ts";
import { openFlags } from "./open_flags.ts";

const libc = library(libcPaths, {
  close: { parameters: ["i32"], result: "i32" },
  dlopen: { parameters: ["buffer", "i32"], result: "address" },
  dlsym: { parameters: ["address", "buffer"], result: "address" },
  flock: { parameters: ["i32", "i32"], result: "i32" },
  getenv: { parameters: ["buffer"], result: "address" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  madvise: { parameters: ["buffer", "size", "i32"], result: "i32" },
  memcpy: { parameters: ["buffer", "address", "size"], result: "address" },
  memset: { parameters: ["address", "i32", "size"], result: "address" },
  // Called without a mode, so the missing third argument of this variadic function is never read.
  open: { parameters: ["buffer", "i32"], result: "i32" },
  prctl: { parameters: ["i32", "size", "size", "size", "size"], result: "i32" },
  setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32" },
  strlen: { parameters: ["address"], result: "size" },
  unsetenv: { parameters: ["buffer"], result: "i32" },
  __errno_location: { parameters: [], result: "address" },
  __error: { parameters: [], result: "address" },
});

/** Absolute paths of the libc that this process runs on. */
export function libcPaths(): readonly string[] {
  if (host.os === "darwin") return ["/usr/lib/libSystem.B.dylib"];
  if (host.os === "windows") return [];
  const candidates = systemLibraryPaths("libc.so.6");
  if (host.runtime === "deno" || LIBC === "glibc") return candidates;
  if (LIBC === "musl") return [MUSL_PATHS[host.arch]];
  // A musl executable must not load a glibc that happens to lie on the same machine, so ask the kernel.
  const mapped = /(\/\S*\/(?:libc\.so\.6|libc\.musl-\S+|ld-musl-\S+\.so\.1))$/m.exec(
    readAll("/proc/self/maps"),
  );
  return mapped?.[1] === undefined ? candidates : [mapped[1]];
}

/** Absolute paths where a Linux distribution may keep a library. @param name its soname. */
export function systemLibraryPaths(name: string): string[] {
  return host.os === "linux" ? LINUX_DIRECTORIES[host.arch].map((directory) => `${directory}/${name}`) : [];
}

function readAll(path: string): string {
  using file = host.open(path, "read");
  const buffer = new Uint8Array(1 << 16);
  let text = "";
  for (let count; (count = file.read(buffer)) > 0;) {
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  return text;
}

/** A text as C takes it: UTF-8 and a zero byte. */
export const cString = (text: string): Bytes => utf8(`${text}\0`);

/** Where errno lies; each thread has its own, and loads this file for itself. */
let errnoLocation = 0n;
const errnoView = new DataView(new ArrayBuffer(4));
const errnoBytes = new Uint8Array(errnoView.buffer);

/**
 * Makes {@linkcode failure} ready; called before the call whose errno it will read: binding opens libraries, and a
 * library that is not there would overwrite it. Costs nothing but the first time.
 */
export function bindErrno(): void {
  if (errnoLocation !== 0n) return;
  const location = host.os === "darwin" ? libc.__error() : libc.__errno_location();
  libc.memcpy(errnoBytes, location, 4n);
  errnoLocation = location;
}

/** The errno name of the call that has just failed, `EIO` for one that has no name here; see {@linkcode bindErrno}. */
export function failure(): string {
  libc.memcpy(errnoBytes, errnoLocation, 4n);
  return errnoName(errnoView.getInt32(0, true));
}

function errnoName(errno: number): string {
  return ERRNO[host.os === "darwin" ? "darwin" : "linux"][errno] ?? "EIO";
}

/** The error of a function of the C library that gives an errno. @param name of the function. */
export function errnoError(name: string, errno: number): Error {
  return Object.assign(new Error(`${name}: errno ${errno}`), { code: errnoName(errno) });
}

/**
 * Calls a function that reports failure by a negative result.
 *
 * @throws {Error} with `code`.
 */
export function checked<T extends number | bigint>(name: string, call: () => T): T {
  bindErrno();
  const result = call();
  if (result >= 0) return result;
  libc.memcpy(errnoBytes, errnoLocation, 4n);
  throw errnoError(name, errnoView.getInt32(0, true));
}

const LOCK_EX_NB = 2 | 4;

/**
 * Opens an existing file and takes its exclusive flock(2), which the kernel releases when the holder dies.
 *
 * @returns `"busy"` when another process holds it, else what releases it.
 * @throws {Error} with `code`; `ENOLCK`, `ENOSYS`, `EOPNOTSUPP` or `EINVAL` where the file system has no flock.
 * @throws {FfiLoadError} no libc.
 */
export function lockFile(path: string): Disposable | "busy" {
  const { readWrite, noFollow, closeOnExec } = openFlags(host);
  const flags = readWrite | noFollow | closeOnExec;
  const fd = checked("open", () => libc.open(cString(path), flags));
  try {
    checked("flock", () => libc.flock(fd, LOCK_EX_NB));
    return { [Symbol.dispose]: () => void libc.close(fd) };
  } catch (error) {
    libc.close(fd);
    if (errnoOf(error) === "EAGAIN") return "busy";
    throw error;
  }
}

/** Whether a variable is set and not empty, without taking a copy of its value. */
export function hasEnvironmentVariable(name: string): boolean {
  return withoutLibc(
    () => {
      const address = libc.getenv(cString(name));
      return address !== 0n && libc.strlen(address) > 0n;
    },
    () => Boolean(host.env(name)),
  );
}

/** A variable's bytes as they stand; none when it is not set. */
export function copyEnvironmentSecret(name: string): Bytes {
  return withoutLibc(
    () => {
      const address = libc.getenv(cString(name));
      return address === 0n ? new Uint8Array(0) : readMemory(address, Number(libc.strlen(address)));
    },
    () => utf8(host.env(name) ?? ""),
  );
}

/**
 * Takes a secret out of the environment: its bytes are overwritten in the process's own environment block
 * (`/proc/self/environ` keeps them otherwise) and the variable is unset, so that no child inherits it. Without libc
 * it is only unset.
 *
 * @returns the value's bytes as they stood; none when the variable is not set.
 */
export function takeEnvironmentSecret(name: string): Bytes {
  const value = copyEnvironmentSecret(name);
  withoutLibc(
    () => {
      const address = libc.getenv(cString(name));
      if (value.length > 0 && address !== 0n) libc.memset(address, 0, BigInt(value.length));
      libc.unsetenv(cString(name));
    },
    () => {},
  );
  // Bun keeps an environment of its own besides libc's.
  host.unsetEnv(name);
  return value;
}

/** Sets a variable where C libraries look for it, which neither runtime's own environment is sure to reach. */
export function setEnvironmentVariable(name: string, value: string): void {
  libc.setenv(cString(name), cString(value), 1);
}

/** A copy of C memory. @param address not NULL. */
export function readMemory(address: bigint, length: number): Bytes {
  const bytes = new Uint8Array(length);
  if (length > 0) libc.memcpy(bytes, address, BigInt(length));
  return bytes;
}

/** dlfcn.h, the same on Linux and macOS. */
const RTLD_LAZY = 1;

/**
 * Where a variable of a C library lies. Deno tells addresses of variables to programs with all FFI permissions only, and
 * Bun has no variables; a C library older than glibc 2.34 lacks this.
 *
 * @param path of the library, absolute.
 * @throws {FfiLoadError} no such library or variable.
 */
export function variableAddress(path: string, name: string): bigint {
  // The library is in use for the life of the process, so its handle is not given back.
  const handle = libc.dlopen(cString(path), RTLD_LAZY);
  const address = handle === 0n ? 0n : libc.dlsym(handle, cString(name));
  if (address === 0n) throw new FfiLoadError(name, [path], {});
  return address;
}

/** The pointer at an address. */
export function readPointer(address: bigint): bigint {
  return new DataView(readMemory(address, 8).buffer).getBigUint64(0, true);
}

/** The text at an address, up to its zero byte; empty for NULL. */
export function readCString(address: bigint): string {
  if (address === 0n) return "";
  return new TextDecoder().decode(readMemory(address, Number(libc.strlen(address))));
}

/** What `call` gives, or `otherwise` where there is no libc to call. */
export function withoutLibc<T>(call: () => T, otherwise: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof FfiLoadError) return otherwise();
    throw error;
  }
}

/** Whether a process of this machine has the number `pid`, whoever owns it. @throws {FfiLoadError} no libc. */
export function processExists(pid: number): boolean {
  try {
    checked("kill", () => libc.kill(pid, 0));
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return errnoOf(error) !== "ESRCH";
  }
}

const PR_SET_DUMPABLE = 4;

/**
 * Forbids core dumps of this process and ptrace(2) by others of the same user.
 *
 * @returns whether it is in force; `false` off Linux and without libc.
 * @see prctl(2), PR_SET_DUMPABLE
 */
export function forbidInspection(): boolean {
  if (host.os !== "linux") return false;
  return withoutLibc(() => libc.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n) === 0, () => false);
}

/** include/uapi/asm-generic/mman-common.h */
const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;

/**
 * Lets the kernel back memory by huge pages. Linux only; where it does not, nothing is different.
 *
 * @param memory begins at a page.
 */
export function preferHugePages(memory: Uint8Array): void {
  if (host.os !== "linux") return;
  withoutLibc(() => libc.madvise(memory, BigInt(memory.length), MADV_HUGEPAGE), () => -1);
}

/**
 * Gives memory back to the kernel, which fills it with zeros when it is touched again; where it cannot be given back
 * it is overwritten.
 *
 * @param memory private, begins at a page and ends with one.
 */
export function dropPages(memory: Uint8Array): void {
  const dropped = host.os === "linux" &&
    withoutLibc(() => libc.madvise(memory, BigInt(memory.length), MADV_DONTNEED) === 0, () => false);
  if (!dropped) memory.fill(0);
}
