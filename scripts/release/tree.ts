/** What lies where in an archive, and how it gets there. */
import { basename, dirname, join, resolve } from "node:path";
import { CompileError, installPackages, runProgram } from "../build.ts";
import { permissionFlags, type Target } from "../compile.ts";

const ROOT = resolve(import.meta.dirname!, "..", "..");

/** One file of a tree. */
export interface Entry {
  /** Relative, with slashes. */
  readonly path: string;
  /** Absolute path of its content. */
  readonly from: string;
  /** 0755 instead of 0644. */
  readonly isExecutable: boolean;
}

/** What goes into every archive beside the executable. */
export type Documents = readonly Entry[];

/** The shells whose completions are installed, and where these look for them. */
const COMPLETIONS: readonly { readonly shell: string; readonly path: string }[] = [
  { shell: "bash", path: "share/bash-completion/completions/amesh" },
  { shell: "zsh", path: "share/zsh/site-functions/_amesh" },
  { shell: "fish", path: "share/fish/vendor_completions.d/amesh.fish" },
];

/**
 * Makes man pages and completions.
 *
 * @param directory is made.
 * @param time that the man pages show as a date, in seconds since 1970.
 * @throws {CompileError}
 */
export async function makeDocuments(directory: string, time: number): Promise<Documents> {
  await installPackages();
  const man = join(directory, "man");
  await Deno.mkdir(man, { recursive: true });
  const env = { ...Deno.env.toObject(), SOURCE_DATE_EPOCH: `${time}` };
  await printed([Deno.execPath(), "run", "--allow-all", "scripts/man.ts", man], "make the man pages", env);
  const pages = (await Array.fromAsync(Deno.readDir(man))).map(({ name }) => name).sort();
  const documents = pages.map((name) => file(`share/man/man1/${name}`, join(man, name)));
  for (const { shell, path } of COMPLETIONS) {
    const program = [Deno.execPath(), "run", "--cached-only", ...permissionFlags(), "main.ts"];
    const script = await printed([...program, "completion", shell], `make the completion of ${shell}`);
    const from = join(directory, shell);
    await Deno.writeTextFile(from, script);
    documents.push(file(path, from));
  }
  const texts = ["LICENSE", "README.md", "CHANGELOG.md"];
  return [...documents, ...texts.map((name) => file(`share/doc/amesh/${name}`, join(ROOT, name)))];
}

async function printed(
  argv: readonly string[],
  what: string,
  env?: Readonly<Record<string, string>>,
): Promise<string> {
  const { success, text, stdout } = await runProgram(argv, env === undefined ? {} : { env });
  if (!success) throw new CompileError(`cannot ${what}:\n${text.trim()}`);
  return stdout;
}

function file(path: string, from: string, isExecutable = false): Entry {
  return { path, from, isExecutable };
}

/** Directories of `packaging/` with what people set up on one system. */
const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  linux: ["container", "systemd"],
  darwin: ["launchd"],
};

/** All files below a directory. @param path that it has in an archive. */
async function filesBelow(directory: string, path: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    const [from, to] = [join(directory, name), `${path}/${name}`];
    entries.push(...isDirectory ? await filesBelow(from, to) : [file(to, from)]);
  }
  return entries;
}

/** The files of one archive, relative to its top directory. */
export async function archiveEntries(
  row: Target,
  executable: string,
  documents: Documents,
  helper: string | undefined,
): Promise<readonly Entry[]> {
  const name = row.output.endsWith(".exe") ? "amesh.exe" : "amesh";
  const programs = [file(`bin/${name}`, executable, true)];
  if (helper !== undefined) programs.push(file("libexec/amesh-se-helper", helper, true));
  const [system = ""] = row.name.split("-");
  const examples = await Promise.all(
    (EXAMPLES[system] ?? []).map((part) =>
      filesBelow(join(ROOT, "packaging", part), `share/doc/amesh/examples/${part}`)
    ),
  );
  return [...programs, ...documents, ...examples.flat()];
}

/**
 * Lays files out in a new directory, with modes and times that depend on nothing here.
 *
 * @param time of every file, in seconds since 1970.
 */
export async function stage(entries: readonly Entry[], directory: string, time: number): Promise<void> {
  for (const { path, from, isExecutable } of entries) {
    const to = join(directory, path);
    await Deno.mkdir(dirname(to), { recursive: true });
    await Deno.copyFile(from, to).catch((error: Error) => {
      throw new CompileError(`cannot take "${basename(from)}" into the release: ${error.message}`);
    });
    await Deno.chmod(to, isExecutable ? 0o755 : 0o644);
    await Deno.utime(to, time, time);
  }
  await settleDirectories(directory, time);
}

/** From the leaves up, because a change inside changes the time of a directory. */
async function settleDirectories(directory: string, time: number): Promise<void> {
  for await (const entry of Deno.readDir(directory)) {
    if (entry.isDirectory) await settleDirectories(join(directory, entry.name), time);
  }
  await Deno.chmod(directory, 0o755);
  await Deno.utime(directory, time, time);
}
