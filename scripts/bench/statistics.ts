/** What many runs of programs side by side say. Pure. */
import type { Sample } from "./process.ts";

/** Smallest, middle and largest of some numbers. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** @throws {RangeError} no numbers. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const [min, max] = [sorted[0], sorted.at(-1)];
  if (min === undefined || max === undefined) throw new RangeError("no numbers");
  const middle = sorted.length / 2;
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  return { min, median, max };
}

/** How many times longer one program took than another; `samples` of both are in the order of their rounds. */
export interface Ratio {
  /** Median wall time by median wall time. */
  readonly ofMedians: number;
  /** Median of the ratios of the rounds: what slowed a whole round down does not count. */
  readonly ofPairs: number;
  /** Median CPU time (user and system) by median CPU time: what other programs did meanwhile hardly counts. */
  readonly ofCpu: number;
}

/** @throws {RangeError} the two have not run equally often. */
export function ratioOf(samples: readonly Sample[], peer: readonly Sample[]): Ratio {
  if (samples.length !== peer.length) throw new RangeError("not as many runs of both");
  const median = (values: readonly number[]) => spreadOf(values).median;
  const wall = (runs: readonly Sample[]) => median(runs.map((run) => run.wall));
  const cpu = (runs: readonly Sample[]) => median(runs.map((run) => run.user + run.sys));
  return {
    ofMedians: wall(samples) / wall(peer),
    ofPairs: median(samples.map((run, i) => run.wall / peer[i]!.wall)),
    ofCpu: cpu(samples) / cpu(peer),
  };
}
