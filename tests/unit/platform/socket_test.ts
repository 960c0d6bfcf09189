import assert from "node:assert/strict";
import { chmodSync, lstatSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import {
  acceptConnection,
  closeFd,
  connectUnix,
  type Fd,
  listenUnix,
  makePipe,
  notifyReady,
  receive,
  send,
  setTimeouts,
} from "../../../src/platform/socket.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { Descriptors, SocketPair, startPython, withPython } from "../../support/sockets.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const linux = process.platform === "linux";
const onLinux = linux ? "" : ": Linux only";
const asRoot = { skip: !linux || process.geteuid?.() !== 0 };
const SOCKET = JSON.stringify(projectUrl("src/platform/socket.ts"));

const readAll = (fd: Fd, length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = receive(fd, bytes.subarray(at));
    assert.ok(typeof count === "number" && count > 0, `${count} at ${at}`);
    at += count;
  }
  return bytes;
};
const openDescriptors = () => readdirSync("/proc/self/fd").length;
const pattern = (length: number) => Uint8Array.from({ length }, (_, index) => index * 7 + (index >> 8));

for (const umask of [0o000, 0o022, 0o077, 0o777]) {
  test(`listenUnix() makes a socket of mode 0600 under umask ${umask.toString(8)}, which it puts back`, () => {
    using directory = temporaryDirectory();
    const before = process.umask(umask);
    try {
      using kept = new Descriptors();
      kept.keep(listenUnix(directory.file("s"), 8));
      assert.equal(process.umask(), umask);
      const { mode } = lstatSync(directory.file("s"));
      assert.equal(mode & 0o7777, 0o600);
      assert.throws(() => listenUnix(directory.file("s"), 8), { code: "EADDRINUSE" });
      assert.equal(process.umask(), umask);
      closeFd(kept.keep(connectUnix(directory.file("s"))));
    } finally {
      process.umask(before);
    }
  });
}

test("listenUnix() and connectUnix() say why a path is none", () => {
  using directory = temporaryDirectory();
  using kept = new Descriptors();
  const most = linux ? 107 : 103;
  const long = (length: number) => directory.file("x".repeat(length - directory.file("").length - 1));
  assert.equal(long(most).length, most);
  kept.keep(listenUnix(long(most), 8));
  kept.keep(connectUnix(long(most)));
  const cases = [
    [long(most + 1), "ENAMETOOLONG"],
    [directory.file("ä".repeat(60)), "ENAMETOOLONG"],
    ["", "EINVAL"],
    ["\0abstract", "EINVAL"],
    [directory.file("a\0b"), "EINVAL"],
    [directory.file("absent/s"), "ENOENT"],
  ] as const;
  for (const [path, code] of cases) {
    assert.throws(() => listenUnix(path, 8), { code }, `listen ${code}`);
    assert.throws(() => connectUnix(path), { code }, `connect ${code}`);
  }
  assert.throws(() => connectUnix(directory.file("absent")), { code: "ENOENT" });
});

test("a socket file that nobody listens on refuses, and its name stays taken until it is removed", () => {
  using pair = new SocketPair();
  pair.close(pair.listener);
  assert.throws(() => connectUnix(pair.path), { code: "ECONNREFUSED" });
  assert.throws(() => listenUnix(pair.path, 8), { code: "EADDRINUSE" });
  unlinkSync(pair.path);
  pair.keep(listenUnix(pair.path, 8));
  pair.keep(connectUnix(pair.path));
});

test("a file that is no socket refuses too", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "");
  assert.throws(() => connectUnix(directory.file("f")), { code: linux ? "ECONNREFUSED" : "ENOTSOCK" });
});

test(`connectUnix() throws EPROTOTYPE for a datagram socket${onLinux}`, withPython, async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  const code =
    's = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1]); print("", flush=True)';
  using _server = await startPython(`${code}; sys.stdin.read()`, path);
  assert.throws(() => connectUnix(path), { code: "EPROTOTYPE" });
});

test(`connectUnix() waits for a place in a full queue only so long${onLinux}`, withPython, () => {
  using directory = temporaryDirectory();
  using kept = new Descriptors();
  kept.keep(listenUnix(directory.file("s"), 0));
  kept.keep(connectUnix(directory.file("s")));
  const begun = performance.now();
  assert.throws(() => connectUnix(directory.file("s"), 200), { code: "ETIMEDOUT" });
  assert.ok(performance.now() - begun > 150);
});

test(
  `what connectUnix() returns waits for ever, however long connecting might have taken${onLinux}`,
  withPython,
  async () => {
    using directory = temporaryDirectory();
    using kept = new Descriptors();
    const path = directory.file("s");
    using _server = await startPython(
      `s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1); print("", flush=True)
c = s.accept()[0]; time.sleep(0.4); c.send(b"x"); sys.stdin.read()`,
      path,
    );
    const fd = kept.keep(connectUnix(path, 100));
    assert.equal(receive(fd, new Uint8Array(1)), 1);
  },
);

test(`another user can neither connect nor bind${onLinux}`, asRoot, () => {
  using pair = new SocketPair();
  chmodSync(pair.directory.path, 0o755);
  const code = `
    import { connectUnix, listenUnix } from ${SOCKET};
    globalThis.process.seteuid(65534);
    for (const call of [() => connectUnix(${JSON.stringify(pair.path)}),
        () => listenUnix(${JSON.stringify(pair.path + "2")}, 8)]) {
      try { call(); } catch (error) { console.log(error.code); }
    }`;
  const { stdout, stderr } = runChild(evaluation(code));
  assert.equal(stdout, "EACCES\nEACCES\n", stderr);
});

test(
  `what is opened is closed on exec, and non-blocking except what connects${onLinux}`,
  { skip: !linux },
  () => {
    using pair = new SocketPair();
    const { read, write } = pair.pipe();
    const flags = (fd: Fd) =>
      parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))![1]!, 8);
    for (const fd of [pair.listener, pair.server, pair.client, read, write]) {
      assert.equal(flags(fd) & 0x80000, 0x80000, `${fd} close-on-exec`);
      assert.equal(flags(fd) & 0x800, fd === pair.client ? 0 : 0x800, `${fd} non-blocking`);
    }
  },
);

test("acceptConnection() gives null when none waits, and each connection once", () => {
  using pair = new SocketPair();
  assert.equal(acceptConnection(pair.listener), null);
  const clients = [1, 2, 3].map(() => pair.keep(connectUnix(pair.path)));
  // One that has gone again is still handed out, and is at its end.
  pair.close(clients[1]!);
  const servers = clients.map(() => pair.keep(acceptConnection(pair.listener)));
  assert.equal(new Set(servers).size, 3);
  assert.equal(receive(servers[1]!, new Uint8Array(1)), 0);
  assert.equal(acceptConnection(pair.listener), null);
  assert.throws(() => acceptConnection(4_000), { code: "EBADF" });
  assert.throws(() => acceptConnection(pair.server), { code: "EINVAL" });
});

test(`acceptConnection() throws EMFILE when there is no number left${onLinux}`, { skip: !linux }, () => {
  using directory = temporaryDirectory();
  const code = `
    import { acceptConnection, closeFd, connectUnix, listenUnix, makePipe } from ${SOCKET};
    const path = ${JSON.stringify(directory.file("s"))};
    const listener = listenUnix(path, 8);
    const clients = [connectUnix(path)];
    const untilFull = (open) => { try { for (;;) open(); } catch (error) { return error.code; } };
    // Pipes take two numbers each, so one may be left.
    const full = [untilFull(() => makePipe()), untilFull(() => clients.push(connectUnix(path)))];
    let refused;
    try { acceptConnection(listener); } catch (error) { refused = error.code; }
    closeFd(clients.pop());
    console.log(...full, refused, acceptConnection(listener) > 2);`;
  const words = evaluation(code).map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const { stdout, stderr } = runChild(["sh", "-c", `ulimit -n 128; exec ${words}`]);
  assert.equal(stdout, "EMFILE EMFILE EMFILE true\n", stderr);
});

test("receive() and send() carry bytes both ways, and the end", () => {
  using pair = new SocketPair();
  const buffer = new Uint8Array(16);
  assert.equal(receive(pair.server, buffer), "later");
  assert.equal(send(pair.client, Uint8Array.of(1, 2, 3)), 3);
  assert.equal(send(pair.client, Uint8Array.of(4)), 1);
  assert.equal(receive(pair.server, buffer.subarray(4, 6)), 2);
  assert.equal(receive(pair.server, buffer.subarray(8)), 2);
  assert.deepEqual([...buffer], [0, 0, 0, 0, 1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0]);
  assert.equal(send(pair.server, Uint8Array.of(9)), 1);
  assert.equal(receive(pair.client, buffer), 1);
  assert.equal(buffer[0], 9);
  pair.close(pair.client);
  assert.equal(receive(pair.server, buffer), 0);
  assert.equal(send(pair.server, Uint8Array.of(1)), "closed");
});

test("a connection whose other side threw away what it was sent is at its end, not an error", () => {
  for (const call of ["receive", "send"] as const) {
    using pair = new SocketPair();
    assert.equal(send(pair.server, Uint8Array.of(1)), 1);
    // Closing with something unread resets the connection.
    pair.close(pair.client);
    if (call === "receive") assert.equal(receive(pair.server, new Uint8Array(1)), 0);
    else assert.equal(send(pair.server, new Uint8Array(1)), "closed");
  }
});

test("send() takes what there is room for, and the rest later", () => {
  using pair = new SocketPair();
  const all = pattern(3_000_000);
  let sent = 0;
  const chunks: number[] = [];
  const push = () => {
    while (sent < all.length) {
      const count = send(pair.server, all.subarray(sent, sent + 500_000));
      if (count === "later") return;
      assert.ok(typeof count === "number" && count > 0, `${count}`);
      chunks.push(count);
      sent += count;
    }
  };
  push();
  assert.ok(sent > 0 && sent < all.length, `${sent}`);
  assert.ok(chunks.some((count) => count < 500_000), "all in whole pieces");
  let got = 0;
  while (got < all.length) {
    const piece = readAll(pair.client, Math.min(65_536, sent - got));
    assert.deepEqual(piece, all.slice(got, got + piece.length));
    got += piece.length;
    push();
  }
  assert.equal(got, all.length);
});

test("what is sent arrives, whatever part of a buffer it is, also when the calls have been compiled", () => {
  using pair = new SocketPair();
  const from = pattern(600);
  const into = new Uint8Array(600);
  for (let round = 0; round < 20_000; round++) {
    const [start, length, at] = [round % 37, 1 + round % 500, round % 53];
    assert.equal(send(pair.client, from.subarray(start, start + length)), length);
    assert.equal(receive(pair.server, into.subarray(at)), length);
    if (into[at] !== from[start] || into[at + length - 1] !== from[start + length - 1]) {
      assert.deepEqual(into.subarray(at, at + length), from.subarray(start, start + length), `${round}`);
    }
    assert.equal(receive(pair.server, into), "later");
  }
});

test("receive() and send() throw for what is not open or cannot be read", () => {
  assert.throws(() => receive(4_000, new Uint8Array(1)), { code: "EBADF" });
  assert.throws(() => send(4_000, new Uint8Array(1)), { code: "EBADF" });
  using kept = new Descriptors();
  const { read, write } = kept.pipe();
  assert.throws(() => receive(write, new Uint8Array(1)), { code: "EBADF" });
  assert.throws(() => send(read, new Uint8Array(1)), { code: "EBADF" });
});

test("setTimeouts() ends the waiting of a blocking socket, in seconds and in parts of one", () => {
  using pair = new SocketPair();
  for (const ms of [50, 1_100]) {
    setTimeouts(pair.client, ms);
    const begun = performance.now();
    assert.equal(receive(pair.client, new Uint8Array(1)), "later");
    const took = performance.now() - begun;
    assert.ok(took > ms * 0.9 && took < ms + 2_000, `${took}`);
  }
  setTimeouts(pair.client, 50);
  const block = new Uint8Array(1_000_000);
  let result: ReturnType<typeof send>;
  do result = send(pair.client, block); while (typeof result === "number");
  assert.equal(result, "later");
  assert.throws(() => setTimeouts(4_000, 1), { code: "EBADF" });
});

test("makePipe() makes a pipe that receive() and send() serve", () => {
  using kept = new Descriptors();
  const { read, write } = kept.pipe();
  const buffer = new Uint8Array(8);
  assert.equal(receive(read, buffer), "later");
  assert.equal(send(write, Uint8Array.of(5, 6)), 2);
  assert.equal(receive(read, buffer), 2);
  assert.deepEqual([...buffer.subarray(0, 2)], [5, 6]);
  const block = new Uint8Array(100_000);
  while (send(write, block) !== "later");
  while (receive(read, block) !== "later");
  kept.close(write);
  assert.equal(receive(read, buffer), 0);
  const other = makePipe();
  kept.keep(other.write);
  closeFd(other.read);
  assert.equal(send(other.write, buffer), "closed");
});

test(`a thousand connections, and no descriptor is left${onLinux}`, withPython, () => {
  const before = openDescriptors();
  for (let round = 0; round < 3; round++) {
    using pair = new SocketPair();
    const clients: Fd[] = [];
    const servers: Fd[] = [];
    for (let i = 0; i < 1_000; i++) {
      clients.push(pair.keep(connectUnix(pair.path)));
      servers.push(pair.keep(acceptConnection(pair.listener)));
    }
    clients.forEach((fd, index) => assert.equal(send(fd, pattern(1 + index)), 1 + index));
    servers.forEach((fd, index) => assert.deepEqual(readAll(fd, 1 + index), pattern(1 + index)));
  }
  // The runtime may open a few of its own meanwhile.
  assert.ok(openDescriptors() < before + 50);
});

test(`what fails leaves no descriptor${onLinux}`, { skip: !linux }, () => {
  using directory = temporaryDirectory();
  using kept = new Descriptors();
  const path = directory.file("s");
  kept.keep(listenUnix(path, 0));
  kept.keep(connectUnix(path));
  const uses: Record<string, () => unknown> = {
    listenUnix: () => assert.throws(() => listenUnix(path, 8)),
    "connectUnix() to none": () => assert.throws(() => connectUnix(directory.file("absent"))),
    "connectUnix() to a full queue": () => assert.throws(() => connectUnix(path, 1)),
    notifyReady: () => notifyReady(directory.file("absent"), "READY=1"),
  };
  for (const [what, use] of Object.entries(uses)) {
    const before = openDescriptors();
    for (let i = 0; i < 50; i++) use();
    assert.ok(openDescriptors() < before + 50, what);
  }
});
