/** Which strikes are made: all of them, or a seeded choice. */
import type { Fault, Strike } from "./strike.ts";

/** Calls by which files get and lose their names: what the order of a commit is made of. */
const NAMES = /^(link|rename|unlink|mkdir|rmdir|symlink)/;

/** mulberry32: numbers from 0 to below 1 that follow from the seed. */
function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items.map((item) => [random(), item] as const).sort(([a], [b]) => a - b).map(([, item]) => item);
}

/** Every fault at every one of a command's changes. */
export function allStrikes(calls: readonly string[], faults: readonly Fault[]): Strike[] {
  return faults.flatMap((fault) => calls.map((_, index) => ({ point: index + 1, fault })));
}

/** `size` of them, half of which kill where a file gets or loses its name, as far as there are such. */
export function sampleStrikes(
  calls: readonly string[],
  faults: readonly Fault[],
  size: number,
  seed: number,
): Strike[] {
  const random = randomNumbers(seed);
  const strikes = shuffled(allStrikes(calls, faults), random);
  const isCommit = ({ point, fault }: Strike) => fault === "kill" && NAMES.test(calls[point - 1] ?? "");
  const first = strikes.filter(isCommit).slice(0, Math.ceil(size / 2));
  return [...first, ...strikes.filter((strike) => !first.includes(strike))].slice(0, size);
}
