/**
 * Makes what is measured: amesh, a program that does nothing and one that only stretches a passphrase, each compiled
 * by `scripts/build.ts` itself. The other two come from a copy of the project whose `main.ts` is theirs, so the
 * compiler, its flags and the permissions are the same, whatever they are.
 */
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { CompileError, runProgram } from "../build.ts";
import { hostTarget, permissionFlags, type Runtime } from "../compile.ts";

const ROOT = resolve(import.meta.dirname!, "..", "..");
/** Where a stand-in for `deno compile` may lie, when AMESH_DENO_COMPILE names none. */
const STAND_IN = "../shared/tools/deno-compile-check";
/** What a copy of the project needs to be compiled. */
const PARTS = ["deno.json", "deno.lock", "scripts", "src"];

/** `main.ts` of each program; amesh has its own. */
const MAINS = {
  amesh: undefined,
  empty: "export {};\n",
  kdf: 'import "./scripts/bench/kdf_program.ts";\n',
} as const;
type ProgramName = keyof typeof MAINS;
const NAMES = Object.keys(MAINS) as ProgramName[];

/** The ways to run amesh: executables of either runtime, and the bundled source by `deno run`. */
export const FORMS = ["bun", "deno", "deno-run"] as const;
export type Form = typeof FORMS[number];

/** The three programs in one form, each the start of an argument list. */
export interface Programs {
  readonly form: Form;
  /** What they are, for the reader of the table. */
  readonly title: string;
  /** Whether another compiler than the project's made them. */
  readonly byStandIn: boolean;
  readonly amesh: readonly string[];
  readonly empty: readonly string[];
  readonly kdf: readonly string[];
}

/**
 * Makes the programs of one form.
 *
 * @param directory where they go.
 * @param note tells the user how far it is.
 * @returns `null` when this form cannot be made here, which `note` has said.
 * @throws {CompileError}
 */
export async function makePrograms(
  form: Form,
  directory: string,
  note: (text: string) => void,
): Promise<Programs | null> {
  const trees = await copyProject(join(directory, "trees"));
  const made: Partial<Record<ProgramName, readonly string[]>> = {};
  let byStandIn = false;
  for (const name of NAMES) {
    note(`${form}: making ${name}`);
    const output = join(directory, form, name);
    await mkdir(join(directory, form), { recursive: true });
    if (form === "deno-run") {
      made[name] = await bundle(trees[name], output);
      continue;
    }
    const compiler = await compile(form, trees[name], output);
    if (compiler === "none") {
      note("deno: neither the base runtime nor a stand-in for the compiler can be had");
      return null;
    }
    byStandIn ||= compiler === "stand-in";
    made[name] = [output];
  }
  const title = form === "deno-run"
    ? `deno run ${Deno.version.deno}`
    : `${form} executable${byStandIn ? " (stand-in)" : ""}`;
  return { form, title, byStandIn, ...made as Record<ProgramName, readonly string[]> };
}

/** A directory per program, in which its project lies. */
async function copyProject(directory: string): Promise<Record<ProgramName, string>> {
  const trees = { amesh: ROOT, empty: join(directory, "empty"), kdf: join(directory, "kdf") };
  for (const name of NAMES) {
    const main = MAINS[name];
    if (main === undefined) continue;
    for (const part of PARTS) await cp(join(ROOT, part), join(trees[name], part), { recursive: true });
    await writeFile(join(trees[name], "main.ts"), main);
  }
  return trees;
}

/** `scripts/build.ts` of a copy, which builds that copy. */
async function builderOf(tree: string): Promise<typeof import("../build.ts")> {
  return await import(pathToFileURL(join(tree, "scripts", "build.ts")).href);
}

/** @returns who compiled it. */
async function compile(
  runtime: Runtime,
  tree: string,
  output: string,
): Promise<"project" | "stand-in" | "none"> {
  const target = hostTarget();
  if (target === undefined) throw new CompileError("there is no target for this machine");
  const builder = await builderOf(tree);
  try {
    const build = { ...target, runtime, permissions: permissionFlags(), output, verbose: false };
    await builder.buildExecutable(build, false);
    return "project";
  } catch (error) {
    // The class of a copy is not ours.
    if (!(error instanceof Error) || !error.message.includes("cannot get Deno's base runtime")) throw error;
  }
  const standIn = Deno.env.get("AMESH_DENO_COMPILE") ?? resolve(ROOT, STAND_IN);
  if (!await isFile(standIn)) return "none";
  const { entry, flags } = await builder.bundleForDeno(`${output}.bundle`);
  const { success, text } = await runProgram([standIn, output, ...flags, ...permissionFlags(), entry]);
  if (!success) throw new CompileError(`cannot compile with ${standIn}:\n${text}`);
  return "stand-in";
}

async function bundle(tree: string, output: string): Promise<readonly string[]> {
  const { entry } = await (await builderOf(tree)).bundleForDeno(output);
  return [Deno.execPath(), "run", "--no-config", "--no-lock", ...permissionFlags(), entry];
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}
