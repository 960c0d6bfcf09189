/**
 * `deno task test:kill`: commands that are killed at every one of their changes to the amesh directory, and whose
 * changes fail one by one. Killed anywhere, there is the old identity or the new one, and it works.
 *
 * A command runs once to count its changes; then for each of them it is struck there, in a fresh copy of the
 * directory (tests/kill/). Nothing depends on time, so what is found once is found again.
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { allStrikes, sampleStrikes } from "../tests/kill/plan.ts";
import type { Scenario } from "../tests/kill/scenario.ts";
import { SCENARIOS } from "../tests/kill/scenarios.ts";
import { compileStrike, FAULT, type Fault, type Strike, strikeMissing } from "../tests/kill/strike.ts";
import { type Report, Worker } from "../tests/kill/worker.ts";
import { swtpmMissing } from "../tests/support/swtpm.ts";
import { runProgram } from "./build.ts";
import { installMissing } from "./debian_packages.ts";

const USAGE = `usage: deno task test:kill [options]

  --only REGEX   scenarios whose name matches (default all)
  --faults LIST  what happens at a point: kill, or the name of an error; with + that error stays from there on
                 (default kill,ENOSPC,EIO,EROFS)
  --point N      only at this change
  --sample N     at most N strikes per scenario, by chance
  --seed N       which ones (default: another number each time; it is printed)
  --jobs N       so many at the same time (default: one per processor)

Linux only, as root, with gcc; TPMs are swtpm. AMESH_TEST_BUN names an executable to test; without it one is built.`;

interface Request {
  readonly only: RegExp;
  readonly faults: readonly Fault[];
  readonly point: number | undefined;
  readonly sample: number | undefined;
  readonly seed: number;
  readonly jobs: number;
}

/** @returns `null` when the arguments are not understood. */
function parseRequest(args: readonly string[]): Request | null {
  const options = {
    only: { type: "string", default: "" },
    faults: { type: "string", default: "kill,ENOSPC,EIO,EROFS" },
    point: { type: "string" },
    sample: { type: "string" },
    seed: { type: "string", default: String(1 + Date.now() % 99_999) },
    jobs: { type: "string", default: String(navigator.hardwareConcurrency) },
  } as const;
  try {
    const { values } = parseArgs({ args: [...args], options });
    const faults = values.faults.split(",");
    const numbers = [values.point, values.sample, values.seed, values.jobs];
    if (numbers.some((text) => text !== undefined && !/^[1-9]\d{0,5}$/.test(text))) return null;
    if (faults.some((fault) => !FAULT.test(fault))) return null;
    const number = (text: string | undefined) => text === undefined ? undefined : Number(text);
    return {
      only: new RegExp(values.only),
      faults,
      point: number(values.point),
      sample: number(values.sample),
      seed: Number(values.seed),
      jobs: Number(values.jobs),
    };
  } catch {
    return null;
  }
}

/** The state of one scenario while the workers go through it. */
interface Progress {
  readonly scenario: Scenario;
  readonly start: number;
  /** Changes of the command when nothing is struck. */
  calls: readonly string[];
  strikes: number;
  readonly failures: string[];
}

/** Hands out work: a scenario's first run, then its strikes; the next scenario begins before the last one has ended. */
class Queue {
  readonly #waiting: Scenario[];
  readonly #ready: { progress: Progress; strike: Strike }[] = [];
  /** Scenarios under way, and how many of their runs are not done. */
  readonly #open = new Map<Progress, number>();
  #taken = Promise.withResolvers<void>();
  readonly done: Progress[] = [];

  constructor(scenarios: readonly Scenario[], readonly request: Request) {
    this.#waiting = [...scenarios];
  }

  /** Works until nothing is left. */
  async serve(worker: Worker): Promise<void> {
    for (;;) {
      const task = this.#ready.shift() ?? this.#begin();
      if (task === undefined) {
        if (this.#open.size === 0) return;
        // What another worker is about to end may bring strikes.
        await this.#taken.promise;
        continue;
      }
      const { progress, strike } = task;
      const report = await worker.attempt(progress.scenario, strike).catch((error): Report => ({
        calls: [],
        call: null,
        problems: [`the test itself failed: ${(error as Error).message}`],
      }));
      this.#take(progress, strike, report);
    }
  }

  #begin(): { progress: Progress; strike: Strike } | undefined {
    const scenario = this.#waiting.shift();
    if (scenario === undefined) return undefined;
    const progress = { scenario, start: performance.now(), calls: [], strikes: 0, failures: [] };
    this.#open.set(progress, 1);
    return { progress, strike: { point: 0, fault: "kill" } };
  }

  #add(progress: Progress, strikes: readonly Strike[]): void {
    this.#ready.push(...strikes.map((strike) => ({ progress, strike })));
    this.#open.set(progress, (this.#open.get(progress) ?? 0) + strikes.length);
  }

  #take(progress: Progress, strike: Strike, { calls, call, problems }: Report): void {
    const { scenario, failures } = progress;
    if (strike.point > 0) progress.strikes++;
    const isLast = strike.point > progress.calls.length;
    if (problems.length > 0) failures.push(describeFailure(scenario, strike, call, problems));
    else if (strike.point === 0) {
      progress.calls = calls;
      this.#add(progress, this.#choose(calls));
    } else if (call === null && !isLast) {
      failures.push(describeFailure(scenario, strike, call, ["this change is not made every time"]));
    } else if (call !== null && isLast) {
      failures.push(describeFailure(scenario, strike, call, ["there are more changes than there were"]));
    }
    const open = (this.#open.get(progress) ?? 0) - 1;
    this.#open.set(progress, open);
    if (open === 0) this.#finish(progress);
    this.#taken.resolve();
    this.#taken = Promise.withResolvers<void>();
  }

  #choose(calls: readonly string[]): Strike[] {
    const { faults, point, sample, seed } = this.request;
    if (point !== undefined) return faults.map((fault) => ({ point, fault }));
    if (sample !== undefined) return sampleStrikes(calls, faults, sample, seed);
    // One more shows that the last one was the last.
    return [...allStrikes(calls, faults), { point: calls.length + 1, fault: "kill" }];
  }

  #finish(progress: Progress): void {
    this.#open.delete(progress);
    this.done.push(progress);
    const { scenario, calls, strikes, failures, start } = progress;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const counts = `${calls.length} points, ${strikes} strikes, ${failures.length} failed`;
    const verdict = failures.length > 0 ? "FAIL" : "ok  ";
    console.log([`${verdict}  ${scenario.name}: ${counts} (${seconds} s)`, ...failures].join("\n"));
  }
}

function describeFailure(
  { name }: Scenario,
  { point, fault }: Strike,
  call: string | null,
  problems: readonly string[],
): string {
  const lines = problems.map((problem) => `        ${problem}`);
  if (point === 0) return ["      without a strike:", ...lines].join("\n");
  const pattern = name.replaceAll(/[.()+?*]/g, "\\$&");
  const again = `deno task test:kill --only '^${pattern}$' --faults ${fault} --point ${point}`;
  return [`      ${fault} at ${point}: ${call ?? "not reached"}`, ...lines, `        again: ${again}`].join(
    "\n",
  );
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

async function testAll(request: Request, scenarios: readonly Scenario[], work: string): Promise<Progress[]> {
  const programs = { amesh: await executable(work), strike: await compileStrike(work) };
  const queue = new Queue(scenarios, request);
  const known = new Map<string, readonly string[]>();
  using workers = new DisposableStack();
  const all = Array.from(
    { length: request.jobs },
    (_, index) => workers.use(new Worker(join(work, `worker${index}`), programs, known)),
  );
  await Promise.all(all.map((worker) => queue.serve(worker)));
  return queue.done;
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  const request = parseRequest(args);
  const chosen = SCENARIOS.filter(({ name }) => request?.only.test(name));
  if (request === null || chosen.length === 0) {
    console.error(USAGE);
    return 2;
  }
  await installMissing();
  const [noStrike, noTpm] = [strikeMissing(), swtpmMissing()];
  const reasonAgainst = ({ usesTpm }: Scenario) => noStrike ?? (usesTpm ? noTpm : undefined);
  const scenarios = chosen.filter((scenario) => reasonAgainst(scenario) === undefined);
  for (const scenario of chosen) {
    if (!scenarios.includes(scenario)) console.log(`skip  ${scenario.name}: ${reasonAgainst(scenario)}`);
  }
  if (request.sample !== undefined) console.log(`seed  ${request.seed}`);
  const work = await Deno.makeTempDir({ prefix: "amesh-kill-" });
  for (const [name, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    // The software TPMs end with this process.
    Deno.addSignalListener(name, () => {
      Deno.removeSync(work, { recursive: true });
      Deno.exit(code);
    });
  }
  let done: Progress[] = [];
  try {
    if (scenarios.length > 0) done = await testAll(request, scenarios, work);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  const failed = done.reduce((sum, { failures }) => sum + failures.length, 0);
  const runs = done.reduce((sum, { strikes }) => sum + strikes + 1, 0);
  console.log(`${runs - failed} passed, ${failed} failed, ${chosen.length - scenarios.length} skipped`);
  return failed === 0 ? 0 : 1;
}

// A bare `deno test` takes this file for a test by its name.
if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    console.error(`test:kill: error: ${(error as Error).message}`);
    Deno.exitCode = 1;
  }
}
