/**
 * Looking over the amesh directory: unsafe files, a key that is missing, a passphrase that cannot be read, what killed
 * commands left behind; and repairing what can be repaired without losing anything. Only names that amesh makes are
 * looked at.
 */
import { AmeshError, type AmeshErrorCode, errnoOf, errorText, isNotCapable } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import { loadTier } from "../keystore/select.ts";
import {
  describeSource,
  findSourceProblem,
  findSources,
  namedPassphraseFile,
  Passphrases,
  type PassphraseSource,
} from "../passphrase/sources.ts";
import {
  checkDirectory,
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
import { baseName, joinPath, type Layout, parentPath, shellQuote } from "../platform/paths.ts";
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

const FIX = "run: amesh doctor --fix";

/** Looks at everything; changes nothing and throws nothing that a file could cause. */
export async function auditDirectory(layout: Layout): Promise<Audit> {
  const problems = [...auditFiles(layout)];
  let identity: Identity | null = null;
  try {
    identity = await findIdentity(layout);
  } catch (error) {
    if (!problems.some(({ path }) => path === layout.identity || path === layout.directory)) {
      problems.push(unreadable(layout.identity, error));
    }
  }
  if (identity !== null) problems.push(...await auditUse(layout, identity));
  // Where identity.json is there and cannot be read, it may name any of them.
  if (identity !== null || !exists(layout.identity)) problems.push(...auditKeys(layout, identity));
  return { identity, problems };
}

/** What {@linkcode repair} did. */
export interface Repairs {
  /** A line each. */
  readonly done: readonly string[];
  /** A line each. */
  readonly failed: readonly string[];
}

/**
 * Gives modes back and removes left-over temporary files, under the lock.
 *
 * @throws {AmeshError} `ERR_BUSY`; what else prevents it is told in `failed`.
 */
export function repair(layout: Layout): Repairs {
  const done: string[] = [];
  const failed: string[] = [];
  const repairAll = (isMeant: (problem: Problem) => boolean) => {
    // Looked at one by one while repairing: the files of a directory show when its own mode is back.
    for (const problem of auditFiles(layout)) {
      const { path, fix } = problem;
      if (fix === null || !isMeant(problem)) continue;
      try {
        const line = repairOne(path, fix);
        if (line !== null) done.push(line);
      } catch (error) {
        failed.push(`${path}: ${error instanceof AmeshError ? error.message : errorText(error)}`);
      }
    }
  };
  const isDirectory = ({ path }: Problem) => path === layout.directory;
  const isLock = ({ path }: Problem) => path === layout.lock;
  repairAll(isDirectory);
  try {
    // Only in a directory that is ours alone nobody can put a link in the place of what was looked at.
    if (!checkDirectory(layout.directory)) return { done, failed };
    repairAll(isLock);
    if (![...auditFiles(layout)].some(({ fix }) => fix !== null)) return { done, failed };
    using _lock = acquireLock(layout.lock);
    repairAll((problem) => !isDirectory(problem) && !isLock(problem));
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code === "ERR_BUSY") throw error;
    failed.push(error.message);
  }
  return { done, failed };
}

function repairOne(path: string, fix: { readonly mode: number } | "remove"): string | null {
  if (fix === "remove") return removeFile(path) ? `removed ${path}` : null;
  // chmod(2) follows links.
  if (findInfo(path)?.kind === "symlink") return null;
  host.chmod(path, fix.mode);
  return `set mode ${formatMode(fix.mode)} on ${path}`;
}

interface Ours {
  readonly path: string;
  readonly kind: FileInfo["kind"];
  readonly mode: number;
}

const TEMPORARY_NAME = /^\..+\.[0-9a-f]{16}\.tmp$/;
const KEY_FILE_NAME = /^am_[A-Za-z0-9_-]{16}\.[a-z0-9.]+$/;

function* auditFiles(layout: Layout): Generator<Problem> {
  for (const ours of listOurs(layout)) {
    try {
      const info = findInfo(ours.path);
      const found = info === null ? null : auditFile(ours, info);
      if (found !== null) yield found;
    } catch (error) {
      yield unreadable(ours.path, error);
    }
  }
}

function* listOurs(layout: Layout): Generator<Ours> {
  yield { path: layout.directory, kind: "directory", mode: DIRECTORY_MODE };
  yield { path: layout.keys, kind: "directory", mode: DIRECTORY_MODE };
  yield { path: layout.identity, kind: "file", mode: FILE_MODE };
  yield { path: layout.lock, kind: "file", mode: FILE_MODE };
  yield { path: `${layout.lock}.owner`, kind: "file", mode: FILE_MODE };
  yield { path: layout.passphrase, kind: "file", mode: PASSPHRASE_MODE };
  const temporary = [
    ...listNames(layout.directory, TEMPORARY_NAME),
    ...listNames(layout.keys, TEMPORARY_NAME),
  ];
  const files = [...temporary, ...operatorTemporaries(), ...listNames(layout.keys, KEY_FILE_NAME)];
  for (const path of files) yield { path, kind: "file", mode: FILE_MODE };
}

/** A killed `init` may have left a temporary file beside the passphrase file that the operator names. */
function operatorTemporaries(): string[] {
  const path = namedPassphraseFile();
  if (path === null) return [];
  const start = `.${baseName(path)}.`;
  return listNames(parentPath(path), TEMPORARY_NAME).filter((name) => baseName(name).startsWith(start));
}

/** Paths in a directory, sorted; none where it cannot be listed, which is a problem of the directory itself. */
function listNames(directory: string, pattern: RegExp): string[] {
  try {
    // Not through a link: what lies behind it is not ours.
    if (host.lstat(directory).kind !== "directory") return [];
    return host.readDir(directory).filter((name) => pattern.test(name)).sort().map((name) =>
      joinPath(directory, name)
    );
  } catch (error) {
    if (errnoOf(error) !== undefined || isNotCapable(error)) return [];
    throw error;
  }
}

function auditFile({ path, kind, mode }: Ours, info: FileInfo): Problem | null {
  const canFix = info.uid === host.euid() || host.euid() === 0;
  if (TEMPORARY_NAME.test(baseName(path)) && info.kind === "file") {
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
    const fixable = canFix && info.kind === kind && unsafe.problem.startsWith("is accessible");
    const remedy = fixable ? `${FIX}, or ${unsafe.repair}` : unsafe.repair;
    return {
      path,
      problem: unsafe.problem,
      remedy,
      code: "ERR_UNSAFE_PERMISSIONS",
      fix: fixable ? { mode } : null,
    };
  }
  if (info.kind !== kind) {
    return { path, problem: `is no ${kind}`, remedy: "move it away", code: "ERR_CORRUPT", fix: null };
  }
  // Safe, but not as amesh makes it: a mode that keeps us out, or a passphrase file that is writable.
  const bits = info.mode === null ? mode : info.mode & 0o777;
  if (bits === mode || (bits & 0o070) !== 0 || !canFix) return null;
  const problem = `has mode ${formatMode(bits)} instead of ${formatMode(mode)}`;
  const remedy = `${FIX}, or run: chmod ${formatMode(mode)} ${shellQuote(path)}`;
  return { path, problem, remedy, code: null, fix: { mode } };
}

/** Key files that identity.json does not name: a killed command left them, or a person put them there. */
function auditKeys(layout: Layout, identity: Identity | null): Problem[] {
  const named = identity === null ? null : `${identity.fields.deviceId}.`;
  return listNames(layout.keys, KEY_FILE_NAME).filter((path) =>
    named === null || !baseName(path).startsWith(named)
  )
    .map((path) => ({
      path,
      problem: "is a key that identity.json does not name",
      remedy:
        "a killed command or a replaced identity left it, or identity.json is lost; remove it when nobody needs it",
      code: null,
      fix: null,
    }));
}

/** What would keep the key from being opened, as far as that shows without unlocking it. */
async function auditUse(layout: Layout, identity: Identity): Promise<Problem[]> {
  const problems: Problem[] = [];
  const { storageBackend, deviceId, passphrase } = identity.fields;
  using passphrases = new Passphrases(layout, undefined, () => {});
  try {
    await (await loadTier(storageBackend)).inspect({ layout, passphrases }, identity);
  } catch (error) {
    problems.push(unreadable(joinPath(layout.keys, deviceId), error));
  }
  if (storageBackend !== "encrypted-file") return problems;
  let sources: readonly PassphraseSource[];
  try {
    sources = findSources(layout, Boolean(passphrase));
  } catch (error) {
    return [...problems, unreadable(layout.identity, error)];
  }
  if (sources.length === 0) {
    const problem = "has no passphrase: no source is set";
    const remedy = "see README, Passphrase; without the passphrase the key cannot be opened";
    problems.push({ path: layout.identity, problem, remedy, code: "ERR_UNLOCK_FAILED", fix: null });
  }
  for (const source of sources) {
    const problem = findSourceProblem(source);
    if (problem === null) continue;
    const remedy = "restore the passphrase there, or name another source";
    problems.push({ path: describeSource(source), problem, remedy, code: "ERR_UNLOCK_FAILED", fix: null });
  }
  return problems;
}

/** Whether there is something, as far as that can be told. */
function exists(path: string): boolean {
  try {
    return findInfo(path) !== null;
  } catch (error) {
    if (error instanceof AmeshError) return true;
    throw error;
  }
}

function unreadable(path: string, error: unknown): Problem {
  if (!(error instanceof AmeshError)) throw error;
  const { message, code, hint } = error;
  return { path, problem: `is not usable: ${message}`, remedy: hint ?? "repair the cause", code, fix: null };
}
