/** The host on Deno, by Deno's own calls: loading `node:` modules would double the time to the first byte. */
import { errnoOf } from "../errors.ts";
import { RETRY_MS } from "./ready.ts";
import type { FileHandle, FileInfo, Host, OsName } from "./host.ts";

function kindOf(stat: Deno.FileInfo): FileInfo["kind"] {
  if (stat.isFile) return "file";
  if (stat.isDirectory) return "directory";
  return stat.isSymlink ? "symlink" : stat.isSocket ? "socket" : "other";
}

function info(stat: Deno.FileInfo): FileInfo {
  return {
    kind: kindOf(stat),
    mode: stat.mode === null ? null : stat.mode & 0o7777,
    uid: stat.uid,
    size: stat.size,
    dev: stat.dev,
    ino: stat.ino ?? 0,
    modifiedMs: stat.mtime?.getTime() ?? 0,
  };
}

function handle(file: Deno.FsFile): FileHandle {
  return {
    read: (buffer) => file.readSync(buffer) ?? 0,
    write: (bytes) => file.writeSync(bytes),
    sync: () => file.syncSync(),
    info: () => info(file.statSync()),
    close: () => file.close(),
    [Symbol.dispose]: () => file.close(),
  };
}

/** A standard stream is never closed by us and has no fstat in Deno, so it is told as `other`. */
function stream(
  calls: { readSync?(buffer: Uint8Array): number | null; writeSync?(bytes: Uint8Array): number },
): FileHandle {
  return {
    read: (buffer) => calls.readSync?.(buffer) ?? 0,
    write: (bytes) => calls.writeSync?.(bytes) ?? 0,
    sync: () => {},
    info: () => ({ kind: "other", mode: null, uid: null, size: 0, dev: 0, ino: 0, modifiedMs: 0 }),
    close: () => {},
    [Symbol.dispose]: () => {},
  };
}

/** The host on Deno. */
export const denoHost: Host = {
  runtime: "deno",
  get os() {
    return Deno.build.os as OsName;
  },
  get arch() {
    return Deno.build.arch === "aarch64" ? "arm64" : "x64";
  },
  get pid() {
    return Deno.pid;
  },
  get args() {
    return Deno.args;
  },
  stdin: stream({ readSync: (buffer) => Deno.stdin.readSync(buffer) }),
  stderr: stream({ writeSync: (bytes) => Deno.stderr.writeSync(bytes) }),
  writeStdout: async (bytes) => {
    for (let written = 0; written < bytes.length;) {
      try {
        written += await Deno.stdout.write(bytes.subarray(written));
      } catch (error) {
        if (errnoOf(error) !== "EAGAIN") throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  },
  env: (name) => Deno.env.get(name),
  unsetEnv: (name) => Deno.env.delete(name),
  euid: () => Deno.uid(),
  cwd: () => Deno.cwd(),
  accountHome: async () => {
    const { userInfo } = await import("node:os");
    try {
      return userInfo().homedir || null;
    } catch (error) {
      if (errnoOf(error) !== undefined) return null;
      throw error;
    }
  },
  setExitCode: (code) => {
    Deno.exitCode = code;
  },
  onSignal: (signal, listener) => {
    Deno.addSignalListener(signal, listener);
    return { [Symbol.dispose]: () => Deno.removeSignalListener(signal, listener) };
  },
  open: (path, how, mode) =>
    handle(Deno.openSync(
      path,
      how === "read" ? { read: true } : {
        write: true,
        createNew: how === "create",
        create: how === "truncate",
        truncate: how === "truncate",
        ...(mode === undefined ? {} : { mode }),
      },
    )),
  lstat: (path) => info(Deno.lstatSync(path)),
  stat: (path) => info(Deno.statSync(path)),
  mkdir: (path, mode) => Deno.mkdirSync(path, { mode }),
  chmod: (path, mode) => Deno.chmodSync(path, mode),
  rename: (from, to) => Deno.renameSync(from, to),
  link: (existing, name) => Deno.linkSync(existing, name),
  unlink: (path) => {
    // Deno.removeSync() also takes an empty directory.
    if (Deno.lstatSync(path).isDirectory) throw Object.assign(new Error("a directory"), { code: "EISDIR" });
    Deno.removeSync(path);
  },
  readDir: (path) => [...Deno.readDirSync(path)].map((entry) => entry.name),
};
