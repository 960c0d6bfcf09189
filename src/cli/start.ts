/** The first thing that runs: answers `--version` before the parser is loaded. */
import { host } from "../platform/host.ts";
import { VERSION } from "../version.ts";
import { print } from "./output.ts";
import { report } from "./report.ts";

/** Runs the program and sets the exit code of the process; never throws. */
export async function start(): Promise<void> {
  const { args } = host;
  if (args[0] !== "--version") return await (await import("./run.ts")).run(args);
  try {
    await print(`amesh ${VERSION}\n`);
  } catch (error) {
    await report(error, false);
  }
}
