/** The commands of the passphrase, their options and help texts. */
import { buildRouteMap } from "@stricli/core";
import { command, flag, json, optional, optionalNumber, passphraseFd, text } from "./command.ts";
import type { PassphraseChangeFlags } from "./commands/passphrase_change.ts";
import type { PassphraseMoveFlags } from "./commands/passphrase_move.ts";
import type { PassphraseStatusFlags } from "./commands/passphrase_status.ts";

const passphraseStatus = command<PassphraseStatusFlags, []>({
  brief: "Show where the passphrase comes from and how strong it is",
  description: "Reads the passphrase in force and shows all about it but itself. Changes nothing.",
  examples: ["amesh passphrase status"],
  parameters: { flags: { passphraseFd, json } },
  load: async () => (await import("./commands/passphrase_status.ts")).passphraseStatus,
});

const passphraseChange = command<PassphraseChangeFlags, []>({
  brief: "Put the key under another passphrase or another cost",
  description:
    "Without an option the new passphrase is asked for twice on the terminal. It takes the place of the one in\n" +
    "force where that is a file; a variable or a credential is yours to set anew. Killed at any moment, the key\n" +
    "opens with what is there.",
  examples: [
    "amesh passphrase change --generate",
    "amesh passphrase change --new-passphrase-file new.txt",
    "amesh passphrase change --keep --argon2-memory 262144",
  ],
  parameters: {
    flags: {
      generate: flag("Make 256 random bits"),
      newPassphraseFile: optional("Take it from this file", "FILE"),
      newPassphraseFd: optionalNumber("Take it from this descriptor, to its end", "N"),
      keep: flag("Keep the passphrase and write the key anew"),
      argon2Memory: optionalNumber("Argon2id memory, 19456 to 1048576; without it, as it is", "KIB"),
      argon2Passes: optionalNumber("Argon2id passes, 2 to 16; without it, as they are", "T"),
      argon2Lanes: optionalNumber("Argon2id lanes, 1 to 4; without it, as they are", "P"),
      passphraseFd,
      json,
    },
  },
  load: async () => (await import("./commands/passphrase_change.ts")).passphraseChange,
});

const passphraseMove = command<PassphraseMoveFlags, [target: string]>({
  brief: "Move the passphrase file to another place",
  description:
    "Copies the passphrase file (mode 0400), proves that the key opens with the copy, and prints the variable to\n" +
    "set. The old file stays unless --remove-old is given.",
  examples: [
    "amesh passphrase move /run/amesh/passphrase",
    "amesh passphrase move /mnt/secrets/amesh --remove-old",
  ],
  parameters: {
    flags: { removeOld: flag("Remove the old file when the key opens with the new one"), json },
    positional: {
      kind: "tuple",
      parameters: [{ brief: "The new file", parse: text, placeholder: "FILE" }],
    },
  },
  load: async () => (await import("./commands/passphrase_move.ts")).passphraseMove,
});

/** `passphrase status`, `passphrase change` and `passphrase move`. */
export const passphrase = buildRouteMap({
  routes: { status: passphraseStatus, change: passphraseChange, move: passphraseMove },
  docs: { brief: "Look at, change or move the passphrase of an encrypted-file key" },
});
