import assert from "node:assert/strict";
import { test } from "node:test";
import { Journal } from "../../../src/agent/journal.ts";

/** A journal whose clock the test sets. */
function journalAt(): { journal: Journal; told: string[]; clock: { now: number } } & Disposable {
  const told: string[] = [];
  const clock = { now: 5 };
  const { now } = performance;
  performance.now = () => clock.now;
  return {
    journal: new Journal((line) => void told.push(line)),
    told,
    clock,
    [Symbol.dispose]: () => void (performance.now = now),
  };
}

test("a journal tells its lines and knows the last one", () => {
  using here = journalAt();
  assert.equal(here.journal.last, null);
  for (const line of ["a", "b"]) here.journal.note(line);
  assert.deepEqual(here.told, ["a", "b"]);
  assert.equal(here.journal.last, "b");
});

test("a journal that nobody watches knows the last line all the same", () => {
  const journal = new Journal(null);
  for (const line of ["a", "b"]) journal.note(line);
  assert.equal(journal.last, "b");
});

test("20 lines in 10 seconds are told, and how many more there were; then the next ones", () => {
  using here = journalAt();
  for (let i = 0; i < 50; i++) here.journal.note(`${i}`);
  here.clock.now += 9_999;
  here.journal.note("50");
  assert.deepEqual(here.told, Array.from({ length: 20 }, (_, i) => `${i}`));
  assert.equal(here.journal.last, "50");
  here.told.length = 0;
  here.clock.now += 1;
  here.journal.note("next");
  assert.deepEqual(here.told, ["and 31 more", "next"]);
  for (let i = 1; i < 25; i++) here.journal.note(`${i}`);
  assert.equal(here.told.length, 21);
});

test("lines that come slowly are all told", () => {
  using here = journalAt();
  for (let i = 0; i < 60; i++) {
    here.journal.note(`${i}`);
    here.clock.now += 1_000;
  }
  assert.deepEqual(here.told, Array.from({ length: 60 }, (_, i) => `${i}`));
});
