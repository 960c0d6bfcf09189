/** The socket of an agent as a file: where it is, how it is made, and whether somebody listens on it. */
import { AmeshError, errnoOf, systemError } from "../errors.ts";
import { ensureDirectory, findInfo } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { acquireLock } from "../platform/lock.ts";
import { joinPath, type Layout, parentPath } from "../platform/paths.ts";
import { closeFd, connectUnix, type Fd, listenUnix } from "../platform/socket.ts";
import { fileStamp } from "./stamp.ts";

/** Clients that may wait to be accepted. */
const BACKLOG = 1024;
/** How often another start is waited for, and for how long each time, in milliseconds. */
const LOCK_TRIES = 100;
const LOCK_PAUSE_MS = 30;

/** The socket of the agent of a directory: in `$XDG_RUNTIME_DIR/amesh/`, else in `run/` of the directory itself. */
export function defaultSocket(layout: Layout): string {
  const runtime = host.env("XDG_RUNTIME_DIR");
  const isUsable = runtime?.startsWith("/") && findInfo(runtime)?.kind === "directory";
  return joinPath(isUsable ? joinPath(runtime as string, "amesh") : layout.run, "agent.sock");
}

/** A socket that listens. */
export interface ListeningSocket {
  readonly listener: Fd;
  /** Tells whether the file is still this socket's. */
  readonly stamp: string;
}

/**
 * Makes the socket. One that nobody listens on any more is replaced.
 *
 * @param isDefault whether it lies in a directory of ours, which is made.
 * @param lockDirectory a directory of ours, for the lock of a socket that lies elsewhere.
 * @returns `null` when somebody listens there.
 * @throws {AmeshError} `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`, `ERR_USAGE`: the path is too long.
 */
export async function listenOn(
  path: string,
  isDefault: boolean,
  lockDirectory?: string,
): Promise<ListeningSocket | null> {
  if (isDefault) ensureDirectory(parentPath(path));
  // Of two that start at the same time one could take the other's new socket for a stale one.
  const directory = isDefault ? parentPath(path) : lockDirectory;
  using _lock = directory === undefined ? null : await lockStart(directory);
  return replaceStale(path);
}

/** @returns `null` where nothing can be written. */
async function lockStart(directory: string): Promise<Disposable | null> {
  const path = joinPath(directory, ".agent.sock.lock");
  try {
    ensureDirectory(directory);
  } catch (error) {
    if (error instanceof AmeshError && error.code === "ERR_SYSTEM") return null;
    throw error;
  }
  for (let tries = 1;; tries++) {
    try {
      return acquireLock(path);
    } catch (error) {
      if (!(error instanceof AmeshError) || error.code !== "ERR_BUSY" || tries === LOCK_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, LOCK_PAUSE_MS));
    }
  }
}

function replaceStale(path: string): ListeningSocket | null {
  const info = findInfo(path);
  if (info !== null) {
    if (info.kind !== "socket") {
      throw new AmeshError("ERR_SYSTEM", `cannot listen on "${path}": it is there and is no socket`, {
        hint: "choose another path with --socket",
      });
    }
    if (isListening(path)) return null;
    unlink(path);
  }
  try {
    const listener = listenUnix(path, BACKLOG);
    return { listener, stamp: fileStamp(path) };
  } catch (error) {
    if (errnoOf(error) !== "ENAMETOOLONG") {
      throw systemError(
        `listen on "${path}"`,
        error,
        "choose a path where this user may write with --socket",
      );
    }
    throw new AmeshError(
      "ERR_USAGE",
      `cannot listen on "${path}": the path of a socket has ${
        host.os === "darwin" ? 103 : 107
      } bytes at most`,
      {
        hint: "choose a shorter path with --socket",
      },
    );
  }
}

/** @throws {AmeshError} `ERR_SYSTEM`: that cannot be told. */
function isListening(path: string): boolean {
  try {
    closeFd(connectUnix(path));
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ECONNREFUSED" || errno === "ENOENT") return false;
    // Of another kind, or one whose queue is full: it is in use.
    if (errno === "EPROTOTYPE" || errno === "ETIMEDOUT") return true;
    throw systemError(`look who listens on "${path}"`, error);
  }
}

function unlink(path: string): void {
  try {
    host.unlink(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw systemError(`remove "${path}"`, error);
  }
}

/** Removes a socket, unless another one has its name by now. Nobody is there to be told of a failure. */
export function removeSocket(path: string, stamp: string): void {
  try {
    if (fileStamp(path) === stamp) host.unlink(path);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}
