/** What real shells offer when Tab is pressed. */
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Shell } from "../../src/cli/completion_command.ts";
import { runChild } from "./child_process.ts";
import { ROOT } from "./project_files.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

/** A word that is offered. */
export interface Offer {
  readonly word: string;
  /** What the shell says of it; bash says nothing. */
  readonly description: string;
}

/** Why a shell cannot be asked, for the `skip` of a test; `false` when it can. */
export function shellMissing(shell: Shell): string | false {
  const missing = [shell, ...shell === "fish" ? [] : ["python3"]].find((program) =>
    runChild([program, "--version"]).code !== 0
  );
  return missing === undefined ? false : `${missing} is not installed`;
}

/**
 * What a shell offers at the end of each line, in its order.
 *
 * @param directory absolute path of the working directory.
 */
export function offersOf(
  shell: Shell,
  directory: string,
  script: string,
  lines: readonly string[],
): Offer[][] {
  using home = temporaryDirectory();
  writeFileSync(home.file(shell), script);
  return { bash: bashOffers, zsh: zshOffers, fish: fishOffers }[shell](home.path, directory, lines);
}

/** Calls the function as bash 5 would; what it has no way to ask a bash for that is not interactive, `compopt`, fails. */
function bashOffers(home: string, directory: string, lines: readonly string[]): Offer[][] {
  const program = `cd "$1" && source "$2" && shift 2 && set -u
while [ $# -gt 0 ]; do
  COMP_LINE=$1 COMP_POINT=${"${#1}"} word=$2 COMP_WORDS=() count=$3; shift 3
  while [ $count -gt 0 ]; do COMP_WORDS+=("$1"); count=$((count - 1)); shift; done
  COMP_CWORD=$((${"${#COMP_WORDS[@]}"} - 1))
  _amesh amesh "$word" ''
  printf '%s\\n' "${"${COMPREPLY[@]-}"}" done:
done`;
  const calls = lines.flatMap((line) => {
    // `@` begins a word, but not what is replaced.
    const words = line.match(/[=:@]+|[^\s=:@]+|\s$/g) ?? [];
    return [line, /[^\s=:]*$/.exec(line)![0], `${words.length}`, ...words.map((word) => word.trim())];
  });
  const { stdout, stderr } = runChild([
    "bash",
    "--norc",
    "-c",
    program,
    "bash",
    directory,
    join(home, "bash"),
    ...calls,
  ]);
  if (stderr !== "") throw new Error(stderr);
  return stdout.split("done:\n").slice(0, -1).map((text) =>
    text.split("\n").filter((word) => word !== "").map((word) => ({ word, description: "" }))
  );
}

function fishOffers(home: string, directory: string, lines: readonly string[]): Offer[][] {
  const program =
    'cd $argv[1]; source $argv[2]; for line in $argv[3..]; complete -C "$line"; echo done:; end';
  const { stdout, stderr } = runChild([
    "fish",
    "--no-config",
    "-c",
    program,
    directory,
    join(home, "fish"),
    ...lines,
  ], {
    env: { HOME: home, LC_ALL: "C.UTF-8" },
  });
  if (stderr !== "") throw new Error(stderr);
  return stdout.split("done:\n").slice(0, -1).map((text) =>
    text.split("\n").filter((line) => line !== "").map((line) => {
      const [word = "", description = ""] = line.split("\t");
      return { word, description };
    })
  );
}

function zshOffers(home: string, directory: string, lines: readonly string[]): Offer[][] {
  copyFileSync(join(ROOT, "tests/support/zsh_offers.zsh"), join(home, ".zshrc"));
  const steps = lines.flatMap((line) => ["type", `${line}\\t`, "expect", "done:"]);
  const shown = atTerminal(
    directory,
    ["zsh", "-d", "-i"],
    ["expect", "ready:", ...steps, "type", "exit\\n"],
    {
      AMESH_COMPLETION: join(home, "zsh"),
      ZDOTDIR: home,
    },
  );
  return shown.split("done:").slice(0, -1).map((text) =>
    [...text.matchAll(/offer:([^\t]*)\t(.*)$/gm)].map(([, word, description]) => ({
      word: word as string,
      description: description as string,
    }))
  );
}

/**
 * Runs an interactive shell that a person uses.
 *
 * @param steps pairs of a step of `tests/cli/person.py` and its text.
 * @returns what the terminal has shown, with `\n` for line ends.
 */
export function atTerminal(
  directory: string,
  program: readonly string[],
  steps: readonly string[],
  env: Record<string, string> = {},
): string {
  const words = steps.flatMap((word, index) => index % 2 === 0 ? [":", word] : [word]);
  const argv = ["python3", join(ROOT, "tests/cli/person.py"), ...program, ...words, ":", "end", "0"];
  const inDirectory = [
    "env",
    "-C",
    directory,
    "-i",
    ...Object.entries({
      HOME: directory,
      PATH: process.env["PATH"] ?? "",
      TERM: "dumb",
      LC_ALL: "C.UTF-8",
      ...env,
    }).map(([name, value]) => `${name}=${value}`),
  ];
  const { code, stdout, stderr } = runChild([...inDirectory, ...argv]);
  if (code !== 0) throw new Error(stderr);
  return stdout.replaceAll("\r", "");
}
