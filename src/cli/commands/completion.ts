/** `completion`: the script for one shell. */
import { application } from "../app.ts";
import { bashScript } from "../completion/bash.ts";
import { fishScript } from "../completion/fish.ts";
import { zshScript } from "../completion/zsh.ts";
import type { Shell } from "../completion_command.ts";
import { print, printJson } from "../output.ts";
import { type CommandReference, describe } from "../reference.ts";

/** Options of `completion`. */
export type CompletionFlags = { readonly json: boolean };

const SCRIPTS: Readonly<Record<Shell, (root: CommandReference) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Prints the script. */
export async function completion({ json }: CompletionFlags, shell: Shell): Promise<void> {
  const script = SCRIPTS[shell](describe(application));
  await (json ? printJson({ shell, script }) : print(script));
}
