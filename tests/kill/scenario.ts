/** What a scenario is: where a command starts from, and what may be there when it is struck. */
import { join } from "node:path";
import type { Chip } from "./chip.ts";
import type { Ended, Environment } from "./program.ts";

/** What a command does to the identity, and so which may be there when it was struck. */
export type Effect =
  /** There was none: none or a new one. */
  | "makes"
  /** The old one or a new one. */
  | "replaces"
  /** The same one, always. */
  | "keeps"
  /** The old one or none. */
  | "deletes"
  /** There was none, and there will be none. */
  | "none";

/** An empty HOME that a scenario fills. */
export interface Place {
  readonly home: string;
  /** Runs amesh there. @throws {Error} it fails. */
  amesh(...args: readonly string[]): Promise<Ended>;
  /** Only where the scenario asks for a TPM. */
  readonly chip: Chip | null;
}

/** A command, and everything that is expected of it. */
export interface Scenario {
  readonly name: string;
  /** Arguments of amesh; its working directory is HOME. */
  readonly command: readonly string[];
  readonly prepare: (place: Place) => void | Promise<void>;
  readonly effect: Effect;
  /** Whether there is a software TPM. */
  readonly usesTpm?: boolean;
  /** Variables of the command and of what comes after it. */
  readonly env?: Environment;
  /** Variables with which the key may open instead. */
  readonly otherEnv?: Environment;
  /** Variables with which it must open when the command has succeeded. */
  readonly envAfter?: Environment;
  /** Exit codes of the command when a call fails. Default: 0 and 1. */
  readonly exitCodes?: readonly number[];
  /** Lines that `sign` may print to stderr. Default: none. */
  readonly signSays?: RegExp;
  /** The directory cannot be used before the command has repaired it: nothing is expected to work at once. */
  readonly isBroken?: boolean;
  /** What repairs is not repeated: `doctor --fix` comes after every strike anyway. */
  readonly isRepair?: boolean;
  /** The old key vouches for the new one in history/. */
  readonly leavesStatement?: boolean;
  /** `delete` leaves `.passphrase`, because another key needs it. */
  readonly leavesPassphrase?: boolean;
  /** A passphrase that must be in force, or about to be, when the command has succeeded. */
  readonly passphraseAfter?: string;
  /** Another command that must succeed in place of the repeated one when the identity is gone. */
  readonly next?: readonly string[];
}

/** The file that passphrases of the operator lie in. */
export const SECRETS = "secrets";
/** What is signed. */
export const DOCUMENT = "doc";
/** The public key of the identity that a scenario starts from. */
export const OLD_KEY = "old.pub";

/** Path of the amesh directory. */
export const ameshDirectory = (home: string): string => join(home, ".amesh");
