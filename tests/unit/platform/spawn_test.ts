import assert from "node:assert/strict";
import { spawn as spawnByRuntime } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { library } from "../../../src/ffi/ffi.ts";
import { libcPaths, setEnvironmentVariable, takeEnvironmentSecret } from "../../../src/platform/libc.ts";
import { type Fd, receive } from "../../../src/platform/socket.ts";
import { endProcess, spawn, waitExit } from "../../../src/platform/spawn.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { Descriptors, withPython } from "../../support/sockets.ts";
import { ended, outputOf, pause } from "../../support/spawned.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const PYTHON = "/usr/bin/python3";
const linux = process.platform === "linux";
const onLinux = linux ? "" : ": Linux only";
const SPAWN = JSON.stringify(projectUrl("src/platform/spawn.ts"));

const python = (code: string, descriptors: Record<number, Fd> = {}) =>
  outputOf(PYTHON, ["python3", "-c", code], descriptors);

/** Every open descriptor and what it is. */
const LIST_DESCRIPTORS = `
import json, os
def target(fd):
  try: return os.readlink("/proc/self/fd/%d" % fd).split(":")[0]
  except OSError: return None
print(json.dumps([[fd, target(fd)] for fd in range(4096) if target(fd)]))`;

test(
  `a child has the descriptors that it is given, /dev/null for the standard streams, and no other${onLinux}`,
  withPython,
  async () => {
    using pipes = new Descriptors();
    using directory = temporaryDirectory();
    writeFileSync(directory.file("f"), "");
    const given = pipes.pipe();
    // As a shell leaves them open: not closed on exec.
    using _inherited = openDescriptor(directory.file("f"));
    using _another = openDescriptor("/dev/zero");
    const list = async (descriptors: Record<number, Fd>) =>
      JSON.parse(await python(LIST_DESCRIPTORS, descriptors));
    assert.deepEqual(await list({}), [[0, "/dev/null"], [1, "pipe"], [2, "/dev/null"]]);
    assert.deepEqual(await list({ 0: given.read, 7: given.write, 300: given.write }), [
      [0, "pipe"],
      [1, "pipe"],
      [2, "/dev/null"],
      [7, "pipe"],
      [300, "pipe"],
    ]);
  },
);

test(
  `descriptors reach the child also when numbers of both sides are the same or change places${onLinux}`,
  withPython,
  async () => {
    using pipes = new Descriptors();
    const [a, b, c] = [pipes.pipe(), pipes.pipe(), pipes.pipe()];
    const code = [a, b, c].map(({ write }) => `os.write(${write}, b"${write}")`).join("; ");
    const written = async (descriptors: Record<number, Fd>) => {
      await python(`import os; ${code}`, descriptors);
      return [a, b, c].map(({ read }) => {
        const buffer = new Uint8Array(16);
        const count = receive(read, buffer);
        return typeof count === "number"
          ? Number(new TextDecoder().decode(buffer.subarray(0, count)))
          : count;
      });
    };
    const [x, y, z] = [a.write, b.write, c.write];
    assert.deepEqual(await written({ [x]: x, [y]: y, [z]: z }), [x, y, z]);
    assert.deepEqual(await written({ [x]: y, [y]: x, [z]: z }), [y, x, z]);
    assert.deepEqual(await written({ [x]: y, [y]: z, [z]: x }), [z, x, y]);
  },
);

test(
  `descriptors reach the child also when its numbers are the next free ones here${onLinux}`,
  withPython,
  async () => {
    using pipes = new Descriptors();
    const [a, b] = [pipes.pipe(), pipes.pipe()];
    // Copies that were made here on the way would have just these numbers, and stand in each other's way.
    // Which pipe it is does not repeat itself, so that one off by any number is another one.
    const indexes = Array.from({ length: 60 }, (_, index) => index);
    const numbers = indexes.map((index) => b.write + 6 + index);
    const isFirst = (index: number) => Math.floor(Math.sqrt(index)) % 2 === 0;
    const given = Object.fromEntries(numbers.map((fd, index) => [fd, isFirst(index) ? a.write : b.write]));
    await python(
      `import os\nfor index, fd in enumerate(${JSON.stringify(numbers)}): os.write(fd, bytes([index]))`,
      given,
    );
    const buffer = new Uint8Array(64);
    for (const [{ read }, which] of [[a, true], [b, false]] as const) {
      const count = Number(receive(read, buffer));
      assert.deepEqual([...buffer.subarray(0, count)], indexes.filter((index) => isFirst(index) === which));
    }
  },
);

test("a child that was given descriptors leaves them close-on-exec here", async () => {
  using pipes = new Descriptors();
  const { read, write } = pipes.pipe();
  assert.equal(await outputOf("/bin/echo", ["echo", "a"], { [write]: write }), "a\n");
  const pid = spawn({ path: "/bin/sleep", argv: ["sleep", "60"], descriptors: {} });
  pipes.close(write);
  // The kernel lets this process go on a moment before it has closed them in the child.
  for (let tries = 0; tries < 500 && receive(read, new Uint8Array(1)) === "later"; tries++) await pause(2);
  assert.equal(receive(read, new Uint8Array(1)), 0);
  endProcess(pid, 9);
  assert.deepEqual(await ended(pid), { code: null, signal: 9 });
});

test("a child has the environment of the C library, without what has been taken out of it", async () => {
  const names = ["AMESH_TEST_A", "AUTH_MESH_PASSPHRASE"] as const;
  using _environment = setEnvironment({ [names[0]]: "", [names[1]]: "" });
  setEnvironmentVariable(names[0], "one = \u00fc");
  setEnvironmentVariable(names[1], "s3cret");
  const before = await outputOf("/usr/bin/env", ["env"]);
  assert.match(before, /^AUTH_MESH_PASSPHRASE=s3cret$/m);
  takeEnvironmentSecret(names[1]);
  const after = await outputOf("/usr/bin/env", ["env"]);
  assert.match(after, /^AMESH_TEST_A=one = \u00fc$/m);
  assert.match(after, /^PATH=/m);
  assert.doesNotMatch(after, /s3cret|AUTH_MESH_PASSPHRASE/);
});

test("a child does not get the variables that are kept from it, and they stay here", async () => {
  const names = ["AMESH_TEST_A", "AUTH_MESH_PASSPHRASE"] as const;
  using _environment = setEnvironment({ [names[0]]: "", [names[1]]: "" });
  setEnvironmentVariable(names[0], "one");
  setEnvironmentVariable(names[1], "s3cret");
  const kept = await outputOf("/usr/bin/env", ["env"], {}, ["AUTH_MESH_PASSPHRASE", "AMESH_TEST"]);
  assert.doesNotMatch(kept, /s3cret|AUTH_MESH_PASSPHRASE/);
  // A name is meant as a whole.
  assert.match(kept, /^AMESH_TEST_A=one$/m);
  assert.match(kept, /^PATH=/m);
  assert.match(await outputOf("/usr/bin/env", ["env"]), /^AUTH_MESH_PASSPHRASE=s3cret$/m);
});

test(`a child has its arguments as they are${onLinux}`, withPython, async () => {
  const argv = ["python3", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"];
  const given = [
    "",
    "a b",
    "*",
    "ünïcödé \u{1f511}",
    '"',
    "",
    "x".repeat(50_000),
    ...Array(200).fill("more"),
  ];
  assert.deepEqual(JSON.parse(await outputOf(PYTHON, [...argv, ...given])), given);
});

/** Blocks SIGUSR1 in this thread; disposing of it lets it come again. */
function blockSignal(): Disposable {
  const { pthread_sigmask } = library(libcPaths, {
    pthread_sigmask: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  });
  const [SIG_BLOCK, SIG_UNBLOCK, SIGUSR1] = [0, 1, 10];
  const set = new Uint8Array(128);
  set[1] = 1 << (SIGUSR1 - 9);
  assert.equal(pthread_sigmask(SIG_BLOCK, set, null), 0);
  return { [Symbol.dispose]: () => void pthread_sigmask(SIG_UNBLOCK, set, null) };
}

test(
  `a child heeds SIGPIPE, which this process ignores, and blocks no signal${onLinux}`,
  { skip: !linux },
  async () => {
    // Up to 31: glibc has a use of its own for 32 and 33.
    const masks = (text: string) =>
      ["SigBlk", "SigIgn"].map((name) =>
        BigInt(`0x${new RegExp(`${name}:\\s+(\\w+)`).exec(text)![1]}`) & 0x7fffffffn
      );
    using _blocked = blockSignal();
    const [blocked = 0n, ignored = 0n] = masks(readFileSync("/proc/thread-self/status", "utf8"));
    assert.deepEqual([blocked & (1n << 9n), ignored & (1n << 12n)], [1n << 9n, 1n << 12n]);
    assert.deepEqual(masks(await outputOf("/bin/cat", ["cat", "/proc/self/status"])), [0n, 0n]);
  },
);

test("waitExit() tells how a child ended, once", async () => {
  const start = (script: string) => spawn({ path: "/bin/sh", argv: ["sh", "-c", script], descriptors: {} });
  for (const code of [0, 1, 7, 128, 255]) {
    const pid = start(`exit ${code}`);
    assert.deepEqual(await ended(pid), { code, signal: null });
    assert.deepEqual(waitExit(pid), { code: null, signal: null });
  }
  for (const signal of [1, 6, 9, 15]) {
    assert.deepEqual(await ended(start(`kill -${signal} $$`)), { code: null, signal });
  }
});

test("waitExit() gives null while a child runs; endProcess() ends it, and does not mind one that has ended", async () => {
  const pid = spawn({ path: "/bin/sleep", argv: ["sleep", "60"], descriptors: {} });
  assert.equal(waitExit(pid), null);
  endProcess(pid, 15);
  assert.deepEqual(await ended(pid), { code: null, signal: 15 });
  endProcess(pid, 15);
  for (const none of [0, -1, 1.5, NaN]) {
    assert.throws(() => endProcess(none, 0), RangeError);
    assert.throws(() => waitExit(none), RangeError);
  }
});

const asRoot = { skip: !linux || process.geteuid?.() !== 0 };
test(
  `endProcess() throws EPERM for a process of another user${asRoot.skip ? ": needs root" : ""}`,
  asRoot,
  () => {
    const code = `
    import { endProcess } from ${SPAWN};
    globalThis.process.setuid(65534);
    try { endProcess(${process.pid}, 15); } catch (error) { console.log(error.code); }`;
    const { stdout, stderr } = runChild(evaluation(code));
    assert.equal(stdout, "EPERM\n", stderr);
  },
);

test("the runtime does not wait for children that are not its own", async () => {
  const pids = [1, 2, 3].map((code) =>
    spawn({ path: "/bin/sh", argv: ["sh", "-c", `exit ${code}`], descriptors: {} })
  );
  for (let i = 0; i < 3; i++) {
    const child = spawnByRuntime("/bin/sh", ["-c", "exit 9"]);
    assert.equal(await new Promise((resolve) => child.once("exit", resolve)), 9);
    assert.equal(runChild(["sh", "-c", "exit 8"]).code, 8);
  }
  await pause(100);
  assert.deepEqual(pids.map((pid) => waitExit(pid)?.code), [1, 2, 3]);
});

test(
  `spawn() says why a program cannot be started, and leaves no descriptor${onLinux}`,
  { skip: !linux },
  () => {
    using directory = temporaryDirectory();
    using pipes = new Descriptors();
    const { read } = pipes.pipe();
    writeFileSync(directory.file("plain"), "");
    writeFileSync(directory.file("text"), "no program");
    chmodSync(directory.file("text"), 0o700);
    const cases = [
      [directory.file("absent"), [], "ENOENT"],
      [directory.file("plain"), [], "EACCES"],
      [directory.file("text"), [], "ENOEXEC"],
      [directory.path, [], "EACCES"],
      ["/bin/true", ["x".repeat(3_000_000)], "E2BIG"],
      ["/bin/true", ["a\0b"], "EINVAL"],
      ["/bin/true\0", [], "EINVAL"],
      // It is looked for nowhere.
      ["true", [], "ENOENT"],
    ] as const;
    const before = readdirSync("/proc/self/fd").length;
    for (let round = 0; round < 10; round++) {
      for (const [path, args, code] of cases) {
        assert.throws(() => spawn({ path, argv: ["name", ...args], descriptors: { 3: read, 4: read } }), {
          code,
        }, path);
      }
      const request = { path: "/bin/true", argv: ["true"], descriptors: { 3: read, 4: 4_000 } };
      assert.throws(() => spawn(request), { code: "EBADF" });
    }
    assert.ok(readdirSync("/proc/self/fd").length < before + 10);
  },
);

test(`many children, and no descriptor is left${onLinux}`, { skip: !linux }, async () => {
  using pipes = new Descriptors();
  const { read, write } = pipes.pipe();
  const before = readdirSync("/proc/self/fd").length;
  const request = { path: "/bin/sh", argv: ["sh", "-c", "echo >&5"], descriptors: { 0: read, 5: write } };
  const pids = Array.from({ length: 50 }, () => spawn(request));
  for (const pid of pids) assert.deepEqual(await ended(pid), { code: 0, signal: null });
  assert.ok(readdirSync("/proc/self/fd").length < before + 50);
  assert.equal(receive(read, new Uint8Array(100)), 50);
});
