/**
 * The programs and files of one running script: a fresh directory that is HOME and working directory, an environment
 * that holds nothing else, and processes that each lead their own group, so that ending one ends its children too.
 */
import { Buffer } from "node:buffer";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { constants, tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { NO_TPM } from "../support/environment.ts";
import type { Sshd } from "../support/sshd.ts";
import { hasEnded, type Swtpm } from "../support/swtpm.ts";
import { findProgram, type Script, type Target } from "./script.ts";

/** What a program left behind; `code` is 128 + the signal's number when a signal ended it. */
export interface Outcome {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly code: number;
}

/** A started program; `ended` resolves when it is gone and its streams are closed. */
export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Outcome>;
}

const running = new Set<ScriptRun>();
let isOver = false;
// Scripts that were started ahead and that no test waits for: nobody else would end their agents.
globalThis.addEventListener("unload", () => {
  isOver = true;
  running.forEach((run) => run.remove());
});

/** The state of one running script. */
export class ScriptRun {
  readonly root = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "amesh-cli-"));
  readonly work = join(this.root, "work");
  readonly bin = join(this.root, "bin");
  readonly env = new Map([["HOME", this.work], ["WORK", this.work], ["AMESH_TPM_TCTI", NO_TPM]]);
  /** Software TPMs by name. */
  readonly tpms = new Map<string, Swtpm>();
  sshd: Sshd | null = null;
  #prefix: readonly string[] = [];
  readonly #live = new Set<ChildProcess>();
  cwd = this.work;
  stdin: string | null = null;
  background: Started[] = [];
  last: Outcome = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), code: 0 };

  /** Makes the directory, the script's files, and a program `amesh` for the shell scripts among them. */
  constructor(readonly target: Target, script: Script) {
    running.add(this);
    if (isOver) this.remove();
    fs.mkdirSync(this.bin);
    fs.mkdirSync(this.work, { mode: 0o700 });
    const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
    const variables = Object.entries(target.env).map(([name, value]) => `export ${name}=${quote(value)}\n`);
    const shim = `#!/bin/sh\n${variables.join("")}exec ${target.argv.map(quote).join(" ")} "$@"\n`;
    fs.writeFileSync(join(this.bin, "amesh"), shim, { mode: 0o755 });
    for (const [name, content] of script.files) {
      fs.mkdirSync(dirname(this.path(name)), { recursive: true });
      fs.writeFileSync(this.path(name), content);
    }
  }

  /** Absolute path of a file that a script names; a `*` in its last part must match exactly one file. */
  path(name: string): string {
    const path = resolve(this.cwd, name);
    if (!basename(path).includes("*")) return path;
    const pattern = new RegExp(`^${basename(path).replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
    const matches = fs.readdirSync(dirname(path)).filter((entry) => pattern.test(entry)).sort();
    if (matches.length !== 1) {
      throw new Error(`${name} matches ${matches.length} files: ${matches.join(" ")}`);
    }
    return join(dirname(path), matches[0]!);
  }

  /** Content of a file, or of a stream of the last program: `stdout`, `stderr`. */
  read(name: string): Buffer {
    return name === "stdout" || name === "stderr" ? this.last[name] : fs.readFileSync(this.path(name));
  }

  /** Starts a program with the script's environment and `extra`, and the `stdin` that was announced for it. */
  start(argv: readonly string[], extra: Readonly<Record<string, string>>): Started {
    const input = this.stdin === null ? "ignore" as const : fs.openSync(this.path(this.stdin), "r");
    this.stdin = null;
    const [program, ...rest] = [...this.#prefix, ...argv];
    const env = { ...Object.fromEntries(this.env), ...extra };
    const child = spawn(program!, rest, {
      cwd: this.cwd,
      env,
      stdio: [input, "pipe", "pipe"],
      detached: true,
    });
    if (typeof input === "number") fs.closeSync(input);
    this.#live.add(child);
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout!.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr!.on("data", (chunk: Buffer) => stderr.push(chunk));
    const ended = new Promise<Outcome>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (exitCode, signal) => {
        this.#live.delete(child);
        const code = exitCode ?? 128 + constants.signals[signal!];
        resolve({ stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr), code });
      });
    });
    return { child, ended };
  }

  /** Runs a program to its end, or leaves it in the background when its last argument is `&`. */
  async run(
    argv: readonly string[],
    extra: Readonly<Record<string, string>>,
    mustFail: boolean,
  ): Promise<void> {
    if (argv.at(-1) === "&") {
      this.background.push(this.start(argv.slice(0, -1), extra));
      return;
    }
    this.last = await this.start(argv, extra).ended;
    const { code } = this.last;
    if (mustFail !== (code !== 0)) {
      throw new Error(`exit code ${code}, expected ${mustFail ? "a failure" : "0"}`);
    }
  }

  /** Starts every later program through `words`, inside of what was set before. */
  runThrough(...words: readonly string[]): void {
    this.#prefix = [...this.#prefix, ...words];
  }

  /** Copies a fixture and gives it the modes that git does not keep: 0700, 0600 and 0400 for `.passphrase`. */
  async copyFixture(from: string, to: string): Promise<void> {
    await this.run([findProgram("cp")!, "-R", from, to], {}, false);
    for (const entry of ["", ...fs.readdirSync(to, { recursive: true }) as string[]]) {
      const path = join(to, entry);
      const fileMode = basename(path) === ".passphrase" ? 0o400 : 0o600;
      fs.chmodSync(path, fs.statSync(path).isDirectory() ? 0o700 : fileMode);
    }
  }

  /**
   * Programs that the script has started and that run on though whoever started them has ended, as an agent does: the
   * variable WORK shows whose they are. Empty where the platform does not tell, which only Linux does.
   */
  strays(): number[] {
    if (process.platform !== "linux") return [];
    const isOurs = (pid: number) => {
      try {
        return fs.readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(`WORK=${this.work}`);
      } catch {
        return false;
      }
    };
    return fs.readdirSync("/proc").map(Number).filter((pid) => pid > 0 && isOurs(pid) && !hasEnded(pid));
  }

  /** Ends every program that still runs, with all its children. */
  killAll(): void {
    for (const pid of [...[...this.#live].map((child) => -child.pid!), ...this.strays()]) {
      try {
        process.kill(pid, "SIGKILL");
      } catch { /* it ended by itself in this moment */ }
    }
  }

  /** An agent lets nobody but root see its environment: it is told to end where it listens. */
  #stopAgents(): void {
    const [program, ...args] = [...this.target.argv, "agent", "stop", "--socket"];
    for (const name of fs.readdirSync(this.work, { recursive: true }) as string[]) {
      const path = join(this.work, name);
      // Deno's directory entries say of a socket that it is none.
      if (!fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket()) continue;
      spawnSync(program!, [...args, path], {
        env: { ...Object.fromEntries(this.env), ...this.target.env },
        stdio: "ignore",
        timeout: 10_000,
      });
    }
  }

  /** Removes the directory; everything that runs is ended before. */
  remove(): void {
    running.delete(this);
    this.killAll();
    if (process.getuid?.() !== 0) this.#stopAgents();
    this.sshd?.[Symbol.dispose]();
    for (const tpm of this.tpms.values()) tpm[Symbol.dispose]();
    // What a script made read-only cannot be emptied otherwise, except by root.
    spawnSync("chmod", ["-R", "u+rwx", this.root]);
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}
