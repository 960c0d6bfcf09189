import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import {
  answers,
  AnswerWatch,
  findConnection,
  tryDevice,
  waitForAnswer,
} from "../../../src/platform/device.ts";
import { cString, libcPaths } from "../../../src/platform/libc.ts";
import { library } from "../../../src/ffi/ffi.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const skip = process.platform !== "linux" || !existsSync("/usr/bin/python3");
const why = skip ? ": needs Linux and python3" : "";

const libc = library(libcPaths, {
  close: { parameters: ["i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "size", "i32"], result: "size" },
  send: { parameters: ["i32", "buffer", "size", "i32"], result: "size" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
});

/** A server in another process, because waiting blocks this one: it runs a line of Python with each connection `c`. */
async function start(socket: string, line: string): Promise<Disposable & { readonly firstLine: string }> {
  const program = `
import socket, time
${socket}; s.listen(128); print(s.getsockname(), flush=True)
while True:
  c, _ = s.accept()
  ${line}
  kept = c`;
  const child = spawn("/usr/bin/python3", ["-c", program], { stdio: ["ignore", "pipe", "inherit"] });
  const firstLine = await new Promise<string>((resolve, reject) => {
    child.stdout!.once("data", (chunk) => resolve(String(chunk)));
    child.once("exit", () => reject(new Error("the server ended before it listened")));
  });
  return { firstLine, [Symbol.dispose]: () => void child.kill("SIGKILL") };
}

const serve = (path: string, line: string): Promise<Disposable> =>
  start(`s = socket.socket(socket.AF_UNIX); s.bind(${JSON.stringify(path)})`, line);

/** The same at a free TCP port. */
async function serveTcp(line: string): Promise<Disposable & { readonly port: number }> {
  const server = await start('s = socket.socket(); s.bind(("127.0.0.1", 0))', line);
  return {
    port: Number(/(\d+)\)/.exec(server.firstLine)![1]),
    [Symbol.dispose]: () => server[Symbol.dispose](),
  };
}

function connectTo(family: number, address: Uint8Array): Disposable & { readonly fd: number } {
  const fd = libc.socket(family, 1, 0);
  assert.equal(libc.connect(fd, address, address.length), 0);
  return { fd, [Symbol.dispose]: () => void libc.close(fd) };
}
const connect = (path: string) => connectTo(1, concatBytes(Uint8Array.of(1, 0), cString(path)));
const connectTcp = (port: number) =>
  connectTo(2, Uint8Array.of(2, 0, port >>> 8, port, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0));

/** tag, size 12, response code, two more bytes; as Python writes it. */
const ANSWER = String.raw`b"\x80\x01\x00\x00\x00\x0c\x00\x00\x00\x00ab"`;
const cases: [string, string, number, boolean][] = [
  ["is there", `c.send(${ANSWER})`, 5000, true],
  ["comes later", `time.sleep(0.2); c.send(${ANSWER})`, 5000, true],
  ["comes in two parts", `c.send(${ANSWER}[:7]); time.sleep(0.2); c.send(${ANSWER}[7:])`, 5000, true],
  ["lacks its end", `c.send(${ANSWER}[:11])`, 100, false],
  ["lacks the rest of its header", `c.send(${ANSWER}[:4])`, 100, false],
  ["lacks all but one byte", `c.send(${ANSWER}[:1])`, 100, false],
  ["lacks its end in a session", `c.send((${ANSWER}[:11]).replace(b"\\x01", b"\\x02"))`, 100, false],
  ["is there in a session", `c.send(${ANSWER}.replace(b"\\x01", b"\\x02"))`, 5000, true],
  ["claims more than any answer has", 'c.send(b"\\x80\\x01\\xff\\xff\\xff\\xff" + bytes(4090))', 5000, true],
  ["ends early on a connection half open", `c.send(${ANSWER}[:4]); c.shutdown(1)`, 5000, true],
  ["is cut off", `c.send(${ANSWER}[:4]); c.close()`, 5000, true],
  ["does not come before the end", "c.close()", 5000, true],
  ["does not come", "pass", 100, false],
  ["is none of a TPM", 'c.send(b"\\x00\\x00\\x00\\x0c")', 5000, true],
];
for (const [what, line, milliseconds, want] of cases) {
  test(`waitForAnswer() says ${want} for an answer that ${what}${why}`, { skip }, async () => {
    using directory = temporaryDirectory();
    using _server = await serve(directory.file("s"), line);
    using connection = connect(directory.file("s"));
    const deadline = performance.now() + milliseconds;
    assert.equal(waitForAnswer(connection.fd, () => deadline - performance.now()), want);
  });
}

test(
  `findConnection() finds a socket by its peer, and none where there is none${why}`,
  { skip },
  async () => {
    using directory = temporaryDirectory();
    using _server = await serve(directory.file("s"), "pass");
    assert.equal(findConnection({ path: directory.file("s") }), null);
    using connection = connect(directory.file("s"));
    assert.equal(findConnection({ path: directory.file("s") }), connection.fd);
    assert.equal(findConnection({ path: directory.file("t") }), null);
    assert.equal(findConnection({ path: directory.file("s").slice(0, -1) }), null);
    // Read as an address of TCP, a path has a port too.
    const [high = 0, low = 0] = cString(directory.file("s"));
    assert.equal(findConnection({ port: high << 8 | low }), null);
    assert.equal(findConnection({ port: 1 }), null);
  },
);

test(`findConnection() finds a connection to a TCP port${why}`, { skip }, async () => {
  using server = await serveTcp("pass");
  assert.equal(findConnection({ port: server.port }), null);
  using connection = connectTcp(server.port);
  assert.equal(findConnection({ port: server.port }), connection.fd);
});

test(`waitForAnswer() leaves the answer to be read${why}`, { skip }, async () => {
  using directory = temporaryDirectory();
  using _server = await serve(directory.file("s"), `c.send(${ANSWER})`);
  using connection = connect(directory.file("s"));
  const deadline = performance.now() + 5000;
  assert.ok(waitForAnswer(connection.fd, () => deadline - performance.now()));
  const answer = new Uint8Array(20);
  assert.equal(libc.recv(connection.fd, answer, 20n, 0x40), 12n);
  assert.equal(answer.subarray(0, 12).toHex(), "80010000000c000000006162");
});

test(`AnswerWatch.wait() waits for one answer after the other${why}`, { skip }, async () => {
  using directory = temporaryDirectory();
  const line = `\n  while c.recv(1): c.send(${ANSWER})`;
  using _server = await serve(directory.file("s"), line);
  using connection = connect(directory.file("s"));
  using watch = new AnswerWatch(connection.fd);
  assert.equal(watch.wait(() => 0), false);
  for (let i = 0; i < 3; i++) {
    assert.equal(libc.send(connection.fd, Uint8Array.of(0), 1n, 0), 1n);
    const deadline = performance.now() + 5000;
    assert.ok(watch.wait(() => deadline - performance.now()));
    assert.equal(libc.recv(connection.fd, new Uint8Array(20), 20n, 0x40), 12n);
    assert.equal(watch.wait(() => 0), false);
  }
});

test(`waitForAnswer() of what is no socket asks only whether it can be read${why}`, { skip }, () => {
  for (const count of [0, 1]) {
    const fd = libc.eventfd(count, 0);
    try {
      const deadline = performance.now() + 50;
      assert.equal(waitForAnswer(fd, () => deadline - performance.now()), count === 1);
    } finally {
      libc.close(fd);
    }
  }
});

test(`a descriptor that cannot be watched is an error with a code${why}`, { skip }, () => {
  assert.throws(() => waitForAnswer(-1, () => 0), { code: "EBADF" });
});

test(`nothing leaves a descriptor open${why}`, { skip }, async () => {
  using server = await serveTcp("pass");
  using connection = connectTcp(server.port);
  const times = 50;
  const uses: Record<string, () => unknown> = {
    tryDevice: () => tryDevice("/dev/null"),
    waitForAnswer: () => waitForAnswer(connection.fd, () => 0),
    "waitForAnswer() of no descriptor": () => assert.throws(() => waitForAnswer(-1, () => 0)),
    "answers() of the silent": () => answers({ port: server.port }, Uint8Array.of(1), 0),
    "answers() of the absent": () => answers({ path: "/dev/null/x" }, Uint8Array.of(1), 0),
  };
  for (const [what, use] of Object.entries(uses)) {
    const before = readdirSync("/proc/self/fd").length;
    for (let i = 0; i < times; i++) use();
    // The runtime may open a few of its own meanwhile.
    assert.ok(readdirSync("/proc/self/fd").length < before + times, what);
  }
});

test(`answers() reaches a TCP port${why}`, { skip }, async () => {
  using speaks = await serveTcp("c.send(c.recv(10))");
  assert.ok(answers({ port: speaks.port }, Uint8Array.of(0, 0, 0, 0), 5000));
  using silent = await serveTcp("pass");
  assert.equal(answers({ port: silent.port }, Uint8Array.of(0, 0, 0, 0), 100), false);
});

test(`answers() tells who is silent, not who is absent${why}`, { skip }, async () => {
  using directory = temporaryDirectory();
  assert.ok(answers({ path: directory.file("absent") }, Uint8Array.of(1), 100));
  using _silent = await serve(directory.file("silent"), "pass");
  assert.equal(answers({ path: directory.file("silent") }, Uint8Array.of(1), 100), false);
  using _speaks = await serve(directory.file("speaks"), "c.send(c.recv(10))");
  assert.ok(answers({ path: directory.file("speaks") }, Uint8Array.of(0, 0, 0, 0), 5000));
});

test(`tryDevice() says what keeps a device from being opened${why}`, { skip }, () => {
  assert.equal(tryDevice("/dev/null"), null);
  assert.equal(tryDevice("/dev/amesh-no-device"), "ENOENT");
  assert.equal(tryDevice("/dev/null/x"), "ENOTDIR");
  assert.equal(tryDevice(import.meta.filename!), "ENOTTY");
  // For reading alone a directory could be opened.
  assert.equal(tryDevice("/dev"), "EISDIR");
});

test(`answers() does not wait for a place in a queue that is full${why}`, { skip }, async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  const program = `
import socket, time
s = socket.socket(socket.AF_UNIX); s.bind(${JSON.stringify(path)}); s.listen(0); print("ready", flush=True)
time.sleep(60)`;
  const child = spawn("/usr/bin/python3", ["-c", program], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await new Promise((ready) => child.stdout!.once("data", ready));
    using _first = connect(path);
    // Whoever listens takes nobody in: the queue of one place is full.
    assert.equal(answers({ path }, Uint8Array.of(1), 200), false);
  } finally {
    child.kill("SIGKILL");
  }
});
