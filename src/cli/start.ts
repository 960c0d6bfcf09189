/** The first thing that runs: answers what needs no parser before that is loaded. */
import { host } from "../platform/host.ts";
import { VERSION } from "../version.ts";
import { print } from "./output.ts";
import { report } from "./report.ts";
import { SIGN_DEFAULTS } from "./sign_flags.ts";

/** Runs the program and sets the exit code of the process; never throws. */
export async function start(): Promise<void> {
  const { args } = host;
  const answer = withoutParser(args);
  if (answer === null) return await (await import("./run.ts")).run(args);
  try {
    await answer();
  } catch (error) {
    await report(error, false);
  }
}

/**
 * `--version`, and `sign` with a file and no options: with an agent that is what scripts run again and again, and the parser
 * would be half of its time.
 */
function withoutParser([command, argument, ...rest]: readonly string[]): (() => Promise<void>) | null {
  if (command === "--version") return () => print(`amesh ${VERSION}\n`);
  if (command !== "sign" || rest.length > 0 || (argument ?? "-").length === 0) return null;
  if (argument !== undefined && argument !== "-" && argument.startsWith("-")) return null;
  return async () => {
    const { sign } = await import("./commands/sign.ts");
    await sign(SIGN_DEFAULTS, argument);
  };
}
