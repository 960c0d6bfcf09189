/** The host on Bun (and Node.js), by `node:` built-ins, fetched when first used so that Deno never loads them. */
import { errnoOf } from "../errors.ts";
import type { FileHandle, FileInfo, Host } from "./host.ts";
import { LIBC, LINUX_DIRECTORIES, MUSL_PATHS } from "./libc_build.ts";
import { linuxFiles, type Looks } from "./linux_files.ts";

/** The part of Bun's own interface that is used. */
declare const Bun: { readonly stdout: unknown; write(target: unknown, bytes: Uint8Array): Promise<number> };

type Fs = typeof import("node:fs");
type NodeProcess = typeof import("node:process");

const nodeProcess = () => (globalThis as unknown as { process: NodeProcess }).process;
const fs = (): Fs => nodeProcess().getBuiltinModule("node:fs");
const os = () => nodeProcess().getBuiltinModule("node:os");
const arch = () => nodeProcess().arch === "arm64" ? "arm64" : "x64";
const isWindows = () => nodeProcess().platform === "win32";

function info(stat: import("node:fs").Stats): FileInfo {
  const unix = !isWindows();
  return {
    kind: stat.isFile()
      ? "file"
      : stat.isDirectory()
      ? "directory"
      : stat.isSymbolicLink()
      ? "symlink"
      : stat.isSocket()
      ? "socket"
      : "other",
    mode: unix ? stat.mode & 0o7777 : null,
    uid: unix ? stat.uid : null,
    size: stat.size,
    dev: stat.dev,
    ino: unix ? stat.ino : 0,
    modifiedMs: Math.floor(stat.mtimeMs),
  };
}

function handle(fd: number, owned: boolean): FileHandle {
  const close = () => {
    if (owned) fs().closeSync(fd);
  };
  return {
    read: (buffer) => fs().readSync(fd, buffer, 0, buffer.length, null),
    write: (bytes) => fs().writeSync(fd, bytes),
    sync: () => fs().fsyncSync(fd),
    info: () => info(fs().fstatSync(fd)),
    close,
    [Symbol.dispose]: close,
  };
}

/** The same by node:fs. */
const nodeLooks: Looks = {
  lstat: (path) => info(fs().lstatSync(path)),
  stat: (path) => info(fs().statSync(path)),
  fstat: (fd) => info(fs().fstatSync(fd)),
};

/** Where it is known which libc this runtime was made for, files go through it. */
const linux = LIBC === null ? null : linuxFiles(
  () => LIBC === "musl" ? [MUSL_PATHS[arch()]] : LINUX_DIRECTORIES[arch()].map((path) => `${path}/libc.so.6`),
  arch,
  nodeLooks,
);

/** The host on Bun. */
export const nodeHost: Host = {
  runtime: "bun",
  get os() {
    const platform = nodeProcess().platform;
    return platform === "win32" ? "windows" : platform === "darwin" ? "darwin" : "linux";
  },
  get arch() {
    return arch();
  },
  get pid() {
    return nodeProcess().pid;
  },
  get args() {
    return nodeProcess().argv.slice(2);
  },
  stdin: linux?.handle(0) ?? handle(0, false),
  stderr: linux?.handle(2) ?? handle(2, false),
  // Bun's own call: node:fs alone would double the time that --version takes.
  writeStdout: async (bytes) => {
    await Bun.write(Bun.stdout, bytes);
  },
  env: (name) => nodeProcess().env[name],
  unsetEnv: (name) => {
    delete nodeProcess().env[name];
  },
  euid: () => nodeProcess().geteuid?.() ?? null,
  cwd: () => nodeProcess().cwd(),
  accountHome: () => {
    try {
      return Promise.resolve(os().userInfo().homedir || null);
    } catch (error) {
      if (errnoOf(error) !== undefined) return Promise.resolve(null);
      throw error;
    }
  },
  setExitCode: (code) => {
    nodeProcess().exitCode = code;
  },
  onSignal: (signal, listener) => {
    nodeProcess().on(signal, listener);
    return { [Symbol.dispose]: () => void nodeProcess().off(signal, listener) };
  },
  open: (path, how, mode) =>
    linux?.open(path, how, mode) ??
      handle(fs().openSync(path, how === "read" ? "r" : how === "create" ? "wx" : "w", mode), true),
  lstat: (linux ?? nodeLooks).lstat,
  stat: (linux ?? nodeLooks).stat,
  mkdir: (path, mode) => {
    fs().mkdirSync(path, { mode });
  },
  chmod: (path, mode) => fs().chmodSync(path, mode),
  rename: (from, to) => fs().renameSync(from, to),
  link: (existing, name) => fs().linkSync(existing, name),
  unlink: (path) => fs().unlinkSync(path),
  readDir: (path) => fs().readdirSync(path),
};
