/** What the parser says of a command line that is not run. */
import { run } from "@stricli/core";
import { application } from "../../src/cli/app.ts";
import type { CommandContext } from "../../src/cli/command.ts";

/** What the parser says of a command line with an option too many, which it meets last and so never runs. */
export async function complaintOf(args: readonly string[]): Promise<string> {
  let complaint = "";
  const context: CommandContext = {
    process: { stdout: { write: () => {} }, stderr: { write: (text) => void (complaint += text) } },
    failure: undefined,
  };
  await run(application, [...args, "--one-too-many"], context);
  return complaint;
}
