/**
 * One lock per amesh directory: flock(2) on `.lock`, released by the death of its holder.
 *
 * Where there is no flock (some network file systems, Windows, no libc) a file `.lock.owner` that only one can
 * create stands in for it, with the owner's process, PID namespace, boot and machine, so that a dead owner's file is recognised.
 */
import { utf8 } from "../bytes.ts";
import { AmeshError, errnoOf, systemError } from "../errors.ts";
import { FfiLoadError } from "../ffi/ffi.ts";
import {
  completeMode,
  FILE_MODE,
  findInfo,
  linkOrRename,
  readPrivateFile,
  removeFile,
  requireSafe,
  temporaryName,
  writeAll,
} from "./files.ts";
import { type FileHandle, type FileInfo, host } from "./host.ts";
import { lockFile, processExists } from "./libc.ts";
import { openSystemFile } from "./system_file.ts";
import { baseName, joinPath, parentPath } from "./paths.ts";

const NO_FLOCK = ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL"];
const OWNER_MAX_BYTES = 1024;

/**
 * Takes the lock without waiting.
 *
 * @param path the lock file, in a directory that exists; it stays when the lock is released.
 * @throws {AmeshError} `ERR_BUSY` when another amesh holds it; `ERR_UNSAFE_PERMISSIONS`; `ERR_SYSTEM`.
 */
export function acquireLock(path: string): Disposable {
  try {
    const info = findInfo(path) ?? createEmpty(path);
    requireSafe(path, info, FILE_MODE);
    const lock = lockFile(path);
    if (lock === "busy") throw busy(path);
    return lock;
  } catch (error) {
    if (error instanceof FfiLoadError || NO_FLOCK.includes(errnoOf(error) ?? "")) {
      return acquireOwnerFile(`${path}.owner`);
    }
    throw systemError(`lock "${path}"`, error);
  }
}

/** By O_EXCL and under its own name: a file that was renamed into place could replace one that is locked already. */
function createEmpty(path: string): FileInfo {
  try {
    using file = host.open(path, "create", FILE_MODE);
    completeMode(path, file.info(), FILE_MODE);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
  }
  return host.lstat(path);
}

function busy(path: string, hint = "try again when it has ended"): AmeshError {
  return new AmeshError("ERR_BUSY", `cannot change "${parentPath(path)}": another amesh is changing it`, {
    hint,
  });
}

function acquireOwnerFile(path: string): Disposable {
  const mine = `${host.pid} ${pidNamespace()} ${bootId()} ${machineId()}\n`;
  for (let attempt = 0; attempt < 3; attempt++) {
    if (createOwnerFile(path, mine)) return { [Symbol.dispose]: () => void removeFile(path) };
    const owner = readPrivateFile(path, OWNER_MAX_BYTES);
    if (owner === null) continue;
    const text = new TextDecoder().decode(owner);
    if (!isDead(text)) throw busy(path, `if no other amesh runs, remove ${path}`);
    removeDeadOwner(path, text);
  }
  throw busy(path);
}

function createOwnerFile(path: string, text: string): boolean {
  try {
    using file = host.open(path, "create", FILE_MODE);
    try {
      writeAll(file, utf8(text));
      file.sync();
    } catch (error) {
      // A file without its owner's name could never be recognised as dead.
      host.unlink(path);
      throw error;
    }
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw systemError(`lock "${path}"`, error);
  }
}

/** Only what can be known for sure: a process of another container or machine cannot be looked at. */
function isDead(owner: string): boolean {
  const [pid, namespace, boot, machine] = owner.trim().split(" ");
  if (!pid || !/^\d+$/.test(pid) || machine === undefined || machine !== machineId()) return false;
  if (boot !== bootId()) return machine !== UNKNOWN;
  if (namespace !== pidNamespace()) return false;
  try {
    return !processExists(Number(pid));
  } catch (error) {
    if (error instanceof FfiLoadError) return false;
    throw error;
  }
}

/** Moved aside before it is removed: if a faster process has put its own file there, that one is put back. */
function removeDeadOwner(path: string, dead: string): void {
  const aside = joinPath(parentPath(path), temporaryName(baseName(path)));
  try {
    host.rename(path, aside);
    const moved = readPrivateFile(aside, OWNER_MAX_BYTES);
    const isDead = moved !== null && new TextDecoder().decode(moved) === dead;
    if (isDead || !linkOrRename(aside, path)) removeFile(aside);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw systemError(`remove "${path}"`, error);
  }
}

const UNKNOWN = "-";

const bootId = () => readFirstLine("/proc/sys/kernel/random/boot_id");
const machineId = () => readFirstLine("/etc/machine-id");

const pidNamespace = () => fromSystemFile("/proc/self/ns/pid", (file) => String(file.info().ino));

function readFirstLine(path: string): string {
  return fromSystemFile(path, (file) => {
    const buffer = new Uint8Array(128);
    return new TextDecoder().decode(buffer.subarray(0, file.read(buffer))).trim();
  });
}

/** `-` where the system has no such file. */
function fromSystemFile(path: string, take: (file: FileHandle) => string): string {
  try {
    using file = openSystemFile(path);
    return take(file) || UNKNOWN;
  } catch (error) {
    if (error instanceof FfiLoadError || errnoOf(error) !== undefined) return UNKNOWN;
    throw error;
  }
}
