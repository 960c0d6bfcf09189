/** `deno task man OUTDIR`: writes the manual pages, `amesh.1` and one for each command. */
import { join } from "node:path";
import { application } from "../src/cli/app.ts";
import { describe } from "../src/cli/reference.ts";
import { VERSION } from "../src/version.ts";
import { manualPages } from "./man/pages.ts";

const USAGE = `usage: deno task man OUTDIR

Writes amesh.1 and a page for each command to OUTDIR. They are dated by SOURCE_DATE_EPOCH, else by the day that
CHANGELOG.md has for this version; without either they have no date.`;

/** The day of a release as `2026-01-31`; empty while it has none. @param epoch seconds since 1970, UTC. */
export function releaseDate(changelog: string, version: string, epoch: string | undefined): string {
  if (epoch !== undefined && /^\d{1,11}$/.test(epoch)) {
    return new Date(Number(epoch) * 1000).toISOString().slice(0, 10);
  }
  const heading = changelog.split("\n").find((line) => /^## (\S+?),?(\s|$)/.exec(line)?.[1] === version);
  return /\d{4}-\d\d-\d\d/.exec(heading ?? "")?.[0] ?? "";
}

async function main(args: readonly string[]): Promise<number> {
  const [directory] = args;
  if (directory === undefined || args.length > 1 || directory.startsWith("-")) {
    (directory === "--help" ? console.log : console.error)(USAGE);
    return directory === "--help" ? 0 : 2;
  }
  const changelog = await Deno.readTextFile(join(import.meta.dirname!, "..", "CHANGELOG.md"));
  const date = releaseDate(changelog, VERSION, Deno.env.get("SOURCE_DATE_EPOCH"));
  await Deno.mkdir(directory, { recursive: true });
  for (const { file, text } of manualPages(describe(application), { version: VERSION, date })) {
    await Deno.writeTextFile(join(directory, file), text);
  }
  return 0;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
