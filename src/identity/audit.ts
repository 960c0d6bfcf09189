/**
 * Looking over the amesh directory: unsafe files, a key that is missing, a passphrase that cannot be read, what killed
 * commands left behind; with what `repair.ts` can do about it without losing anything. Only names that amesh makes are
 * looked at.
 */
import { AmeshError, type AmeshErrorCode } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { TierContext } from "../keystore/keystore.ts";
import { loadTier } from "../keystore/select.ts";
import { nextPath } from "../passphrase/files.ts";
import { Passphrases } from "../passphrase/passphrases.ts";
import {
  describeSource,
  findSourceProblem,
  findSources,
  namedPassphraseFile,
  type PassphraseSource,
} from "../passphrase/sources.ts";
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
import { baseName, joinPath, type Layout, shellQuote } from "../platform/paths.ts";
import {
  isOfDevice,
  KEY_FILE_NAME,
  listLeftovers,
  listNames,
  ORPHAN_NAME,
  STATEMENT_NAME,
  TEMPORARY_NAME,
} from "./directory.ts";
import { hasLegacyPassphrase, migrateUnderLock } from "./legacy.ts";
import { moveBack, moveToOrphans } from "./orphans.ts";
import { listInterrupted } from "./passphrase_next.ts";
import { findIdentity } from "./store.ts";
import { findUnfinished } from "./unfinished.ts";

/** What is repaired together; each stage shows what the one before it has brought to light. */
export const STAGES = ["directory", "lock", "folders", "files", "changes", "passphrase", "keys"] as const;
export type Stage = typeof STAGES[number];

/** What can be done about a problem. */
export interface Fix {
  readonly stage: Stage;
  /** What {@linkcode apply} does, after "will". */
  readonly plan: string;
  /** @returns what was done; `null` when there was nothing to do. @throws what the system or a tier throws. */
  apply(): Promise<string | null>;
}

/** Something that is not as it should be. */
export interface Problem {
  readonly path: string;
  /** A predicate: `is …`. */
  readonly problem: string;
  readonly remedy: string;
  /** The error that commands end with because of it; `null` when they do not mind. */
  readonly code: AmeshErrorCode | null;
  /** `null` when a person must decide. */
  readonly fix: Fix | null;
}

/** What was found. */
export interface Audit {
  /** `null` when there is none or it cannot be read. */
  readonly identity: Identity | null;
  /** Device ids that identity.json and the records name; `null` when not all of that can be read. */
  readonly named: readonly string[] | null;
  readonly problems: readonly Problem[];
}

/** How often the identity may be replaced while its directory is looked over. */
const MAX_LOOKS = 10;

const FIX = "run: amesh doctor --fix";

/**
 * Looks at everything; changes nothing and throws nothing that a file could cause.
 *
 * @param warn is told what a fix has to say while it is applied.
 * @param isSourceGone the passphrase was in a variable, and this process has used it up: nothing is to be said of sources.
 */
export async function auditDirectory(
  layout: Layout,
  warn: (message: string) => void = () => {},
  isSourceGone = false,
): Promise<Audit> {
  for (let looks = 1;; looks++) {
    const audit = await lookOver(layout, warn, isSourceGone);
    // Another amesh has replaced the identity meanwhile: what was missing is not missing.
    if (looks === MAX_LOOKS || await isInForce(layout, audit.identity)) return audit;
  }
}

async function isInForce(layout: Layout, identity: Identity | null): Promise<boolean> {
  try {
    return (await findIdentity(layout))?.fields.deviceId === identity?.fields.deviceId;
  } catch (error) {
    if (error instanceof AmeshError) return true;
    throw error;
  }
}

async function lookOver(
  layout: Layout,
  warn: (message: string) => void,
  isSourceGone: boolean,
): Promise<Audit> {
  const problems = [...auditFiles(layout)];
  let identity: Identity | null = null;
  try {
    identity = await findIdentity(layout);
  } catch (error) {
    if (!problems.some(({ path }) => path === layout.identity || path === layout.directory)) {
      problems.push(unreadable(layout.identity, error));
    }
  }
  const isKnown = identity !== null || !exists(layout.identity);
  using passphrases = new Passphrases(layout, undefined, warn);
  const context = { layout, passphrases };
  if (identity !== null) problems.push(...await auditUse(context, identity));
  if (identity !== null && !isSourceGone) problems.push(...auditSources(layout, identity));
  if (exists(layout.certificate)) problems.push(...await auditCertificate(layout));
  // Where identity.json is there and cannot be read, it may name any key.
  if (!isKnown) return { identity, named: null, problems };
  try {
    const rest = await auditChanges(context, identity);
    return { identity, named: rest.named, problems: [...problems, ...rest.problems] };
  } catch (error) {
    return { identity, named: null, problems: [...problems, unreadable(layout.directory, error)] };
  }
}

interface Ours {
  readonly path: string;
  readonly kind: FileInfo["kind"];
  readonly mode: number;
  readonly stage: Stage;
}

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

function listOurs(layout: Layout): Ours[] {
  const { directory, keys, history, run, orphans, lock, passphrase } = layout;
  const named = namedPassphraseFile();
  const files = [
    ...[layout.identity, layout.certificate, `${lock}.owner`, layout.replaced, layout.deleted],
    ...[directory, keys, history].flatMap((folder) => listNames(folder, TEMPORARY_NAME)),
    // A killed command may have left a temporary file beside the passphrase file that the operator names.
    ...named === null ? [] : [...listLeftovers(named), ...listLeftovers(nextPath(named))],
    ...listNames(keys, KEY_FILE_NAME),
    ...listNames(orphans, ORPHAN_NAME),
    ...listNames(history, STATEMENT_NAME),
  ];
  const secrets = [passphrase, nextPath(passphrase), ...named === null ? [] : [nextPath(named)]];
  const all = (paths: readonly string[], kind: FileInfo["kind"], mode: number, stage: Stage) =>
    [...new Set(paths)].map((path) => ({ path, kind, mode, stage }));
  return [
    ...all([directory], "directory", DIRECTORY_MODE, "directory"),
    ...all([lock], "file", FILE_MODE, "lock"),
    ...all([keys, history, run, orphans], "directory", DIRECTORY_MODE, "folders"),
    ...all(files, "file", FILE_MODE, "files"),
    ...all(secrets, "file", PASSPHRASE_MODE, "files"),
  ];
}

function auditFile({ path, kind, mode, stage }: Ours, info: FileInfo): Problem | null {
  const canFix = info.uid === host.euid() || host.euid() === 0;
  const isOurs = info.kind === "file" && (info.uid === null || info.uid === host.euid());
  if (TEMPORARY_NAME.test(baseName(path)) && isOurs) {
    const apply = () => Promise.resolve(removeFile(path) ? `removed ${path}` : null);
    const fix = { stage, plan: `remove ${path}`, apply };
    return { path, problem: "is left over from a command that was killed", remedy: FIX, code: null, fix };
  }
  const withMode: Fix = {
    stage,
    plan: `set mode ${formatMode(mode)} on ${path}`,
    apply: () => Promise.resolve(setMode(path, mode)),
  };
  const unsafe = findProblem(path, info, mode);
  if (unsafe !== null) {
    const fixable = canFix && info.kind === kind && unsafe.problem.startsWith("is accessible");
    const remedy = fixable ? `${FIX}, or ${unsafe.repair}` : unsafe.repair;
    const code = "ERR_UNSAFE_PERMISSIONS";
    return { path, problem: unsafe.problem, remedy, code, fix: fixable ? withMode : null };
  }
  if (info.kind !== kind) {
    return { path, problem: `is no ${kind}`, remedy: "move it away", code: "ERR_CORRUPT", fix: null };
  }
  // Safe, but not as amesh makes it: a mode that keeps us out, or a passphrase file that is writable.
  const bits = info.mode === null ? mode : info.mode & 0o777;
  if (bits === mode || (bits & 0o070) !== 0 || !canFix) return null;
  const problem = `has mode ${formatMode(bits)} instead of ${formatMode(mode)}`;
  const remedy = `${FIX}, or run: chmod ${formatMode(mode)} ${shellQuote(path)}`;
  return { path, problem, remedy, code: null, fix: withMode };
}

function setMode(path: string, mode: number): string | null {
  // chmod(2) follows links.
  if (findInfo(path)?.kind === "symlink") return null;
  host.chmod(path, mode);
  return `set mode ${formatMode(mode)} on ${path}`;
}

/** What would keep the key from being opened, as far as that shows without unlocking it. */
async function auditUse(context: TierContext, identity: Identity): Promise<Problem[]> {
  const { storageBackend, deviceId } = identity.fields;
  try {
    await (await loadTier(storageBackend)).inspect(context, identity);
    return [];
  } catch (error) {
    return [unreadable(joinPath(context.layout.keys, deviceId), error)];
  }
}

/** A certificate that cannot be read. Whose it is and for how long it is valid, `certificate status` says. */
async function auditCertificate(layout: Layout): Promise<Problem[]> {
  const { readCertificate } = await import("./certificate.ts");
  try {
    readCertificate(layout);
    return [];
  } catch (error) {
    const problem = unreadable(layout.certificate, error);
    // What else there is was found among the files.
    return problem.code === "ERR_CORRUPT" ? [problem] : [];
  }
}

/** What would keep a passphrase from being read. */
function auditSources(layout: Layout, { fields }: Identity): Problem[] {
  if (fields.storageBackend !== "encrypted-file") return [];
  let sources: readonly PassphraseSource[];
  try {
    sources = findSources(layout, Boolean(fields.passphrase));
  } catch (error) {
    return [unreadable(layout.identity, error)];
  }
  const problem = (path: string, problem: string, remedy: string): Problem => ({
    path,
    problem,
    remedy,
    code: "ERR_UNLOCK_FAILED",
    fix: null,
  });
  if (sources.length === 0) {
    const remedy = "see README, Passphrase; without the passphrase the key cannot be opened";
    return [problem(layout.identity, "has no passphrase: no source is set", remedy)];
  }
  return sources.flatMap((source) => {
    const found = findSourceProblem(source);
    const remedy = "restore the passphrase there, or name another source";
    return found === null ? [] : [problem(describeSource(source), found, remedy)];
  });
}

/** What is unfinished, and keys that nothing names: only where it is known which is named. @throws {AmeshError} */
async function auditChanges(
  context: TierContext,
  identity: Identity | null,
): Promise<{ named: string[]; problems: Problem[] }> {
  const { layout, passphrases: { warn } } = context;
  const problems: Problem[] = [];
  const add = (path: string, problem: string, fix: Fix | null, remedy = FIX) =>
    problems.push({ path, problem, remedy, code: null, fix });
  const unfinished = await findUnfinished(context, identity);
  for (const { path, problem, plan, finish } of unfinished) {
    add(path, problem, { stage: "changes", plan, apply: finish });
  }
  if (identity?.fields.storageBackend !== "encrypted-file") {
    for (const path of listInterrupted(layout).map(nextPath)) {
      const remedy = "no key here is under it; remove it when nobody needs it";
      add(path, "is of an interrupted change of the passphrase", null, remedy);
    }
  }
  if (identity !== null && hasLegacyPassphrase(identity)) {
    const apply = async () => {
      using passphrases = new Passphrases(layout, undefined, warn);
      const isLeft = hasLegacyPassphrase(await migrateUnderLock(identity, passphrases));
      return isLeft ? null : `moved the passphrase out of ${layout.identity}`;
    };
    const plan = `open the key and move the passphrase out of ${layout.identity}`;
    add(layout.identity, "holds a passphrase, as amesh 0.7 left it", { stage: "passphrase", plan, apply });
  }
  const id = identity?.fields.deviceId;
  const named = [id, ...unfinished.map(({ destroys }) => destroys)].filter((name) => name !== undefined);
  return { named, problems: [...problems, ...auditKeys(layout, id, named)] };
}

/** Key files that nothing names: a killed command left them, or a person put them there. And one that is named after all. */
function auditKeys(layout: Layout, id: string | undefined, named: readonly string[]): Problem[] {
  const move = (path: string, to: string, run: typeof moveToOrphans): Fix => ({
    stage: "keys",
    plan: `move ${path} to ${to}`,
    apply: () => Promise.resolve(`moved ${path} to ${run(layout, path)}`),
  });
  const unnamed = listNames(layout.keys, KEY_FILE_NAME).filter((path) =>
    !named.some((name) => isOfDevice(path, name))
  );
  const isThere = listNames(layout.keys, KEY_FILE_NAME).some((path) =>
    id !== undefined && isOfDevice(path, id)
  );
  const apart = listNames(layout.orphans, ORPHAN_NAME).filter((path) =>
    id !== undefined && isOfDevice(path, id)
  );
  return [
    ...unnamed.map((path) => ({
      path,
      problem: "is a key that identity.json does not name",
      remedy:
        "a killed command or a replaced identity left it, or identity.json is lost; amesh doctor --fix moves " +
        `it to ${layout.orphans}`,
      code: null,
      fix: move(path, layout.orphans, moveToOrphans),
    })),
    ...(isThere ? [] : apart.slice(0, 1)).map((path) => ({
      path,
      problem: "is the key that identity.json names",
      remedy: FIX,
      code: null,
      fix: move(path, layout.keys, moveBack),
    })),
  ];
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
