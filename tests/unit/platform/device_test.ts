import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { answers, findConnection, tryDevice, waitForAnswer } from "../../../src/platform/device.ts";
import { cString, libcPaths } from "../../../src/platform/libc.ts";
import { library } from "../../../src/ffi/ffi.ts";
import { concatBytes } from "../../../src/bytes.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const skip = process.platform !== "linux" || !existsSync("/usr/bin/python3");
const why = skip ? ": needs Linux and python3" : "";

const libc = library(libcPaths, {
  close: { parameters: ["i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
});

/** A server in another process, because waiting blocks this one: it runs a line of Python with each connection `c`. */
async function serve(path: string, line: string): Promise<Disposable> {
  const program = `
import socket, time
s = socket.socket(socket.AF_UNIX); s.bind(${JSON.stringify(path)}); s.listen(5); print("ready", flush=True)
while True:
  c, _ = s.accept()
  ${line}
  kept = c`;
  const child = spawn("/usr/bin/python3", ["-c", program], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((ready) => child.stdout!.once("data", ready));
  return { [Symbol.dispose]: () => void child.kill("SIGKILL") };
}

function connect(path: string): Disposable & { readonly fd: number } {
  const fd = libc.socket(1, 1, 0);
  const address = concatBytes(Uint8Array.of(1, 0), cString(path));
  assert.equal(libc.connect(fd, address, address.length), 0);
  return { fd, [Symbol.dispose]: () => void libc.close(fd) };
}

/** tag, size 12, response code, two more bytes; as Python writes it. */
const ANSWER = String.raw`b"\x80\x01\x00\x00\x00\x0c\x00\x00\x00\x00ab"`;
const cases: [string, string, number, boolean][] = [
  ["is there", `c.send(${ANSWER})`, 5000, true],
  ["comes later", `time.sleep(0.2); c.send(${ANSWER})`, 5000, true],
  ["comes in two parts", `c.send(${ANSWER}[:7]); time.sleep(0.2); c.send(${ANSWER}[7:])`, 5000, true],
  ["lacks its end", `c.send(${ANSWER}[:11])`, 100, false],
  ["lacks the rest of its header", `c.send(${ANSWER}[:4])`, 100, false],
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
    assert.equal(findConnection({ port: 1 }), null);
  },
);

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
});
