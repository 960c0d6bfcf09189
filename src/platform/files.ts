/**
 * Private files: refused when others could have touched them, written so that a crash leaves the old or the new.
 *
 * Modes are given when a file is created and completed to the exact bits where the umask took some away; no file
 * is ever wider than it shall be, not even for a moment.
 */
import { encodeHex } from "../bytes.ts";
import type { Bytes } from "../bytes.ts";
import { AmeshError, errnoOf, systemError } from "../errors.ts";
import { type FileHandle, type FileInfo, host } from "./host.ts";
import { baseName, joinPath, parentPath, shellQuote } from "./paths.ts";

/** Mode of every directory of ours. */
export const DIRECTORY_MODE = 0o700;
/** Mode of identity, key and lock files. */
export const FILE_MODE = 0o600;
/** Mode of passphrase files. */
export const PASSPHRASE_MODE = 0o400;

/** What is wrong with a file of ours, and the command that repairs it. */
export interface FileProblem {
  readonly problem: string;
  readonly repair: string;
}

/**
 * What makes a file or directory of ours unsafe: a symlink, an owner that is neither us nor root, access for
 * others, access for the group (unless `AMESH_ALLOW_GROUP_READ=1`: a Kubernetes fsGroup makes volumes so).
 *
 * @returns `null` when all is well; always on Windows, where access lists protect the profile.
 */
export function findProblem(path: string, info: FileInfo, mode: number): FileProblem | null {
  const quoted = shellQuote(path);
  if (info.kind === "symlink") {
    return { problem: "is a symbolic link", repair: `replace the link ${quoted} by what it points to` };
  }
  if (info.mode === null) return null;
  const euid = host.euid();
  if (info.uid !== euid && info.uid !== 0) {
    // Root must not be told to take a user's files away.
    const repair = euid === 0
      ? `run amesh as that user: sudo -u "#${info.uid}" amesh`
      : `run: sudo chown ${euid} ${quoted}`;
    return { problem: `belongs to user ${info.uid}, not to user ${euid}`, repair };
  }
  const groupAllowed = host.env("AMESH_ALLOW_GROUP_READ") === "1";
  const excess = info.mode & (groupAllowed ? 0o007 : 0o077);
  if (excess === 0) return null;
  const who = excess & 0o007 ? "every user" : "its group";
  return {
    problem: `is accessible to ${who} (mode ${formatMode(info.mode)})`,
    repair: `run: chmod ${formatMode(mode)} ${quoted}`,
  };
}

/** `0600` for 0o600. */
export function formatMode(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

/** lstat(2), `null` when there is nothing. @throws {AmeshError} `ERR_SYSTEM`. */
export function findInfo(path: string): FileInfo | null {
  try {
    return host.lstat(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw systemError(`look at "${path}"`, error);
  }
}

/** @throws {AmeshError} `ERR_UNSAFE_PERMISSIONS` with the command that repairs it. */
export function requireSafe(path: string, info: FileInfo, mode: number): void {
  const found = findProblem(path, info, mode);
  if (found !== null) {
    throw new AmeshError("ERR_UNSAFE_PERMISSIONS", `cannot trust "${path}": it ${found.problem}`, {
      hint: found.repair,
    });
  }
}

/**
 * Checks an existing directory of ours.
 *
 * @returns whether it exists.
 * @throws {AmeshError} `ERR_UNSAFE_PERMISSIONS`; `ERR_SYSTEM` when it is no directory.
 */
export function checkDirectory(path: string): boolean {
  const info = findInfo(path);
  if (info === null) return false;
  requireSafe(path, info, DIRECTORY_MODE);
  if (info.kind !== "directory") {
    throw new AmeshError("ERR_SYSTEM", `cannot use "${path}": it is not a directory`, {
      hint: "move it away, or set AUTH_MESH_DIR to the directory that amesh shall use",
    });
  }
  return true;
}

/** Makes a directory of ours (its parent must exist) or checks the one that is there. */
export function ensureDirectory(path: string): void {
  try {
    host.mkdir(path, DIRECTORY_MODE);
    completeMode(path, host.lstat(path), DIRECTORY_MODE);
    syncDirectory(parentPath(path));
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") {
      throw systemError(
        `create directory "${path}"`,
        error,
        "set HOME or AUTH_MESH_DIR to a place where this user may write",
      );
    }
    checkDirectory(path);
  }
}

/** How often a file may be replaced between being looked at and being opened. Commands replace theirs by rename(2). */
const MAX_LOOKS = 50;

/**
 * Reads a whole file of ours: what was looked at and found safe, or nothing.
 *
 * @param maximum size in bytes above which the file is not ours.
 * @param mode what the file should have; named in the hint.
 * @returns new bytes, or `null` when there is no such file.
 * @throws {AmeshError} `ERR_UNSAFE_PERMISSIONS`, `ERR_CORRUPT` (not a regular file, too large), `ERR_SYSTEM`.
 */
export function readPrivateFile(path: string, maximum: number, mode = FILE_MODE): Bytes | null {
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const named = findInfo(path);
    if (named === null) return null;
    requireSafe(path, named, mode);
    // Before it is opened: opening a named pipe would wait for a writer.
    requireRegular(path, named);
    const bytes = readSameFile(path, named, maximum);
    if (bytes !== null) return bytes;
  }
  throw new AmeshError(
    "ERR_UNSAFE_PERMISSIONS",
    `cannot trust "${path}": it is replaced again and again while being opened`,
  );
}

/** @returns `null` when there is not the same file any more. @throws {AmeshError} `ERR_CORRUPT`, `ERR_SYSTEM`. */
function readSameFile(path: string, named: FileInfo, maximum: number): Bytes | null {
  try {
    using file = host.open(path, "read");
    const { dev, ino } = file.info();
    return dev === named.dev && ino === named.ino ? readToEnd(file.read, path, maximum) : null;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw systemError(`read "${path}"`, error);
  }
}

/** @throws {AmeshError} `ERR_CORRUPT` when it is a directory, a pipe, a device … */
function requireRegular(path: string, info: FileInfo): void {
  if (info.kind !== "file") {
    throw new AmeshError("ERR_CORRUPT", `cannot read "${path}": it is not a regular file`);
  }
}

/** The bytes up to the end. @throws {AmeshError} `ERR_CORRUPT` when there are more than `maximum`. */
export function readToEnd(read: FileHandle["read"], path: string, maximum: number): Bytes {
  const buffer = new Uint8Array(maximum + 1);
  try {
    let length = 0;
    for (let count; (count = read(buffer.subarray(length))) > 0; length += count);
    if (length > maximum) {
      throw new AmeshError("ERR_CORRUPT", `cannot read "${path}": it is larger than ${maximum} bytes`);
    }
    return buffer.slice(0, length);
  } finally {
    buffer.fill(0);
  }
}

/** Writes all bytes. */
export function writeAll(file: FileHandle, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += file.write(bytes.subarray(written));
}

/** What {@linkcode writeFileAtomic} does when the name is taken. */
export type WhenTaken = "replace" | "refuse";

/**
 * Writes a file so that under its name there is nothing, the old content or the new, whenever the machine stops:
 * temporary file in the same directory with the final mode, fsync, rename (or link(2), which takes no name that
 * exists), fsync of the directory.
 *
 * @param check is given what was read back from the temporary file; what it throws keeps the name from being given.
 * @returns `false` when the name is taken and `whenTaken` is `refuse`.
 * @throws {AmeshError} `ERR_SYSTEM`; no temporary file is left behind. The name may have been given all the same,
 *   when it was the directory that could not be synced.
 */
export function writeFileAtomic(
  path: string,
  bytes: Uint8Array,
  mode: number,
  whenTaken: WhenTaken,
  check?: (written: Bytes) => void,
): boolean {
  return throughTemporary(path, bytes, mode, (temporary) => {
    check?.(readPrivateFile(temporary, bytes.length, mode) ?? new Uint8Array(0));
    if (whenTaken === "refuse") return linkOrRename(temporary, path);
    host.rename(temporary, path);
    return true;
  });
}

/** @param mode exact bits of the file; `null` leaves them to the umask. @param name gives the file its name. */
function throughTemporary(
  path: string,
  bytes: Uint8Array,
  mode: number | null,
  name: (temporary: string) => boolean,
): boolean {
  const directory = parentPath(path);
  const temporary = joinPath(directory, temporaryName(baseName(path)));
  try {
    {
      using file = host.open(temporary, "create", mode ?? 0o666);
      if (mode !== null) completeMode(temporary, file.info(), mode);
      writeAll(file, bytes);
      file.sync();
    }
    const named = name(temporary);
    if (!named) host.unlink(temporary);
    syncDirectory(directory);
    return named;
  } catch (error) {
    removeIfThere(temporary);
    throw systemError(`write "${path}"`, error);
  }
}

/**
 * Writes a result where the user wants it, by the user's umask: a regular file is replaced as a whole or not at all;
 * a link, a pipe or a device is written through.
 *
 * @throws {AmeshError} `ERR_SYSTEM`.
 */
export function writeOutputFile(path: string, bytes: Uint8Array): void {
  const info = findInfo(path);
  if (info !== null && info.kind !== "file") return writeThrough(path, bytes);
  try {
    throughTemporary(path, bytes, null, (temporary) => {
      host.rename(temporary, path);
      return true;
    });
  } catch (error) {
    // A writable file in a directory that is not, or one that is mounted by itself, can only be written in place.
    const errno = error instanceof AmeshError ? errnoOf(error.cause) : undefined;
    if (info === null || !["EACCES", "EBUSY", "EPERM", "EROFS"].includes(errno ?? "")) throw error;
    writeThrough(path, bytes);
  }
}

function writeThrough(path: string, bytes: Uint8Array): void {
  try {
    using file = host.open(path, "truncate");
    writeAll(file, bytes);
  } catch (error) {
    throw systemError(`write "${path}"`, error);
  }
}

const RANDOM_NAME_BYTES = 8;
/** File names have 255 bytes, characters up to four. */
const NAME_MAX_CHARACTERS = 50;

/** `.NAME.<16 hex digits>.tmp`: what {@linkcode writeFileAtomic} leaves behind when it is killed. */
export function temporaryName(name: string): string {
  const random = encodeHex(crypto.getRandomValues(new Uint8Array(RANDOM_NAME_BYTES)));
  return `${temporaryStart(name)}${random}.tmp`;
}

/** What the temporary names of a file begin with. */
export function temporaryStart(name: string): string {
  return `.${name.slice(0, NAME_MAX_CHARACTERS)}.`;
}

/** Gives the file its name unless the name is taken. @returns whether it did. */
export function linkOrRename(temporary: string, path: string): boolean {
  try {
    host.link(temporary, path);
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    // File systems without hard links (FAT, some network mounts). Callers hold the lock, so looking first will do.
    if (!["EPERM", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EMLINK"].includes(errnoOf(error) ?? "")) throw error;
    if (findInfo(path) !== null) return false;
    host.rename(temporary, path);
    return true;
  }
  // The name is given; that the other one cannot be taken away does not change it, and `doctor --fix` finds it.
  removeIfThere(temporary);
  return true;
}

/** Gives a file just created the bits that the umask took away. */
export function completeMode(path: string, info: FileInfo, mode: number): void {
  if (info.mode !== null && (info.mode & 0o777) !== mode) host.chmod(path, mode);
}

/** Removes a file and makes that durable. @returns whether it was there. @throws {AmeshError} `ERR_SYSTEM`. */
export function removeFile(path: string): boolean {
  try {
    host.unlink(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw systemError(`remove "${path}"`, error);
  }
  try {
    syncDirectory(parentPath(path));
  } catch (error) {
    throw systemError(`make sure that "${path}", which was removed, stays so`, error);
  }
  return true;
}

// For what matters less than what it follows: a name that was given, or an error that the user must see.
function removeIfThere(path: string): void {
  try {
    host.unlink(path);
  } catch {
    return;
  }
}

/** fsync(2) of a directory, where there is one: not on Windows and some file systems. */
export function syncDirectory(path: string): void {
  if (host.os === "windows") return;
  try {
    using directory = host.open(path, "read");
    directory.sync();
  } catch (error) {
    // A directory that we may write and not read cannot be synced, which is no reason to fail.
    if (!["EACCES", "EINVAL", "EBADF", "EOPNOTSUPP", "ENOTSUP"].includes(errnoOf(error) ?? "")) throw error;
  }
}
