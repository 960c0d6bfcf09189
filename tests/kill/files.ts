/** Directory trees of a test: copied with their modes, compared, and searched for what should not stay. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

/** Paths of everything below a directory, relative to it, sorted. */
export function listTree(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).sort();
}

/** Copies a tree of directories and regular files to a path that does not exist. */
export function copyTree(from: string, to: string): void {
  mkdirSync(to);
  for (const name of listTree(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if (lstatSync(source).isDirectory()) mkdirSync(target);
    else copyFileSync(source, target);
    chmodSync(target, lstatSync(source).mode & 0o7777);
  }
  chmodSync(to, lstatSync(from).mode & 0o7777);
}

/** Path, mode and content of everything in a tree. */
export function readTree(directory: string): [name: string, mode: number, content: string][] {
  return listTree(directory).map((name) => {
    const path = join(directory, name);
    const info = lstatSync(path);
    return [name, info.mode, info.isFile() ? readFileSync(path, "latin1") : ""];
  });
}

/**
 * What a HOME looks like beside the one that it is a copy of: `=` for a file that is the same, else its content with
 * what is random or of the moment masked, so that the same step of another run looks the same.
 */
export function shapeOf(home: string, start: string): string {
  const seen: string[] = [];
  const mask = (text: string) =>
    text.replaceAll(/[\w+/=-]{16,}/g, (word) => {
      if (!seen.includes(word)) seen.push(word);
      return `<${seen.indexOf(word)}:${word.length}>`;
    }).replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>");
  const before = new Map(readTree(start).map(([name, ...rest]) => [name, `${rest}`]));
  // Those that name others come first, so that names are masked by equal numbers.
  const isFirst = ([name]: [string, ...unknown[]]) => Number(/identity/.test(name));
  const lines = readTree(home).sort((a, b) => isFirst(b) - isFirst(a)).map(([name, mode, content]) =>
    before.get(name) === `${[mode, content]}`
      ? `${name} =`
      : `${name.split("/").map(mask).join("/")} ${mode} ${mask(content)}`
  );
  return lines.sort().join("\n");
}

/** Writes a file with an exact mode; makes the directories above it (0700). */
export function put(path: string, content: string | Uint8Array, mode: number): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, content);
  chmodSync(path, mode);
}

/** What identity.json says; `null` when there is none. @throws {SyntaxError} it is no JSON. */
export function readIdentity(home: string): Record<string, unknown> | null {
  const path = join(home, ".amesh", "identity.json");
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : null;
}

/** The key files of an amesh directory, as paths from HOME. */
export function listKeys(home: string): string[] {
  const keys = join(".amesh", "keys");
  return listTree(join(home, keys)).filter((name) => name.startsWith("am_")).map((name) => join(keys, name));
}

const TEMPORARY = /^\..+\.[0-9a-f]{16}\.tmp$/;
const UNFINISHED = /^(\.identity\.(replaced|deleted)|\.passphrase\.(amesh-)?next)$/;

/** Temporary files, as paths from HOME. */
export function listTemporary(home: string, within: readonly string[]): string[] {
  return listNames(home, within, TEMPORARY);
}

/** Files that stand for a change that is under way, as paths from HOME. */
export function listUnfinished(home: string): string[] {
  return listNames(home, [".amesh", "secrets"], UNFINISHED);
}

function listNames(home: string, within: readonly string[], pattern: RegExp): string[] {
  return within.flatMap((part) => listTree(join(home, part)).map((name) => join(part, name)))
    .filter((path) => pattern.test(basename(path)));
}

/** Every passphrase that lies in a HOME, without its final newline. */
export function findSecrets(home: string): string[] {
  const paths = listTree(home).filter((path) =>
    /passphrase/.test(basename(path)) || dirname(path) === "secrets"
  );
  const texts = paths.map((path) => join(home, path)).filter((path) => lstatSync(path).isFile())
    .map((path) => readFileSync(path, "utf8").replace(/\n$/, ""));
  const field = readIdentity(home)?.["passphrase"];
  return [...texts, ...typeof field === "string" ? [field] : []].filter((text) => text.length >= 4);
}
