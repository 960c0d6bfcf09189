/**
 * All commands, options and arguments as plain data, read from the definitions that the parser uses. Completion
 * scripts and manual pages are made of it; no command needs it to run.
 */
import type { Application, Command, RouteMap } from "@stricli/core";
import { type CommandContext, isDocumented, kebab } from "./command.ts";

/** What completes a word. */
export type Completion =
  /** Nothing: a number, a name. */
  | { readonly kind: "none" }
  | { readonly kind: "file" }
  /** A file behind an `@`; something else without it. */
  | { readonly kind: "at-file" }
  | { readonly kind: "choice"; readonly values: readonly string[] };

/** What an option wants behind it, or an argument. */
export interface ValueReference {
  /** As it stands in usage lines: `FILE`, `raw|der`. */
  readonly placeholder: string;
  readonly completion: Completion;
}

/** An option. */
export interface OptionReference {
  /** Without dashes: `passphrase-fd`. */
  readonly name: string;
  /** One letter, without its dash; `null`: there is none. */
  readonly letter: string | null;
  readonly brief: string;
  /** `null`: it is a switch. */
  readonly value: ValueReference | null;
  readonly isRequired: boolean;
  /** Whether it can be given more than once. */
  readonly isRepeatable: boolean;
  /** The value when it is not given; `null` where there is none. */
  readonly default: string | null;
}

/** An argument that is no option. */
export interface OperandReference extends ValueReference {
  readonly brief: string;
  readonly isRequired: boolean;
  /** Whether any number may follow. */
  readonly isRepeatable: boolean;
}

/** `amesh` itself, a command, a group of commands, or a group that is a command as well. */
export interface CommandReference {
  /** The words behind `amesh`: `["passphrase", "change"]`. */
  readonly path: readonly string[];
  readonly brief: string;
  /** Paragraphs, with line ends in them. */
  readonly description: string;
  /** Command lines. */
  readonly examples: readonly string[];
  /** `--help` is the last. */
  readonly options: readonly OptionReference[];
  readonly operands: readonly OperandReference[];
  /** What may follow its path. */
  readonly commands: readonly CommandReference[];
  /** The one of `commands` that it is without another word; `null`: it needs one, or has none. */
  readonly main: CommandReference | null;
}

type Target = Application<CommandContext>["root"];
type Parameters = Command<CommandContext>["parameters"];
type Flag = NonNullable<Parameters["flags"]>[string];
type Positional = NonNullable<Parameters["positional"]>;
type Parameter = Extract<Positional, { kind: "tuple" }>["parameters"][number];

const HELP: OptionReference = switchOf("help", "h", "Print help information and exit");
const VERSION: OptionReference = switchOf("version", null, "Print the version and exit");

/** Describes a command line, with everything that is not hidden. */
export function describe(application: Application<CommandContext>): CommandReference {
  const root = describeTarget(application.root, []);
  return { ...root, options: [VERSION, ...root.options] };
}

/** A command and all below it, in the order of `--help`. */
export function allCommands(root: CommandReference): CommandReference[] {
  return [root, ...root.commands.flatMap(allCommands)];
}

function describeTarget(target: Target, path: readonly string[]): CommandReference {
  if (!isGroup(target)) return describeCommand(target, path);
  const entries = target.getAllEntries().filter(({ hidden }) => !hidden);
  const commands = entries.map((entry) =>
    describeTarget(entry.target, [...path, entry.name["convert-camel-to-kebab"]])
  );
  const main = commands[entries.findIndex((entry) => entry.target === target.getDefaultCommand())] ?? null;
  return {
    path,
    brief: target.brief,
    description: main?.description ?? target.fullDescription ?? target.brief,
    examples: main?.examples ?? [],
    options: main?.options ?? [HELP],
    operands: main?.operands ?? [],
    commands,
    main,
  };
}

function isGroup(target: Target): target is RouteMap<CommandContext> {
  return "getAllEntries" in target;
}

function describeCommand(target: Command<CommandContext>, path: readonly string[]): CommandReference {
  if (!isDocumented(target)) throw new TypeError(`not made by command(): ${path.join(" ")}`);
  const { brief, description, examples, parameters } = target;
  const flags = Object.entries(parameters.flags ?? {}).filter(([, flag]) =>
    !("hidden" in flag && flag.hidden)
  );
  return {
    path,
    brief,
    description,
    examples,
    options: [...flags.map(([name, flag]) => describeFlag(name, flag, parameters)), HELP],
    operands: describePositional(parameters.positional),
    commands: [],
    main: null,
  };
}

function switchOf(name: string, letter: string | null, brief: string): OptionReference {
  return { name, letter, brief, value: null, isRequired: false, isRepeatable: false, default: null };
}

function describeFlag(name: string, flag: Flag, { aliases = {} }: Parameters): OptionReference {
  const letter = Object.entries(aliases).find(([, target]) => target === name)?.[0] ?? null;
  const simple = switchOf(kebab(name), letter, flag.brief);
  if (flag.kind === "boolean") return simple;
  if (flag.kind === "counter") return { ...simple, isRepeatable: true };
  const isRepeatable = flag.variadic !== undefined && flag.variadic !== false;
  return {
    ...simple,
    value: flag.kind === "enum" ? choiceOf(flag.values) : valueOf(flag),
    isRequired: flag.optional !== true && flag.default === undefined,
    isRepeatable,
    default: flag.default === undefined ? null : [flag.default].flat().join(" "),
  };
}

function describePositional(positional: Positional | undefined): OperandReference[] {
  if (positional === undefined) return [];
  if (positional.kind === "array") {
    const isRequired = (positional.minimum ?? 0) > 0;
    return [{
      ...describeParameter(positional.parameter),
      isRequired,
      isRepeatable: positional.maximum !== 1,
    }];
  }
  return positional.parameters.map(describeParameter);
}

function describeParameter(parameter: Parameter): OperandReference {
  const isRequired = parameter.optional !== true && parameter.default === undefined;
  return { ...valueOf(parameter), brief: parameter.brief, isRequired, isRepeatable: false };
}

function choiceOf(values: readonly string[]): ValueReference {
  return { placeholder: values.join("|"), completion: { kind: "choice", values } };
}

/** Placeholders are the only thing that tells what a text is; `OLD` and `NEW` are files with a key. */
const FILE_PLACEHOLDER = /(^|[_-])(FILE|PATH|DIR|DIRECTORY|OLD|NEW)$/;

function valueOf({ placeholder, parse }: { placeholder?: string; parse: unknown }): ValueReference {
  if (typeof parse === "function" && "values" in parse) return choiceOf(parse.values as readonly string[]);
  if (placeholder === undefined) throw new TypeError("an argument has no placeholder");
  if (FILE_PLACEHOLDER.test(placeholder)) return { placeholder, completion: { kind: "file" } };
  return { placeholder, completion: { kind: /@(FILE|PATH)$/.test(placeholder) ? "at-file" : "none" } };
}
