/** Completion for zsh: a function for each command, made of `_arguments` (zshcompsys(1)). */
import {
  allCommands,
  type CommandReference,
  type OptionReference,
  type ValueReference,
} from "../reference.ts";

/** The script; it can lie in fpath as `_amesh`, or be sourced behind compinit. */
export function zshScript(root: CommandReference): string {
  return `#compdef amesh
# Completion of amesh for zsh, printed by: amesh completion zsh

# A file behind an @.
_amesh_at_file() {
    if compset -P @; then
        _files
    else
        _message -e "$2"
        compadd -S '' -Q @
    fi
}

${allCommands(root).map(commandFunction).join("\n\n")}

# compinit has this file run as the function at the first use.
if [[ $funcstack[1] = _amesh ]]; then
    _amesh "$@"
elif (( $+functions[compdef] )); then
    compdef _amesh amesh
else
    print -u2 'amesh: completion needs compinit, which must come first: autoload -Uz compinit && compinit'
fi
`;
}

function commandFunction(command: CommandReference): string {
  const { options, operands, commands } = command;
  const specs = options.flatMap(optionSpecs);
  const name = functionName(command);
  if (commands.length === 0) {
    specs.push(...operands.map(operandSpec));
    return `${name}() {\n    _arguments -S${specs.map(nextLine).join("")}\n}`;
  }
  specs.push(quote("(-): :->command"), quote("(-)*:: :->arguments"));
  const described = commands.map(({ path, brief }) =>
    quote(`${path.at(-1)}:${escaped(oneLine(brief), /\\/g)}`)
  );
  const cases = commands.map((inner) => `            ${inner.path.at(-1)}) ${functionName(inner)} ;;`);
  return `${name}() {
    local curcontext="$curcontext" state state_descr line
    local -A opt_args
    _arguments -S -C${specs.map(nextLine).join("")} && return
    case $state in
    command)
        local -a commands=(
${described.map((text) => `            ${text}`).join("\n")}
        )
        _describe -t commands command commands
        ;;
    arguments)
        curcontext="\${curcontext%:*:*}:${functionName(command).slice(1).replaceAll("_", "-")}-$words[1]:"
        case $words[1] in
${cases.join("\n")}
        esac
        ;;
    esac
}`;
}

function functionName({ path }: CommandReference): string {
  return ["_amesh", ...path].join("_").replaceAll("-", "_");
}

function nextLine(spec: string): string {
  return ` \\\n        ${spec}`;
}

/** `--name[brief]:PLACEHOLDER:action`; what can be given once shuts out its other spelling and itself. */
function optionSpecs({ name, letter, brief, value, isRepeatable }: OptionReference): string[] {
  const spellings = [...letter === null ? [] : [`-${letter}`], `--${name}`];
  const isAnswer = name === "help" || name === "version";
  const others = isAnswer ? "(- *)" : spellings.length > 1 ? `(${spellings.join(" ")})` : "";
  return spellings.map((spelling) => {
    const joined = value !== null && spelling.startsWith("--") ? "=" : "";
    const wanted = value === null ? "" : action(value);
    return quote(`${isRepeatable ? "*" : others}${spelling}${joined}[${inBrackets(brief)}]${wanted}`);
  });
}

function operandSpec(operand: CommandReference["operands"][number]): string {
  const { isRequired, isRepeatable } = operand;
  return quote(`${isRepeatable ? "*" : isRequired ? "" : ":"}${action(operand)}`);
}

/** `:PLACEHOLDER:` and what completes it. */
function action({ placeholder, completion }: ValueReference): string {
  const message = `:${escaped(placeholder, /[\\:]/g)}:`;
  switch (completion.kind) {
    case "none":
      return `${message} `;
    case "file":
      return `${message}_files`;
    case "at-file":
      return `${message}_amesh_at_file`;
    case "choice":
      return `${message}(${completion.values.join(" ")})`;
  }
}

function inBrackets(text: string): string {
  return escaped(oneLine(text), /[\\[\]:]/g);
}

function escaped(text: string, special: RegExp): string {
  return text.replaceAll(special, (character) => `\\${character}`);
}

function oneLine(text: string): string {
  return text.replaceAll("\n", " ");
}

/** One word of the shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
