/** Ends a process whose parser does not return, and says at which input. */
import { Worker } from "node:worker_threads";
import { HEADER_BYTES, type WatchdogData } from "./watchdog_worker.ts";

/** Room for an input that is shown; of a longer one the first so many bytes. */
const SHOWN_BYTES = 1 << 20;

/** A watch over the inputs of one target. */
export interface Watchdog {
  /** Says that an input begins. */
  onInput(index: number, input: Uint8Array): void;
  stop(): Promise<void>;
}

/**
 * Starts a thread that kills this process when no new input has begun for `milliseconds`; before that it writes the
 * input to standard error.
 */
export function startWatchdog(target: string, seed: string, milliseconds: number): Watchdog {
  const shared = new SharedArrayBuffer(HEADER_BYTES + SHOWN_BYTES);
  const header = new Int32Array(shared, 0, HEADER_BYTES / 4);
  const shown = new Uint8Array(shared, HEADER_BYTES);
  const workerData: WatchdogData = { shared, target, seed, milliseconds };
  const worker = new Worker(new URL("./watchdog_worker.ts", import.meta.url), { workerData });
  return {
    onInput(index, input) {
      const length = Math.min(input.length, SHOWN_BYTES);
      shown.set(input.subarray(0, length));
      header[2] = length;
      Atomics.store(header, 1, index);
      Atomics.add(header, 0, 1);
    },
    stop: async () => {
      await worker.terminate();
    },
  };
}
