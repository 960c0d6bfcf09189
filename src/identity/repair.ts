/** Repairing the amesh directory, stage by stage, under the lock. What was found and what can be done says `audit.ts`. */
import { AmeshError, errnoOf, errorText, isNotCapable } from "../errors.ts";
import { checkDirectory } from "../platform/files.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { auditDirectory, type Fix, type Stage, STAGES } from "./audit.ts";
import { deleteOrphan, listOrphans } from "./orphans.ts";

/** What `doctor --fix` asks for. */
export interface RepairOptions {
  /** Destroy the keys that nothing refers to. */
  readonly deleteOrphans: boolean;
  /** Is told what will be done before it is done, after "will". */
  readonly onPlan: (plan: string) => void;
  /** Shows a warning to the user. */
  readonly warn: (message: string) => void;
}

/** What {@linkcode repair} did. */
export interface Repairs {
  /** A line each. */
  readonly done: readonly string[];
  /** A line each. */
  readonly failed: readonly string[];
}

/** Stages before the lock can be taken: they make it possible. */
const BEFORE_LOCK: readonly Stage[] = ["directory", "lock"];

/**
 * Gives modes back, removes left-over temporary files, finishes what was interrupted, and moves keys that nothing refers
 * to out of the way.
 *
 * @throws {AmeshError} `ERR_BUSY`; what else prevents it is told in `failed`.
 */
export async function repair(
  layout: Layout,
  { deleteOrphans, onPlan, warn }: RepairOptions,
): Promise<Repairs> {
  const done: string[] = [];
  const failed: string[] = [];
  const apply = async (fixes: readonly Pick<Fix, "plan" | "apply">[]) => {
    for (const { plan } of fixes) onPlan(plan);
    for (const { plan, apply } of fixes) {
      try {
        const line = await apply();
        if (line !== null) done.push(line);
      } catch (error) {
        if (!isFailure(error)) throw error;
        failed.push(`could not ${plan}: ${error instanceof AmeshError ? error.message : errorText(error)}`);
      }
    }
  };
  const findFixes = async () =>
    (await auditDirectory(layout, warn)).problems.flatMap(({ fix }) => fix === null ? [] : [fix]);
  const repairStage = async (stage: Stage) =>
    await apply((await findFixes()).filter((fix) => fix.stage === stage));
  const before = listOrphans(layout, []);
  try {
    await repairStage("directory");
    // Only in a directory that is ours alone nobody can put a link in the place of what was looked at.
    if (!checkDirectory(layout.directory)) return { done, failed };
    await repairStage("lock");
    if (!deleteOrphans && (await findFixes()).length === 0) return { done, failed };
    using _lock = acquireLock(layout.lock);
    for (const stage of STAGES) if (!BEFORE_LOCK.includes(stage)) await repairStage(stage);
    if (!deleteOrphans) return { done, failed };
    const { identity, named } = await auditDirectory(layout, warn);
    if (named === null) {
      failed.push("nothing in orphans/ was destroyed: it cannot be told which key is needed");
      return { done, failed };
    }
    // Without an identity a key that has just been moved may be the one that matters.
    const orphans = listOrphans(layout, named).filter((path) => identity !== null || before.includes(path));
    await apply(
      orphans.map((path) => ({
        plan: `destroy ${path}`,
        apply: () => Promise.resolve(deleteOrphan(path)),
      })),
    );
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code === "ERR_BUSY") throw error;
    failed.push(error.message);
  }
  return { done, failed };
}

/** Whether the system or a tier refused, which is no mistake of the program. */
function isFailure(error: unknown): boolean {
  return error instanceof AmeshError || errnoOf(error) !== undefined || isNotCapable(error);
}
