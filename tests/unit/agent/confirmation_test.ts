import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { Confirmations } from "../../../src/agent/confirmation.ts";
import { PollSet } from "../../../src/platform/poll.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

/** As the loop around it waits while a program asks. */
const RETRY_MS = 50;
/** Nothing that is tested here takes so long. */
const STUCK_MS = 5_000;

/** A program that asks, as a shell script, and its questions. */
function askpass(script: string) {
  const directory = temporaryDirectory();
  const path = directory.file("askpass");
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o700);
  const confirmations = new Confirmations(path);
  const answers: string[] = [];
  const voids = new Set<string>();
  const ask = (text: string) =>
    confirmations.ask({
      text,
      isVoid: () => voids.has(text),
      answer: (isAllowed) => void answers.push(`${text}: ${isAllowed ? "yes" : "no"}`),
    });
  /** Waits as the agent's loop does, for what the confirmations tell it to. @returns what failed. */
  const runUntil = (isDone: () => boolean): unknown[] => {
    const failures: unknown[] = [];
    const begun = performance.now();
    for (;;) {
      const failure = confirmations.proceed();
      if (failure !== null) failures.push(failure);
      if (isDone()) return failures;
      assert.ok(confirmations.hasWork, `nobody asks after ${answers.join(", ")}`);
      new PollSet().wait(RETRY_MS);
      assert.ok(performance.now() - begun < STUCK_MS, `stuck after ${answers.join(", ")}`);
    }
  };
  return {
    path,
    file: directory.file,
    confirmations,
    answers,
    voids,
    ask,
    runUntil,
    [Symbol.dispose]: () => {
      confirmations.stop();
      directory[Symbol.dispose]();
    },
  };
}

const scripts: [what: string, script: string, answer: "yes" | "no"][] = [
  ["says yes", "echo yes", "yes"],
  ["says yes without a line's end", "printf yes", "yes"],
  ["says Yes with spaces", "echo '  YES '", "yes"],
  ["says nothing", "exit 0", "yes"],
  ["says an empty line", "echo", "yes"],
  ["says no", "echo no", "no"],
  ["says yes and fails", "echo yes; exit 1", "no"],
  ["says nothing and fails", "exit 1", "no"],
  ["is ended by a signal", "echo yes; kill -KILL $$", "no"],
  ["says something else", "echo 'yes please'", "no"],
  ["says what is no text", "printf '\\377\\376'", "no"],
  ["says spaces", "printf '   '", "no"],
  ["says 64 bytes that begin as a yes", `printf 'yes%61s' x`, "no"],
  ["says a yes that ends in 65 spaces", `printf 'yes%65s' ''`, "no"],
  ["says more than a pipe holds", "yes yes | head -c 300000", "no"],
  ["says it in two parts", "printf y; sleep 0.1; printf es", "yes"],
  ["ends late after its output", "echo yes; exec >&-; sleep 0.3", "yes"],
  ["fails late after its output", "echo yes; exec >&-; sleep 0.3; exit 3", "no"],
];
for (const [what, script, answer] of scripts) {
  test(`a program that ${what} means ${answer}`, () => {
    using asked = askpass(script);
    asked.ask("q");
    assert.deepEqual(asked.runUntil(() => asked.answers.length > 0), []);
    assert.deepEqual(asked.answers, [`q: ${answer}`]);
    assert.equal(asked.confirmations.hasWork, false);
  });
}

test("nothing is asked, and nothing waited for, before proceed() and after the last answer", () => {
  using asked = askpass("echo yes");
  assert.equal(asked.confirmations.proceed(), null);
  asked.ask("q");
  assert.equal(asked.confirmations.hasWork, true);
  asked.runUntil(() => asked.answers.length > 0);
  assert.equal(asked.confirmations.proceed(), null);
  assert.deepEqual(asked.answers, ["q: yes"]);
});

test("the program is told the question as one argument, and has no other descriptors", () => {
  using asked = askpass('printf %s "$#|$1" > "$0.told"; ls -l /proc/self/fd > "$0.fds"; cat >> "$0.told"');
  const text = 'Allow "x" $HOME `id`\nwith the key é?';
  asked.ask(text);
  asked.runUntil(() => asked.answers.length > 0);
  assert.equal(readFileSync(`${asked.path}.told`, "utf8"), `1|${text}`);
  if (process.platform !== "linux") return;
  const descriptors = readFileSync(`${asked.path}.fds`, "utf8").match(/ \d+ -> \S+/g)!;
  const named = descriptors.filter((line) => !/\/proc\/|\.fds$|askpass$/.test(line));
  assert.deepEqual(named.map((line) => line.trim()), ["0 -> /dev/null", "2 -> /dev/null"]);
});

test("questions are asked one at a time and in order", () => {
  using asked = askpass(`mkdir "$0.busy" || echo "$1" >> "$0.clash"
    echo "$1" >> "$0.log"; sleep 0.1; rmdir "$0.busy"; [ "$1" != b ]`);
  for (const text of ["a", "b", "c"]) asked.ask(text);
  asked.runUntil(() => asked.answers.length === 3);
  assert.deepEqual(asked.answers, ["a: yes", "b: no", "c: yes"]);
  assert.equal(readFileSync(`${asked.path}.log`, "utf8"), "a\nb\nc\n");
  assert.ok(!existsSync(`${asked.path}.clash`));
});

test("a question that nobody waits for any more is not asked", () => {
  using asked = askpass('echo "$1" >> "$0.log"');
  for (const text of ["a", "b", "c"]) asked.ask(text);
  asked.voids.add("b");
  asked.runUntil(() => asked.answers.length === 2);
  assert.deepEqual(asked.answers, ["a: yes", "c: yes"]);
  assert.equal(readFileSync(`${asked.path}.log`, "utf8"), "a\nc\n");
});

test("for a question that nobody waits for any more no program is started", () => {
  using asked = askpass("exit 0");
  asked.voids.add("a");
  rmSync(asked.path);
  asked.ask("a");
  assert.equal(asked.confirmations.proceed(), null);
  assert.equal(asked.confirmations.hasWork, false);
  assert.deepEqual(asked.answers, []);
});

/** The loop runs by itself when a client goes. */
const vanish = (asked: ReturnType<typeof askpass>, text: string) => {
  asked.voids.add(text);
  assert.equal(asked.confirmations.proceed(), null);
};

test("a program that never ends is ended when its client is gone, and the next question is asked", () => {
  using asked = askpass('[ "$1" = b ] && exit 0; echo $$ > "$0.pid"; exec sleep 600');
  asked.ask("a");
  asked.ask("b");
  asked.confirmations.proceed();
  while (!existsSync(`${asked.path}.pid`)) new PollSet().wait(10);
  vanish(asked, "a");
  asked.runUntil(() => asked.answers.length > 0);
  assert.deepEqual(asked.answers, ["b: yes"]);
});

test("the next question is asked, too, when what a program has started keeps its output open", () => {
  // A script that starts a dialog and waits for it, as many do.
  using asked = askpass('[ "$1" = b ] && exit 0; sleep 30 & echo $! > "$0.pid"; wait');
  asked.ask("a");
  asked.ask("b");
  asked.confirmations.proceed();
  while (!existsSync(`${asked.path}.pid`)) new PollSet().wait(10);
  try {
    vanish(asked, "a");
    asked.runUntil(() => asked.answers.length > 0);
    assert.deepEqual(asked.answers, ["b: yes"]);
  } finally {
    process.kill(Number(readFileSync(`${asked.path}.pid`, "utf8")), "SIGKILL");
  }
});

test("an answer counts when its program has ended, also when something else keeps its output open", () => {
  using asked = askpass('sleep 30 & echo $! > "$0.pid"; echo yes');
  asked.ask("a");
  try {
    asked.runUntil(() => asked.answers.length > 0);
    assert.deepEqual(asked.answers, ["a: yes"]);
  } finally {
    process.kill(Number(readFileSync(`${asked.path}.pid`, "utf8")), "SIGKILL");
  }
});

for (
  const [what, prepare] of Object.entries({
    "is not there": (path: string) => `${path}-absent`,
    "is no program": (path: string) => {
      writeFileSync(path, "no program");
      return path;
    },
    "must not be run": (path: string) => {
      chmodSync(path, 0o600);
      return path;
    },
    "is a folder": () => "/",
  })
) {
  test(`a program that ${what} means no, says why, and keeps nothing open`, () => {
    using asked = askpass("echo yes");
    const confirmations = new Confirmations(prepare(asked.path));
    const answers: boolean[] = [];
    const before = openDescriptors();
    for (let i = 0; i < 3; i++) {
      confirmations.ask({ text: "q", isVoid: () => false, answer: (allowed) => void answers.push(allowed) });
      const failure = confirmations.proceed() as { code?: string };
      assert.match(failure?.code ?? "", /^(ENOENT|ENOEXEC|EACCES)$/);
    }
    assert.deepEqual(answers, [false, false, false]);
    assert.deepEqual(openDescriptors(), before);
  });
}

test("many questions keep no descriptor and no process", () => {
  using asked = askpass("echo yes");
  const before = openDescriptors();
  for (let i = 0; i < 20; i++) asked.ask(`${i}`);
  asked.runUntil(() => asked.answers.length === 20);
  assert.deepEqual(openDescriptors(), before);
});

test("stop() ends the program that is asking", () => {
  using asked = askpass('echo $$ > "$0.pid"; exec sleep 600');
  asked.ask("a");
  asked.confirmations.proceed();
  while (!existsSync(`${asked.path}.pid`)) new PollSet().wait(10);
  asked.confirmations.stop();
  asked.runUntil(() => asked.answers.length > 0);
  assert.deepEqual(asked.answers, ["a: no"]);
});

/** Pipes and sockets that this process has open: what the runtime opens meanwhile is of another sort. */
function openDescriptors(): string[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith("pipe:") ? [target] : [];
    } catch {
      return [];
    }
  });
}
