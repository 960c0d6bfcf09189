/** This process and others as the kernel knows them. Linux and macOS (never run there). */
import { errnoOf } from "../errors.ts";
import { library } from "../ffi/ffi.ts";
import { host } from "./host.ts";
import { checked, cString, libcPaths, readCString, readMemory } from "./libc.ts";
import { openFlags } from "./open_flags.ts";
import { baseName } from "./paths.ts";
import { readSystemFile } from "./system_file.ts";

const libc = library(libcPaths, {
  close: { parameters: ["i32"], result: "i32" },
  dup2: { parameters: ["i32", "i32"], result: "i32" },
  // Called without a mode, so the missing third argument of this variadic function is never read.
  open: { parameters: ["buffer", "i32"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "size"], result: "i32" },
  setsid: { parameters: [], result: "i32" },
  _exit: { parameters: ["i32"], result: "void" },
  chdir: { parameters: ["buffer"], result: "i32" },
  _NSGetArgc: { parameters: [], result: "address" },
  _NSGetArgv: { parameters: [], result: "address" },
  proc_pidpath: { parameters: ["i32", "buffer", "u32"], result: "i32" },
});

/** PATH_MAX of Linux, PROC_PIDPATHINFO_MAXSIZE of macOS. */
const PATH_BYTES = 4096;
/** What Linux puts behind the name of a program whose file is no longer there. */
const DELETED = " (deleted)";

/** The command line with which this process was started; it begins with the program's name for itself. */
export function ownCommandLine(): readonly string[] {
  if (host.os !== "darwin") return (readSystemFile("/proc/self/cmdline") ?? "").split("\0").slice(0, -1);
  const count = new DataView(readMemory(libc._NSGetArgc(), 4).buffer).getInt32(0, true);
  const list = readAddress(libc._NSGetArgv());
  return Array.from({ length: count }, (_, index) => readCString(readAddress(list + BigInt(8 * index))));
}

function readAddress(at: bigint): bigint {
  return new DataView(readMemory(at, 8).buffer).getBigUint64(0, true);
}

/**
 * The file that this process runs, to be started again.
 *
 * @returns an absolute path; on Linux `/proc/self/exe` when the file has been replaced, which a child that is
 *   about to start can still open.
 * @throws {Error} with `code`.
 */
export function ownExecutable(): string {
  const path = executableOf(host.pid);
  if (path === null) throw Object.assign(new Error("no name of this program"), { code: "ENOENT" });
  return path.endsWith(DELETED) ? "/proc/self/exe" : path;
}

/** `null` for a process that is not there, or that this one may not look at. */
function executableOf(pid: number): string | null {
  const buffer = new Uint8Array(PATH_BYTES);
  const length = host.os === "darwin"
    ? libc.proc_pidpath(pid, buffer, PATH_BYTES)
    : libc.readlink(cString(`/proc/${pid}/exe`), buffer, BigInt(PATH_BYTES));
  return length > 0 ? new TextDecoder().decode(buffer.subarray(0, length)) : null;
}

/**
 * The name of the program that a process runs, to be shown to a person. It is no proof of anything: every
 * program can be copied under another name.
 *
 * @returns without control characters; `null` when it is not told.
 */
export function programOf(pid: number): string | null {
  const path = executableOf(pid);
  const name = path === null
    // A process of another user shows this much, which it can choose itself.
    ? readSystemFile(`/proc/${pid}/comm`)?.replace(/\n$/, "")
    : baseName(path.endsWith(DELETED) ? path.slice(0, -DELETED.length) : path);
  return name?.replaceAll(/\p{C}/gu, "?") || null;
}

/**
 * Leaves the terminal and the session in which this process was started, and lets go of its standard streams,
 * which become /dev/null. A process that leads a group stays in its session: nobody can leave one that it
 * leads. Its working directory becomes `/`, so that it keeps no file system busy.
 *
 * @throws {Error} with `code`.
 */
export function detach(): void {
  try {
    checked("setsid", () => libc.setsid());
  } catch (error) {
    if (errnoOf(error) !== "EPERM") throw error;
  }
  checked("chdir", () => libc.chdir(cString("/")));
  const fd = checked("open", () => libc.open(cString("/dev/null"), openFlags(host).readWrite));
  for (const stream of [0, 1, 2]) checked("dup2", () => libc.dup2(fd, stream));
  if (fd > 2) libc.close(fd);
}

/** Ends this process at once, whatever its threads are doing; nothing of it is tidied up. */
export function endNow(): void {
  libc._exit(0);
}
