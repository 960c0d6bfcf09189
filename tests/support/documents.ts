/** Documents in Markdown, as far as their tests read them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectFiles, ROOT } from "./project_files.ts";

/** A block between fences. */
export interface CodeBlock {
  /** Behind the fence: `sh`; empty when nothing is there. */
  readonly language: string;
  readonly text: string;
}

/** A document. */
export interface Document {
  /** Relative to the project. */
  readonly path: string;
  readonly blocks: readonly CodeBlock[];
  /** Between backticks, on one line. */
  readonly inlineCode: readonly string[];
  /** Where its links and pictures lead to, as it is written. */
  readonly links: readonly string[];
  /** What links to its headings have behind the `#`, as GitHub makes it. */
  readonly anchors: ReadonlySet<string>;
}

/** All documents of the project. */
export function projectDocuments(): Document[] {
  return projectFiles((path) => path.endsWith(".md"))
    .map((path) => readDocument(path, readFileSync(join(ROOT, path), "utf8")));
}

/** Reads a document. @param path relative to the project. */
export function readDocument(path: string, text: string): Document {
  const blocks: CodeBlock[] = [];
  const prose = text.replaceAll(/^( *)```(.*)\n([\s\S]*?)^\1```$/gm, (_, indent, language, block) => {
    blocks.push({ language, text: block.replaceAll(new RegExp(`^${indent}`, "gm"), "") });
    return "";
  });
  const inlineCode = [...prose.matchAll(/`([^`]+)`/g)].map(([, code]) => code!.replaceAll(/\s+/g, " "));
  const links = [...prose.replaceAll(/`[^`]+`/g, "code").matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) =>
    link!
  );
  const anchors = new Set<string>();
  for (const [, heading] of prose.matchAll(/^#+ (.*)$/gm)) {
    const slug = heading!.toLowerCase().replaceAll(/\]\([^)]*\)/g, "").replaceAll(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-");
    let anchor = slug;
    for (let number = 1; anchors.has(anchor); number++) anchor = `${slug}-${number}`;
    anchors.add(anchor);
  }
  return { path, blocks, inlineCode, links, anchors };
}
