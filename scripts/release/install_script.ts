/** `scripts/install.sh` as it is published: it knows its version, its address and the key that signs. */
import { CompileError } from "../build.ts";

/** What is filled in; none of it may hold a quote. */
export interface InstallValues {
  readonly version: string;
  readonly releases: string;
  /** Empty when nobody signs. */
  readonly minisignKey: string;
}

/** @throws {CompileError} when the script does not have each assignment exactly once. */
export function fillInstallScript(script: string, values: InstallValues): string {
  const assignments = {
    AMESH_VERSION: values.version,
    AMESH_RELEASES: values.releases,
    AMESH_MINISIGN_KEY: values.minisignKey,
  };
  let filled = script;
  for (const [name, value] of Object.entries(assignments)) {
    const pattern = new RegExp(`^${name}='[^']*'$`, "gm");
    const count = filled.match(pattern)?.length ?? 0;
    if (count !== 1) throw new CompileError(`the install script assigns ${name} ${count} times, not once`);
    filled = filled.replace(pattern, () => `${name}='${value}'`);
  }
  return filled;
}
