/**
 * One lock per amesh directory: flock(2) on `.lock`, released by the death of its holder.
 *
 * Where there is no flock (some network file systems, Windows, no libc) a file `.lock.owner` that only one can
 * create stands in for it, with the owner's process, boot and machine, so that a dead owner's file is recognised.
 */
import { utf8 } from "../bytes.ts";
import { AmeshError, errnoOf, systemError } from "../errors.ts";
import { FfiLoadError } from "../ffi/ffi.ts";
import {
  FILE_MODE,
  findInfo,
  readPrivateFile,
  removeFile,
  requireSafe,
  temporaryName,
  writeAll,
  writeFileAtomic,
} from "./files.ts";
import { host } from "./host.ts";
import { lockFile, openSystemFile, processExists } from "./libc.ts";
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
  const info = findInfo(path);
  if (info === null) writeFileAtomic(path, new Uint8Array(0), FILE_MODE, "refuse");
  else requireSafe(path, info, FILE_MODE);
  try {
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

function busy(path: string, hint = "try again when it has ended"): AmeshError {
  return new AmeshError("ERR_BUSY", `cannot change "${parentPath(path)}": another amesh is changing it`, {
    hint,
  });
}

function acquireOwnerFile(path: string): Disposable {
  const mine = `${host.pid} ${bootId()} ${machineId()}\n`;
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
    writeAll(file, utf8(text));
    file.sync();
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw systemError(`lock "${path}"`, error);
  }
}

function isDead(owner: string): boolean {
  const [pid, boot, machine] = owner.trim().split(" ");
  // Another machine's process cannot be looked at, and an unfinished line is an owner that is just starting.
  if (!pid || !/^\d+$/.test(pid) || boot === undefined || machine !== machineId()) return false;
  if (boot !== bootId()) return true;
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
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    throw systemError(`remove "${path}"`, error);
  }
  const moved = readPrivateFile(aside, OWNER_MAX_BYTES);
  if (moved !== null && new TextDecoder().decode(moved) !== dead) host.link(aside, path);
  removeFile(aside);
}

const bootId = () => readFirstLine("/proc/sys/kernel/random/boot_id");
const machineId = () => readFirstLine("/etc/machine-id");

/** `-` where the system has no such file. */
function readFirstLine(path: string): string {
  try {
    using file = openSystemFile(path);
    const buffer = new Uint8Array(128);
    return new TextDecoder().decode(buffer.subarray(0, file.read(buffer))).trim() || "-";
  } catch (error) {
    if (error instanceof FfiLoadError || errnoOf(error) !== undefined) return "-";
    throw error;
  }
}
