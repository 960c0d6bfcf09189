/** The Homebrew formula, filled from the checksums. */
import { CompileError } from "../build.ts";
import { archiveName } from "./request.ts";

/** The targets that the formula installs. */
export const FORMULA_TARGETS = ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"] as const;

/** What the formula is filled from. */
export interface FormulaValues {
  readonly version: string;
  readonly releases: string;
  /** Lower-case hex by file name. */
  readonly sums: ReadonlyMap<string, string>;
}

/**
 * Fills every `@NAME@`: VERSION, RELEASES, and SHA256_ with the name of a target, as in SHA256_LINUX_X64.
 *
 * @throws {CompileError} for another name, and for one that is not there.
 */
export function fillFormula(template: string, { version, releases, sums }: FormulaValues): string {
  const values = new Map([["VERSION", version], ["RELEASES", releases]]);
  for (const target of FORMULA_TARGETS) {
    const sum = sums.get(`${archiveName(version, target)}.tar.gz`);
    if (sum === undefined) throw new CompileError(`the formula needs the archive for ${target}`);
    values.set(`SHA256_${target.toUpperCase().replace("-", "_")}`, sum);
  }
  const unused = new Set(values.keys());
  const filled = template.replaceAll(/@(\w+)@/g, (_, name: string) => {
    const value = values.get(name);
    if (value === undefined) throw new CompileError(`the formula's template has an unknown @${name}@`);
    unused.delete(name);
    return value;
  });
  if (unused.size > 0) throw new CompileError(`the formula's template lacks ${[...unused].join(", ")}`);
  return filled;
}
