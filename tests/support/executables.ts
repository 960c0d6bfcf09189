/**
 * What black-box tests run: the source, under `deno run` with exactly the permissions of the release, and the
 * executables that `deno task test` builds and names in the environment.
 */
import { resolve } from "node:path";
import process from "node:process";
import { permissionFlags } from "../../scripts/compile.ts";

const ROOT = resolve(import.meta.dirname!, "..", "..");

/** One form of amesh under test. */
export interface Target {
  readonly name: "source" | "bun" | "deno";
  /** Absolute path of a program and its first arguments; those of amesh follow. */
  readonly argv: readonly string[];
  /**
   * Variables that this form needs and amesh does not read, to be set beside those of the test, also when that
   * test wants an empty environment: without `DENO_DIR`, a Deno with another HOME looks for a cache there and
   * downloads every package again.
   */
  readonly env: Readonly<Record<string, string>>;
}

/** An executable that is not there to be tested. */
export interface AbsentTarget {
  readonly name: Target["name"];
  /** Why, for the report of a skipped test. */
  readonly reason: string;
}

const EXECUTABLES = [["bun", "AMESH_TEST_BUN"], ["deno", "AMESH_TEST_DENO"]] as const;

/** The forms of amesh that can be tested here; the source is always among them. */
export function targets(): Target[] {
  const found: Target[] = [sourceTarget()];
  for (const [name, variable] of EXECUTABLES) {
    const path = process.env[variable];
    if (path) found.push({ name, argv: [resolve(path)], env: {} });
  }
  return found;
}

/** The forms that {@linkcode targets} leaves out: tests name them as skipped. */
export function absentTargets(): AbsentTarget[] {
  return EXECUTABLES.filter(([, variable]) => !process.env[variable])
    .map(([name, variable]) => ({ name, reason: `no ${name} executable: ${variable} is not set` }));
}

function sourceTarget(): Target {
  const deno = Deno.execPath();
  // --cached-only: a package that is missing is an error at once, not a download in the middle of a test; and
  // without "manual", many at once would wait for the lock on node_modules and say so on stderr.
  const argv = [
    deno,
    "run",
    "--cached-only",
    "--node-modules-dir=manual",
    ...permissionFlags(),
    resolve(ROOT, "main.ts"),
  ];
  return { name: "source", argv, env: { DENO_DIR: cacheDirectory(deno), DENO_NO_UPDATE_CHECK: "1" } };
}

function cacheDirectory(deno: string): string {
  const { stdout } = new Deno.Command(deno, { args: ["info", "--json"], cwd: ROOT, stderr: "null" })
    .outputSync();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}
