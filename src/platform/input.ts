/** Input that the user names: files, `-` for standard input, and what a shell's `<(…)` passes. */
import type { Bytes } from "../bytes.ts";
import { AmeshError, errnoOf, isNotCapable, systemError } from "../errors.ts";
import { readToEnd } from "./files.ts";
import { type FileHandle, type FileInfo, host } from "./host.ts";
import { isTerminal, openDescriptor, openSystemFile } from "./system_file.ts";
import { untilReady } from "./ready.ts";

/** Small enough for a processor's cache: larger reads were measured to be five times slower. */
const CHUNK_BYTES = 128 * 1024;

/** An opened input. */
export interface Input {
  readonly name: string;
  readonly handle: FileHandle;
  /** `null` for a stream. */
  readonly info: FileInfo | null;
}

/** Whether a name means standard input. */
export function isStandardInput(path: string): boolean {
  return path === "-" || path === "/dev/stdin" || path === "/dev/fd/0" || path === "/proc/self/fd/0";
}

/** @param path a path, or `-` for standard input. @throws {AmeshError} `ERR_SYSTEM`. */
export function openInput(path: string): Input {
  if (isStandardInput(path)) {
    return { name: "standard input", handle: host.stdin, info: null };
  }
  try {
    const handle = openPermitted(path);
    const info = handle.info();
    if (info.kind === "directory") {
      handle.close();
      throw Object.assign(new Error("directory"), { code: "EISDIR" });
    }
    return { name: `"${path}"`, handle, info: info.kind === "file" ? info : null };
  } catch (error) {
    throw systemError(`read "${path}"`, error);
  }
}

/** Deno keeps /dev, /proc and /sys from programs that lack some permission, whatever leads there. */
function openPermitted(path: string): FileHandle {
  try {
    return host.open(path, "read");
  } catch (error) {
    if (!isNotCapable(error)) throw error;
    return openSystemFile(path);
  }
}

/**
 * What lies behind a name that the user gave, links followed; `null` when there is nothing.
 *
 * @throws {AmeshError} `ERR_SYSTEM` when that cannot be told.
 */
export function findInput(path: string): FileInfo | null {
  try {
    return host.stat(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    if (!isNotCapable(error)) throw systemError(`look at "${path}"`, error);
  }
  try {
    using file = openSystemFile(path);
    return file.info();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    throw systemError(`look at "${path}"`, error);
  }
}

/** The input piece by piece; each piece is valid until the next. Closes it at the end. */
export async function* readPieces(input: Input): AsyncGenerator<Bytes> {
  using handle = input.handle;
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const count = readSome(input.name, handle, buffer);
    if (count === 0) return;
    yield buffer.subarray(0, count);
  }
}

function readSome(name: string, handle: FileHandle, buffer: Uint8Array): number {
  try {
    return untilReady(() => handle.read(buffer));
  } catch (error) {
    if (errnoOf(error) === "EOF") return 0;
    throw systemError(`read ${name}`, error);
  }
}

/** A small input as a whole. @throws {AmeshError} `ERR_CORRUPT` above `maximum` bytes; `ERR_SYSTEM`. */
export function readSmallInput(path: string, maximum: number): { bytes: Bytes; info: FileInfo | null } {
  const { handle, info, name } = openInput(path);
  using opened = handle;
  try {
    return { bytes: readToEnd((buffer) => readSome(name, opened, buffer), path, maximum), info };
  } catch (error) {
    throw systemError(`read ${name}`, error);
  }
}

/**
 * All that a descriptor gives, which stays open.
 *
 * @throws {AmeshError} `ERR_CORRUPT` above `maximum` bytes; `ERR_SYSTEM`: not open, a directory, a terminal (which would
 *   show what is typed).
 */
export function readDescriptor(fd: number, maximum: number): Bytes {
  const name = `descriptor ${fd}`;
  try {
    if (isTerminal(fd)) {
      throw new AmeshError("ERR_SYSTEM", "it is a terminal, which shows what is typed", {
        hint: "leave it out to be asked without echo",
      });
    }
    const handle = openDescriptor(fd);
    return readToEnd((buffer) => readSome(name, handle, buffer), name, maximum);
  } catch (error) {
    throw systemError(`read ${name}`, error);
  }
}
