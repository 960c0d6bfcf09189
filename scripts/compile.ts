/**
 * `deno task compile`: makes the executables. This file owns the list of what Deno permits amesh and the table of
 * targets; how a compiler is called stands in `build.ts`.
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { TEAM_ID_FORM } from "../src/apple/team.ts";
import { buildExecutable, CompileError } from "./build.ts";
import { readMachO } from "./macho.ts";

/** One Deno permission, which command needs it, and why it is as wide as it is. */
export interface Permission {
  /** Exactly as Deno takes it, one word without spaces. */
  readonly flag: string;
  readonly neededBy: string;
}

/** The environment variables that amesh reads, and no other. */
export const ENVIRONMENT: readonly string[] = [
  "HOME",
  "USERPROFILE",
  "AUTH_MESH_DIR",
  "AUTH_MESH_PASSPHRASE",
  "AMESH_PASSPHRASE_FILE",
  "CREDENTIALS_DIRECTORY",
  "AMESH_ALLOW_GROUP_READ",
  "AMESH_TPM_TCTI",
  "SUDO_USER",
  "XDG_RUNTIME_DIR",
  "SSH_AUTH_SOCK",
  "SSH_ASKPASS",
  "NOTIFY_SOCKET",
  "SHELL",
];

/** Where a system keeps its own libraries; /lib and /lib64 are links on some systems, and Deno compares text. */
const LIBRARY_DIRECTORIES = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/** The two frameworks of macOS; there is nothing in these places elsewhere. */
const FRAMEWORKS = ["CoreFoundation", "Security"].map((name) =>
  `/System/Library/Frameworks/${name}.framework`
);

/**
 * What the Deno executable may do, whatever its code tries: a defence against our own mistakes, not a sandbox,
 * because FFI passes all of it. There is no `net` and no `run`. The `amesh` task and the tests run the source
 * with exactly this list.
 */
export const PERMISSIONS: readonly Permission[] = [
  { flag: "--no-prompt", neededBy: "every command: what is not permitted is an error, never a question" },
  {
    flag: "--allow-read",
    neededBy:
      "every command but --help and --version: AUTH_MESH_DIR, the passphrase file and the file to sign " +
      "can lie anywhere, and none is known when compiling",
  },
  {
    flag: "--allow-write",
    neededBy:
      "init, rotate, passphrase change and move, delete, sign --out, doctor --fix and the legacy migration: their " +
      "paths are not known either",
  },
  {
    flag: `--allow-env=${ENVIRONMENT.join(",")}`,
    neededBy: "every command: where the identity is and where its passphrase comes from",
  },
  {
    flag: "--allow-sys=uid,gid,userInfo",
    neededBy:
      "uid: every command that checks who owns a file; all three: the home directory of the account " +
      "when HOME is not set",
  },
  {
    flag: `--allow-ffi=${[...LIBRARY_DIRECTORIES, ...FRAMEWORKS].join(",")}`,
    neededBy: "libc for the lock (init and every other command that changes something), the removal of " +
      "AUTH_MESH_PASSPHRASE from the environment block, the ban on core dumps (every command that holds a secret), " +
      "the terminal (rotate, passphrase change, delete), --passphrase-fd, and reading /proc (init, doctor, passphrase); " +
      "libtss2 for the TPM, and on macOS CoreFoundation and Security for the keychain and for code signatures (init, " +
      "sign, rotate, delete, doctor); no other directory is a place for a library",
  },
];

/** {@linkcode PERMISSIONS} as arguments of `deno run` and `deno compile`. */
export function permissionFlags(): string[] {
  return PERMISSIONS.map((permission) => permission.flag);
}

/** A runtime that an executable can carry. */
export type Runtime = "deno" | "bun";

/** One row of the table: what is built for a platform. */
export interface Target {
  readonly name: string;
  /** The runtime when `--runtime` does not say another. */
  readonly runtime: Runtime;
  /** Deno's name of the platform; `null` where Deno publishes no base runtime. */
  readonly denoTriple: string | null;
  /**
   * Bun's name of the platform. Its x64 runtime needs no AVX2 since Bun 1.4 (the `-baseline` one is the same
   * file, byte for byte), so there is one executable per platform.
   */
  readonly bunTarget: string;
  /** File name in `dist/`. */
  readonly output: string;
}

function target(name: string, runtime: Runtime, denoTriple: string | null, suffix = ""): Target {
  const bunTarget = `bun-${name}`;
  return { name, runtime, denoTriple, bunTarget, output: `amesh-${name}${suffix}` };
}

const DIST = resolve(import.meta.dirname!, "..", "dist");

/** Every platform that amesh is built for. The Windows executable has never been run. */
export const TARGETS: readonly Target[] = [
  target("linux-x64", "deno", "x86_64-unknown-linux-gnu"),
  target("linux-arm64", "deno", "aarch64-unknown-linux-gnu"),
  target("darwin-x64", "deno", "x86_64-apple-darwin"),
  target("darwin-arm64", "deno", "aarch64-apple-darwin"),
  target("windows-x64", "deno", "x86_64-pc-windows-msvc", ".exe"),
  target("linux-x64-musl", "bun", null),
  target("linux-arm64-musl", "bun", null),
];

/** The target of the machine that this runs on; `undefined` when there is none. */
export function hostTarget(): Target | undefined {
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  return TARGETS.find((row) => row.name === `${Deno.build.os}-${arch}`);
}

const USAGE = `usage: deno task compile [options]

  --target NAME|all     ${TARGETS.map((row) => row.name).join(", ")}
                        (default: this machine)
  --runtime deno|bun    the runtime to embed (default: bun for musl, deno for the others)
  --output FILE         where to write it (one target only; default: dist/amesh-NAME, listed in dist/executables.sha256)
  --team-id ID          the team that will sign the executable (macOS, Deno): only with it can the Secure Enclave be used
  --print-permissions   print the Deno permission flags on one line, build nothing
  --verbose             show what the compilers say`;

/** What the command line asks for, checked. */
interface Request {
  readonly targets: readonly Target[];
  readonly runtime: Runtime | undefined;
  readonly output: string | undefined;
  /** Empty for an executable that nobody will sign. */
  readonly teamId: string;
  readonly verbose: boolean;
}

/** A command line that asks for what is not there. */
export class UsageError extends Error {}

const OPTIONS = {
  target: { type: "string", multiple: true },
  runtime: { type: "string", multiple: true },
  output: { type: "string", multiple: true },
  "team-id": { type: "string", multiple: true },
  verbose: { type: "boolean" },
} as const;

function parseRequest(args: readonly string[]): Request {
  const values = parseOptions(args);
  const value = (name: "target" | "runtime" | "output" | "team-id"): string | undefined => {
    const given = values[name] ?? [];
    if (given.length > 1) throw new UsageError(`--${name} is given twice`);
    if (given[0] === "") throw new UsageError(`--${name} needs a value`);
    return given[0];
  };
  const runtime = parseRuntime(value("runtime"));
  const targets = findTargets(value("target"));
  const output = value("output");
  if (output !== undefined && targets.length > 1) throw new UsageError("--output needs a single --target");
  const teamId = value("team-id") ?? "";
  if (teamId !== "") checkTeam(teamId, targets, runtime);
  checkDeno(targets.filter((row) => (runtime ?? row.runtime) === "deno"));
  return { targets, runtime, output, teamId, verbose: values.verbose ?? false };
}

function parseOptions(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** The value of `--runtime`. @throws {UsageError} */
export function parseRuntime(name: string | undefined): Runtime | undefined {
  if (name === undefined || name === "deno" || name === "bun") return name;
  throw new UsageError(`unknown runtime "${name}": expected deno or bun`);
}

/** The value of `--target`; without one the target of this machine. @throws {UsageError} */
export function findTargets(name: string | undefined): readonly Target[] {
  if (name === "all") return TARGETS;
  const found = name === undefined ? hostTarget() : TARGETS.find((row) => row.name === name);
  if (found !== undefined) return [found];
  const known = TARGETS.map((row) => row.name).join(", ");
  throw new UsageError(
    name === undefined
      ? `no target for this machine: name one of ${known}`
      : `unknown target "${name}": expected ${known} or all`,
  );
}

/** Refuses a team for what it must not sign. */
function checkTeam(teamId: string, targets: readonly Target[], runtime: Runtime | undefined): void {
  if (!TEAM_ID_FORM.test(teamId)) {
    throw new UsageError(`no team id: "${teamId}": expected ten capital letters and digits`);
  }
  // A Bun executable runs any code that its environment names, so anybody could use our signature.
  const wrong = targets.find((row) => !row.name.startsWith("darwin-") || (runtime ?? row.runtime) !== "deno");
  if (wrong !== undefined) {
    throw new UsageError(`--team-id is for executables for macOS that Deno makes, and ${wrong.name} is none`);
  }
}

/** Refuses what Deno cannot build, before anything is built. */
function checkDeno(targets: readonly Target[]): void {
  const without = targets.find((row) => row.denoTriple === null);
  if (without !== undefined) {
    throw new UsageError(`Deno has no base runtime for ${without.name}: build it with --runtime bun`);
  }
  if (targets.length > 1 && Deno.env.get("DENORT_BIN")) {
    throw new UsageError("DENORT_BIN is the base runtime of one platform: name it with --target");
  }
}

/** Says of an executable for macOS what macOS would find: neither compiler signs the one for x64 anew. */
export async function warnOfSignature(path: string): Promise<void> {
  for (const { problems } of readMachO(await Deno.readFile(path))) {
    for (const problem of problems) {
      console.error(`compile: warning: ${path}: ${problem}; sign it on a Mac: scripts/sign_macos.sh`);
    }
  }
}

async function main(args: readonly string[]): Promise<number> {
  if (args.length === 1 && args[0] === "--print-permissions") {
    console.log(permissionFlags().join(" "));
    return 0;
  }
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  try {
    const { targets, runtime, output, teamId, verbose } = parseRequest(args);
    for (const row of targets) {
      const build = {
        ...row,
        runtime: runtime ?? row.runtime,
        permissions: permissionFlags(),
        teamId,
        verbose,
      };
      const built = await buildExecutable(
        { ...build, output: output ?? join(DIST, row.output) },
        output === undefined,
      );
      const size = `${(built.size / 1e6).toFixed(1)} MB`;
      console.log(`${built.path}  ${row.name}, ${build.runtime}, ${size}, sha256 ${built.sha256}`);
      if (row.name.startsWith("darwin-")) await warnOfSignature(built.path);
    }
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof CompileError)) throw error;
    console.error(`compile: error: ${error.message}`);
    return error instanceof UsageError ? 2 : 1;
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
