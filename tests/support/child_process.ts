/** Code of a test that needs a process of its own. */
import { Buffer } from "node:buffer";
import { spawn, type SpawnOptions, spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";

const ROOT = join(import.meta.dirname!, "..", "..");

/** Whether the tests run on Deno; the other runtime is Bun. */
export const isDeno = "Deno" in globalThis;

/** The URL of a file of the project, for an `import` in a child's code. */
export function projectUrl(path: string): string {
  return pathToFileURL(join(ROOT, path)).href;
}

/** Program and arguments that run JavaScript on the runtime of this test. @param flags for Deno only. */
export function evaluation(code: string, flags: readonly string[] = ["--allow-all"]): string[] {
  if (!isDeno) return [process.execPath, "-e", code];
  // `deno eval` has all permissions, so the code comes as the main module instead.
  const module = `data:text/javascript;base64,${Buffer.from(code).toString("base64")}`;
  const config = join(ROOT, "deno.json");
  return [process.execPath, "run", "--no-check", "--cached-only", "--config", config, ...flags, module];
}

/** What a child left. */
export interface ChildResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, in the project's directory. @param options `timeout` in milliseconds: it is killed then. */
export function runChild(
  [program, ...args]: readonly string[],
  options: { env?: Record<string, string>; input?: string; timeout?: number } = {},
): ChildResult {
  const { status, stdout, stderr } = spawnSync(program!, args, {
    cwd: ROOT,
    encoding: "utf8",
    env: { ...process.env, ...options.env },
    ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
    ...(options.input === undefined ? {} : { input: options.input }),
  });
  return { code: status, stdout, stderr };
}

/** A child that runs until it is killed. */
export interface Running {
  readonly pid: number;
  /** Its first line of output. */
  readonly firstLine: Promise<string>;
  /** Kills it with what it has started, and waits for its end. */
  kill(): Promise<void>;
}

/** Starts a program in the project's directory. */
export function startChild([program, ...args]: readonly string[]): Running {
  // A process group of its own: killing strace alone would let what it traces live on.
  const options: SpawnOptions = { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"], detached: true };
  const child = spawn(program!, args, options);
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const firstLine = new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout!.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
    });
    child.once("exit", () => reject(new Error(`ended before a line: ${text}`)));
  });
  return {
    pid: child.pid!,
    firstLine,
    kill: () => {
      process.kill(-child.pid!, "SIGKILL");
      return ended;
    },
  };
}
