/** The thread of {@linkcode startWatchdog}. */
import { Buffer } from "node:buffer";
import { writeSync } from "node:fs";
import process from "node:process";
import { isMainThread, workerData } from "node:worker_threads";

/** Before the input: how many inputs have begun, the number of the last one, its length; unused. */
export const HEADER_BYTES = 16;

/** What the thread is given. */
export interface WatchdogData {
  readonly shared: SharedArrayBuffer;
  readonly target: string;
  readonly seed: string;
  readonly milliseconds: number;
}

function watch({ shared, target, seed, milliseconds }: WatchdogData): void {
  const header = new Int32Array(shared, 0, HEADER_BYTES / 4);
  let [begun, since] = [0, performance.now()];
  setInterval(() => {
    const now = Atomics.load(header, 0);
    if (now !== begun) [begun, since] = [now, performance.now()];
    // Before the first input there is nothing to wait for.
    if (begun === 0 || performance.now() - since < milliseconds) return;
    const input = Buffer.from(Uint8Array.from(new Uint8Array(shared, HEADER_BYTES, header[2]!)));
    const place = `FAIL  ${target}: input ${header[1]} of seed ${seed} does not end`;
    writeSync(2, `${place}\n      input ${input.toString("base64")}\n`);
    process.kill(process.pid, "SIGKILL");
  }, milliseconds / 8);
}

if (!isMainThread) watch(workerData);
