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
    "Tab is pressed. Have the shell read it when it starts (in ~/.zshrc behind compinit), or save it where the\n" +
    "shell looks for it. The script is complete in itself and never starts amesh; print it anew after an update.",
  examples: [
    `echo 'eval "$(amesh completion bash)"' >> ~/.bashrc`,
    "echo 'source <(amesh completion zsh)' >> ~/.zshrc",
    'amesh completion zsh > "${fpath[1]}/_amesh"',
    "amesh completion fish > ~/.config/fish/completions/amesh.fish",
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
