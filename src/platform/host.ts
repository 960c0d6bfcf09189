/**
 * What amesh needs of an operating system, behind one small synchronous interface.
 *
 * Deno pays 45 ms for loading `node:fs` and 16 ms for `node:process` in a process that starts in 27, so it is
 * served by its own calls; every other runtime by `node:` built-ins. Errors of both carry an errno name in
 * `code` (see `errnoOf`). Nothing here decides anything about amesh's files: `files.ts` does.
 */
import { denoHost } from "./host_deno.ts";
import { nodeHost } from "./host_node.ts";

/** The operating systems that amesh is built for. */
export type OsName = "linux" | "darwin" | "windows";

/** The signals by which a person or the system asks a program to end. */
export type SignalName = "SIGHUP" | "SIGINT" | "SIGQUIT" | "SIGTERM";

/** What lstat, stat and fstat tell. */
export interface FileInfo {
  readonly kind: "file" | "directory" | "symlink" | "socket" | "other";
  /** Permission bits (07777); `null` where the platform has none (Windows). */
  readonly mode: number | null;
  /** Owner; `null` on Windows. */
  readonly uid: number | null;
  /** Size in bytes. */
  readonly size: number;
  readonly dev: number;
  /** Inode number; 0 on Windows, where it is not known. */
  readonly ino: number;
  /** When its content was last changed, in whole milliseconds since 1970; 0 when that is not known. */
  readonly modifiedMs: number;
}

/** An open file or standard stream. */
export interface FileHandle extends Disposable {
  /** Reads up to `buffer.length` bytes; 0 is the end. */
  read(buffer: Uint8Array): number;
  /** Writes some of the bytes and returns how many. */
  write(bytes: Uint8Array): number;
  /** fsync(2). */
  sync(): void;
  info(): FileInfo;
  close(): void;
}

/** How {@linkcode Host.open} opens: `create` fails when the name is taken, `truncate` writes over what is there. */
export type OpenMode = "read" | "create" | "truncate";

/** The runtime as amesh sees it. All paths are absolute or relative to the working directory. */
export interface Host {
  readonly runtime: "deno" | "bun";
  readonly os: OsName;
  readonly arch: "x64" | "arm64";
  readonly pid: number;
  /** Command line without the program's name. */
  readonly args: readonly string[];
  readonly stdin: FileHandle;
  readonly stderr: FileHandle;
  /** Writes all of it to standard output. */
  writeStdout(bytes: Uint8Array): Promise<void>;
  /** `undefined` when not set. */
  env(name: string): string | undefined;
  unsetEnv(name: string): void;
  /** User of this process (Deno tells the real, Bun the effective one); `null` on Windows. */
  euid(): number | null;
  cwd(): string;
  /** Home directory of the account database's entry, whatever HOME says; `null` when there is none. */
  accountHome(): Promise<string | null>;
  setExitCode(code: number): void;
  /** Calls `listener` in place of what a signal does by itself, until it is disposed of; not on Windows. */
  onSignal(signal: SignalName, listener: () => void): Disposable;
  /** @param mode permission bits of a created file, before the umask. */
  open(path: string, how: OpenMode, mode?: number): FileHandle;
  lstat(path: string): FileInfo;
  stat(path: string): FileInfo;
  mkdir(path: string, mode: number): void;
  chmod(path: string, mode: number): void;
  rename(from: string, to: string): void;
  link(existing: string, name: string): void;
  unlink(path: string): void;
  /** Names, in no order. */
  readDir(path: string): string[];
}

/** The host of this process. */
export const host: Host = "Deno" in globalThis ? denoHost : nodeHost;
