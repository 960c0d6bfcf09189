import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readlinkSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { PollSet, type Ready } from "../../../src/platform/poll.ts";
import {
  acceptConnection,
  closeFd,
  connectUnix,
  type Fd,
  listenUnix,
  receive,
  send,
} from "../../../src/platform/socket.ts";
import { Descriptors, withPython } from "../../support/sockets.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const READ = { read: true, write: false };
const WRITE = { read: false, write: true };
const BOTH = { read: true, write: true };
const NEITHER = { read: false, write: false };

const fill = (fd: Fd) => {
  while (send(fd, Uint8Array.of(1)) !== 1);
};
/** A copy in one order, because the next wait writes over it. */
const sorted = (ready: readonly Ready[]) => ready.map((entry) => ({ ...entry })).sort((a, b) => a.fd - b.fd);
const fds = (ready: readonly Ready[]) => sorted(ready).map(({ fd }) => fd);

test("wait() gives nothing when the time is over, and not before", () => {
  using pipes = new Descriptors();
  const set = new PollSet();
  for (const prepare of [() => {}, () => set.set(pipes.pipe().read, READ)]) {
    prepare();
    const begun = performance.now();
    assert.deepEqual(set.wait(100), []);
    const took = performance.now() - begun;
    assert.ok(took > 90 && took < 2_000, `${took}`);
  }
});

test("wait() tells what is readable, writable and gone, according to the interest", () => {
  using pipes = new Descriptors();
  const { read, write } = pipes.pipe();
  const set = new PollSet();
  set.set(read, READ);
  set.set(write, NEITHER);
  assert.deepEqual(set.wait(0), []);
  set.set(write, WRITE);
  assert.deepEqual(set.wait(-1), [{ fd: write, readable: false, writable: true, gone: false }]);
  fill(write);
  assert.deepEqual(
    sorted(set.wait(-1)),
    [
      { fd: read, readable: true, writable: false, gone: false },
      { fd: write, readable: false, writable: true, gone: false },
    ].sort((a, b) => a.fd - b.fd),
  );
  set.set(write, READ);
  set.set(read, NEITHER);
  assert.deepEqual(set.wait(0), []);
  set.set(read, BOTH);
  set.delete(write);
  pipes.close(write);
  assert.deepEqual(set.wait(-1), [{ fd: read, readable: true, writable: false, gone: true }]);
  set.set(read, NEITHER);
  assert.deepEqual(set.wait(-1), [{ fd: read, readable: false, writable: false, gone: true }]);
});

test("a connection that was closed is readable and gone; one half closed only readable", () => {
  using directory = temporaryDirectory();
  const listener = listenUnix(directory.file("s"), 8);
  const set = new PollSet();
  set.set(listener, READ);
  assert.deepEqual(set.wait(0), []);
  const client = connectUnix(directory.file("s"));
  assert.deepEqual(set.wait(-1), [{ fd: listener, readable: true, writable: false, gone: false }]);
  const server = acceptConnection(listener)!;
  set.set(server, BOTH);
  assert.deepEqual(set.wait(-1), [{ fd: server, readable: false, writable: true, gone: false }]);
  const block = new Uint8Array(1_000_000);
  while (send(server, block) !== "later");
  assert.deepEqual(set.wait(0), []);
  closeFd(client);
  const [ready] = set.wait(-1);
  assert.deepEqual([ready?.fd, ready?.readable, ready?.gone], [server, true, true]);
  assert.equal(receive(server, block), 0);
  closeFd(server);
  closeFd(listener);
});

test("a descriptor that is not open is gone", () => {
  using pipes = new Descriptors();
  const { read } = pipes.pipe();
  const set = new PollSet();
  set.set(read, READ);
  pipes.close(read);
  assert.deepEqual(set.wait(-1), [{ fd: read, readable: false, writable: false, gone: true }]);
  set.delete(read);
  assert.deepEqual(set.wait(0), []);
});

for (const taken of [0, 1, 2, 3]) {
  test(`delete() takes out number ${taken} of four and leaves the others`, () => {
    using pipes = new Descriptors();
    const set = new PollSet();
    const all = [1, 2, 3, 4].map(() => pipes.pipe());
    for (const { read, write } of all) {
      set.set(read, READ);
      fill(write);
    }
    assert.deepEqual(fds(set.wait(-1)), all.map(({ read }) => read).sort((a, b) => a - b));
    set.delete(all[taken]!.read);
    set.delete(all[taken]!.read);
    const left = all.filter((_, index) => index !== taken).map(({ read }) => read);
    assert.deepEqual(fds(set.wait(-1)), left.toSorted((a, b) => a - b));
    // Those that are left can still be changed and taken out, wherever they have moved.
    for (const fd of left) {
      set.set(fd, NEITHER);
      assert.ok(!fds(set.wait(0)).includes(fd));
      set.set(fd, READ);
    }
    for (const fd of left) set.delete(fd);
    assert.deepEqual(set.wait(0), []);
    set.set(all[taken]!.read, READ);
    assert.deepEqual(fds(set.wait(-1)), [all[taken]!.read]);
  });
}

test("a set of hundreds that changes all the time tells exactly the ready ones", () => {
  using pipes = new Descriptors();
  const set = new PollSet();
  const all = Array.from({ length: 300 }, () => pipes.pipe());
  const waited = new Set<Fd>();
  const filled = new Set<Fd>();
  // A linear congruential generator: the same changes in every run.
  let seed = 7;
  const below = (limit: number) => {
    seed = Math.imul(seed, 1_103_515_245) + 12_345 >>> 0;
    return (seed >>> 8) % limit;
  };
  for (let round = 0; round < 5_000; round++) {
    const { read, write } = all[below(all.length)]!;
    const change = below(4);
    if (change < 2) {
      set.set(read, READ);
      waited.add(read);
    } else if (change === 2) {
      set.delete(read);
      waited.delete(read);
    } else if (filled.delete(read)) {
      assert.equal(receive(read, new Uint8Array(4)), 1);
    } else {
      fill(write);
      filled.add(read);
    }
    const want = [...waited].filter((fd) => filled.has(fd)).sort((a, b) => a - b);
    assert.deepEqual(fds(set.wait(0)), want, `${round}`);
  }
  assert.ok(waited.size > 100 && filled.size > 100);
});

test("wait() hands out the same array and entries again", () => {
  using pipes = new Descriptors();
  const { read, write } = pipes.pipe();
  const set = new PollSet();
  set.set(read, READ);
  fill(write);
  const first = set.wait(-1);
  const entry = first[0];
  receive(read, new Uint8Array(4));
  assert.equal(set.wait(0), first);
  assert.equal(first.length, 0);
  fill(write);
  assert.equal(set.wait(-1)[0], entry);
});

const why = withPython.skip ? ": needs Linux and python3" : "";
test(`a signal ends wait() with nothing${why}`, withPython, async () => {
  using pipes = new Descriptors();
  const { read } = pipes.pipe();
  const set = new PollSet();
  set.set(read, READ);
  let heard = 0;
  const listener = () => void heard++;
  process.on("SIGUSR2", listener);
  // To this thread, which is not the process's first in every test runner.
  const [, thread] = /task\/(\d+)$/.exec(readlinkSync("/proc/thread-self"))!;
  const code = `import ctypes, signal, time
libc = ctypes.CDLL(None)
print("", flush=True); time.sleep(0.3); libc.tgkill(${process.pid}, ${thread}, signal.SIGUSR2)`;
  const child = spawn("/usr/bin/python3", ["-c", code], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    await new Promise((resolve) => child.stdout!.once("data", resolve));
    const begun = performance.now();
    assert.deepEqual(set.wait(10_000), []);
    const took = performance.now() - begun;
    assert.ok(took < 8_000, `${took}`);
    await ended;
    for (let tries = 0; heard === 0 && tries < 100; tries++) await new Promise((go) => setTimeout(go, 10));
    assert.equal(heard, 1);
  } finally {
    process.off("SIGUSR2", listener);
  }
});

test("wait() in a Worker blocks that thread alone, and a pipe wakes it", async () => {
  using pipes = new Descriptors();
  const { read, write } = pipes.pipe();
  const worker = new Worker(new URL("../../support/poll_worker.ts", import.meta.url).href, {
    type: "module",
  });
  const messages: unknown[] = [];
  let wake = () => {};
  worker.onmessage = ({ data }) => {
    messages.push(data);
    wake();
  };
  const next = async () => {
    while (messages.length === 0) await new Promise<void>((resolve) => wake = resolve);
    return messages.shift();
  };
  try {
    for (let round = 1; round <= 3; round++) {
      worker.postMessage(read);
      assert.equal(await next(), "waits");
      // This thread's timers go on meanwhile.
      for (let tick = 0; tick < 5; tick++) await new Promise((resolve) => setTimeout(resolve, 10));
      assert.deepEqual(messages, []);
      assert.equal(send(write, Uint8Array.of(round, 9)), 2);
      assert.deepEqual(await next(), {
        fd: read,
        readable: true,
        writable: false,
        gone: false,
        bytes: [round, 9],
      });
    }
  } finally {
    worker.terminate();
  }
});
