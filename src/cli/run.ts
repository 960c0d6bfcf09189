/** One run of the program: the only place that reports an error and sets the exit code. */
import { run as runApplication } from "@stricli/core";
import { AmeshError, errnoOf, systemError } from "../errors.ts";
import { host } from "../platform/host.ts";
import { application, type CommandContext } from "./app.ts";
import { OutputClosed, print, printable, printJson, tell } from "./output.ts";

/** Runs the command line; never throws. @param args without the program's name. */
export async function run(args: readonly string[]): Promise<void> {
  try {
    await dispatch(args);
  } catch (error) {
    if (!(error instanceof OutputClosed)) report(error, wantsJson(args));
  }
}

async function dispatch(args: readonly string[]): Promise<void> {
  let help = "";
  let complaint = "";
  const context: CommandContext = {
    process: {
      stdout: { write: (text) => void (help += text) },
      stderr: { write: (text) => void (complaint += text) },
    },
    failure: undefined,
  };
  await runApplication(application, joinSignature(args.length === 0 ? ["--help"] : args), context);
  if (context.failure !== undefined) throw context.failure.error;
  if (context.process.exitCode !== 0) throw usageError(args, complaint);
  if (args.length === 0) {
    tell(help.trimEnd());
    throw usageError(args, "no command given");
  }
  print(help);
}

/** A base64url signature may begin with a dash, which the parser takes for an option unless it is joined by `=`. */
function joinSignature(args: readonly string[]): string[] {
  const at = args.indexOf("--signature");
  const value = args[at + 1];
  if (at < 0 || !value?.startsWith("-")) return [...args];
  return [...args.slice(0, at), `--signature=${value}`, ...args.slice(at + 2)];
}

function usageError(args: readonly string[], complaint: string): AmeshError {
  const isCommand = args[0] !== undefined && !args[0].startsWith("-") &&
    !complaint.startsWith("unknown command");
  return new AmeshError("ERR_USAGE", complaint.trim().split("\n")[0] ?? "", {
    hint: `run: amesh ${isCommand ? `${args[0]} ` : ""}--help`,
  });
}

function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end < 0 ? args.length : end).includes("--json");
}

function report(error: unknown, json: boolean): void {
  const { exitCode, code, message, hint } = explain(error);
  host.setExitCode(exitCode);
  if (!json) {
    tell(`amesh: error: ${printable(message)}`);
    if (hint !== undefined) tell(`amesh: hint: ${printable(hint)}`);
    return;
  }
  try {
    printJson({ error: { code, message, hint: hint ?? null } });
  } catch {
    // Standard output is what failed; the exit code has said so.
    return;
  }
}

function explain(error: unknown): AmeshError {
  if (error instanceof AmeshError) return error;
  if (errnoOf(error) !== undefined) return systemError("go on", error);
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new AmeshError("ERR_INTERNAL", `unexpected ${text}`, {
    hint: "this is a defect of amesh; please report it with the command that you ran",
    cause: error,
  });
}
