/**
 * Programs that this process starts, by posix_spawn(3): nothing needs a run permission of Deno. Linux and
 * macOS (never run there).
 *
 * Constants are those of glibc and musl (spawn.h, the same) and macOS (sys/spawn.h).
 */
import { utf8 } from "../bytes.ts";
import { FfiLoadError, library } from "../ffi/ffi.ts";
import { duplicateAbove, inheritedDescriptors } from "./descriptor_flags.ts";
import { host } from "./host.ts";
import {
  bindErrno,
  cString,
  errnoError,
  failure,
  libcPaths,
  readMemory,
  systemLibraryPaths,
} from "./libc.ts";
import { openFlags } from "./open_flags.ts";
import type { Fd } from "./socket.ts";

const libc = library(libcPaths, {
  close: { parameters: ["i32"], result: "i32" },
  free: { parameters: ["address"], result: "void" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  posix_spawn: {
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
  },
  posix_spawn_file_actions_addclose: { parameters: ["buffer", "i32"], result: "i32" },
  posix_spawn_file_actions_adddup2: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  posix_spawn_file_actions_addopen: {
    // The mode at the end is a u16 on macOS, which is passed as it is.
    parameters: ["buffer", "i32", "buffer", "i32", "u32"],
    result: "i32",
  },
  posix_spawn_file_actions_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawn_file_actions_init: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_init: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_setflags: { parameters: ["buffer", "u16"], result: "i32" },
  posix_spawnattr_setsigdefault: { parameters: ["buffer", "buffer"], result: "i32" },
  posix_spawnattr_setsigmask: { parameters: ["buffer", "buffer"], result: "i32" },
  strdup: { parameters: ["buffer"], result: "address" },
  strncmp: { parameters: ["address", "buffer", "size"], result: "i32" },
  waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  _NSGetEnviron: { parameters: [], result: "address" },
});

/** Before glibc 2.34 it lies in a library of its own. */
const loader = library(() => [...libcPaths(), ...systemLibraryPaths("libdl.so.2")], {
  dlsym: { parameters: ["address", "buffer"], result: "address" },
});

export { detach, ownCommandLine, ownExecutable, programOf } from "./process.ts";

/** What {@linkcode spawn} starts. */
export interface SpawnRequest {
  /** Absolute; it is looked for nowhere else. */
  readonly path: string;
  /** Begins with the name that the program is told of itself. */
  readonly argv: readonly string[];
  /**
   * By number in the child; the standard streams that are not named are /dev/null. An end of `makePipe` stays
   * non-blocking there.
   */
  readonly descriptors: Readonly<Record<number, Fd>>;
  /** Variables that it does not get, because they hold secrets that are still needed here. */
  readonly without?: readonly string[];
}

/**
 * posix_spawn_file_actions_t and posix_spawnattr_t have at most 336 bytes (glibc, musl); macOS keeps a
 * pointer.
 */
const OPAQUE_BYTES = 512;
/** sigset_t: 128 bytes in glibc and musl, 4 in macOS; a signal's bit is its number less one. */
const SIGSET_BYTES = 128;
const SETSIGDEF = 0x4;
const SETSIGMASK = 0x8;
/** macOS: descriptors that no action names are closed. */
const CLOEXEC_DEFAULT = 0x4000;
/** SIGPIPE (13), which both runtimes ignore, and SIGXFSZ (25), which one does: a child would inherit that. */
const IGNORED_BY_RUNTIMES = 1 << 12 | 1 << 24;
const STANDARD_STREAMS = [0, 1, 2];

/**
 * Starts a program with the environment of the C library, from which `takeEnvironmentSecret` has taken what
 * it took (what JavaScript has set is in it on Deno only). It gets the descriptors that the request names and
 * no others, no blocked signals, and SIGPIPE as the system has it.
 *
 * @returns its process, for {@linkcode waitExit}.
 * @throws {Error} with `code`: `ENOENT`, `EACCES`, `ENOEXEC`, `E2BIG`, `EAGAIN` (too many processes),
 *   `EMFILE` …; `EINVAL` for an argument with a zero byte.
 */
export function spawn(request: SpawnRequest): number {
  if ([request.path, ...request.argv].some((text) => text.includes("\0"))) {
    throw Object.assign(new Error("zero byte"), { code: "EINVAL" });
  }
  using actions = opaque(libc.posix_spawn_file_actions_init, libc.posix_spawn_file_actions_destroy);
  using attributes = opaque(libc.posix_spawnattr_init, libc.posix_spawnattr_destroy);
  using _copies = addDescriptors(actions.bytes, request.descriptors);
  setAttributes(attributes.bytes);
  using argv = stringArray(request.argv);
  const pid = new Int32Array(1);
  succeeded(
    "posix_spawn",
    libc.posix_spawn(
      new Uint8Array(pid.buffer),
      cString(request.path),
      actions.bytes,
      attributes.bytes,
      argv.bytes,
      environment(request.without ?? []),
    ),
  );
  return pid[0] as number;
}

/** These functions give the errno as their result. */
function succeeded(name: string, errno: number): void {
  if (errno !== 0) throw errnoError(name, errno);
}

/** A structure that the C library makes and destroys. */
function opaque(
  make: (bytes: Uint8Array) => number,
  destroy: (bytes: Uint8Array) => number,
): Disposable & { readonly bytes: Uint8Array } {
  const bytes = new Uint8Array(OPAQUE_BYTES);
  succeeded("init", make(bytes));
  return { bytes, [Symbol.dispose]: () => void destroy(bytes) };
}

/**
 * Says what becomes of descriptors in the child. Ours are copied above all numbers of the child first, so
 * that none is overwritten before its turn, and none is on its own number already, where it would stay
 * close-on-exec.
 *
 * @returns the copies.
 */
function addDescriptors(actions: Uint8Array, descriptors: Readonly<Record<number, Fd>>): Disposable {
  const wanted = Object.entries(descriptors).map(([number, fd]) => [Number(number), fd] as const);
  const numbers = [...STANDARD_STREAMS, ...wanted.map(([number]) => number)];
  const above = Math.max(...numbers) + 1;
  const inherited = inheritedDescriptors();
  const copies = new DisposableStack();
  try {
    for (const [number, fd] of wanted) {
      const copy = duplicateAbove(fd, above);
      copies.defer(() => void libc.close(copy));
      succeeded("adddup2", libc.posix_spawn_file_actions_adddup2(actions, copy, number));
    }
    for (const number of STANDARD_STREAMS.filter((number) => !(number in descriptors))) {
      const path = cString("/dev/null");
      const { readWrite } = openFlags(host);
      succeeded("addopen", libc.posix_spawn_file_actions_addopen(actions, number, path, readWrite, 0));
    }
    for (const fd of inherited.filter((fd) => !numbers.includes(fd))) {
      succeeded("addclose", libc.posix_spawn_file_actions_addclose(actions, fd));
    }
    return copies;
  } catch (error) {
    copies.dispose();
    throw error;
  }
}

function setAttributes(attributes: Uint8Array): void {
  const flags = SETSIGDEF | SETSIGMASK | (host.os === "darwin" ? CLOEXEC_DEFAULT : 0);
  const ignored = new Uint8Array(SIGSET_BYTES);
  new DataView(ignored.buffer).setUint32(0, IGNORED_BY_RUNTIMES, true);
  succeeded("setsigdefault", libc.posix_spawnattr_setsigdefault(attributes, ignored));
  succeeded("setsigmask", libc.posix_spawnattr_setsigmask(attributes, new Uint8Array(SIGSET_BYTES)));
  succeeded("setflags", libc.posix_spawnattr_setflags(attributes, flags));
}

/** Copies of texts in memory of C, and the array of their addresses, which ends with NULL. */
function stringArray(texts: readonly string[]): Disposable & { readonly bytes: Uint8Array } {
  const addresses = new BigUint64Array(texts.length + 1);
  texts.forEach((text, index) => addresses[index] = libc.strdup(cString(text)));
  return {
    bytes: new Uint8Array(addresses.buffer),
    [Symbol.dispose]: () => addresses.forEach((address) => libc.free(address)),
  };
}

/** What `environ` of the C library points to now, without some variables; an array of addresses that ends with NULL. */
function environment(without: readonly string[]): Uint8Array {
  const variable = host.os === "darwin" ? libc._NSGetEnviron() : loader.dlsym(0n, cString("environ"));
  if (variable === 0n) throw new FfiLoadError("environ", libcPaths(), {});
  const names = without.map((name) => utf8(`${name}=`));
  const entries: bigint[] = [];
  for (let at = readAddress(variable), entry = readAddress(at); entry !== 0n; entry = readAddress(at += 8n)) {
    // Compared where it lies: a value that is left out is not even copied.
    if (!names.some((name) => libc.strncmp(entry, name, BigInt(name.length)) === 0)) entries.push(entry);
  }
  return new Uint8Array(BigUint64Array.from([...entries, 0n]).buffer);
}

function readAddress(at: bigint): bigint {
  return new DataView(readMemory(at, 8).buffer).getBigUint64(0, true);
}

/** How a program ended; neither is known when somebody else has taken notice of its end. */
export interface Exit {
  readonly code: number | null;
  /** See signal(7). */
  readonly signal: number | null;
}

const WNOHANG = 1;

/**
 * Asks whether a child has ended, without waiting; it tells once.
 *
 * @returns `null` while it runs.
 * @throws {Error}.
 */
export function waitExit(pid: number): Exit | null {
  requireProcess(pid);
  const status = new Int32Array(1);
  bindErrno();
  for (;;) {
    const ended = libc.waitpid(pid, new Uint8Array(status.buffer), WNOHANG);
    if (ended === 0) return null;
    if (ended > 0) return decodeStatus(status[0] as number);
    const errno = failure();
    if (errno === "ECHILD") return { code: null, signal: null };
    if (errno !== "EINTR") throw Object.assign(new Error(`waitpid: ${errno}`), { code: errno });
  }
}

/** WIFEXITED and the rest of sys/wait.h; a child that is only stopped is not told of. */
function decodeStatus(status: number): Exit {
  const signal = status & 0x7f;
  return signal === 0 ? { code: (status >> 8) & 0xff, signal: null } : { code: null, signal };
}

/**
 * kill(2); a process that has ended needs none.
 *
 * @param signal its number.
 * @throws {Error} with `code`: `EPERM`.
 */
export function endProcess(pid: number, signal: number): void {
  requireProcess(pid);
  bindErrno();
  if (libc.kill(pid, signal) === 0) return;
  const errno = failure();
  if (errno !== "ESRCH") throw Object.assign(new Error(`kill: ${errno}`), { code: errno });
}

/** Zero and what is below it stand for groups of processes, and for all. */
function requireProcess(pid: number): void {
  if (!Number.isInteger(pid) || pid <= 0) throw new RangeError(`not a process: ${pid}`);
}
