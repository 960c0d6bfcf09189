/** Commands in shell scripts of documents: enough of sh to see who is called with what. Nothing runs. */

/** What stands for a value that only a shell could tell. */
export const UNKNOWN_WORD = "UNKNOWN";

/** Words that come before a command, or end one. */
const KEYWORDS = new Set(["{", "}", "!", "if", "then", "else", "elif", "fi", "while", "do", "done", "exec"]);

/**
 * The simple commands of a script, each as its words, those inside of `$(…)` and `<(…)` as commands of their own.
 * Redirections are left out, expansions are `UNKNOWN_WORD`. Here-documents and `case` are not known.
 */
export function shellCommands(script: string): string[][] {
  const commands: string[][] = [];
  let words: string[] = [];
  let word: string | null = null;
  let isTarget = false;
  let at = 0;

  const endWord = () => {
    if (word === null) return;
    if (!isTarget && !(words.length === 0 && KEYWORDS.has(word))) words.push(word);
    isTarget = false;
    word = null;
  };
  const endCommand = () => {
    endWord();
    if (words.length > 0) commands.push(words);
    words = [];
  };
  /** `$(…)`, `${…}`, `$NAME` or `<(…)` at `at`. @returns whether there is one. */
  const expand = (): boolean => {
    const [opening = ""] = /^(\$\(|<\(|\$\{|\$[\w?@#*]+)/.exec(script.slice(at)) ?? [];
    if (opening === "") return false;
    const isCommand = opening.endsWith("(");
    const end = isCommand || opening === "${"
      ? closing(script, at + opening.length, isCommand ? ")" : "}")
      : at + opening.length;
    if (isCommand) commands.push(...shellCommands(script.slice(at + opening.length, end - 1)));
    word = (word ?? "") + UNKNOWN_WORD;
    at = end;
    return true;
  };

  while (at < script.length) {
    const character = script[at] as string;
    if (script.startsWith("\\\n", at)) at += 2;
    else if (character === "\\") {
      word = (word ?? "") + (script[at + 1] ?? "");
      at += 2;
    } else if (character === "'") {
      const end = closing(script, at + 1, "'");
      word = (word ?? "") + script.slice(at + 1, end - 1);
      at = end;
    } else if (character === '"') {
      word ??= "";
      for (at++; at < script.length && script[at] !== '"';) {
        if (script[at] === "$" && expand()) continue;
        if (script[at] === "\\") at++;
        word += script[at++];
      }
      at++;
    } else if (expand()) continue;
    else if (character === "<" || character === ">") {
      if (word !== null && /^\d$/.test(word)) word = null;
      endWord();
      isTarget = true;
      at += /^[<>]+&?/.exec(script.slice(at))![0].length;
    } else if (character === "#" && word === null) {
      while (at < script.length && script[at] !== "\n") at++;
    } else {
      if (/[\n;|&()]/.test(character)) endCommand();
      else if (/\s/.test(character)) endWord();
      else word = (word ?? "") + character;
      at++;
    }
  }
  endCommand();
  return commands;
}

/** Where what was opened is closed: the index behind `end`, past what is nested and quoted. */
function closing(script: string, from: number, end: ")" | "}" | "'"): number {
  let at = from;
  while (at < script.length) {
    const character = script[at++];
    if (character === end) return at;
    if (end === "'") continue;
    if (character === "(" && end === ")") at = closing(script, at, ")");
    else if (character === "'") at = closing(script, at, "'");
  }
  throw new SyntaxError(`${end} is missing: ${script}`);
}
