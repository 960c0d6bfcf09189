import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, decodeBase64, encodeHex, equalBytes, utf8 } from "../../src/bytes.ts";
import { AmeshError } from "../../src/errors.ts";
import { corrupt } from "../../src/formats/json_document.ts";
import { evaluation, projectUrl, runChild } from "../support/child_process.ts";
import { BYTE_MUTATORS } from "./bytes_mutators.ts";
import { complaints, makeInput, type Report, runCampaign } from "./campaign.ts";
import { Random } from "./random.ts";
import { makeTarget, type Target } from "./target.ts";
import { TARGETS } from "./targets.ts";

const SEED = "1";
/** For each target. */
const INPUTS = 2500;

for (const target of TARGETS) {
  test(`${target.name}: ${INPUTS} inputs are read or refused as they should be`, async () => {
    const report = await runCampaign(target, { seed: SEED, inputs: INPUTS });
    assert.deepEqual(complaints(report, SEED), []);
    assert.equal(report.accepted + report.refused, INPUTS);
    // Otherwise the mutations are too wild or too tame to find anything.
    assert.ok(report.accepted >= INPUTS / 20 && report.refused >= INPUTS / 20, JSON.stringify(report));
  });
}

test("every parser of bytes from outside is a target", () => {
  const names = [
    "identity",
    "key-file-2.0.0",
    "key-file-3.0.0",
    "continuity",
    "se-key",
    "helper-answer",
    "tss2-key",
    "public-key",
    "signature",
    "certificate",
    "subject",
    "protocol-message",
    "agent-message",
    "agent-frames",
    "jwt-claim",
  ];
  assert.deepEqual(TARGETS.map(({ name }) => name), names);
});

test("the same seed makes the same inputs, another one others", () => {
  for (const target of TARGETS) {
    const inputs = (seed: string) =>
      Array.from({ length: 200 }, (_, i) => encodeHex(makeInput(target, seed, target.seeds.length + i)));
    assert.deepEqual(inputs("a"), inputs("a"), target.name);
    const [one, two] = [inputs("a"), new Set(inputs("b"))];
    assert.ok(one.filter((input) => two.has(input)).length < 100, target.name);
    assert.ok(new Set(one).size > 150, `${target.name}: ${new Set(one).size} of 200 inputs are different`);
  }
});

test("Random gives the numbers of xoshiro128** for its state, on every runtime", () => {
  const random = new Random("amesh");
  const again = new Random("amesh");
  const first = Array.from({ length: 3 }, () => random.uint32());
  assert.deepEqual(first, FIRST_NUMBERS);
  assert.deepEqual(Array.from({ length: 3 }, () => again.uint32()), first);
  const counts = new Map<number, number>();
  for (let i = 0; i < 8000; i++) {
    const value = random.between(3, 10);
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  assert.deepEqual([...counts.keys()].sort((a, b) => a - b), [3, 4, 5, 6, 7, 8, 9, 10]);
  assert.ok([...counts.values()].every((count) => count > 850 && count < 1150));
});
/** What Python says that the generator gives. */
const FIRST_NUMBERS = [1062853497, 211350820, 1352589929];

test("mutations of bytes leave their input as it is, and take an empty one", () => {
  const random = new Random(SEED);
  for (const [name, mutate] of Object.entries(BYTE_MUTATORS)) {
    for (let i = 0; i < 100; i++) {
      for (const input of [utf8("some input"), new Uint8Array(0)]) {
        const before = Uint8Array.from(input);
        mutate(random, input, [utf8("another seed"), new Uint8Array(0)]);
        assert.ok(equalBytes(input, before), name);
      }
    }
  }
});

/** A parser of lines that begin with `ok`; each fault is one change of it. */
const sound = {
  name: "planted",
  seeds: [utf8("ok 1"), utf8("ok two"), utf8("no")],
  mutators: [],
  limit: 100,
  codes: ["ERR_CORRUPT"],
  parse: (input: Bytes): string => {
    const text = new TextDecoder().decode(input);
    if (!text.startsWith("ok")) throw corrupt("planted", "it does not begin with ok");
    return text;
  },
  check: (_parsed: string, _input: Bytes): unknown => undefined,
} as const;
type Planted = Parameters<typeof makeTarget<string>>[0];

/** All of its inputs are the seeds and mutations of bytes. */
const planted = (fault: Partial<Planted>): Target =>
  makeTarget<string>({ ...sound, mutators: [(_, input) => input], ...fault });
const run = (target: Target): Promise<Report> => runCampaign(target, { seed: SEED, inputs: 300 });

test("inputs reach the reader's limit from both sides, and go far above it", () => {
  const target = planted({});
  const lengths = new Set(Array.from({ length: 20_000 }, (_, i) => makeInput(target, SEED, i).length));
  for (const length of [50, 99, 100, 101, 200, 800, 1600]) {
    assert.ok(lengths.has(length), `no input of ${length} bytes`);
  }
});

test("a parser without a fault passes", async () => {
  const report = await run(planted({}));
  assert.deepEqual(complaints(report, SEED), []);
  assert.ok(report.accepted > 0 && report.refused > 0 && report.failed === 0 && report.longest >= 800);
});

const hasTwo = (input: Bytes) => new TextDecoder().decode(input).includes("two");
const faults: [name: string, fault: Partial<Planted>, reason: RegExp][] = [
  [
    "throws a TypeError",
    { parse: (input) => hasTwo(input) ? (null as unknown as string).trim() : sound.parse(input) },
    /: threw TypeError at fuzz_test\.ts:\d+: /,
  ],
  [
    "throws no error",
    {
      parse: (input) => {
        if (hasTwo(input)) throw "two";
        return sound.parse(input);
      },
    },
    /: threw no Error: two$/,
  ],
  [
    "has another code",
    {
      parse: (input) => {
        if (hasTwo(input)) throw new AmeshError("ERR_INTERNAL", "cannot happen");
        return sound.parse(input);
      },
    },
    /: threw ERR_INTERNAL: cannot happen$/,
  ],
  [
    "quotes the input",
    {
      seeds: [utf8(`ok ${"two".repeat(30)}`), utf8("ok 1")],
      parse: (input) => {
        const text = new TextDecoder().decode(input);
        if (text.includes("two")) throw corrupt("planted", `it has ${text.slice(3, 90)}`);
        return sound.parse(input);
      },
    },
    /: the message repeats the input: /,
  ],
  [
    "has a long message",
    {
      parse: (input) => {
        if (hasTwo(input)) throw corrupt("planted", "x".repeat(400));
        return sound.parse(input);
      },
    },
    /: the message is long: /,
  ],
  [
    "shows a stack",
    {
      parse: (input) => {
        if (hasTwo(input)) throw corrupt("planted", "failed\n    at parse (planted.ts:1:1)");
        return sound.parse(input);
      },
    },
    /: the message has several lines$/,
  ],
  [
    "fails the round trip",
    { check: (parsed, input) => assert.equal(parsed.replace("two", "2"), new TextDecoder().decode(input)) },
    /: accepted, but: AssertionError at \w+\.ts:\d+: /,
  ],
  [
    "refuses what it wrote itself",
    {
      check: (parsed) => {
        if (parsed.includes("two")) throw corrupt("planted", "it was accepted before");
      },
    },
    /: accepted, but: AmeshError at /,
  ],
  [
    "changes its input",
    {
      parse: (input) => {
        const text = sound.parse(input);
        if (hasTwo(input)) input[0] = 0;
        return text;
      },
    },
    /: changed its input$/,
  ],
];
for (const [name, fault, reason] of faults) {
  test(`a parser that ${name} is caught, with an input that shows it`, async () => {
    const target = planted(fault);
    const report = await run(target);
    assert.ok(report.failed > 0);
    assert.equal(report.accepted + report.refused + report.failed, 300);
    const lines = complaints(report, SEED);
    assert.match(lines[0]!, /^planted: input \d+ of seed 1: /);
    assert.match(lines[0]!, reason);
    const { index, input, minimised } = report.failures[0]!;
    assert.ok(equalBytes(makeInput(target, SEED, index), input));
    assert.ok(equalBytes(decodeBase64(lines[1]!.replace("  input ", ""))!, input));
    assert.ok(hasTwo(input) && hasTwo(minimised) && minimised.length <= input.length);
  });
}

test("a failing input is made shorter as long as it fails for the same reason", async () => {
  const long = utf8(`ok ${"x".repeat(200)}two${"y".repeat(200)}`);
  const report = await run(planted({ ...faults[0]![1], seeds: [long, utf8("ok 1"), utf8("no")] }));
  assert.equal(new TextDecoder().decode(report.failures[0]!.minimised), "two");
});

test("a parser that adds to Object.prototype is caught", async () => {
  const prototype = Object.prototype as unknown as Record<string, unknown>;
  const report = await run(planted({
    parse: (input) => {
      if (hasTwo(input)) prototype["planted"] = 1;
      return sound.parse(input);
    },
    check: () => undefined,
  }));
  delete prototype["planted"];
  assert.equal(report.failures[0]?.reason, "changed Object.prototype");
});

test("a parser that is slow is caught, one that was slow once is not", async () => {
  const wait = (milliseconds: number) => {
    for (const start = performance.now(); performance.now() - start < milliseconds;);
  };
  const slow = planted({
    parse: (input) => {
      if (new TextDecoder().decode(input) === "ok two") wait(60);
      return sound.parse(input);
    },
  });
  const report = await runCampaign(slow, { seed: SEED, inputs: 3, slowMilliseconds: 50 });
  assert.deepEqual(report.failures.map(({ reason }) => reason), ["slow: more than 50 ms"]);
  assert.ok(report.slowestMilliseconds >= 60);
  let waited = false;
  const once = planted({
    parse: (input) => {
      if (!waited && hasTwo(input)) {
        waited = true;
        wait(1100);
      }
      return sound.parse(input);
    },
  });
  assert.deepEqual(complaints(await run(once), SEED), []);
  assert.ok(waited);
});

test("a parser that does not end is ended by the watchdog, which shows the input", () => {
  const { stderr, code } = runChild(evaluation(`
    const { runCampaign } = await import(${JSON.stringify(projectUrl("tests/fuzz/campaign.ts"))});
    const { makeTarget } = await import(${JSON.stringify(projectUrl("tests/fuzz/target.ts"))});
    const { startWatchdog } = await import(${JSON.stringify(projectUrl("tests/fuzz/watchdog.ts"))});
    const seeds = [new TextEncoder().encode("fine"), new TextEncoder().encode("hang")];
    const parse = (input) => { while (input[0] === 104); };
    const target = makeTarget({ name: "planted", seeds, mutators: [], limit: 9, codes: [], parse, check() {} });
    const watchdog = startWatchdog("planted", "7", 400);
    await runCampaign(target, { seed: "7", inputs: 2, onInput: watchdog.onInput });
    console.error("it has ended");`));
  assert.notEqual(code, 0);
  assert.equal(stderr, "FAIL  planted: input 1 of seed 7 does not end\n      input aGFuZw==\n");
});

test("the watchdog lets a run end that does", () => {
  const { stdout, stderr, code } = runChild(evaluation(`
    const { startWatchdog } = await import(${JSON.stringify(projectUrl("tests/fuzz/watchdog.ts"))});
    const watchdog = startWatchdog("planted", "7", 200);
    for (let i = 0; i < 8; i++) {
      watchdog.onInput(i, new Uint8Array(3));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await watchdog.stop();
    console.log("ended");`));
  assert.deepEqual([stdout, stderr, code], ["ended\n", "", 0]);
});

test("targets that accept or refuse nothing are complained about", async () => {
  const all = await run(planted({ parse: () => "" }));
  assert.deepEqual(complaints(all, SEED), ["planted: no input was refused"]);
  const none = await run(planted({
    parse: () => {
      throw corrupt("planted", "never");
    },
  }));
  assert.deepEqual(complaints(none, SEED), ["planted: no input was accepted"]);
});

test("a target that keeps memory is complained about", async () => {
  const report = { ...await run(planted({})), growth: 2 ** 30 };
  assert.deepEqual(complaints(report, SEED), ["planted: the memory grew by 1073741824 bytes"]);
});
