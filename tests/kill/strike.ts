/** Compiling and running strike.c, which kills a command at one of its changes or lets that change fail. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hasProgram } from "../../scripts/debian_packages.ts";
import { type Ended, type Environment, run } from "./program.ts";

/** What happens at a point: `kill`, an errno (`ENOSPC`), or an errno that stays from there on (`EROFS+`). */
export type Fault = string;
/** Form of a {@linkcode Fault}. */
export const FAULT = /^(kill|E[A-Z0-9]+\+?)$/;

/** Where a command is struck, and how. */
export interface Strike {
  /** From 1 on; with 0 it runs to its end. */
  readonly point: number;
  readonly fault: Fault;
}

/** What became of it. */
export interface Struck {
  readonly ended: Ended;
  /** Every change up to the end, as `rename /old /new`. */
  readonly calls: readonly string[];
  /** The one that was struck (the first, with a fault that stays); `null` when the point was not reached. */
  readonly call: string | null;
}

/** Bit of CAP_SYS_PTRACE. */
const SYS_PTRACE = 19n;

/** Why strike cannot work here; `undefined` when it can. */
export function strikeMissing(): string | undefined {
  if (Deno.build.os !== "linux") return "it works by seccomp, which only Linux has";
  if (!hasProgram("gcc")) return "gcc is not installed";
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  const isAllowed = (BigInt(`0x${capabilities}`) >> SYS_PTRACE) & 1n;
  return isAllowed ? undefined : "amesh cannot be watched without CAP_SYS_PTRACE: be root";
}

/** Compiles it into `directory`. @returns its path. @throws {Error} with what the compiler said. */
export async function compileStrike(directory: string): Promise<string> {
  const output = join(directory, "strike");
  const source = join(import.meta.dirname!, "strike.c");
  const argv = ["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-o", output, source];
  const { code, stderr } = await run(argv, directory, { PATH: Deno.env.get("PATH") ?? "/usr/bin" });
  if (code !== 0) throw new Error(`strike.c cannot be compiled:\n${stderr}`);
  return output;
}

/** Exit code of strike when it fails itself. */
const FAILED = 125;

/**
 * Runs a command and strikes.
 *
 * @param program the compiled strike.c.
 * @param home working directory of the command; changes below it are counted.
 * @param report where strike reports: a path that is not below `home`.
 * @throws {Error} strike failed.
 */
export async function strike(
  program: string,
  { point, fault }: Strike,
  argv: readonly string[],
  home: string,
  env: Environment,
  report: string,
): Promise<Struck> {
  const ended = await run([program, report, home, String(point), fault, ...argv], home, env);
  if (ended.code === FAILED) throw new Error(`strike failed: ${ended.stderr}`);
  const lines = readFileSync(report, "utf8").split("\n").slice(0, -1);
  const struck = lines.find((line) => line.startsWith("*"));
  // Paths as they are from the working directory: each run has another one.
  const plain = (line: string) => line.slice(2).replaceAll(`${home}/`, "").replaceAll(home, ".");
  return { ended, calls: lines.map(plain), call: struck === undefined ? null : plain(struck) };
}
