/**
 * The text of a testscript: a txtar archive whose comment is a script and whose files are laid out for it.
 * Every line is `[condition]… [!] command argument…`. Nothing here runs anything; conditions look at the machine.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { DEFAULT_DEVICE } from "../../src/tpm/tcti.ts";
import { securityDoubleMissing } from "../support/security_double.ts";
import { swtpmMissing } from "../support/swtpm.ts";

/** One way of running amesh: `argv` goes before the arguments, `env` is what the runtime itself needs. */
export interface Target {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** One line of a script; `words` still carry their quotes and variables, see {@link expandWord}. */
export interface ScriptLine {
  readonly number: number;
  readonly text: string;
  readonly conditions: readonly string[];
  readonly negated: boolean;
  readonly words: readonly string[];
}

/** A parsed script: its lines in order, and the files that it is given. */
export interface Script {
  readonly file: string;
  readonly lines: readonly ScriptLine[];
  readonly files: ReadonlyMap<string, string>;
}

/** Where programs are looked up, whatever PATH the tests themselves were started with. */
export const SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Full path of a program on {@link SEARCH_PATH}, or null. */
export function findProgram(name: string): string | null {
  return SEARCH_PATH.split(delimiter).map((folder) => join(folder, name)).find(existsSync) ?? null;
}

function splitWords(text: string): string[] {
  const tokens = text.matchAll(/\s*(?:(#.*)|((?:'(?:[^']|'')*'|[^\s'])+)|(\S))/gy);
  return [...tokens].flatMap(([token, comment, word]) => {
    if (comment !== undefined) return [];
    if (word === undefined) throw new Error(`quote is not closed: ${token.trim()}`);
    return [word];
  });
}

/**
 * Removes the quotes of a word and replaces `$NAME` outside of them; `''` inside quotes is one quote.
 *
 * @throws {Error} an unknown variable.
 */
export function expandWord(word: string, env: ReadonlyMap<string, string>): string {
  return word.replace(/'((?:[^']|'')*)'|\$(\w+)/g, (_match, quoted: string | undefined, name: string) => {
    if (quoted !== undefined) return quoted.replaceAll("''", "'");
    const value = env.get(name);
    if (value === undefined) throw new Error(`unknown variable $${name}`);
    return value;
  });
}

function parseLine(source: string, number: number): ScriptLine[] {
  const text = source.trim();
  const [prefix = "", conditions = "", bang] = /^((?:\[[^\]]+\]\s*)*)(!\s+)?/.exec(text) ?? [];
  const words = splitWords(text.slice(prefix.length));
  if (words.length === 0) return [];
  const wanted = [...conditions.matchAll(/\[([^\]]+)\]/g)].map(([, name]) => name!);
  return [{ number, text, conditions: wanted, negated: bang !== undefined, words }];
}

/** Parses a txtar archive into a script. @throws {Error} an unclosed quote, with `file:line`. */
export function parseScript(file: string, archive: string): Script {
  const [comment = "", ...members] = archive.split(/^-- (.+) --\n/m);
  const files = new Map<string, string>();
  for (let i = 0; i < members.length; i += 2) files.set(members[i]!, members[i + 1]!);
  const lines = comment.split("\n").flatMap((source, index) => {
    try {
      return parseLine(source, index + 1);
    } catch (error) {
      throw new Error(`${file}:${index + 1}: ${(error as Error).message}`);
    }
  });
  return { file, lines, files };
}

/** Whether a program may have its own mounts; root in a container often may not. */
const canMount = spawnSync("unshare", ["-m", "true"]).status === 0;

function holds(condition: string, target: Target): boolean {
  if (condition.startsWith("!")) return !holds(condition.slice(1), target);
  if (condition.startsWith("exec:")) return findProgram(condition.slice(5)) !== null;
  if (condition.startsWith("target:")) return target.name === condition.slice(7);
  if (condition === "root") return process.getuid?.() === 0;
  if (condition === "unix") return process.platform !== "win32";
  if (condition === "mount") return canMount;
  if (condition === "swtpm") return swtpmMissing() === undefined;
  // The permissions of the Deno executable keep it out, and so they should.
  if (condition === "mac-double") return target.name !== "deno" && securityDoubleMissing() === undefined;
  if (condition === "enclave-double") return target.name !== "deno" && process.platform === "linux";
  if (condition === "tpm") return existsSync(DEFAULT_DEVICE);
  if (condition === "linux" || condition === "darwin") return process.platform === condition;
  throw new Error(`unknown condition [${condition}]`);
}

/** Whether all conditions of a line hold. @throws {Error} an unknown condition. */
export function applies(line: ScriptLine, target: Target): boolean {
  return line.conditions.every((condition) => holds(condition, target));
}

/**
 * Why nothing of a script would run here: its `skip REASON` line, or that each line is conditional on something
 * absent; null when it runs. A script with an unknown condition runs, and fails.
 */
export function skipReason(script: Script, target: Target): string | null {
  try {
    const active = script.lines.filter((line) => applies(line, target));
    const skip = active.find((line) => line.words[0] === "skip");
    if (skip !== undefined) return expandWord(skip.words.slice(1).join(" "), new Map());
    return active.length === 0 ? "no line of it applies here" : null;
  } catch {
    return null;
  }
}
