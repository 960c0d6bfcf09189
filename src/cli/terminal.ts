/** Talking with a person at the terminal: passphrases without echo, confirmations. Results and messages go elsewhere. */
import { type Bytes, equalBytes, wipe } from "../bytes.ts";
import { AmeshError, Interrupted, systemError } from "../errors.ts";
import { requireLength } from "../passphrase/files.ts";
import { askTerminal } from "../platform/terminal.ts";
import { printable, tell } from "./output.ts";

/** How often two new passphrases may differ. */
const ATTEMPTS = 3;

/** The passphrase of the key that there is; the caller wipes it. `null` where there is no terminal. */
export function askPassphrase(): Promise<Bytes | null> {
  return ask("Passphrase of this machine's key: ", false);
}

/**
 * A new passphrase, typed twice; the caller wipes it.
 *
 * @throws {AmeshError} `ERR_USAGE` without a terminal, or when they differ each time; `ERR_UNLOCK_FAILED` for its length.
 */
export async function askNewPassphrase(): Promise<Bytes> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const first = await ask("New passphrase: ", false);
    if (first === null) throw noTerminal();
    if (await isRepeated(requireLength(first, "the terminal"))) return first;
    tell("They differ; try again.");
  }
  throw new AmeshError("ERR_USAGE", "cannot take a new passphrase: it was not typed the same twice");
}

/** Asks for the same again; wipes what was typed first unless it is. */
async function isRepeated(first: Bytes): Promise<boolean> {
  let isSame = false;
  try {
    const second = await ask("The same again: ", false);
    isSame = second !== null && equalBytes(first, second);
    wipe(second ?? undefined);
    return isSame;
  } finally {
    if (!isSame) wipe(first);
  }
}

function noTerminal(): AmeshError {
  return new AmeshError("ERR_USAGE", "cannot ask for a new passphrase: there is no terminal", {
    hint: "use --generate, --new-passphrase-file FILE, --new-passphrase-fd N or --keep",
  });
}

/**
 * Asks for a yes.
 *
 * @param question ends with a question mark.
 * @throws {AmeshError} `ERR_USAGE` without a terminal; `ERR_NOT_CONFIRMED`.
 */
export async function confirm(question: string): Promise<void> {
  const answer = await ask(`${printable(question)} Type yes: `, true);
  if (answer === null) {
    throw new AmeshError("ERR_USAGE", "cannot ask whether to go on: there is no terminal", {
      hint: "add --yes",
    });
  }
  if (new TextDecoder().decode(answer).trim().toLowerCase() === "yes") return;
  throw new AmeshError("ERR_NOT_CONFIRMED", "nothing was done: it was not confirmed");
}

async function ask(text: string, echo: boolean): Promise<Bytes | null> {
  try {
    return await askTerminal({ text, echo });
  } catch (error) {
    if (error instanceof Interrupted) throw error;
    throw systemError("ask at the terminal", error);
  }
}
