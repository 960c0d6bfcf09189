/** Passphrase files: what is read from them and how they are written. */
import { type Bytes, equalBytes, utf8, wipe } from "../bytes.ts";
import { AmeshError, errorText } from "../errors.ts";
import { formatMode, PASSPHRASE_MODE, readPrivateFile, writeFileAtomic } from "../platform/files.ts";
import { type FileInfo, host } from "../platform/host.ts";
import { readDescriptor, readSmallInput } from "../platform/input.ts";
import { baseName, joinPath, parentPath } from "../platform/paths.ts";

/** Longest passphrase in bytes. */
export const MAX_PASSPHRASE_BYTES = 4096;
/** Room for the longest passphrase and its newline, in bytes. */
export const MAX_PASSPHRASE_FILE_BYTES = MAX_PASSPHRASE_BYTES + 2;

const TOO_LONG = `it is longer than ${MAX_PASSPHRASE_BYTES} bytes, or no regular file`;

/**
 * Where `passphrase change` keeps the new passphrase until the key is under it: `.passphrase.next`, and beside a file of
 * another name, which is the operator's, under one that nobody else uses.
 *
 * @param path the file it is for.
 */
export function nextPath(path: string): string {
  const name = baseName(path);
  return name === ".passphrase" ? `${path}.next` : joinPath(parentPath(path), `.${name}.amesh-next`);
}

/**
 * Writes a passphrase file: the bytes and a newline (none after a `\r`, with which it would be taken for the end
 * of the line), mode 0400, never over an existing one.
 *
 * @throws {AmeshError} `ERR_UNLOCK_FAILED` when there is one already; `ERR_SYSTEM`.
 */
export function writePassphraseFile(path: string, bytes: Bytes): void {
  const newline = bytes.at(-1) === 0x0d ? 0 : 1;
  const content = new Uint8Array(bytes.length + newline).fill(0x0a);
  content.set(bytes);
  try {
    if (!writeFileAtomic(path, content, PASSPHRASE_MODE, "refuse")) {
      throw new AmeshError("ERR_UNLOCK_FAILED", `cannot write passphrase file "${path}": it exists already`, {
        hint: "run the command again to use what is in it",
      });
    }
  } finally {
    wipe(content);
  }
}

/**
 * Reads a passphrase file of our own.
 *
 * @param name the source, for messages.
 * @returns `null` when there is none.
 * @throws {AmeshError} `ERR_UNSAFE_PERMISSIONS`; `ERR_UNLOCK_FAILED`: unreadable, empty, too long.
 */
export function readOwnPassphrase(path: string, name: string): Bytes | null {
  try {
    const bytes = readPrivateFile(path, MAX_PASSPHRASE_FILE_BYTES, PASSPHRASE_MODE);
    return bytes === null ? null : requireLength(withoutFinalNewline(bytes), name);
  } catch (error) {
    if (error instanceof AmeshError && error.code === "ERR_UNSAFE_PERMISSIONS") throw error;
    throw unreadable(name, error);
  }
}

/** A passphrase that the operator keeps, and the file that it came from; `null` for a stream. */
export interface OperatorPassphrase {
  readonly bytes: Bytes;
  readonly info: FileInfo | null;
}

/**
 * Reads the operator's file, which may be a link or wider than ours: a Kubernetes secret is both.
 *
 * @param name the source, for messages.
 * @throws {AmeshError} `ERR_UNLOCK_FAILED`: unreadable, empty, too long.
 */
export function readOperatorPassphrase(path: string, name: string): OperatorPassphrase {
  try {
    const { bytes, info } = readSmallInput(path, MAX_PASSPHRASE_FILE_BYTES);
    return { bytes: requireLength(withoutFinalNewline(bytes), name), info };
  } catch (error) {
    throw unreadable(name, error);
  }
}

/**
 * Reads what a descriptor gives, to its end.
 *
 * @param name the source, for messages.
 * @throws {AmeshError} `ERR_UNLOCK_FAILED`: not open, a terminal, empty, too long.
 */
export function readDescriptorPassphrase(fd: number, name: string): Bytes {
  try {
    return requireLength(withoutFinalNewline(readDescriptor(fd, MAX_PASSPHRASE_FILE_BYTES)), name);
  } catch (error) {
    throw unreadable(name, error);
  }
}

/** `ERR_UNLOCK_FAILED` about a source that is in force and cannot be read. @param name the source. */
export function unreadable(name: string, error: unknown): AmeshError {
  if (error instanceof AmeshError && error.code === "ERR_UNLOCK_FAILED") return error;
  const isTooLarge = error instanceof AmeshError && error.code === "ERR_CORRUPT";
  const cause = error instanceof AmeshError ? error.cause ?? error : error;
  const reason = isTooLarge ? TOO_LONG : errorText(cause);
  return new AmeshError("ERR_UNLOCK_FAILED", `cannot use the passphrase of ${name}: ${reason}`, {
    hint: "no other source is tried while this one is set",
    cause: error,
  });
}

/** The bytes, when there are 1 to 4096; else wipes them. @throws {AmeshError} `ERR_UNLOCK_FAILED`. */
export function requireLength(bytes: Bytes, name: string): Bytes {
  if (bytes.length > 0 && bytes.length <= MAX_PASSPHRASE_BYTES) return bytes;
  wipe(bytes);
  throw new AmeshError(
    "ERR_UNLOCK_FAILED",
    `cannot use the passphrase of ${name}: ${bytes.length === 0 ? "it is empty" : TOO_LONG}`,
    { hint: "a passphrase has 1 to 4096 bytes" },
  );
}

/** `\n` or `\r\n` at the end is the editor's, not the passphrase's. The longer buffer is wiped. */
export function withoutFinalNewline(bytes: Bytes): Bytes {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
  const passphrase = bytes.slice(0, end);
  wipe(bytes);
  return passphrase;
}

/**
 * Who but the owner can read a passphrase file: a predicate, or `null`. systemd shows the access list of a credential
 * as group bits, so those say nothing there.
 */
export function findExposure(info: FileInfo | null, isCredential: boolean): string | null {
  if (info === null || info.mode === null) return null;
  const mode = formatMode(info.mode);
  if (info.mode & 0o007) return `readable by every user (mode ${mode})`;
  if (isCredential || host.env("AMESH_ALLOW_GROUP_READ") === "1" || !(info.mode & 0o070)) return null;
  return `readable by its group (mode ${mode})`;
}

/** The form that amesh 0.7 used: the UTF-8 text without white space at its ends; `null` when it is the same. */
export function trimmedForm(bytes: Bytes): Bytes | null {
  const trimmed = utf8(new TextDecoder().decode(bytes).trim());
  return trimmed.length === 0 || equalBytes(trimmed, bytes) ? null : trimmed;
}
