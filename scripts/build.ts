/**
 * Calls the bundler and the compilers. Nothing here knows which platforms there are or what is permitted.
 *
 * Every build works in a directory of its own beside its output and ends with a rename, so that builds can run at
 * the same time and a killed one leaves no half-written executable. The same source gives the same bytes: inside
 * that directory the executable has a fixed name (both compilers embed it) and the modules have a fixed time.
 */
import { basename, dirname, join, resolve } from "node:path";

/** The version that is downloaded, and whose runtime is embedded. */
export const BUN_VERSION = "1.4.5";
/** The Deno releases whose compiler and base runtime this was tested with. */
const DENO_SERIES = "2.9.";

const ROOT = resolve(import.meta.dirname!, "..");
const MAIN = "main.ts";
/** Started by `new Worker(new URL("./argon2id_worker.ts", import.meta.url))`, the first on Deno only. */
const WORKERS = ["src/crypto/argon2id_worker.ts", "src/agent/agent_worker.ts"];
/** Every module that a thread of amesh starts with. */
export const MODULES: readonly string[] = [MAIN, ...WORKERS];
/** Not SHA256SUMS: that is the list of a release. */
const CHECKSUMS = "executables.sha256";

/** A build that failed for a reason that the message explains in full. */
export class CompileError extends Error {
  override readonly name: string = "CompileError";
}

/** One executable to make. */
export interface Build {
  readonly name: string;
  readonly runtime: "deno" | "bun";
  /** Deno's name of the platform. */
  readonly denoTriple: string | null;
  /** Bun's name of the platform. */
  readonly bunTarget: string;
  /** Deno's permission flags. */
  readonly permissions: readonly string[];
  /** Who will sign it; none when nobody does. */
  readonly teamId?: string;
  /** Where the executable is written. */
  readonly output: string;
  /** Show what the compilers say. */
  readonly verbose: boolean;
}

/** An executable that was made. */
export interface Built {
  readonly path: string;
  /** Size in bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** What one run of a program left. */
export interface Outcome {
  readonly success: boolean;
  /** stderr, then stdout. */
  readonly text: string;
  readonly stdout: string;
}

/** How a program is run. */
export interface RunOptions {
  /** The whole environment; without it the program inherits ours. */
  readonly env?: Readonly<Record<string, string>>;
  /** When to give up, in milliseconds. */
  readonly timeLimit?: number;
}

/** Runs a program in the repository, without stdin. @throws {CompileError} when it cannot be started. */
export async function runProgram(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const [program = "", ...args] = argv;
  const { env, timeLimit } = options;
  const command = new Deno.Command(program, {
    args,
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // A group of its own, so that what it has started ends with it.
    detached: timeLimit !== undefined,
    ...(env === undefined ? {} : { clearEnv: true, env }),
  });
  let child;
  try {
    child = command.spawn();
  } catch (error) {
    throw new CompileError(`cannot run "${program}": ${(error as Error).message}`);
  }
  const { pid } = child;
  const endGroup = () => Deno.kill(-pid, "SIGKILL");
  const timer = timeLimit === undefined ? undefined : setTimeout(endGroup, timeLimit);
  if (timer !== undefined) Deno.addSignalListener("SIGINT", endGroup);
  const { success, signal, stdout, stderr } = await child.output();
  if (timer !== undefined) Deno.removeSignalListener("SIGINT", endGroup);
  clearTimeout(timer);
  const decoder = new TextDecoder();
  const ended = signal === null ? "" : `\nended by ${signal}\n`;
  const printed = decoder.decode(stdout);
  return { success, text: decoder.decode(stderr) + printed + ended, stdout: printed };
}

/** The Bun that bundles and compiles, as the start of an argument list. */
export function bunCommand(): string[] {
  return [Deno.build.os === "windows" ? "npx.cmd" : "npx", "-y", `bun@${BUN_VERSION}`];
}

async function run(argv: readonly string[], what: string, verbose: boolean): Promise<void> {
  const { success, text } = await runProgram(argv);
  if (verbose) console.error(`$ ${argv.join(" ")}\n${text}`);
  if (!success) throw new CompileError(`cannot ${what}:\n${text.trim()}`);
}

/** Puts the npm packages of the lock file where Bun looks for them. @throws {CompileError} */
export async function installPackages(verbose = false): Promise<void> {
  await run([Deno.execPath(), "install", "--frozen", "--quiet"], "install the npm packages", verbose);
}

/** The build constant of src/apple/team.ts. */
const defineTeam = (teamId = ""): string => `--define=AMESH_TEAM_ID=${JSON.stringify(teamId)}`;

/** The source as `deno compile` gets it. */
export interface Bundle {
  readonly entry: string;
  /** Flags of `deno compile` that this bundle needs, or that every executable of ours has. */
  readonly flags: readonly string[];
}

/**
 * Bundles and minifies the source, split where it imports late, so that a command loads what it needs.
 *
 * @param directory a new directory, filled with modules that lie side by side.
 */
export async function bundleForDeno(
  directory: string,
  { verbose = false, teamId = "" } = {},
): Promise<Bundle> {
  await installPackages(verbose);
  await run(
    [
      ...bunCommand(),
      "build",
      "--target=node",
      "--format=esm",
      "--splitting",
      "--minify",
      defineTeam(teamId),
      "--external=bun:ffi",
      "--entry-naming=[name].[ext]",
      "--chunk-naming=chunk-[hash].[ext]",
      `--outdir=${directory}`,
      ...MODULES,
    ],
    "bundle the source",
    verbose,
  );
  // The names that the source says stay valid: bundlers do not rewrite them.
  const workers = WORKERS.map((path) => join(directory, basename(path)));
  for (const path of workers) await Deno.writeTextFile(path, `import "./${basename(path, ".ts")}.js";\n`);
  for await (const entry of Deno.readDir(directory)) await Deno.utime(join(directory, entry.name), 0, 0);
  const flags = [
    "--quiet",
    "--no-check",
    "--no-config",
    "--no-lock",
    // A code cache would be a file of a well-known name in the shared /tmp, which anybody could have put there.
    "--no-code-cache",
    ...workers.map((path) => `--include=${path}`),
  ];
  return { entry: join(directory, basename(MAIN, ".ts") + ".js"), flags };
}

async function compileWithDeno(build: Build, directory: string, executable: string): Promise<void> {
  if (!Deno.version.deno.startsWith(DENO_SERIES)) {
    const found = `this is Deno ${Deno.version.deno}, and ${DENO_SERIES}x is needed`;
    throw new CompileError(`${found}: start it by npx -y deno@2.9.6 task compile`);
  }
  const bundle = await bundleForDeno(join(directory, "bundle"), build);
  const { success, text } = await runProgram([
    Deno.execPath(),
    "compile",
    ...bundle.flags,
    "--app-name=amesh",
    `--target=${build.denoTriple}`,
    `--output=${executable}`,
    ...build.permissions,
    bundle.entry,
  ]);
  if (build.verbose) console.error(text);
  if (success) return;
  if (/base binary|denort/i.test(text)) {
    throw new CompileError(
      `cannot get Deno's base runtime for ${build.name}: let DENORT_BIN name a denort ${Deno.version.deno} of that ` +
        "platform, or build with --runtime bun (--verbose shows what Deno says)",
    );
  }
  throw new CompileError(`cannot compile ${build.name} with Deno:\n${text.trim()}`);
}

/** The C library that Bun's runtime for a Linux target is made for. */
function libcOf(target: string): "glibc" | "musl" {
  return target.endsWith("-musl") ? "musl" : "glibc";
}

async function compileWithBun(build: Build, executable: string): Promise<void> {
  await installPackages(build.verbose);
  await run(
    [
      ...bunCommand(),
      "build",
      "--compile",
      "--minify",
      defineTeam(build.teamId),
      "--splitting",
      "--format=esm",
      // Starts faster; portable between platforms since Bun 1.4.
      "--bytecode",
      // Beside each other, where `new URL("./NAME", import.meta.url)` finds a Worker from wherever it was bundled into.
      "--entry-naming=[name].[ext]",
      // Without these an executable obeys files of the directory in which it is started.
      "--no-compile-autoload-dotenv",
      "--no-compile-autoload-bunfig",
      "--no-compile-autoload-tsconfig",
      "--no-compile-autoload-package-json",
      ...build.name.startsWith("linux-") ? [`--define=AMESH_LIBC=${JSON.stringify(libcOf(build.name))}`] : [],
      `--target=${build.bunTarget}`,
      `--outfile=${executable}`,
      ...MODULES,
    ],
    `compile ${build.name} with Bun`,
    build.verbose,
  );
}

/** Size in bytes of a file, and its digest in lower-case hex. */
export async function sha256(path: string): Promise<{ readonly size: number; readonly sha256: string }> {
  const bytes = await Deno.readFile(path);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return { size: bytes.length, sha256: digest.toHex() };
}

/**
 * Makes one executable and moves it to its place.
 *
 * @param listed whether its checksum goes into `executables.sha256` beside it.
 * @throws {CompileError} whatever prevented it.
 */
export async function buildExecutable(build: Build, listed: boolean): Promise<Built> {
  const path = resolve(build.output);
  const parent = dirname(path);
  await Deno.mkdir(parent, { recursive: true });
  const directory = await Deno.makeTempDir({ dir: parent, prefix: ".amesh-build-" });
  const interrupted = () => {
    Deno.removeSync(directory, { recursive: true });
    Deno.exit(130);
  };
  Deno.addSignalListener("SIGINT", interrupted);
  try {
    const executable = join(directory, build.output.endsWith(".exe") ? "amesh.exe" : "amesh");
    if (build.runtime === "deno") await compileWithDeno(build, directory, executable);
    else await compileWithBun(build, executable);
    const built = { path, ...await sha256(executable) };
    if (listed) await publish(executable, built);
    else await Deno.rename(executable, path);
    return built;
  } finally {
    Deno.removeSignalListener("SIGINT", interrupted);
    await Deno.remove(directory, { recursive: true });
  }
}

/** Moves an executable to its place and lists it, both under one lock: what is listed is what lies there. */
async function publish(executable: string, built: Built): Promise<void> {
  const parent = dirname(built.path);
  using lock = await Deno.open(join(parent, `.${CHECKSUMS}.lock`), { write: true, create: true });
  await lock.lock(true);
  await Deno.rename(executable, built.path);
  const list = join(parent, CHECKSUMS);
  const lines = new Map([[basename(built.path), built.sha256]]);
  for (const line of await readLines(list)) {
    const [, sum, name] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? [];
    if (sum !== undefined && name !== undefined && !lines.has(name) && await exists(join(parent, name))) {
      lines.set(name, sum);
    }
  }
  const text = [...lines].sort().map(([name, sum]) => `${sum}  ${name}\n`).join("");
  const next = join(dirname(executable), CHECKSUMS);
  await Deno.writeTextFile(next, text);
  await Deno.rename(next, list);
}

async function readLines(path: string): Promise<string[]> {
  return await exists(path) ? (await Deno.readTextFile(path)).split("\n") : [];
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
