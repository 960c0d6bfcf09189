/**
 * `deno task test:race`: many processes of amesh at the same time on one directory (tests/race/). Reading commands
 * always work, changing ones work or are told at once that another is at it, and nothing is left over.
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { KINDS } from "../tests/race/commands.ts";
import { judge } from "../tests/race/judge.ts";
import { canSlow, type Finished, race } from "../tests/race/race.ts";
import { runProgram } from "./build.ts";
import { installMissing } from "./debian_packages.ts";

const USAGE = `usage: deno task test:race [options]

  --seconds N    how long commands are started (default 30)
  --processes N  so many at the same time (default 64)
  --slowed N     percent of them that strace holds up at a call on one of our files (default 25)
  --rounds N     how often, each time in a new directory (default 1)

Each process stretches a passphrase in 64 MiB. Keys are of backend encrypted-file: a TPM has room for one at a time.
AMESH_TEST_BUN names an executable to test; without it one is built.`;

/** How many problems are shown of those that are the same but for their numbers and names. */
const SHOWN = 3;

interface Request {
  readonly seconds: number;
  readonly processes: number;
  readonly slowed: number;
  readonly rounds: number;
}

/** @returns `null` when the arguments are not understood. */
function parseRequest(args: readonly string[]): Request | null {
  const options = {
    seconds: { type: "string", default: "30" },
    processes: { type: "string", default: "64" },
    slowed: { type: "string", default: "25" },
    rounds: { type: "string", default: "1" },
  } as const;
  try {
    const { values: { seconds, processes, slowed, rounds } } = parseArgs({ args: [...args], options });
    const isNumber = /^[1-9]\d{0,4}$/;
    if (![seconds, processes, rounds].every((text) => isNumber.test(text))) return null;
    if (!/^(\d\d?|100)$/.test(slowed)) return null;
    return {
      seconds: Number(seconds),
      processes: Number(processes),
      slowed: Number(slowed),
      rounds: Number(rounds),
    };
  } catch {
    return null;
  }
}

/** @throws {Error} it cannot be built. */
async function executable(work: string): Promise<string> {
  const given = Deno.env.get("AMESH_TEST_BUN");
  if (given) return resolve(given);
  const output = join(work, "amesh");
  const script = join(import.meta.dirname!, "compile.ts");
  const argv = [Deno.execPath(), "run", "--allow-all", script, "--runtime=bun", `--output=${output}`];
  const { success, text } = await runProgram(argv);
  if (!success) throw new Error(`the Bun executable cannot be built:\n${text}`);
  return output;
}

/** A line for each kind of command: how many ended with which exit code, and the longest time. */
function countsOf(finished: readonly Finished[]): string[] {
  const width = Math.max(...KINDS.map(({ name }) => name.length));
  return KINDS.map(({ name }) => {
    const those = finished.filter(({ kind }) => kind.name === name);
    const codes = [...new Set(those.map(({ ended }) => ended.code))].sort((a, b) => a - b);
    const counts = codes.map((code) =>
      `${those.filter(({ ended }) => ended.code === code).length} ended with ${code}`
    );
    const longest = Math.max(0, ...those.map(({ start, end }) => end - start));
    return `      ${name.padEnd(width)}  ${counts.join(", ")} (longest ${(longest / 1000).toFixed(1)} s)`;
  });
}

/** Some of each sort of problem, with the number of all. */
function summaryOf(problems: readonly string[]): string[] {
  const sorts = Map.groupBy(problems, (problem) => problem.replaceAll(/am_[\w-]+|\d+/g, "#"));
  return [...sorts.values()].flatMap((those) => [
    ...those.slice(0, SHOWN).map((problem) => `      ${problem}`),
    ...those.length > SHOWN ? [`        and ${those.length - SHOWN} more of this sort`] : [],
  ]);
}

/** @returns whether all was well. */
async function runRound(request: Request, amesh: string, home: string): Promise<boolean> {
  await Deno.mkdir(home, { mode: 0o700 });
  const { seconds, processes } = request;
  const slowed = canSlow() ? request.slowed / 100 : 0;
  const result = await race({ amesh: [amesh], processes, seconds, slowed, home });
  const problems = await judge(result);
  const { finished } = result;
  const last = finished.reduce((latest, { end }) => Math.max(latest, end), 0);
  const first = finished.reduce((earliest, { start }) => Math.min(earliest, start), last);
  const heldUp = finished.filter((one) => one.slowed !== null).length;
  const what = `${finished.length} commands, ${processes} at a time, ${heldUp} held up`;
  const verdict = `${what}: ${problems.length} problems (${((last - first) / 1000).toFixed(1)} s)`;
  console.log(`${problems.length > 0 ? "FAIL" : "ok  "}  ${verdict}`);
  console.log([...countsOf(finished), ...summaryOf(problems)].join("\n"));
  return problems.length === 0;
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  const request = parseRequest(args);
  if (request === null) {
    console.error(USAGE);
    return 2;
  }
  await installMissing();
  const work = await Deno.makeTempDir({ prefix: "amesh-race-" });
  Deno.addSignalListener("SIGINT", () => {
    Deno.removeSync(work, { recursive: true });
    Deno.exit(130);
  });
  let failed = 0;
  try {
    const amesh = await executable(work);
    for (let round = 0; round < request.rounds; round++) {
      if (!await runRound(request, amesh, join(work, `home${round}`))) failed++;
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  console.log(`${request.rounds - failed} passed, ${failed} failed, 0 skipped`);
  return failed === 0 ? 0 : 1;
}

// A bare `deno test` takes this file for a test by its name.
if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    console.error(`test:race: error: ${(error as Error).message}`);
    Deno.exitCode = 1;
  }
}
