/** Completion for fish: one `complete` for each word that can stand in a place (complete(1)). */
import { allCommands, type CommandReference, type Completion, type OptionReference } from "../reference.ts";

/** The script. */
export function fishScript(root: CommandReference): string {
  const commands = allCommands(root);
  const cases = commands.filter(({ path }) => path.length > 1).map(({ path }) => quote(path.join(" ")));
  const first = root.commands.map(({ path }) => quote(`${path[0]} *`));
  return `# Completion of amesh for fish, printed by: amesh completion fish

# Whether the words in front of the cursor are those of a command.
function __amesh_is
    set -l words (commandline -opc)
    set -e words[1]
    set -l command ''
    switch "$words[1] $words[2]"
        case ${cases.join(" ")}
            set command "$words[1] $words[2]"
        case ${first.join(" ")}
            set command "$words[1]"
        case '*'
            test (count $words) -eq 0; or set command '?'
    end
    test "$command" = "$argv[1]"
end

# The same, and there is no other word yet.
function __amesh_ends_with
    set -l words (commandline -opc)
    set -e words[1]
    test "$words" = "$argv[1]"
end

# Files behind an @.
function __amesh_at_files
    set -l token (string replace -r -- '^--[a-z-]+=' '' (commandline -ct))
    string match -q -- '@*' "$token"; or test -z "$token"; or return
    __fish_complete_path (string replace -r '^@' '' -- "$token") | string replace -r '^' @
end

complete -c amesh -e
complete -c amesh -f
${commands.flatMap(commandLines).join("\n")}
`;
}

function commandLines({ path, options, operands, commands }: CommandReference): string[] {
  const is = `complete -c amesh -n ${quote(`__amesh_is ${quote(path.join(" "))}`)}`;
  const ends = `complete -c amesh -n ${quote(`__amesh_ends_with ${quote(path.join(" "))}`)}`;
  return [
    ...commands.map((command) => `${ends} -a ${command.path.at(-1)} -d ${quote(oneLine(command.brief))}`),
    ...options.map((option) => `${is} ${optionWords(option)}`),
    ...operands.flatMap(({ completion }) => valueWords(completion)).map((words) => `${is} ${words}`),
  ];
}

function optionWords({ name, letter, brief, value }: OptionReference): string {
  return [
    ...letter === null ? [] : [`-s ${letter}`],
    `-l ${name}`,
    ...value === null ? [] : [value.completion.kind === "file" ? "-r" : "-x"],
    ...value === null ? [] : valueWords(value.completion),
    `-d ${quote(oneLine(brief))}`,
  ].join(" ");
}

/** None where nothing completes it. */
function valueWords(completion: Completion): string[] {
  switch (completion.kind) {
    case "none":
      return [];
    case "file":
      return ["-F"];
    case "at-file":
      return ["-a '(__amesh_at_files)'"];
    case "choice":
      return [`-a ${quote(completion.values.join(" "))}`];
  }
}

function oneLine(text: string): string {
  return text.replaceAll("\n", " ");
}

/** One word of the shell. */
function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, (character) => `\\${character}`)}'`;
}
