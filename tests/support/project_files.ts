/** The files of the project, without what it downloads and builds. */
import { readdirSync } from "node:fs";
import { join, relative } from "node:path";

/** The directory of the project. */
export const ROOT: string = join(import.meta.dirname!, "..", "..");

const LEFT_OUT = new Set([".git", "node_modules", "dist", "build", ".build"]);

/** Paths that match, relative to the project, with slashes, sorted. */
export function projectFiles(matches: (path: string) => boolean, directory: string = ROOT): string[] {
  const paths: string[] = [];
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && !LEFT_OUT.has(entry.name)) paths.push(...projectFiles(matches, path));
    const name = relative(ROOT, path).replaceAll("\\", "/");
    if (entry.isFile() && matches(name)) paths.push(name);
  }
  return paths.sort();
}
