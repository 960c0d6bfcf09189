/** The manual, made of the description of the command line. */
import { allCommands, type CommandReference, type OptionReference } from "../../src/cli/reference.ts";
import { bold, escaped, italic, item, paragraphs, prose, section, verbatim } from "./roff.ts";
import { EXIT_STATUS, FILES, VARIABLES } from "./texts.ts";

/** What every page tells of the program. */
export interface Edition {
  readonly version: string;
  /** `2026-01-31`; empty where there is none yet. */
  readonly date: string;
}

/** A page. */
export interface Page {
  /** `amesh-passphrase-change.1` */
  readonly file: string;
  readonly text: string;
}

/** All pages: of amesh, and of each of its commands. */
export function manualPages(root: CommandReference, edition: Edition): Page[] {
  const commands = allCommands(root);
  return commands.map((command) => {
    const file = `${pageName(command)}.1`;
    const group = commands.find(({ main }) => main === command);
    if (group !== undefined) return { file, text: `.so man1/${pageName(group)}.1\n` };
    return { file, text: `${page(command, commands, edition).join("\n")}\n` };
  });
}

function pageName({ path }: CommandReference): string {
  return ["amesh", ...path].join("-");
}

function page(
  command: CommandReference,
  commands: readonly CommandReference[],
  { version, date }: Edition,
): string[] {
  const isRoot = command.path.length === 0;
  const name = pageName(command);
  return [
    `.TH ${escaped(name.toUpperCase())} 1 "${date}" "amesh ${escaped(version)}" "amesh"`,
    ".nh",
    ".ad l",
    ...section("NAME", [`${escaped(name)} \\- ${escaped(lowerFirst(command.brief.replace(/\.$/, "")))}`]),
    ...section("SYNOPSIS", synopses(command)),
    ...section("DESCRIPTION", isRoot ? INTRODUCTION : paragraphs(command.description)),
    ...section("COMMANDS", command.commands.filter(({ path }) => path.length > 0).flatMap(commandItem)),
    ...section("OPTIONS", command.options.flatMap(optionItem)),
    ...section("ARGUMENTS", command.operands.flatMap(operandItem)),
    ...section("EXAMPLES", isRoot ? INTRODUCTORY_EXAMPLES : examples(command)),
    ...section(
      "EXIT STATUS",
      Object.entries(EXIT_STATUS).flatMap(([code, text]) => [".TP 6", bold(code), prose(text)]),
    ),
    ...isRoot
      ? section("ENVIRONMENT", Object.entries(VARIABLES).flatMap(([name, text]) => item(bold(name), text)))
      : [],
    ...isRoot
      ? section("FILES", Object.entries(FILES).flatMap(([name, text]) => item(italic(name), text)))
      : [],
    ...section("SEE ALSO", [seeAlso(command, commands)]),
  ];
}

/** The overview of amesh(1); the commands stand below it. */
const INTRODUCTION = paragraphs(
  `amesh gives a machine an identity: a P-256 key pair whose private half lives in the best storage that the
machine has (the Secure Enclave or the keychain of a Mac, a TPM 2.0, or an encrypted file) and is not taken out of
it to be used. \`amesh init\` makes it, once; every other command uses that key or explains it.

The storage is chosen when the key is made and written down. One that has vanished is an error that says why,
never a new key elsewhere. A key in an encrypted file is software-only protection: whoever can read the files and
the passphrase has the key.

Results go to standard output and everything for people to standard error. With --json the result is a line of
JSON, and so is an error: \`{"error":{"code":…,"message":…,"hint":…}}\`.`.replaceAll("…", "..."),
);

const INTRODUCTORY_EXAMPLES = [
  ...example("Make the key of this machine, once:", ['amesh init --name "my-server"']),
  ".PP",
  ...example("Sign a file, and give the public key to whoever shall verify:", [
    "amesh sign release.tar.gz > release.sig",
    "amesh public-key > my-server.pem",
  ]),
  ".PP",
  ...example("Verify on any machine:", [
    "amesh verify --signature @release.sig --key my-server.pem release.tar.gz",
  ]),
  ".PP",
  ...example("Let ssh(1) and git(1) use the same key:", ['eval "$(amesh agent)"', "ssh user@host"]),
];

function example(sentence: string, lines: readonly string[]): string[] {
  return [prose(sentence), ...verbatim(lines)];
}

function examples({ examples }: CommandReference): string[] {
  return examples.length === 0 ? [] : verbatim(examples);
}

/** Lines of the synopsis: of the command itself, and of those below it. */
function synopses(command: CommandReference): string[] {
  const { path, options, operands, commands, main } = command;
  if (path.length === 0) {
    return [
      `${bold("amesh")} ${italic("command")} [${italic("option")} ...]`,
      ".br",
      usage(path, options.slice(0, 1), []),
    ];
  }
  const words = [...path, ...main === null ? [] : [main.path.at(-1) as string]];
  const own = commands.length === 0 || main !== null ? [usage(words, options, operands, main !== null)] : [];
  const inner = commands.filter((other) => other !== main).map((other) =>
    usage(other.path, other.options, other.operands)
  );
  return [...own, ...inner].flatMap((line, index) => index === 0 ? [line] : [".br", line]);
}

function usage(
  path: readonly string[],
  options: readonly OptionReference[],
  operands: CommandReference["operands"],
  isLastOptional = false,
): string {
  const words = path.map((word, index) =>
    isLastOptional && index === path.length - 1 ? `[${bold(word)}]` : bold(word)
  );
  const given = options.filter(({ name }) => name !== "help").map((option) => {
    const text = optionTerm(option).replaceAll(" ", "\\ ");
    return `${option.isRequired ? text : `[${text}]`}${option.isRepeatable ? " ..." : ""}`;
  });
  const rest = operands.map(({ placeholder, isRequired, isRepeatable }) => {
    const text = isRequired ? placeholderTerm(placeholder) : `[${placeholderTerm(placeholder)}]`;
    return isRepeatable ? `${text} ...` : text;
  });
  return [bold("amesh"), ...words, ...given, ...rest].join(" ");
}

/** `--format raw|der`, with what is typed in bold. */
function optionTerm({ name, value }: OptionReference): string {
  return `${bold(`--${name}`)}${value === null ? "" : ` ${valueTerm(value)}`}`;
}

function valueTerm({ placeholder, completion }: NonNullable<OptionReference["value"]>): string {
  return completion.kind === "choice" ? completion.values.map(bold).join("|") : placeholderTerm(placeholder);
}

function placeholderTerm(placeholder: string): string {
  return /^[a-z]/.test(placeholder) ? placeholder.split("|").map(bold).join("|") : italic(placeholder);
}

function optionItem(option: OptionReference): string[] {
  const letter = option.letter === null ? "" : `${bold(`-${option.letter}`)}, `;
  const notes = [
    ...option.isRequired ? ["Required."] : [],
    ...option.default === null || option.value?.completion.kind !== "choice"
      ? []
      : [`Default: \`${option.default}\`.`],
    ...option.isRepeatable ? ["Can be given more than once."] : [],
  ];
  return item(`${letter}${optionTerm(option)}`, [sentence(option.brief), ...notes].join(" "));
}

function operandItem({ placeholder, brief }: CommandReference["operands"][number]): string[] {
  return item(placeholderTerm(placeholder), sentence(brief));
}

function commandItem(command: CommandReference): string[] {
  return item(`${bold(pageName(command))}(1)`, sentence(command.brief));
}

function sentence(text: string): string {
  return /[.?!]$/.test(text) ? text : `${text}.`;
}

/** `apropos` lists begin small. */
function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function seeAlso(command: CommandReference, commands: readonly CommandReference[]): string {
  const others = commands.filter((other) =>
    other !== command &&
    (command.path.length === 0
      ? other.path.length === 1
      : other.path.length === 0 || (other.path.length > 1 && other.path[0] === command.path[0]) ||
        (other.path.length === 1 && other.path[0] === command.path[0]))
  ).filter((other) => commands.every(({ main }) => main !== other));
  const pages = [
    ...others.map(pageName).sort(),
    ...command.path[0] === "agent" || command.path.length === 0 ? ["ssh"] : [],
  ];
  return pages.map((name) => `${bold(name)}(1)`).join(", ");
}
