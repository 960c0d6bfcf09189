/** Syntax errors of Swift source, by a grammar in WebAssembly: no compiler is needed, and nothing else is checked. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Language, type Node, Parser } from "web-tree-sitter";

const ROOT = join(import.meta.dirname!, "..", "..");
// By its path: it is data, and the two runtimes resolve such an import differently.
const GRAMMAR = join(ROOT, "node_modules/@repomix/tree-sitter-wasms/out/tree-sitter-swift.wasm");

/** One place that does not parse. */
export interface SyntaxProblem {
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

/**
 * What the grammar does not know, in words that it knows: conditions of compilation within a declaration (both branches then
 * stand one after the other) and the name of the file that is compiled. Lines stay where they are.
 */
const SUBSTITUTES: readonly (readonly [RegExp, string])[] = [
  [/^[ \t]*#(?:if|elseif|else|endif)\b.*$/gm, ""],
  [/#filePath\b/g, `"filePath"`],
];

/** Finds what does not parse. */
export type SyntaxCheck = (source: string) => SyntaxProblem[];

/** Loads the grammar. */
export async function swiftSyntaxCheck(): Promise<SyntaxCheck> {
  await Parser.init();
  const parser = new Parser();
  parser.setLanguage(await Language.load(readFileSync(GRAMMAR)));
  return (source) => {
    const known = SUBSTITUTES.reduce((text, [pattern, word]) => text.replaceAll(pattern, word), source);
    const tree = parser.parse(known);
    if (tree === null) throw new Error("the parser has no language");
    try {
      return problemsIn(tree.rootNode);
    } finally {
      tree.delete();
    }
  };
}

/** The deepest nodes only: around a missing brace the whole file is an error too. */
function problemsIn(node: Node): SyntaxProblem[] {
  if (!node.hasError && !node.isMissing) return [];
  const within = node.children.flatMap(problemsIn);
  if (within.length > 0) return within;
  const line = node.startPosition.row + 1;
  const [text = ""] = node.text.trim().split("\n");
  return [{ line, message: node.isMissing ? `${node.type} is missing` : `unexpected: ${text}` }];
}
