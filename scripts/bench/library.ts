/**
 * Signatures and tokens a second of the library in one process, beside jose with a key in software on the same runtime, and
 * beside OpenSSL. The key is in the encrypted-file tier, which is opened before it is measured.
 */
import { join } from "node:path";
import { copyFixture } from "../../tests/support/fixture.ts";
import { bunCommand, runProgram } from "../build.ts";
import { hasProgram } from "../debian_packages.ts";
import { spreadOf } from "./statistics.ts";
import { formatRow, formatSpread, formatTableHead } from "./table.ts";

const PROGRAM = join(import.meta.dirname!, "library_program.ts");
const RUNTIMES: readonly (readonly [name: string, argv: readonly string[]])[] = [
  ["Deno", [Deno.execPath(), "run", "--allow-all", "--no-check", "--cached-only"]],
  ["Bun", bunCommand()],
];
const WAYS = [
  ["sign", "`sign()`, 400 bytes"],
  ["token", "`token()`"],
  ["jose", "jose, `SignJWT`, key in software"],
] as const;
const IN_FLIGHT = [1, 32];
const ROUND_MS = 1000;
const HEAD = ["library", "in flight", "a second, min / median / max", "times jose's"];

/** What measuring needs. */
export interface LibraryMeans {
  /** A directory of ours. */
  readonly work: string;
  readonly runs: number;
  readonly only: RegExp;
  readonly note: (text: string) => void;
}

/** @returns lines of Markdown. @throws {Error} with what a program said. */
export async function measureLibrary({ work, runs, only, note }: LibraryMeans): Promise<string[]> {
  if (!only.test("library")) return [];
  const { directory } = copyFixture("floor", join(work, "library"));
  const lines = formatTableHead(HEAD);
  for (const [runtime, argv] of RUNTIMES) {
    for (const inFlight of IN_FLIGHT) {
      const rates = new Map<string, number[]>(WAYS.map(([way]) => [way, []]));
      // In turn, so that what slows the machine down slows all of them down.
      for (let round = 0; round < runs; round++) {
        for (const [way, list] of rates) {
          const text = await must([...argv, PROGRAM, way, String(inFlight), String(ROUND_MS), directory]);
          list.push(Number(text));
        }
      }
      const peer = spreadOf(rates.get("jose") ?? []).median;
      for (const [way, title] of WAYS) {
        const list = rates.get(way) ?? [];
        const times = (spreadOf(list).median / peer).toFixed(2);
        lines.push(formatRow([`${title}, ${runtime}`, String(inFlight), formatSpread(list), times]));
      }
    }
  }
  const peer = await measureOpenssl(note);
  return peer === null ? lines : [...lines, formatRow(["`openssl speed ecdsap256`", "1", peer, ""])];
}

async function measureOpenssl(note: (text: string) => void): Promise<string | null> {
  if (!hasProgram("openssl")) {
    note("OpenSSL is left out: there is no openssl (Debian package openssl)");
    return null;
  }
  const text = await must(["openssl", "speed", "-seconds", "2", "-mr", "ecdsap256"]);
  // +F4:number:bits:signatures a second:verifications a second
  const [, rate] = /^\+F4:\d+:256:([0-9.]+):/m.exec(text) ?? [];
  if (rate === undefined) throw new Error(`openssl speed says something unknown:\n${text}`);
  return Number(rate).toFixed(0);
}

/** @returns what it printed. */
async function must(argv: readonly string[]): Promise<string> {
  const { success, text } = await runProgram(argv);
  if (!success) throw new Error(`${argv.join(" ")}:\n${text}`);
  return text;
}
