/** One run of the program: parses the arguments and runs the command. */
import { run as runApplication } from "@stricli/core";
import { AmeshError } from "../errors.ts";
import { isAgentCommand } from "./agent_commands.ts";
import { application } from "./app.ts";
import type { CommandContext } from "./command.ts";
import { print, tell } from "./output.ts";
import { report } from "./report.ts";

/** Runs the command line; never throws. @param args without the program's name. */
export async function run(args: readonly string[]): Promise<void> {
  try {
    await dispatch(args);
  } catch (error) {
    await report(error, wantsJson(args));
  }
}

async function dispatch(args: readonly string[]): Promise<void> {
  requireValues(args);
  requireAgentCommand(args);
  let help = "";
  let complaint = "";
  const context: CommandContext = {
    process: {
      stdout: { write: (text) => void (help += text) },
      stderr: { write: (text) => void (complaint += text) },
    },
    failure: undefined,
  };
  await runApplication(
    application,
    nameDefault(joinSignature(args.length === 0 ? ["--help"] : args)),
    context,
  );
  if (context.failure !== undefined) throw context.failure.error;
  if (context.process.exitCode !== 0) throw usageError(args, complaint);
  const isGroupAlone = args.length === 1 && args[0] !== "agent" && GROUPS.includes(args[0]);
  if (args.length === 0 || isGroupAlone) {
    tell(help.trimEnd());
    throw usageError(args, "no command given");
  }
  await print(help);
}

/** `agent --help` is asked of the command that `agent` alone is, not of the group. */
function nameDefault(args: readonly string[]): readonly string[] {
  const isHelp = args[1] === "--help" || args[1] === "-h" || args[1] === "--helpAll";
  return args[0] === "agent" && isHelp ? ["agent", "start", ...args.slice(1)] : args;
}

/** A base64url signature may begin with a dash, which the parser takes for an option unless it is joined by `=`. */
function joinSignature(args: readonly string[]): string[] {
  const at = args.indexOf("--signature");
  const value = args[at + 1];
  if (at < 0 || !value?.startsWith("-")) return [...args];
  return [...args.slice(0, at), `--signature=${value}`, ...args.slice(at + 2)];
}

/** `--name=` is not what the parser's own text would make of it. */
function requireValues(args: readonly string[]): void {
  const end = args.indexOf("--");
  const empty = args.slice(0, end < 0 ? args.length : end).find((arg) => /^--[a-z0-9-]+=$/.test(arg));
  if (empty !== undefined) throw usageError(args, `no value is given for ${empty.slice(0, -1)}`);
}

/** The parser would take the word for an argument of the command that `agent` alone is. */
function requireAgentCommand([group, word, ...rest]: readonly string[]): void {
  if (group !== "agent" || word === undefined || word.startsWith("-") || isAgentCommand(word)) return;
  throw usageError([group, word, ...rest], `unknown command ${JSON.stringify(`agent ${word}`)}`);
}

/** Words that stand before commands of their own. `agent` is a command as well. */
const GROUPS: readonly (string | undefined)[] = ["agent", "certificate", "passphrase"];

function usageError(args: readonly string[], complaint: string): AmeshError {
  const words = args.slice(0, args.findIndex((arg) => arg.startsWith("-")) >>> 0);
  const groups = GROUPS.includes(words[0]) ? 1 : 0;
  // The parser gives the path of a command that it knows in no other way.
  const path = words.slice(0, complaint.startsWith("unknown command") ? groups : groups + 1);
  return new AmeshError("ERR_USAGE", complaint.trim().split("\n")[0] ?? "", {
    hint: `run: ${["amesh", ...path, "--help"].join(" ")}`,
  });
}

function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end < 0 ? args.length : end).includes("--json");
}
