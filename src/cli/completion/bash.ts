/**
 * Completion for bash, from the version 3.2 of macOS on: no associative arrays, no `mapfile`, and `compopt` only where
 * there is one. bash shows words only, so no text of ours is in the script.
 */
import { allCommands, type CommandReference, type Completion, type OptionReference } from "../reference.ts";
import { shellQuote } from "../../platform/paths.ts";

/** The script. */
export function bashScript(root: CommandReference): string {
  const commands = allCommands(root);
  return `# Completion of amesh for bash, printed by: amesh completion bash
# shellcheck shell=bash

# What may follow a command, in variables of the caller.
_amesh_command() {
    repeatable=''
    case $1 in
${commands.map(commandCase).join("\n")}
    esac
}

# What an option takes, or an argument by its number.
_amesh_value() {
    kind=none values=''
    case $1 in
${valueCases(commands).join("\n")}
    esac
}
${FUNCTIONS}`;
}

function commandCase({ path, commands, options }: CommandReference): string {
  const names = (wanted: (option: OptionReference) => boolean) =>
    quoted(options.filter(wanted).map(({ name }) => `--${name}`));
  const repeatable = options.some((option) => option.isRepeatable)
    ? ` repeatable=${names((option) => option.isRepeatable)}`
    : "";
  return `    ${quoted(path)})
        commands=${quoted(commands.map((command) => command.path.at(-1) as string))}
        valued=${names(({ value }) => value !== null)}
        switches=${names(({ value }) => value === null)}${repeatable} ;;`;
}

/** One case for each kind of value, with all that take it. */
function valueCases(commands: readonly CommandReference[]): string[] {
  const takers = commands.flatMap(({ path, options, operands }) => [
    ...options.flatMap(({ name, value }) =>
      value === null ? [] : [taker(value.completion, path, `--${name}`)]
    ),
    ...operands.map(({ completion, isRepeatable }, index) =>
      taker(completion, path, isRepeatable ? null : `${index + 1}`)
    ),
  ]);
  const cases = Map.groupBy(takers, ({ assignment }) => assignment);
  cases.delete("kind='none'");
  return [...cases].map(([assignment, keys]) =>
    `    ${keys.map(({ pattern }) => pattern).join(" | ")})\n        ${assignment} ;;`
  );
}

/** @param name of an option, or the number of an argument; `null`: whatever number. */
function taker(completion: Completion, path: readonly string[], name: string | null) {
  const values = completion.kind === "choice" ? ` values=${quoted(completion.values)}` : "";
  const pattern = name === null ? `${quoted([...path, ""])}[0-9]*` : quoted([...path, name]);
  return { assignment: `kind='${completion.kind}'${values}`, pattern };
}

/** Words as one word of the shell. */
function quoted(words: readonly string[]): string {
  const text = words.join(" ");
  return text.includes(" ") || text === "" ? `'${text.replaceAll("'", `'\\''`)}'` : shellQuote(text);
}

const FUNCTIONS = `
# Offers files.
_amesh_files() {
    # The shell's own completion knows quotes, ~ and directories; bash 3.2 has no way to ask for it.
    if [[ $value == "$2" ]] && compopt -o default 2> /dev/null; then
        return
    fi
    compopt -o filenames 2> /dev/null
    while IFS= read -r word; do
        if [[ -d $word ]]; then
            compopt -o nospace 2> /dev/null
            word+=/
        fi
        word=$lead$word
        COMPREPLY+=("\${word#"$before"}")
    done < <(compgen -f -- "$value")
}

# Offers some words.
_amesh_words() {
    while IFS= read -r word; do
        word=$lead$word
        COMPREPLY+=("\${word#"$before"}")
    done < <(compgen -W "$1" -- "$value")
}

# Offers the options that are not there yet.
_amesh_options() {
    local option offered=''
    for option in $valued $switches; do
        if [[ $given != *" $option "* || " $repeatable " == *" $option "* ]]; then
            offered+=" $option"
        fi
    done
    _amesh_words "$offered"
}

_amesh() {
    local command='' commands valued switches repeatable kind values
    local given=' ' arguments=0 ended='' pending='' lead='' before value
    local rest=\${COMP_LINE:0:COMP_POINT} blanks word i
    local words=()
    COMPREPLY=()

    # bash cuts words at = : and @ as well. What no blank divides is one word.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blanks=\${rest%%[![:space:]]*}
        rest=\${rest#"$blanks"}
        word=\${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then
            word=$rest
        fi
        if [[ -n $blanks ]] || ((i == 0)); then
            words+=("$word")
        else
            words[\${#words[@]} - 1]+=$word
        fi
        rest=\${rest#"$word"}
    done

    _amesh_command ''
    for ((i = 1; i < \${#words[@]} - 1; i++)); do
        word=\${words[i]}
        if [[ -n $pending ]]; then
            pending=''
        elif [[ -n $ended ]]; then
            arguments=$((arguments + 1))
        elif [[ $word == -- ]]; then
            ended=yes
        elif [[ $word == -* ]]; then
            given+="\${word%%=*} "
            if [[ " $valued " == *" $word "* ]]; then
                pending=$word
            fi
        elif [[ $given == ' ' && $arguments == 0 && " $commands " == *" $word "* ]]; then
            command+=\${command:+ }$word
            _amesh_command "$command"
        else
            arguments=$((arguments + 1))
        fi
    done

    # bash replaces $2 by what is chosen, which is the end of the word; before is what stays.
    word=\${words[\${#words[@]} - 1]}
    before=\${word%"$2"}
    before=\${before//[\\"\\']/}
    value=$before$2
    if [[ -z $pending && -z $ended && $value == --*=* ]]; then
        pending=\${value%%=*}
        lead=$pending=
        value=\${value#*=}
    fi

    if [[ -n $pending ]]; then
        _amesh_value "$command $pending"
    elif [[ -z $ended && $value == -* ]]; then
        _amesh_options
        return
    elif [[ -n $commands ]]; then
        if [[ $given == ' ' && $arguments == 0 && -z $ended ]]; then
            _amesh_words "$commands"
        fi
        return
    else
        _amesh_value "$command $((arguments + 1))"
        if [[ $kind == none && -z $value && -z $ended ]]; then
            _amesh_options
            return
        fi
    fi
    case $kind in
    choice) _amesh_words "$values" ;;
    file) _amesh_files "$1" "$2" ;;
    at-file)
        if [[ $value == @* ]]; then
            lead+=@
            value=\${value#@}
            _amesh_files "$1" "$2"
        elif [[ -z $value ]] && compopt -o nospace 2> /dev/null; then
            COMPREPLY=(@)
        fi
        ;;
    esac
}

complete -F _amesh amesh
`;
