/** Archives whose bytes follow from what is in them. */
import { CompileError, runProgram } from "../build.ts";

/** Programs of a release get nothing of our environment: `TAR_OPTIONS` and `GZIP` would change what they write. */
function plainEnvironment(): Record<string, string> {
  return { PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
}

/**
 * Writes a `.tar.gz` by GNU tar and gzip: entries sorted by name, of root, of one time.
 *
 * @param directory where the one directory of the archive lies.
 * @param name of that directory.
 * @param output ends in `.tar.gz`.
 * @param time of every entry, in seconds since 1970.
 * @throws {CompileError}
 */
export async function packTree(directory: string, name: string, output: string, time: number): Promise<void> {
  const tar = output.replace(/\.gz$/, "");
  const options = [
    "--format=ustar",
    "--sort=name",
    "--owner=0",
    "--group=0",
    "--numeric-owner",
    `--mtime=@${time}`,
  ];
  await pack(["tar", ...options, `--directory=${directory}`, "--create", `--file=${tar}`, name], output);
  // Level 9 takes twice as long for a third of a percent.
  await pack(["gzip", "--no-name", "-6", tar], output);
}

/** Runs a program that writes a package. @throws {CompileError} */
export async function pack(
  argv: readonly string[],
  output: string,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { success, text } = await runProgram(argv, { env: { ...plainEnvironment(), ...env } });
  if (!success) throw new CompileError(`cannot write "${output}":\n${text.trim()}`);
}
