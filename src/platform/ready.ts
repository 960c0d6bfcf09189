/** Waiting for a stream that somebody made non-blocking: a pipe shared with another program can be. */
import { errnoOf } from "../errors.ts";

/** How long to wait before another try, in milliseconds. */
export const RETRY_MS = 10;

/** What `call` gives, tried again as long as it fails with `EAGAIN`; blocks this thread. */
export function untilReady<T>(call: () => T): T {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN") throw error;
      pause(RETRY_MS);
    }
  }
}

/** Blocks this thread. @param ms milliseconds. */
export function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
