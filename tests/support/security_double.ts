/**
 * The library that stands in for macOS (tests/fakes/security_double.c): compiling it, and an amesh directory with a
 * keychain beside it. What it counts must be nothing at the end of every test.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { DOUBLE_VARIABLE } from "../../src/apple/library.ts";
import { library } from "../../src/ffi/ffi.ts";
import type { TierContext } from "../../src/keystore/keystore.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { setEnvironment } from "./environment.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

const ROOT = join(import.meta.dirname!, "..", "..");
const SOURCE = join(ROOT, "tests", "fakes", "security_double.c");
/** Not in the repository; kept between runs, because every test file needs it. */
const CACHE = join(ROOT, "node_modules", ".cache", "amesh");
const FLAGS = ["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"];

/** Why no test can use it here; `undefined` when they can. */
export function securityDoubleMissing(): string | undefined {
  if (process.platform !== "linux") return "the stand-in for macOS is for Linux";
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  if (!directories.some((directory) => existsSync(join(directory, "gcc")))) return "gcc is not installed";
  return existsSync("/usr/include/openssl/evp.h") ? undefined : "libssl-dev is not installed";
}

/** Compiles it when its source has changed. @returns its path. @throws {Error} with what the compiler said. */
export function buildSecurityDouble(): string {
  const digest = createHash("sha256").update(readFileSync(SOURCE)).update(FLAGS.join(" ")).digest("hex");
  const path = join(CACHE, `security_double-${digest.slice(0, 16)}.so`);
  if (existsSync(path)) return path;
  mkdirSync(CACHE, { recursive: true });
  const own = `${path}.${process.pid}`;
  const { status, stderr } = spawnSync("gcc", [...FLAGS, "-o", own, SOURCE, "-lcrypto"], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`gcc: ${stderr}`);
  renameSync(own, path);
  return path;
}

/** What it has counted since it was loaded. */
export interface Counts {
  readonly live: number;
  readonly overReleased: number;
  readonly badCalls: number;
}

const double = library(() => [buildSecurityDouble()], {
  amesh_double_live: { parameters: [], result: "size" },
  amesh_double_over_released: { parameters: [], result: "size" },
  amesh_double_bad_calls: { parameters: [], result: "size" },
});

/** Counts of this process. */
export function counts(): Counts {
  return {
    live: Number(double.amesh_double_live()),
    overReleased: Number(double.amesh_double_over_released()),
    badCalls: Number(double.amesh_double_bad_calls()),
  };
}

/** That no process which used a keychain leaked, released twice or called wrongly. @throws {Error} one did, or none was there. */
export function checkProcesses(directory: string): void {
  const folder = join(directory, "counts");
  const names = readdirSync(folder);
  if (names.length === 0) throw new Error("no process has used the stand-in for macOS");
  for (const name of names) {
    const text = readFileSync(join(folder, name), "utf8");
    if (!/^0{9} 0{9} 0{9}\n$/.test(text)) {
      throw new Error(`process ${name} with the stand-in for macOS: live, over-released, bad calls: ${text}`);
    }
  }
}

/** The arguments that start amesh, with Deno's permissions widened so that it can load the double. */
export function permitDouble(argv: readonly string[]): string[] {
  const more: Readonly<Record<string, string>> = { "--allow-ffi": CACHE, "--allow-env": DOUBLE_VARIABLE };
  return argv.map((word) => {
    const added = more[word.split("=")[0]!];
    return added === undefined ? word : `${word},${added}`;
  });
}

/** Makes the folders of a keychain. @param directory exists. */
export function makeKeychain(directory: string): void {
  for (const name of ["keys", "counts"]) mkdirSync(join(directory, name), { recursive: true, mode: 0o700 });
}

/** Contents of the records of a keychain, the oldest first. */
export function records(directory: string): string[] {
  const folder = join(directory, "keys");
  return readdirSync(folder).sort().map((name) => readFileSync(join(folder, name), "latin1"));
}

/** A Mac of a test's own; disposing of it checks the counts. */
export interface Mac extends Disposable {
  /** What one command works with. */
  context(): TierContext;
  /** The absolute path of a name in a directory of the test's own. */
  file(name: string): string;
  /** Contents of the keychain's records, the oldest first. */
  records(): string[];
  /** What a person was asked. */
  dialogs(): string[];
}

/**
 * Lets this process be on a Mac: `using mac = startMac({ AMESH_DOUBLE_SESSION: "graphic" })`.
 *
 * @param variables those of the double, see its source.
 * @param badCalls how many the test makes on purpose.
 */
export function startMac(variables: Readonly<Record<string, string>> = {}, badCalls = 0): Mac {
  const directory = temporaryDirectory();
  const layout = layoutOf(directory.file("amesh"));
  const keychain = directory.file("keychain");
  mkdirSync(layout.directory, { mode: 0o700 });
  mkdirSync(keychain);
  makeKeychain(keychain);
  const before = counts();
  const environment = setEnvironment({
    [DOUBLE_VARIABLE]: buildSecurityDouble(),
    AMESH_DOUBLE_DIRECTORY: keychain,
    ...variables,
  });
  return {
    context: () => ({ layout, passphrases: new Passphrases(layout, undefined, () => {}) }),
    file: directory.file,
    records: () => records(keychain),
    dialogs: () => {
      const path = join(keychain, "dialogs");
      return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
    },
    [Symbol.dispose]: () => {
      environment[Symbol.dispose]();
      directory[Symbol.dispose]();
      assert.deepEqual(counts(), { ...before, badCalls: before.badCalls + badCalls });
    },
  };
}
