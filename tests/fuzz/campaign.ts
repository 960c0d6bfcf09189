/** Runs one target on many inputs and counts what became of them. */
import process from "node:process";
import { type Bytes, encodeBase64, equalBytes } from "../../src/bytes.ts";
import { mutateBytes, resize } from "./bytes_mutators.ts";
import { Random } from "./random.ts";
import { describe, objectionTo, type Target } from "./target.ts";

/** An input that failed. */
export interface Failure {
  /** Which of the target's inputs; with the seed it makes the input again. */
  readonly index: number;
  readonly reason: string;
  readonly input: Bytes;
  /** A shorter input that fails for the same reason. */
  readonly minimised: Bytes;
}

/** What became of the inputs of one target. */
export interface Report {
  readonly target: string;
  readonly inputs: number;
  readonly accepted: number;
  readonly refused: number;
  readonly failed: number;
  /** The first of each reason. */
  readonly failures: readonly Failure[];
  readonly milliseconds: number;
  readonly slowestMilliseconds: number;
  /** Length of the longest input in bytes. */
  readonly longest: number;
  /** How much more memory the process had at its peak than at the start, in bytes. */
  readonly growth: number;
}

/** What a run is told. */
export interface CampaignOptions {
  readonly seed: string;
  readonly inputs: number;
  /** Above this an input is slow, in milliseconds; default 1000. */
  readonly slowMilliseconds?: number;
  /** Told of every input before it runs. */
  readonly onInput?: (index: number, input: Bytes) => void;
}

const SLOW_MILLISECONDS = 1000;
/** Above this growth something keeps what it should not. */
const MAX_GROWTH_BYTES = 512 * 2 ** 20;
/** The memory is looked at once in so many inputs, and after each that is long. */
const SAMPLE_INPUTS = 256;
const LONG_INPUT_BYTES = 65_536;
/** How many reasons are kept, and how often one of them is tried while it is made shorter. */
const MAX_REASONS = 10;
const MINIMISE_TRIES = 400;

/** The input of this number: the same for the same seed. The first ones are the target's seeds as they are. */
export function makeInput(target: Target, seed: string, index: number): Bytes {
  const whole = target.seeds[index];
  if (whole !== undefined) return whole;
  const random = new Random(`${seed}/${target.name}/${index}`);
  let input = random.pick(target.seeds);
  const kind = random.below(1000);
  if (kind < 720 || kind >= 990) {
    input = random.pick(target.mutators)(random, input, target.seeds);
  }
  if (kind >= 600 && kind < 990) input = mutateBytes(random, input, target.seeds);
  if (kind < 980) return input;
  const { limit } = target;
  const sizes = [limit - 1, limit, limit + 1, limit >> 1, limit * 2];
  return resize(random, input, random.oneIn(40) ? limit * random.pick([8, 16]) : random.pick(sizes));
}

type Outcome = "accepted" | "refused" | { readonly reason: string };

/** Names that every object has: a parser that adds one changes the whole program. */
const inherited = () => Object.getOwnPropertyNames(Object.prototype).length;

async function attempt(target: Target, input: Bytes): Promise<Outcome> {
  const given = Uint8Array.from(input);
  const names = inherited();
  const after = (outcome: Outcome): Outcome => {
    if (!equalBytes(given, input)) return { reason: "changed its input" };
    return inherited() === names ? outcome : { reason: "changed Object.prototype" };
  };
  let check: () => unknown;
  try {
    check = await target.parse(given);
  } catch (error) {
    const reason = objectionTo(error, target, input);
    return after(reason === null ? "refused" : { reason });
  }
  try {
    await check();
  } catch (error) {
    return { reason: `accepted, but: ${describe(error)}` };
  }
  return after("accepted");
}

/** One input with its time; what was slow is tried again, because the machine may have been. */
async function timed(
  target: Target,
  input: Bytes,
  slow: number,
): Promise<{ outcome: Outcome; milliseconds: number }> {
  let milliseconds = Infinity;
  for (let tries = 0; tries < 3; tries++) {
    const start = performance.now();
    const outcome = await attempt(target, input);
    milliseconds = Math.min(milliseconds, performance.now() - start);
    if (milliseconds <= slow) return { outcome, milliseconds };
  }
  return { outcome: { reason: `slow: more than ${slow} ms` }, milliseconds };
}

/** Leaves out pieces as long as the reason stays the same. */
async function minimise(target: Target, input: Bytes, reason: string): Promise<Bytes> {
  let smallest = input;
  let tries = 0;
  for (let size = smallest.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < smallest.length;) {
      if (++tries > MINIMISE_TRIES) return smallest;
      const shorter = Uint8Array.from([...smallest.subarray(0, at), ...smallest.subarray(at + size)]);
      const outcome = await attempt(target, shorter);
      if (typeof outcome === "object" && outcome.reason === reason) smallest = shorter;
      else at += size;
    }
  }
  return smallest;
}

/** Runs a target on the inputs from 0 to `inputs`. */
export async function runCampaign(target: Target, options: CampaignOptions): Promise<Report> {
  const { seed, inputs, slowMilliseconds = SLOW_MILLISECONDS, onInput } = options;
  const counts = { accepted: 0, refused: 0, failed: 0 };
  const failures = new Map<string, Failure>();
  let [slowest, longest] = [0, 0];
  const startMemory = process.memoryUsage().rss;
  let peak = startMemory;
  const start = performance.now();
  for (let index = 0; index < inputs; index++) {
    const input = makeInput(target, seed, index);
    onInput?.(index, input);
    const { outcome, milliseconds } = await timed(target, input, slowMilliseconds);
    slowest = Math.max(slowest, milliseconds);
    longest = Math.max(longest, input.length);
    if (index % SAMPLE_INPUTS === 0 || input.length >= LONG_INPUT_BYTES) {
      peak = Math.max(peak, process.memoryUsage().rss);
    }
    if (typeof outcome === "string") {
      counts[outcome]++;
      continue;
    }
    counts.failed++;
    const { reason } = outcome;
    if (failures.has(reason) || failures.size >= MAX_REASONS) continue;
    const minimised = reason.startsWith("slow") ? input : await minimise(target, input, reason);
    failures.set(reason, { index, reason, input, minimised });
  }
  const growth = Math.max(peak, process.memoryUsage().rss) - startMemory;
  return {
    target: target.name,
    inputs,
    ...counts,
    failures: [...failures.values()],
    milliseconds: performance.now() - start,
    slowestMilliseconds: slowest,
    longest,
    growth,
  };
}

/** Why a report is no good one, in lines; none when it is. */
export function complaints(report: Report, seed: string): string[] {
  const { target, accepted, refused, failures, growth } = report;
  const lines = failures.flatMap(({ index, reason, input, minimised }) => [
    `${target}: input ${index} of seed ${seed}: ${reason}`,
    `  input ${encodeBase64(input)}`,
    ...(minimised.length < input.length ? [`  in short ${encodeBase64(minimised)}`] : []),
  ]);
  if (growth > MAX_GROWTH_BYTES) lines.push(`${target}: the memory grew by ${growth} bytes`);
  // Then the inputs are of no use: all of them end at the first check, or the oracle is never asked.
  if (accepted === 0) lines.push(`${target}: no input was accepted`);
  if (refused === 0) lines.push(`${target}: no input was refused`);
  return lines;
}
