import assert from "node:assert/strict";
import { test } from "node:test";
import { IdleClock } from "../../../src/agent/idle_clock.ts";

/** Lets the clock on the wall go on by itself, as it does while a machine sleeps. */
function moveWall(ms: number): Disposable {
  const { now } = Date;
  Date.now = () => now() + ms;
  return {
    [Symbol.dispose]: () => {
      Date.now = now;
    },
  };
}

test("time in which the machine slept counts", () => {
  const clock = new IdleClock();
  assert.ok(clock.elapsedMs() < 5_000);
  using _slept = moveWall(3_600_000);
  assert.ok(clock.elapsedMs() >= 3_600_000);
  clock.start();
  assert.ok(clock.elapsedMs() < 5_000);
});

test("a clock on the wall that is set back takes no time away", async () => {
  const clock = new IdleClock();
  using _setBack = moveWall(-3_600_000);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const elapsed = clock.elapsedMs();
  assert.ok(elapsed >= 25 && elapsed < 5_000, `${elapsed}`);
});
