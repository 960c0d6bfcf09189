/** The first thing that runs: answers `--version` before the parser is loaded. */
import { host } from "../platform/host.ts";
import { VERSION } from "../version.ts";

/** Runs the program and sets the exit code of the process. */
export async function start(): Promise<void> {
  const { args } = host;
  if (args[0] !== "--version") return await (await import("./run.ts")).run(args);
  const { OutputClosed, print } = await import("./output.ts");
  try {
    print(`amesh ${VERSION}\n`);
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error;
  }
}
