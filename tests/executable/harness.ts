/** Runs programs for the tests of this folder: real processes, directories of their own, and strace. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { hasProgram } from "../../scripts/debian_packages.ts";
import type { Target } from "../support/executables.ts";

/** What a program left. */
export interface Run {
  /** -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a program is started; it gets these variables and no other. */
export interface Setting {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A directory that is removed with all that is in it. */
export class Scratch implements Disposable {
  readonly path: string = realpathSync(mkdtempSync(join(tmpdir(), "amesh-executable-")));

  /** A new directory in it. */
  directory(): string {
    return mkdtempSync(join(this.path, "d"));
  }

  /** A new file in it. */
  file(name: string, content: string): string {
    const path = join(this.path, name);
    writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}

/** Runs a program to its end, without stdin. @throws {Error} when it cannot be started or takes a minute. */
export function run(argv: readonly string[], { cwd, env }: Setting): Run {
  const [program = "", ...args] = argv;
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    env,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  if (error !== undefined) throw error;
  return { code: status ?? -1, stdout, stderr };
}

/** Runs amesh. */
export function amesh(target: Target, args: readonly string[], { cwd, env }: Setting): Run {
  return run([...target.argv, ...args], { cwd, env: { ...env, ...target.env } });
}

/**
 * Every command of an identity's life in order, each with the exit code that it ends with. What they read and
 * write lies in `directory`; the identity is made by the second.
 */
export function everyCommand(
  directory: string,
): readonly (readonly [args: readonly string[], code: number])[] {
  const file = join(directory, "message");
  const signature = join(directory, "signature");
  writeFileSync(file, "a message\n");
  return [
    [["--help"], 0],
    [["--version"], 0],
    [["init", "--name", "traced", "--backend", "encrypted-file"], 0],
    [["init", "--name", "traced again"], 6],
    [["status"], 0],
    [["status", "--json"], 0],
    [["doctor"], 0],
    [["public-key"], 0],
    [["sign", "--out", signature, file], 0],
    [["verify", "--signature", `@${signature}`, file], 0],
    [["verify", "--signature", "AAAA", file], 7],
  ];
}

/** Why no program can be traced here, for the `skip` of a test; `false` when one can. */
export function cannotTrace(): string | false {
  if (process.platform !== "linux") return "strace is for Linux";
  if (!hasProgram("strace")) return "strace is not installed";
  const setting = { cwd: "/", env: { PATH: "/usr/bin:/bin" } };
  return run(["/usr/bin/env", "strace", "-o", "/dev/null", "true"], setting).code === 0
    ? false
    : "strace is not allowed to trace";
}

/** A run and its system calls. */
export interface Trace extends Run {
  /** As strace prints them, one per line. */
  readonly calls: readonly string[];
}

/**
 * Runs amesh, or any program, under strace with all its threads and children.
 *
 * @param what what is traced, as strace's `-e trace=` takes it.
 */
export function trace(what: string, argv: readonly string[], setting: Setting): Trace {
  using scratch = new Scratch();
  const log = join(scratch.path, "calls");
  const strace = ["strace", "--follow-forks", "--string-limit=4096", `--trace=${what}`, `--output=${log}`];
  // env gives the traced program exactly these variables; strace itself is found by PATH.
  const variables = Object.entries(setting.env).map(([name, value]) => `${name}=${value}`);
  const traced = run(["/usr/bin/env", ...strace, "/usr/bin/env", "-i", ...variables, ...argv], {
    cwd: setting.cwd,
    env: { PATH: "/usr/bin:/bin" },
  });
  return { ...traced, calls: readFileSync(log, "utf8").split("\n") };
}

/** The paths that traced calls name, made absolute. */
export function pathsOf(calls: readonly string[], cwd: string): string[] {
  return calls.flatMap((call) => {
    const strings = [...call.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text);
    // The further strings of execve are arguments.
    return call.includes("execve(") ? strings.slice(0, 1) : strings;
  }).map((path) => resolve(cwd, path));
}
