/** Waiting for a stream that somebody made non-blocking: a pipe shared with another program can be. */
import { errnoOf } from "../errors.ts";

/** How long to wait before another try, in milliseconds. */
export const RETRY_MS = 10;

/** What `call` gives, tried again as long as it fails with `EAGAIN` or a signal interrupts it; blocks this thread. */
export function untilReady<T>(call: () => T): T {
  for (;;) {
    try {
      return call();
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === "EAGAIN") pause(RETRY_MS);
      else if (errno !== "EINTR") throw error;
    }
  }
}

/** Blocks this thread. @param ms milliseconds. */
export function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
