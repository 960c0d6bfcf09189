/** Descriptors of a test, connections within one process, and Python at the other end of a socket. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import {
  acceptConnection,
  closeFd,
  connectUnix,
  type Fd,
  listenUnix,
  makePipe,
} from "../../src/platform/socket.ts";
import { type TemporaryDirectory, temporaryDirectory } from "./temporary_directory.ts";

const PYTHON = "/usr/bin/python3";

/** For tests that need {@linkcode startPython}. */
export const withPython = { skip: process.platform !== "linux" || !existsSync(PYTHON) };

/** Descriptors that are closed at the end of a test, whatever happens. */
export class Descriptors implements Disposable {
  readonly #open = new Set<Fd>();

  keep(fd: Fd | null): Fd {
    assert.ok(fd !== null && fd > 2, `${fd}`);
    this.#open.add(fd);
    return fd;
  }

  pipe(): { readonly read: Fd; readonly write: Fd } {
    const { read, write } = makePipe();
    return { read: this.keep(read), write: this.keep(write) };
  }

  /** Closes one now. */
  close(fd: Fd): void {
    assert.ok(this.#open.delete(fd));
    closeFd(fd);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open) closeFd(fd);
  }
}

/** A listener and a connection to it, both ends in this process. */
export class SocketPair extends Descriptors {
  readonly directory: TemporaryDirectory = temporaryDirectory();
  readonly path = this.directory.file("s");
  readonly listener = this.keep(listenUnix(this.path, 8));
  readonly client = this.keep(connectUnix(this.path));
  readonly server = this.keep(acceptConnection(this.listener));

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.directory[Symbol.dispose]();
  }
}

/** A Python program that has written its first line. */
export interface Python extends Disposable {
  readonly pid: number;
  nextLine(): Promise<string | undefined>;
}

/**
 * Runs Python and waits for the first line.
 *
 * @param argument `sys.argv[1]`.
 * @param prefix a command that runs it.
 */
export async function startPython(
  code: string,
  argument: string,
  prefix: readonly string[] = [],
): Promise<Python> {
  const [program, ...args] = [...prefix, PYTHON, "-c", `import socket, sys, time\n${code}`, argument];
  const child = spawn(program!, args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
  await lines.next();
  return {
    pid: child.pid!,
    nextLine: async () => (await lines.next()).value as string | undefined,
    [Symbol.dispose]: () => void child.kill("SIGKILL"),
  };
}
