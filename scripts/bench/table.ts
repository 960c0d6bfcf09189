/**
 * Measures groups of programs and tells the result as rows of a Markdown table.
 *
 * The programs of a group run in turn (A B C A B C …): what else the machine does meets all of them, so the ratios
 * say more than the times.
 */
import { type Command, measure, peakMemory, RunError, type Sample } from "./process.ts";
import { ratioOf, spreadOf } from "./statistics.ts";

/** A program in a group. */
export interface Entry {
  readonly name: string;
  readonly command: Command;
  /** Called before each run; not measured. */
  readonly prepare?: () => void;
  /** The program of the group that it is compared with, and the highest ratio that is wanted. */
  readonly peer?: { readonly name: string; readonly goal: number | null };
  /** Below this many bytes its peak memory shall stay. */
  readonly peakGoal?: number;
}

/** Programs that are measured side by side. */
export interface Group {
  readonly title: string;
  readonly rounds: number;
  /** Their names differ. */
  readonly entries: readonly Entry[];
}

/** What measuring needs. */
export interface Means {
  /** Absolute path of Debian's `time`; without it, peak memory is not measured. */
  readonly time: string | undefined;
  /** File for what the programs say on standard error. */
  readonly errors: string;
  /** Tells the user how far it is. */
  readonly note: (text: string) => void;
}

const WARM_UP_ROUNDS = 2;

const HEADINGS = [
  "figure",
  "program",
  "wall",
  "user",
  "sys",
  "peak",
  "wall: ratio of medians",
  "median of ratios",
  "CPU: ratio of medians",
  "goal",
];

/** What stands above all tables. @param runs rounds of a group. */
export function formatHeader(runs: number): string {
  const model = /^model name\s*: (.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? Deno.build.arch;
  const kernel = /^\d+\.\d+/.exec(Deno.osRelease())?.[0] ?? "";
  const load = Deno.loadavg()[0]?.toFixed(1);
  return `${navigator.hardwareConcurrency} × ${model}, Linux ${kernel}, load ${load} at the start; ${runs} rounds ` +
    `after ${WARM_UP_ROUNDS} of warm-up (fewer for 1 GiB). Spreads are min / median / max; times in ms where nothing ` +
    "else is said; peak memory in MB (10⁶ bytes).";
}

/** What stands above the rows of {@linkcode measureGroup}. */
export function formatProcessHead(): string[] {
  return ["", ...formatTableHead(HEADINGS)];
}

/** Measures a group. @returns a row per program; a program that fails is noted and has none. */
export async function measureGroup({ title, rounds, entries }: Group, means: Means): Promise<string[]> {
  means.note(`${title.replaceAll("`", "")}: ${rounds} rounds of ${entries.length} programs`);
  const samples = new Map<string, Sample[]>(entries.map(({ name }) => [name, []]));
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    for (const entry of entries.filter(({ name }) => samples.has(name))) {
      // Measuring blocks this thread: here signals are heard.
      await new Promise((resolve) => setTimeout(resolve, 1));
      const sample = run(entry, means);
      if (sample === null) samples.delete(entry.name);
      else if (round >= 0) samples.get(entry.name)!.push(sample);
    }
  }
  return entries.filter(({ name }) => samples.has(name)).map((entry) => {
    const { name, peer } = entry;
    const runs = samples.get(name)!;
    const times = (["wall", "user", "sys"] as const).map((key) => formatSpread(runs.map((one) => one[key])));
    const peerRuns = peer === undefined ? undefined : samples.get(peer.name);
    const ratios = peerRuns === undefined
      ? ["", "", "", ""]
      : formatRatios(runs, peerRuns, peer?.goal ?? null);
    return formatRow([title, name, ...times, formatPeak(entry, means), ...ratios]);
  });
}

function run({ command, prepare }: Entry, { errors, note }: Means): Sample | null {
  prepare?.();
  try {
    return measure(command, errors);
  } catch (error) {
    if (!(error instanceof RunError)) throw error;
    note(`left out: ${error.message}`);
    return null;
  }
}

function formatPeak({ command, prepare, peakGoal }: Entry, { time, errors }: Means): string {
  if (time === undefined) return "";
  prepare?.();
  const peak = peakMemory(command, time, errors);
  const text = (peak / 1e6).toFixed(0);
  return peakGoal === undefined ? text : `${text}, goal < ${peakGoal / 1e6}: ${verdict(peak < peakGoal)}`;
}

function formatRatios(runs: readonly Sample[], peer: readonly Sample[], goal: number | null): string[] {
  const { ofMedians, ofPairs, ofCpu } = ratioOf(runs, peer);
  return [
    ...[ofMedians, ofPairs, ofCpu].map((ratio) => ratio.toFixed(2)),
    goal === null ? "" : `≤ ${goal}: ${verdict(ofMedians <= goal)}`,
  ];
}

/** Whether a goal is met, in a word. */
export function verdict(met: boolean): string {
  return met ? "met" : "missed";
}

/** Smallest, middle and largest. */
export function formatSpread(values: readonly number[]): string {
  const { min, median, max } = spreadOf(values);
  return [min, median, max].map((value) => value.toFixed(value < 100 ? 1 : 0)).join(" / ");
}

/** The two lines above the rows of a table. */
export function formatTableHead(headings: readonly string[]): string[] {
  return [formatRow(headings), formatRow(headings.map(() => "---"))];
}

/** A row of a table. */
export function formatRow(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
