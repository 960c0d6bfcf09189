/** Every script of testdata/ on every target, two at a time; one test per script and target. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { absentTargets, targets } from "../support/executables.ts";
import { parseScript, skipReason } from "./script.ts";
import { runScript } from "./testscript.ts";

const CONCURRENCY = 2;
/** How many scripts may start before their own test does; it bounds what `--filter` runs in vain. */
const LOOKAHEAD = 3;
const TIMEOUT_MS = 240_000;

const testdata = join(import.meta.dirname!, "testdata");
const fixtures = join(import.meta.dirname!, "..", "fixtures");

type Job = () => Promise<void>;
const jobs: Job[] = [];
const outcomes: Promise<unknown>[] = [];
const waiting: (() => void)[] = [];
let freeSlots = CONCURRENCY;

async function runInSlot(job: Job): Promise<void> {
  if (freeSlots === 0) await new Promise<void>((wake) => waiting.push(wake));
  else freeSlots--;
  try {
    await job();
  } finally {
    const wakeNext = waiting.shift();
    if (wakeNext === undefined) freeSlots++;
    else wakeNext();
  }
}

/** Starts a job and those that follow it, each once; the outcome of one is its failure or nothing. */
function startFrom(index: number): void {
  for (const job of jobs.slice(index, index + LOOKAHEAD + 1)) {
    outcomes[jobs.indexOf(job)] ??= runInSlot(job).catch((error: unknown) => error);
  }
}

const scripts = readdirSync(testdata).filter((name) => name.endsWith(".txtar")).sort()
  .map((name) => parseScript(name, readFileSync(join(testdata, name), "utf8")));

for (const target of await targets()) {
  for (const script of scripts) {
    const name = `${target.name}: ${script.file}`;
    const reason = skipReason(script, target);
    if (reason !== null) {
      test(`${name} (${reason})`, { skip: reason }, () => {});
      continue;
    }
    const index = jobs.push(() => runScript(script, target, { timeoutMs: TIMEOUT_MS, fixtures })) - 1;
    test(name, async () => {
      startFrom(index);
      const failure = await outcomes[index];
      if (failure instanceof Error) throw failure;
    });
  }
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: ${scripts.length} scripts (${reason})`, { skip: reason }, () => {});
}
