/** What is fuzzed: a parser of bytes from outside, inputs to begin with, and what must hold. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Bytes } from "../../src/bytes.ts";
import { AmeshError, type AmeshErrorCode } from "../../src/errors.ts";
import type { Mutator } from "./bytes_mutators.ts";

/** A parser and its oracle. */
export interface Target {
  readonly name: string;
  /** Valid inputs, most of them. */
  readonly seeds: readonly Bytes[];
  /** Mutations that know the format. */
  readonly mutators: readonly Mutator[];
  /** Longest input that amesh's own reader lets through, in bytes. */
  readonly limit: number;
  /** The only codes with which it may refuse. */
  readonly codes: readonly AmeshErrorCode[];
  /** Parses; the result checks what was parsed. */
  parse(input: Bytes): Promise<() => unknown>;
}

/** A target whose parser and check are apart: an error of the first is a refusal, every error of the second a failure. */
export function makeTarget<T>(
  { parse, check, ...rest }: Omit<Target, "parse"> & {
    readonly parse: (input: Bytes) => T | Promise<T>;
    readonly check: (parsed: T, input: Bytes) => unknown;
  },
): Target {
  return {
    ...rest,
    parse: async (input) => {
      const parsed = await parse(input);
      return () => check(parsed, input);
    },
  };
}

/** The files of `seeds/<name>`, by name. */
export function readSeeds(name: string): Bytes[] {
  const directory = join(import.meta.dirname!, "seeds", name);
  return readdirSync(directory).sort().map((file) => Uint8Array.from(readFileSync(join(directory, file))));
}

/** Most that message and hint have together, in UTF-16 code units. */
const MAX_MESSAGE_LENGTH = 300;
/** Length of a piece of the input that no message may repeat, and the distance of the pieces that are looked for. */
const QUOTED_LENGTH = 48;
const QUOTED_STEP = 12;

/** Why this is no way to refuse an input; `null` when it is one. */
export function objectionTo(error: unknown, target: Target, input: Bytes): string | null {
  if (!(error instanceof AmeshError)) return `threw ${describe(error)}`;
  if (!target.codes.includes(error.code)) return `threw ${error.code}: ${error.message.slice(0, 200)}`;
  const message = `${error.message}\n${error.hint ?? ""}`;
  if (message.length > MAX_MESSAGE_LENGTH) return `the message is long: ${message.slice(0, 60)}…`;
  if (/\n.*\n|\n\s+at /.test(message)) return "the message has several lines";
  if (repeats(message, input)) return `the message repeats the input: ${message.slice(0, 60)}…`;
  return null;
}

/** Whether a text has a long piece of the input. */
function repeats(message: string, input: Bytes): boolean {
  if (message.length < QUOTED_LENGTH) return false;
  const text = new TextDecoder().decode(input);
  for (let at = 0; at + QUOTED_LENGTH <= message.length; at += QUOTED_STEP) {
    if (text.includes(message.slice(at, at + QUOTED_LENGTH))) return true;
  }
  return false;
}

/** An error in one line, with the place where it was thrown. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return `no Error: ${String(error).slice(0, 100)}`;
  const place = /[\w-]+\.[jt]s:\d+/.exec(error.stack ?? "")?.[0] ?? "unknown place";
  return `${error.name} at ${place}: ${(error.message.split("\n")[0] ?? "").slice(0, 200)}`;
}
