/** What the definitions of all commands have in common. A command's own file is loaded when the command runs. */
import {
  buildCommand,
  type Command,
  type CommandContext as ParserContext,
  type TypedCommandParameters,
} from "@stricli/core";
import { PUBLIC_KEY_FORMATS } from "../formats/public_key.ts";

/** What the parser hands to a command, and what the command leaves for `run`. */
export interface CommandContext extends ParserContext {
  /** The parser writes help to stdout and complaints to stderr; `exitCode` is 0 unless it has complained. */
  readonly process: ParserContext["process"] & { exitCode?: number | string | null };
  /** What the command threw. */
  failure: { readonly error: unknown } | undefined;
}

/** A command's implementation. */
type Run<Flags, Args extends readonly unknown[]> = (flags: Flags, ...args: Args) => Promise<void>;

/** A command as `--help` shows it. */
export interface CommandDefinition<
  Flags extends Readonly<Record<string, unknown>>,
  Args extends readonly unknown[],
> {
  readonly brief: string;
  readonly description: string;
  /** Command lines, without indentation. */
  readonly examples: readonly string[];
  readonly parameters: TypedCommandParameters<Flags, Args, CommandContext>;
  readonly load: () => Promise<Run<Flags, Args>>;
}

/** A command of the parser that remembers what its help is made of. */
export interface DocumentedCommand extends Command<CommandContext> {
  readonly description: string;
  readonly examples: readonly string[];
}

/** Whether {@linkcode command} has made it. */
export function isDocumented(target: Command<CommandContext>): target is DocumentedCommand {
  return "examples" in target;
}

/** A command of the parser. */
export function command<Flags extends Readonly<Record<string, unknown>>, Args extends readonly unknown[]>(
  definition: CommandDefinition<Flags, Args>,
): DocumentedCommand {
  const { brief, description, examples } = definition;
  const lines = examples.map((line) => `  ${line}`).join("\n");
  const built = buildCommand<Flags, Args, CommandContext>({
    docs: { brief, fullDescription: `${description}\n\nEXAMPLES\n${lines}` },
    parameters: definition.parameters,
    loader: async () => {
      const implementation = await definition.load();
      return async function (this: CommandContext, flags: Flags, ...args: Args) {
        try {
          await implementation(flags, ...args);
        } catch (error) {
          this.failure = { error };
        }
      };
    },
  });
  return Object.assign(built, { description, examples });
}

/** An argument as it stands. */
export const text = (value: string): string => value;

/** An argument that is no number; its message follows the argument. */
export class NumberError extends Error {
  override readonly name: string = "NumberError";
}

/** A word that is none of those that an argument can be; its message follows the argument. */
export class ChoiceError extends Error {
  override readonly name: string = "ChoiceError";
}

/** An argument that is one of a few words, for a parameter that is no option. */
export function choice<Word extends string>(
  values: readonly Word[],
): ((value: string) => Word) & { readonly values: readonly Word[] } {
  const parse = (value: string): Word => {
    const found = values.find((word) => word === value);
    if (found === undefined) throw new ChoiceError(`it must be one of ${values.join(", ")}`);
    return found;
  };
  return Object.assign(parse, { values });
}

/** The name of an option as it is typed: `new-passphrase-fd` of `newPassphraseFd`. */
export function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** A count that is not negative. @throws {NumberError} that becomes the complaint. */
const wholeNumber = (value: string): number => {
  if (/^\d{1,9}$/.test(value)) return Number(value);
  throw new NumberError("it is no whole number");
};

/** A switch that is off unless it is given. */
export const flag = (brief: string) =>
  ({ kind: "boolean", brief, default: false, withNegated: false }) as const;

/** A value that can be left out. */
export const optional = (brief: string, placeholder: string) =>
  ({ kind: "parsed", brief, parse: text, placeholder, optional: true }) as const;

/** Values of an option that may be given several times. */
export const repeated = (brief: string, placeholder: string) =>
  ({ kind: "parsed", brief, parse: text, placeholder, variadic: true, optional: true }) as const;

/** A number that can be left out. */
export const optionalNumber = (brief: string, placeholder: string) =>
  ({ kind: "parsed", brief, parse: wholeNumber, placeholder, optional: true }) as const;

/** Length of a second, a minute, an hour and a day in seconds. */
const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** A time as ssh-agent takes it, in seconds. @throws {NumberError} that becomes the complaint. */
export const duration = (value: string): number => {
  const [, count, unit = "s"] = /^(\d{1,6})([smhd])?$/i.exec(value) ?? [];
  if (count === undefined) throw new NumberError("it is no time such as 90s, 30m, 8h or 1d");
  return Number(count) * (SECONDS[unit.toLowerCase()] as number);
};

/** A time in seconds; `byDefault` when it is left out. */
export const optionalDuration = (brief: string, placeholder: string, byDefault = "0") =>
  ({ kind: "parsed", brief, parse: duration, placeholder, default: byDefault }) as const;

/** Values of an option that must be given, and may be several times. */
export const several = (brief: string, placeholder: string) =>
  ({ kind: "parsed", brief, parse: text, placeholder, variadic: true }) as const;

/** A descriptor that only amesh itself passes. */
export const ownDescriptor = (brief: string) => ({ ...optionalNumber(brief, "N"), hidden: true }) as const;

/** `--json` */
export const json = flag("Print the result as JSON");

/** `--passphrase-fd` */
export const passphraseFd = optionalNumber(
  "Read the passphrase in force from this descriptor, to its end",
  "N",
);

/** `--format` of a public key, where there is another default than a form. */
export const publicKeyFormat = (brief: string) =>
  ({ kind: "enum", brief, values: PUBLIC_KEY_FORMATS, optional: true }) as const;

/** The input of `sign` and `verify`. */
export const inputFile = {
  kind: "tuple",
  parameters: [{
    brief: "Input; - or nothing is standard input",
    parse: text,
    placeholder: "FILE",
    optional: true,
  }],
} as const;
