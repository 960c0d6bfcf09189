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
    // The command that a group is has the page of the group, under its own name too.
    const shown = commands.find(({ main }) => main === command) ?? command;
    return { file: `${pageName(command)}.1`, text: `${page(shown, commands, edition).join("\n")}\n` };
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
  const names = [name, ...command.main === null ? [] : [pageName(command.main)]].map(escaped).join(", ");
  return [
    // Words that are typed shall not be divided; TH reads this.
    ".nr HY 0",
    `.TH ${escaped(name.toUpperCase())} 1 "${date}" "amesh ${escaped(version)}" "amesh"`,
    ".ad l",
    // One blank behind a sentence, wherever its line ends in the source.
    ".ss 12 0",
    ...section("NAME", [`${names} \\- ${escaped(lowerFirst(command.brief.replace(/\.$/, "")))}`]),
    ...section("SYNOPSIS", synopses(command)),
    ...section("DESCRIPTION", isRoot ? INTRODUCTION : paragraphs(sentence(command.description))),
    ...section("COMMANDS", command.commands.filter((inner) => inner !== command.main).flatMap(commandItem)),
    ...section("OPTIONS", command.options.flatMap(optionItem)),
    ...section("ARGUMENTS", command.operands.flatMap(operandItem)),
    ...section("EXAMPLES", isRoot ? INTRODUCTORY_EXAMPLES : examples(command)),
    ...section(
      "EXIT STATUS",
      Object.entries(EXIT_STATUS).flatMap(([code, text]) => [".TP 6", bold(code), ...prose(text)]),
    ),
    ...isRoot
      ? section("ENVIRONMENT", Object.entries(VARIABLES).flatMap(([name, text]) => item(bold(name), text)))
      : [],
    ...isRoot
      ? section("FILES", Object.entries(FILES).flatMap(([name, text]) => item(italic(name), text)))
      : [],
    ...section("SEE ALSO", prose(seeAlso(command, commands))),
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
  return [...prose(sentence), ...verbatim(lines)];
}

function examples({ examples }: CommandReference): string[] {
  return examples.length === 0 ? [] : verbatim(examples);
}

/** Lines of the synopsis: of the command itself, and of those below it. */
function synopses(command: CommandReference): string[] {
  const { path, options, commands, main } = command;
  if (path.length === 0) {
    return [
      ...syntax(path, [`${italic("command")} [${italic("option")} ...]`]),
      ...syntax(path, options.map(optionUsage)),
    ];
  }
  const own = commands.length > 0 && main === null ? [] : syntax(path, [
    ...main === null ? [] : [`[${bold(main.path.at(-1) as string)}]`],
    ...argumentUsage(command),
  ]);
  const inner = commands.filter((other) => other !== main);
  return [...own, ...inner.flatMap((other) => syntax(other.path, argumentUsage(other)))];
}

/** One way to call it; lines that go on are indented. */
function syntax(path: readonly string[], words: readonly string[]): string[] {
  return [`.SY "${escaped(["amesh", ...path].join(" "))}"`, ...words, ".YS"];
}

function argumentUsage({ options, operands }: CommandReference): string[] {
  return [
    ...options.filter(({ name }) => name !== "help").map(optionUsage),
    ...operands.map(({ placeholder, isRequired, isRepeatable }) => {
      const text = isRequired ? placeholderTerm(placeholder) : `[${placeholderTerm(placeholder)}]`;
      return isRepeatable ? `${text} ...` : text;
    }),
  ];
}

function optionUsage(option: OptionReference): string {
  const text = optionTerm(option).replaceAll(" ", "\\ ");
  return `${option.isRequired ? text : `[${text}]`}${option.isRepeatable ? " ..." : ""}`;
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
    ...option.default === null || option.value === null ? [] : [`Default: \`${option.default}\`.`],
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
  const isRoot = command.path.length === 0;
  const isNear = ({ path }: CommandReference) =>
    isRoot ? path.length === 1 : path.length === 0 || path[0] === command.path[0];
  const others = commands.filter((other) =>
    other !== command && isNear(other) && commands.every(({ main }) => main !== other)
  );
  const foreign = isRoot || command.path[0] === "agent" ? ["ssh"] : [];
  return [...others.map(pageName).sort(), ...foreign].map((name) => `${name}(1)`).join(", ");
}
