/** The command `completion`, its options and help text. */
import { choice, command, json } from "./command.ts";
import type { CompletionFlags } from "./commands/completion.ts";

/** The shells whose commands can be completed. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/** One of {@linkcode SHELLS}. */
export type Shell = typeof SHELLS[number];

/** `completion` */
export const completion = command<CompletionFlags, [shell: Shell]>({
  brief: "Print a script that completes commands in a shell",
  description:
    "Prints a script by which bash (from 3.2 on), zsh or fish completes commands, options, values and files when\n" +
    "Tab is pressed. Have it read when the shell starts, or save it where the shell looks for it. The script is\n" +
    "complete in itself and never starts amesh; print it anew after an update.",
  examples: [
    `echo 'eval "$(amesh completion bash)"' >> ~/.bashrc`,
    "echo 'source <(amesh completion zsh)' >> ~/.zshrc          # behind the line with compinit",
    "amesh completion fish > ~/.config/fish/completions/amesh.fish",
    "amesh completion bash > ~/.local/share/bash-completion/completions/amesh   # where bash-completion is",
    'amesh completion zsh > "${fpath[1]}/_amesh"                # in place of the line in ~/.zshrc',
  ],
  parameters: {
    flags: { json },
    positional: {
      kind: "tuple",
      parameters: [{ brief: "The shell", parse: choice(SHELLS), placeholder: SHELLS.join("|") }],
    },
  },
  load: async () => (await import("./commands/completion.ts")).completion,
});
