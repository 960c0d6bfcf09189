/**
 * Looking over the amesh directory: unsafe files, an unreadable identity, temporary files of killed commands; and
 * repairing what can be repaired without losing anything. Only names that amesh makes are looked at.
 */
import { AmeshError, type AmeshErrorCode, systemError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import {
  DIRECTORY_MODE,
  FILE_MODE,
  findInfo,
  findProblem,
  formatMode,
  PASSPHRASE_MODE,
  removeFile,
} from "../platform/files.ts";
import { type FileInfo, host } from "../platform/host.ts";
import { acquireLock } from "../platform/lock.ts";
import { joinPath, type Layout, shellQuote } from "../platform/paths.ts";
import { findIdentity } from "./store.ts";

/** Something that is not as it should be. */
export interface Problem {
  readonly path: string;
  /** A predicate: `is …`. */
  readonly problem: string;
  readonly remedy: string;
  /** The error that commands end with because of it; `null` when they do not mind. */
  readonly code: AmeshErrorCode | null;
  /** What {@linkcode repair} does: gives it this mode or removes it; `null` when a person must decide. */
  readonly fix: { readonly mode: number } | "remove" | null;
}

/** What was found. */
export interface Audit {
  /** `null` when there is none or it cannot be read. */
  readonly identity: Identity | null;
  readonly problems: readonly Problem[];
}

/** @throws {AmeshError} `ERR_SYSTEM` when the directory cannot be listed. */
export async function auditDirectory(layout: Layout): Promise<Audit> {
  const problems = [...listOurs(layout)].flatMap(({ path, mode }) => {
    const info = findInfo(path);
    const found = info === null ? null : audit(path, info, mode);
    return found === null ? [] : [found];
  });
  if (problems.some(({ path, fix }) => path === layout.directory && fix === null)) {
    return { identity: null, problems };
  }
  try {
    return { identity: await findIdentity(layout), problems };
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
    // What is wrong with modes has been listed file by file.
    if (error.code === "ERR_UNSAFE_PERMISSIONS") return { identity: null, problems };
    const remedy = error.hint ?? "see the message";
    const unreadable: Problem = {
      path: layout.identity,
      problem: `is unreadable: ${error.message}`,
      remedy,
      code: error.code,
      fix: null,
    };
    return { identity: null, problems: [...problems, unreadable] };
  }
}

/**
 * Gives modes back and removes left-over temporary files, under the lock.
 *
 * @returns what was done, a line each.
 * @throws {AmeshError} `ERR_BUSY`, `ERR_SYSTEM`.
 */
export function repair({ problems }: Audit, layout: Layout): string[] {
  const done: string[] = [];
  const apply = (problem: Problem) => {
    const line = repairOne(problem);
    if (line !== null) done.push(line);
  };
  // The directory and the lock come first: the lock can be taken only when they are safe.
  const early = problems.filter(({ path }) => path === layout.directory || path === layout.lock);
  early.forEach(apply);
  const late = problems.filter((problem) => !early.includes(problem) && problem.fix !== null);
  if (late.length === 0) return done;
  using _lock = acquireLock(layout.lock);
  late.forEach(apply);
  return done;
}

function repairOne({ path, fix }: Problem): string | null {
  if (fix === null) return null;
  if (fix === "remove") return removeFile(path) ? `removed ${path}` : null;
  try {
    host.chmod(path, fix.mode);
  } catch (error) {
    throw systemError(`change the mode of "${path}"`, error);
  }
  return `set mode ${formatMode(fix.mode)} on ${path}`;
}

interface Ours {
  readonly path: string;
  readonly mode: number;
}

const TEMPORARY_NAME = /^\..+\.[0-9a-f]{16}\.tmp$/;
const KEY_FILE_NAME = /^am_[A-Za-z0-9_-]{16}\.[a-z0-9.]+$/;

function* listOurs(layout: Layout): Generator<Ours> {
  const directory = findInfo(layout.directory);
  if (directory === null) return;
  yield { path: layout.directory, mode: DIRECTORY_MODE };
  if (directory.kind !== "directory") return;
  yield { path: layout.identity, mode: FILE_MODE };
  yield { path: layout.lock, mode: FILE_MODE };
  yield { path: layout.passphrase, mode: PASSPHRASE_MODE };
  yield { path: layout.keys, mode: DIRECTORY_MODE };
  yield* listNames(layout.directory, TEMPORARY_NAME);
  if (findInfo(layout.keys)?.kind !== "directory") return;
  yield* listNames(layout.keys, KEY_FILE_NAME);
  yield* listNames(layout.keys, TEMPORARY_NAME);
}

function* listNames(directory: string, pattern: RegExp): Generator<Ours> {
  let names: string[];
  try {
    names = host.readDir(directory).filter((name) => pattern.test(name)).sort();
  } catch (error) {
    throw systemError(`list "${directory}"`, error);
  }
  for (const name of names) yield { path: joinPath(directory, name), mode: FILE_MODE };
}

function audit(path: string, info: FileInfo, mode: number): Problem | null {
  if (TEMPORARY_NAME.test(path.slice(path.lastIndexOf("/") + 1)) && info.kind === "file") {
    return {
      path,
      problem: "is left over from a command that was killed",
      remedy: FIX,
      code: null,
      fix: "remove",
    };
  }
  const unsafe = findProblem(path, info, mode);
  if (unsafe !== null) {
    const canFix = info.kind !== "symlink" && (info.uid === host.euid() || host.euid() === 0);
    const fixable = canFix && unsafe.problem.startsWith("is accessible");
    return {
      path,
      problem: unsafe.problem,
      remedy: fixable ? `${FIX}, or ${unsafe.repair}` : unsafe.repair,
      code: "ERR_UNSAFE_PERMISSIONS",
      fix: fixable ? { mode } : null,
    };
  }
  // Safe, but not as amesh makes it: a mode that keeps us out, or a passphrase file that is writable.
  const bits = info.mode === null ? mode : info.mode & 0o777;
  if (bits === mode || (bits & 0o070) !== 0) return null;
  const problem = `has mode ${formatMode(bits)} instead of ${formatMode(mode)}`;
  return {
    path,
    problem,
    remedy: `${FIX}, or run: chmod ${formatMode(mode)} ${shellQuote(path)}`,
    code: null,
    fix: { mode },
  };
}

const FIX = "run: amesh doctor --fix";
