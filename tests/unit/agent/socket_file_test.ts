import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { defaultSocket, listenOn, removeSocket } from "../../../src/agent/socket_file.ts";
import { fileStamp } from "../../../src/agent/stamp.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import { layoutOf } from "../../../src/platform/paths.ts";
import { pause } from "../../../src/platform/ready.ts";
import { acceptConnection, closeFd, connectUnix, listenUnix } from "../../../src/platform/socket.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const LAYOUT = layoutOf("/home/someone/.amesh");

/** Listens, and closes that at the end of the test. */
async function listening(path: string, isDefault = false) {
  const made = await listenOn(path, isDefault);
  assert.ok(made !== null, "somebody listens");
  return { ...made, [Symbol.dispose]: () => closeFd(made.listener) };
}

function leaveStale(path: string): void {
  closeFd(listenUnix(path, 1));
  assert.ok(existsSync(path));
}

test("the usual socket lies in XDG_RUNTIME_DIR where that is an absolute directory, else in the amesh directory", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("file"), "");
  const inDirectory = "/home/someone/.amesh/run/agent.sock";
  const cases: [value: Record<string, string>, expected: string][] = [
    [{ XDG_RUNTIME_DIR: directory.path }, directory.file("amesh/agent.sock")],
    [{ XDG_RUNTIME_DIR: "" }, inDirectory],
    [{ XDG_RUNTIME_DIR: "relative" }, inDirectory],
    [{ XDG_RUNTIME_DIR: "." }, inDirectory],
    [{ XDG_RUNTIME_DIR: directory.file("absent") }, inDirectory],
    [{ XDG_RUNTIME_DIR: directory.file("file") }, inDirectory],
  ];
  for (const [variables, expected] of cases) {
    using _environment = setEnvironment(variables);
    assert.equal(defaultSocket(LAYOUT), expected, JSON.stringify(variables));
  }
});

test("listenOn() makes a socket of mode 0600 and tells its stamp", async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  using made = await listening(path);
  const info = lstatSync(path);
  assert.ok(info.isSocket());
  assert.equal(info.mode & 0o7777, 0o600);
  assert.equal(made.stamp, fileStamp(path));
  closeFd(connectUnix(path));
  assert.ok(acceptConnection(made.listener) !== null);
});

test("listenOn() makes the usual socket's directory, which nobody else may enter, and a lock in it", async () => {
  using directory = temporaryDirectory();
  mkdirSync(directory.file("run"), { mode: 0o755 });
  const path = directory.file("run/amesh/agent.sock");
  using _made = await listening(path, true);
  assert.equal(lstatSync(directory.file("run/amesh")).mode & 0o7777, 0o700);
  assert.deepEqual(readdirSync(directory.file("run/amesh")).sort(), [".agent.sock.lock", "agent.sock"]);
  assert.equal(lstatSync(directory.file("run/amesh/.agent.sock.lock")).mode & 0o077, 0);
});

test("listenOn() makes no directory for a socket that was named, and no lock", async () => {
  using directory = temporaryDirectory();
  await assert.rejects(
    listenOn(directory.file("absent/s"), false),
    ameshError("ERR_SYSTEM", /listen on .*absent/),
  );
  assert.deepEqual(readdirSync(directory.path), []);
  using _made = await listening(directory.file("s"));
  assert.deepEqual(readdirSync(directory.path), ["s"]);
});

test("listenOn() does not take a directory of its own that others may enter", async () => {
  using directory = temporaryDirectory();
  mkdirSync(directory.file("amesh"), { mode: 0o777 });
  spawnSync("chmod", ["0777", directory.file("amesh")]);
  await assert.rejects(
    listenOn(directory.file("amesh/agent.sock"), true),
    ameshError("ERR_UNSAFE_PERMISSIONS"),
  );
  assert.deepEqual(readdirSync(directory.file("amesh")), []);
});

for (const isDefault of [false, true]) {
  const which = isDefault ? "the usual socket" : "a socket that was named";

  test(`a stale one is replaced: ${which}`, async () => {
    using directory = temporaryDirectory();
    const path = directory.file("s");
    leaveStale(path);
    using made = await listening(path, isDefault);
    assert.equal(fileStamp(path), made.stamp);
    closeFd(connectUnix(path));
  });

  test(`a live one is kept: ${which}`, async () => {
    using directory = temporaryDirectory();
    const path = directory.file("s");
    using made = await listening(path, isDefault);
    assert.equal(await listenOn(path, isDefault), null);
    assert.equal(fileStamp(path), made.stamp);
    closeFd(connectUnix(path));
  });

  test(`of many that start at the same time one listens, also over a stale one: ${which}`, async () => {
    for (const isStale of [false, true]) {
      using directory = temporaryDirectory();
      const path = directory.file("s");
      if (isStale) leaveStale(path);
      const made = await Promise.all(Array.from({ length: 8 }, () => listenOn(path, isDefault)));
      const listeners = made.filter((one) => one !== null);
      assert.equal(listeners.length, 1);
      assert.equal(fileStamp(path), listeners[0]!.stamp);
      for (const { listener } of listeners) closeFd(listener);
    }
  });

  const others: Record<string, (path: string) => void> = {
    "a file": (path) => writeFileSync(path, "precious"),
    "an empty file": (path) => writeFileSync(path, ""),
    "a directory": (path) => void mkdirSync(path),
    "a FIFO": (path) => void spawnSync("mkfifo", [path]),
    "a symbolic link to nothing": (path) => symlinkSync("absent", path),
    "a symbolic link to a stale socket": (path) => {
      leaveStale(`${path}.stale`);
      symlinkSync(`${path}.stale`, path);
    },
  };
  for (const [what, make] of Object.entries(others)) {
    test(`${what} is left as it is: ${which}`, async () => {
      using directory = temporaryDirectory();
      const path = directory.file("s");
      make(path);
      const before = fileStamp(path);
      await assert.rejects(
        listenOn(path, isDefault),
        ameshError("ERR_SYSTEM", /it is there and is no socket$/),
      );
      assert.equal(fileStamp(path), before);
    });
  }
}

test("a start waits for another one to end, and gives up some time later", async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  const lock = acquireLock(directory.file(".agent.sock.lock"));
  const made = listenOn(path, true);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(!existsSync(path));
  await assert.rejects(made, ameshError("ERR_BUSY"));
  const later = listenOn(path, true);
  await new Promise((resolve) => setTimeout(resolve, 100));
  lock[Symbol.dispose]();
  const listening = await later;
  assert.ok(listening !== null);
  closeFd(listening.listener);
});

test("the lock of a socket that lies elsewhere is in a directory of ours, where that can be written", async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  const lock = acquireLock(directory.file(".agent.sock.lock"));
  const made = listenOn(path, false, directory.path);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(!existsSync(path));
  lock[Symbol.dispose]();
  const waited = await made;
  assert.ok(waited !== null);
  closeFd(waited.listener);
  writeFileSync(directory.file("file"), "");
  const anyway = await listenOn(directory.file("t"), false, directory.file("file/ours"));
  assert.ok(anyway !== null);
  closeFd(anyway.listener);
});

test("a path that is too long is the caller's mistake", async () => {
  using directory = temporaryDirectory();
  const path = directory.file("x".repeat(150));
  await assert.rejects(listenOn(path, false), ameshError("ERR_USAGE", /107 bytes at most/));
});

const unlessRoot = { skip: process.geteuid?.() === 0 };
test("whether somebody listens is not guessed: root may connect to all", unlessRoot, async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  using made = await listening(path);
  spawnSync("chmod", ["0", path]);
  await assert.rejects(listenOn(path, false), ameshError("ERR_SYSTEM", /look who listens/));
  assert.equal(fileStamp(path).split(":")[1], made.stamp.split(":")[1]);
});

test(
  "a socket of another kind is in use: Linux only",
  { skip: process.platform !== "linux" || !existsSync("/usr/bin/python3") },
  async () => {
    using directory = temporaryDirectory();
    const path = directory.file("s");
    const code =
      "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1])";
    const program = spawn("/usr/bin/python3", ["-c", `${code}; print(flush=True); sys.stdin.read()`, path]);
    try {
      await new Promise((resolve) => program.stdout.once("data", resolve));
      const before = fileStamp(path);
      assert.equal(await listenOn(path, false), null);
      assert.equal(fileStamp(path), before);
    } finally {
      program.kill("SIGKILL");
    }
  },
);

test("removeSocket() removes the socket that it was told of, and no other", async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  const first = await listening(path);
  first[Symbol.dispose]();
  // The inode may be the same again, but not the time.
  pause(20);
  using second = await listening(path);
  removeSocket(path, first.stamp);
  assert.equal(fileStamp(path), second.stamp);
  removeSocket(path, second.stamp);
  assert.ok(!existsSync(path));
  removeSocket(path, second.stamp);
  // Its directory may be gone too.
  removeSocket(directory.file("absent/s"), second.stamp);
});
