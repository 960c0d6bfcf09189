import assert from "node:assert/strict";
import { spawn as spawnByRuntime } from "node:child_process";
import { chmodSync, copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { library } from "../../../src/ffi/ffi.ts";
import { libcPaths, setEnvironmentVariable, takeEnvironmentSecret } from "../../../src/platform/libc.ts";
import { type Fd, receive, send } from "../../../src/platform/socket.ts";
import {
  endProcess,
  type Exit,
  ownCommandLine,
  ownExecutable,
  programOf,
  spawn,
  waitExit,
} from "../../../src/platform/spawn.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { Descriptors, withPython } from "../../support/sockets.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const PYTHON = "/usr/bin/python3";
const linux = process.platform === "linux";
const onLinux = linux ? "" : ": Linux only";
const SPAWN = JSON.stringify(projectUrl("src/platform/spawn.ts"));

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function ended(pid: number): Promise<Exit> {
  for (let tries = 0; tries < 3_000; tries++) {
    const exit = waitExit(pid);
    if (exit !== null) return exit;
    await pause(2);
  }
  endProcess(pid, 9);
  throw new Error(`process ${pid} does not end`);
}

/** Runs a program to its end. @returns what it wrote to its standard output. */
async function outputOf(path: string, argv: readonly string[], descriptors: Record<number, Fd> = {}) {
  using pipes = new Descriptors();
  const { read, write } = pipes.pipe();
  const pid = spawn({ path, argv, descriptors: { ...descriptors, 1: write } });
  pipes.close(write);
  const exit = await ended(pid);
  const buffer = new Uint8Array(65_536);
  let text = "";
  for (let count; (count = receive(read, buffer)) !== 0;) {
    assert.ok(typeof count === "number");
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  assert.deepEqual(exit, { code: 0, signal: null }, text);
  return text;
}
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

test("detach() leaves the session and lets go of the standard streams", () => {
  using directory = temporaryDirectory();
  // It cannot leave the session when it leads a group, which is what a child of this kind does not.
  const code = `
    import { detach, spawn, waitExit } from ${SPAWN};
    import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
    const session = () => readFileSync("/proc/self/stat", "utf8").replace(/.*\\) /, "").split(" ")[3];
    const before = session();
    console.log("before");
    detach();
    console.log("after");
    console.error("after");
    detach();
    const streams = [0, 1, 2].map((fd) => readlinkSync("/proc/self/fd/" + fd));
    writeFileSync(${JSON.stringify(directory.file("out"))},
      JSON.stringify([before !== session(), session() === String(globalThis.process.pid), streams]));`;
  const { code: exitCode, stdout, stderr } = runChild(evaluation(code), { input: "" });
  assert.deepEqual([exitCode, stdout, stderr], [0, "before\n", ""]);
  const null_ = "/dev/null";
  assert.deepEqual(JSON.parse(readFileSync(directory.file("out"), "utf8")), [true, true, [
    null_,
    null_,
    null_,
  ]]);
});

test("ownCommandLine() and ownExecutable() are what starts this program again", async () => {
  const code = `
    import { ownCommandLine, ownExecutable } from ${SPAWN};
    console.log(JSON.stringify([ownCommandLine(), ownExecutable()]));`;
  const command = [...evaluation(code), "", "ü b"];
  const { stdout, stderr } = runChild(command);
  const [line, executable] = JSON.parse(stdout || stderr);
  assert.deepEqual(line, command);
  const again = await outputOf(executable, line);
  assert.equal(again, stdout);
  assert.ok(ownCommandLine().length > 1);
  assert.equal(
    await outputOf(ownExecutable(), ["name", "--version"]),
    runChild([process.execPath, "--version"]).stdout,
  );
});

test(`ownExecutable() still starts a program whose file was replaced${onLinux}`, { skip: !linux }, () => {
  using directory = temporaryDirectory();
  const copy = directory.file("runtime");
  copyFileSync(process.execPath, copy);
  const code = `
    import { ownExecutable, programOf, spawn, waitExit } from ${SPAWN};
    import { unlinkSync } from "node:fs";
    unlinkSync(${JSON.stringify(copy)});
    const pid = spawn({ path: ownExecutable(), argv: ["name", "--version"], descriptors: { 1: 1 } });
    while (waitExit(pid) === null) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(programOf(globalThis.process.pid));`;
  const [, ...args] = evaluation(code);
  const { stdout, stderr } = runChild([copy, ...args]);
  assert.equal(stdout, `${runChild([process.execPath, "--version"]).stdout}runtime\n`, stderr);
});

test("programOf() tells the file that a process runs", async () => {
  assert.equal(programOf(process.pid), basename(process.execPath));
  assert.equal(programOf(0x7fffffff), null);
  const pid = spawn({ path: "/bin/sleep", argv: ["another name", "60"], descriptors: {} });
  assert.match(programOf(pid)!, /^(sleep|coreutils|busybox)$/);
  endProcess(pid, 9);
  await ended(pid);
});

test(`programOf() shows no control characters of a name${onLinux}`, withPython, async () => {
  using directory = temporaryDirectory();
  const program = directory.file("a\n\u001b[31m\u202eb");
  copyFileSync("/bin/sleep", program);
  chmodSync(program, 0o700);
  const pid = spawn({ path: program, argv: ["sleep", "60"], descriptors: {} });
  assert.equal(programOf(pid), "a??[31m?b");
  endProcess(pid, 9);
  await ended(pid);
});

test(
  `programOf() tells what another user's process calls itself${asRoot.skip ? ": needs root" : ""}`,
  asRoot,
  async () => {
    using pipes = new Descriptors();
    const { read, write } = pipes.pipe();
    const script = `exec 3>&-; printf 'pinentry\\033x' >/proc/$$/comm; read line`;
    const pid = spawn({ path: "/bin/sh", argv: ["sh", "-c", script], descriptors: { 0: read } });
    for (let tries = 0; tries < 500 && !programOf(pid)?.includes("sh"); tries++) await pause(2);
    await pause(50);
    const code = `
    import { programOf } from ${SPAWN};
    globalThis.process.seteuid(65534);
    console.log(programOf(${pid}));`;
    const { stdout, stderr } = runChild(evaluation(code));
    assert.equal(stdout, "pinentry?x\n", stderr);
    send(write, Uint8Array.of(10));
    endProcess(pid, 9);
    await ended(pid);
  },
);
