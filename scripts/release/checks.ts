/** What must be so before anything is made. */
import { join, resolve } from "node:path";
import { VERSION } from "../../src/version.ts";
import { CompileError, runProgram } from "../build.ts";
import { hasProgram } from "../debian_packages.ts";
import { debArchitecture } from "./deb.ts";
import type { Request } from "./request.ts";

const ROOT = resolve(import.meta.dirname!, "..", "..");

/** What is released. */
export interface Commit {
  /** 40 hex digits. */
  readonly id: string;
  /** When it was made, in seconds since 1970: the time of every file in the release. */
  readonly time: number;
  /** Whether the files differ from it. */
  readonly isChanged: boolean;
  /** Whether it has no tag of the version. */
  readonly isTrial: boolean;
}

/** @throws {CompileError} whatever stands against this release, the first of it. */
export async function checkRelease(request: Request): Promise<Commit> {
  await checkPrograms(request);
  const { version, allowDirty } = request;
  checkVersions(version, JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json"))).version);
  const changes = await git("status", "--porcelain");
  if (changes !== "" && !allowDirty) {
    const count = changes.split("\n").length;
    throw new CompileError(`the files differ from the commit (${count}): commit them, or give --allow-dirty`);
  }
  const [id, time] = (await git("log", "-1", "--format=%H %ct")).split(" ") as [string, string];
  const isTrial = !await isTagged(`v${version}`, id);
  checkChangelog(await Deno.readTextFile(join(ROOT, "CHANGELOG.md")), version, isTrial);
  return { id, time: Number(time), isChanged: changes !== "", isTrial };
}

function checkVersions(version: string, inConfiguration: string): void {
  for (const [file, found] of [["src/version.ts", VERSION], ["deno.json", inConfiguration]]) {
    if (found !== version) throw new CompileError(`this is not version ${version}: ${file} says ${found}`);
  }
}

/**
 * Looks for the section of a version, `## X, unreleased` or `## X, YYYY-MM-DD`. A trial may be unreleased still.
 *
 * @throws {CompileError}
 */
export function checkChangelog(text: string, version: string, isTrial: boolean): void {
  const heading = text.split("\n").find((line) => line.startsWith(`## ${version},`));
  const [, state] = /^## [^,]+, (unreleased|\d{4}-\d{2}-\d{2})$/.exec(heading ?? "") ?? [];
  if (state === undefined) {
    throw new CompileError(
      `CHANGELOG.md has no section "## ${version}, DATE" or "## ${version}, unreleased"`,
    );
  }
  if (state === "unreleased" && !isTrial) {
    throw new CompileError(
      `CHANGELOG.md calls ${version} unreleased, and this commit has its tag: give it a date`,
    );
  }
}

async function isTagged(tag: string, id: string): Promise<boolean> {
  const { success, stdout } = await runProgram([
    "git",
    "rev-parse",
    "--verify",
    "--quiet",
    `refs/tags/${tag}^{commit}`,
  ]);
  if (success && stdout.trim() !== id) {
    throw new CompileError(`${tag} is released already, from commit ${stdout.trim()}`);
  }
  return success;
}

async function git(...args: string[]): Promise<string> {
  const { success, text, stdout } = await runProgram(["git", ...args]);
  if (!success) throw new CompileError(`git does not tell what is released: ${text.trim()}`);
  return stdout.trim();
}

async function checkPrograms({ targets, signing }: Request): Promise<void> {
  const needed = ["git", "tar", "gzip"];
  if (targets.some((row) => debArchitecture(row.name) !== undefined)) needed.push("dpkg-deb");
  if (signing !== undefined) needed.push("minisign");
  const missing = needed.filter((program) => !hasProgram(program));
  if (missing.length > 0) throw new CompileError(`not installed: ${missing.join(", ")}`);
  if (!(await runProgram(["tar", "--version"])).stdout.includes("GNU tar")) {
    throw new CompileError("tar is not GNU tar, which alone writes the same archive twice");
  }
}
