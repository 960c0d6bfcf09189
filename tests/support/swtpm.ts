/**
 * A TPM 2.0 in software (swtpm), and tpm2-tools as a second opinion on it.
 *
 * libtss2 blocks the thread that calls it, so whatever answers it is a process of its own, and nothing here needs the
 * event loop: all functions are synchronous. The TPM listens on Unix sockets, which two tests never share.
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { systemLibraryPaths } from "../../src/platform/libc.ts";
import { pause } from "../../src/platform/ready.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

/** What is waited for takes milliseconds; a machine under load may take this long. */
const TIME_LIMIT_MS = 60_000;
const POLL_MS = 1;
const PROGRAMS = ["swtpm", "tpm2", "setpriv"];
const LIBRARIES = ["libtss2-esys.so.0", "libtss2-mu.so.0", "libtss2-tctildr.so.0", "libtss2-tcti-swtpm.so.0"];

/** Why no test of a TPM can run here; `undefined` when they can. */
export function swtpmMissing(): string | undefined {
  if (process.platform !== "linux") return "the tests of a TPM are for Linux";
  const directories = (process.env["PATH"] ?? "").split(":");
  const program = PROGRAMS.find((name) =>
    !directories.some((directory) => existsSync(join(directory, name)))
  );
  if (program !== undefined) return `${program} is not installed`;
  const library = LIBRARIES.find((name) => !systemLibraryPaths(name).some((path) => existsSync(path)));
  return library === undefined ? undefined : `${library} is not installed`;
}

/** Blocks until something is so. @throws {Error} when it takes a minute, or what `condition` throws. */
export function waitUntil(condition: () => boolean, what: string): void {
  const end = performance.now() + TIME_LIMIT_MS;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what}: not in ${TIME_LIMIT_MS} ms`);
    pause(POLL_MS);
  }
}

/**
 * Starts a program that the kernel ends when this process ends, in whatever way.
 *
 * @param log a file to which its stderr is added.
 * @returns its process id.
 */
export function startTied(argv: readonly string[], log: string): number {
  const stderr = openSync(log, "a");
  const child = spawn("setpriv", ["--pdeathsig", "KILL", ...argv], { stdio: ["ignore", "ignore", stderr] });
  closeSync(stderr);
  if (child.pid === undefined) throw new Error("setpriv cannot be started");
  child.unref();
  return child.pid;
}

/** Whether a process has ended; its parent need not have noticed. */
export function hasEnded(pid: number): boolean {
  return !/\) [^ZX] /.test(readOr(`/proc/${pid}/stat`, ""));
}

/** Kills a process and waits for its end. @param mark part of its command line: another may have got its number. */
export function end(pid: number, mark: string): void {
  if (hasEnded(pid) || !readOr(`/proc/${pid}/cmdline`, "").includes(mark)) return;
  process.kill(pid, "SIGKILL");
  waitUntil(() => hasEnded(pid), `end of ${mark}`);
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}

/** Where a TPM has its files, so that another process can restart it. */
export interface SwtpmPlace {
  /** Sockets, log and process id. */
  readonly directory: string;
  /** What a TPM keeps without power. */
  readonly state: string;
}

/** The socket of commands; that of the control channel has `.ctrl` at its end, which libtss2 expects. */
export const socketOf = ({ directory }: SwtpmPlace): string => join(directory, "tpm");

function pidOf({ directory }: SwtpmPlace): number {
  return Number(readOr(join(directory, "pid"), "0"));
}

/** Powers a TPM on and waits for its first answer. @throws {Error} it ended, with its log. */
export function powerOn(place: SwtpmPlace, startup = true): void {
  const { directory, state } = place;
  const socket = socketOf(place);
  const [log, pidFile] = [join(directory, "log"), join(directory, "pid")];
  // What a killed one left: it would be in the way of bind(2), or be taken for news.
  for (const path of [socket, `${socket}.ctrl`, log, pidFile]) rmSync(path, { force: true });
  const options = {
    tpmstate: `dir=${state}`,
    server: `type=unixio,path=${socket}`,
    ctrl: `type=unixio,path=${socket}.ctrl`,
    flags: startup ? "not-need-init,startup-clear" : "not-need-init",
    log: `file=${log}`,
    pid: `file=${pidFile}`,
  };
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const pid = startTied(["swtpm", "socket", "--tpm2", ...words], log);
  const isUp = () => {
    if (!hasEnded(pid)) return pidOf(place) === pid;
    throw new Error(`swtpm ended: ${readOr(log, "no log")}`);
  };
  // The file comes after the sockets and before the state is read, which can fail.
  waitUntil(isUp, "start of swtpm");
  tpm2(place, socket, ["getcap", "properties-fixed"]);
  isUp();
}

/** Cuts a TPM's power: it has no time to save anything. */
export function powerOff(place: SwtpmPlace): void {
  end(pidOf(place), place.directory);
}

function tpm2(place: SwtpmPlace, socket: string, args: readonly string[]) {
  return spawnSync("tpm2", args, {
    cwd: place.directory,
    encoding: "utf8",
    env: { ...process.env, TPM2TOOLS_TCTI: tctiOf(socket) },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: TIME_LIMIT_MS,
  });
}
const tctiOf = (socket: string) => `swtpm:path=${socket}`;

/** A way to a TPM, for amesh and for tpm2-tools. */
export interface TpmClient {
  /** Configuration of the TCTI, as libtss2 takes it. */
  readonly tcti: string;
  /** The variable that says the same to tpm2-tools. */
  readonly env: Readonly<Record<string, string>>;
  /** The absolute path of a name in the directory where the tools run; it is removed with the TPM. */
  file(name: string): string;
  /**
   * Runs one of tpm2-tools: `tools("getcap", "algorithms")`.
   *
   * @returns its stdout.
   * @throws {Error} with its stderr, when it fails or takes a minute.
   */
  tools(name: string, ...args: readonly string[]): string;
  /** Handles of loaded objects, as `0x80000000`. tpm2-tools leave theirs loaded: there is no resource manager. */
  transientHandles(): string[];
  /** Handles of sessions that are loaded (`0x02000000`) and not saved. */
  loadedSessions(): string[];
}

/** What reaches a TPM through a socket, which may be that of a proxy. */
export function tpmClient(place: SwtpmPlace, socket = socketOf(place)): TpmClient {
  const tools = (name: string, ...args: readonly string[]) => {
    const { status, stdout, stderr, error } = tpm2(place, socket, [name, ...args]);
    if (status !== 0) throw new Error(`tpm2 ${name}: exit ${status}: ${error?.message ?? ""}${stderr}`);
    return stdout;
  };
  // The tools leave out leading zeros.
  const handles = (kind: string) =>
    [...tools("getcap", kind).matchAll(/^- 0x([0-9A-F]+)$/gim)]
      .map(([, digits]) => `0x${digits!.toLowerCase().padStart(8, "0")}`);
  return {
    tcti: tctiOf(socket),
    env: { TPM2TOOLS_TCTI: tctiOf(socket) },
    file: (name) => join(place.directory, name),
    tools,
    transientHandles: () => handles("handles-transient"),
    loadedSessions: () => handles("handles-loaded-session"),
  };
}

/** How a TPM begins. */
export interface SwtpmOptions {
  /** Whether it gets TPM2_Startup(CLEAR), which else nobody sends (default true). */
  readonly startup?: boolean;
  /** A directory that holds the state of an earlier TPM, or will hold it; it stays. Default: a new one that goes. */
  readonly state?: string;
}

/** A running TPM; disposing of it ends it and removes its files. */
export interface Swtpm extends TpmClient, Disposable {
  readonly place: SwtpmPlace;
  /** The process id of the present swtpm. */
  pid(): number;
  /** Stops it in the middle of whatever it does; it answers after {@linkcode thaw}. */
  freeze(): void;
  thaw(): void;
  /** Cuts its power: its sockets stay and refuse connections. */
  kill(): void;
  /** Cuts its power if it has any, and starts it with the same state. */
  restart(options?: Pick<SwtpmOptions, "startup">): void;
  /** TPM2_Clear: everything below the owner's hierarchy is void. */
  clear(): void;
}

/** Starts one: `using swtpm = startSwtpm()`. @throws {Error} when swtpm does not start, with its log. */
export function startSwtpm({ startup = true, state }: SwtpmOptions = {}): Swtpm {
  const directory = temporaryDirectory();
  const place = { directory: directory.path, state: state ?? directory.file("state") };
  const remove = () => {
    powerOff(place);
    directory[Symbol.dispose]();
  };
  try {
    if (state === undefined) mkdirSync(place.state);
    powerOn(place, startup);
  } catch (error) {
    remove();
    throw error;
  }
  const client = tpmClient(place);
  const signal = (name: "SIGSTOP" | "SIGCONT") => {
    const pid = pidOf(place);
    if (hasEnded(pid)) throw new Error("swtpm does not run");
    process.kill(pid, name);
  };
  return {
    ...client,
    place,
    pid: () => pidOf(place),
    freeze: () => {
      signal("SIGSTOP");
      waitUntil(() => /\) T /.test(readOr(`/proc/${pidOf(place)}/stat`, "")), "stop of swtpm");
    },
    thaw: () => signal("SIGCONT"),
    kill: () => powerOff(place),
    restart: (options) => {
      powerOff(place);
      powerOn(place, options?.startup);
    },
    clear: () => void client.tools("clear"),
    [Symbol.dispose]: remove,
  };
}
