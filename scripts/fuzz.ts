/**
 * `deno task fuzz`: every parser of bytes from outside on many inputs (tests/fuzz), ending in one line
 * `N passed, N failed, N skipped`. It runs on Bun too: `bun scripts/fuzz.ts`.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { complaints, type Report, runCampaign } from "../tests/fuzz/campaign.ts";
import { TARGETS } from "../tests/fuzz/targets.ts";
import { startWatchdog } from "../tests/fuzz/watchdog.ts";

const USAGE = `usage: deno task fuzz [options]

  --inputs N    inputs of all targets together (default 1000000)
  --seed S      any text; the same one makes the same inputs (default: a new one, which is printed)
  --only REGEX  targets whose name matches (default all): ${TARGETS.map(({ name }) => name).join(", ")}

An input that fails is printed as base64. An input that does not end is printed and ends the run.`;

/** A parser that has not returned for so long never will. */
const HANG_MILLISECONDS = 20_000;

interface Request {
  readonly inputs: number;
  readonly seed: string;
  readonly only: RegExp;
}

/** @returns `null` when the arguments are not understood. */
function parseRequest(args: readonly string[]): Request | null {
  const options = {
    inputs: { type: "string", default: "1000000" },
    seed: { type: "string", default: `${Date.now()}` },
    only: { type: "string", default: "" },
  } as const;
  try {
    const { values: { inputs, seed, only } } = parseArgs({ args: [...args], options });
    return /^[1-9]\d*$/.test(inputs) ? { inputs: Number(inputs), seed, only: new RegExp(only) } : null;
  } catch {
    return null;
  }
}

const megabytes = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;

function show(report: Report, seed: string): void {
  const { target, inputs, accepted, refused, failed, milliseconds, slowestMilliseconds, longest, growth } =
    report;
  const lines = complaints(report, seed);
  const counts = `${accepted + refused} passed, ${failed} failed, 0 skipped`;
  const seconds = milliseconds / 1000;
  console.log(
    `${
      lines.length > 0 ? "FAIL" : "ok  "
    }  ${target}: ${counts}: ${accepted} accepted, ${refused} refused; ` +
      `${seconds.toFixed(1)} s, ${Math.round(inputs / seconds)} inputs/s, slowest ${
        Math.ceil(slowestMilliseconds)
      } ms, ` +
      `longest ${longest} bytes, memory +${megabytes(growth)}`,
  );
  for (const line of lines) console.log(`      ${line}`);
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  const request = parseRequest(args);
  const targets = TARGETS.filter(({ name }) => request?.only.test(name));
  if (request === null || targets.length === 0) {
    console.error(USAGE);
    return 2;
  }
  const { seed } = request;
  const inputs = Math.ceil(request.inputs / targets.length);
  console.log(`seed ${seed}, ${inputs} inputs for each of ${targets.length} targets`);
  let [passed, failed, total] = [0, 0, 0];
  for (const target of targets) {
    const watchdog = startWatchdog(target.name, seed, HANG_MILLISECONDS);
    const report = await runCampaign(target, { seed, inputs, onInput: watchdog.onInput });
    await watchdog.stop();
    show(report, seed);
    passed += report.accepted + report.refused;
    failed += Math.max(report.failed, complaints(report, seed).length > 0 ? 1 : 0);
    total += report.milliseconds;
  }
  const peak = megabytes(process.memoryUsage().rss);
  console.log(
    `${(total / 1000).toFixed(1)} s, ${
      Math.round((passed + failed) / total * 1000)
    } inputs/s, ${peak} at the end`,
  );
  console.log(`${passed} passed, ${failed} failed, ${TARGETS.length - targets.length} skipped`);
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
