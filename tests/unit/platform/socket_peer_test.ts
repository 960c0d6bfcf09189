import assert from "node:assert/strict";
import { chmodSync, existsSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { acceptConnection, notifyReady, peerOf } from "../../../src/platform/socket.ts";
import { SocketPair, startPython, withPython } from "../../support/sockets.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const linux = process.platform === "linux";
const onLinux = linux ? "" : ": Linux only";
const asRoot = { skip: withPython.skip || process.geteuid?.() !== 0 || !existsSync("/usr/bin/setpriv") };

const PYTHON_CLIENT = `
c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); print("connected", flush=True)
sys.stdin.read()`;

test("peerOf() tells user and process of this one", () => {
  using pair = new SocketPair();
  assert.deepEqual(peerOf(pair.server), { uid: process.getuid!(), pid: process.pid });
  assert.deepEqual(peerOf(pair.client), { uid: process.getuid!(), pid: process.pid });
  assert.equal(peerOf(4_000), null);
});

test(`peerOf() tells another process${onLinux}`, withPython, async () => {
  using pair = new SocketPair();
  using client = await startPython(PYTHON_CLIENT, pair.path);
  assert.deepEqual(peerOf(pair.keep(acceptConnection(pair.listener))), {
    uid: process.getuid!(),
    pid: client.pid,
  });
});

test(`peerOf() tells another user${asRoot.skip ? ": needs root" : ""}`, asRoot, async () => {
  for (const uid of [65534, 4_000_000_000]) {
    using pair = new SocketPair();
    chmodSync(pair.directory.path, 0o755);
    chmodSync(pair.path, 0o666);
    using client = await startPython(PYTHON_CLIENT, pair.path, [
      "/usr/bin/setpriv",
      `--reuid=${uid}`,
      "--clear-groups",
    ]);
    assert.deepEqual(peerOf(pair.keep(acceptConnection(pair.listener))), { uid, pid: client.pid });
  }
});

for (const kind of ["a path", "an abstract name"]) {
  test(`notifyReady() reaches a supervisor at ${kind}${onLinux}`, withPython, async () => {
    using directory = temporaryDirectory();
    const name = directory.file("notify");
    const address = kind === "a path" ? "sys.argv[1]" : '"\\0" + sys.argv[1]';
    using server = await startPython(
      `s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(${address}); print("bound", flush=True)
for i in range(2): print(s.recv(100), flush=True)`,
      name,
    );
    const path = kind === "a path" ? name : `@${name}`;
    assert.equal(notifyReady(path, "READY=1\nSTATUS=key open"), true);
    assert.equal(await server.nextLine(), "b'READY=1\\nSTATUS=key open'");
    assert.equal(notifyReady(`${path}x`, "READY=1"), false);
    assert.equal(notifyReady(path, "STOPPING=1"), true);
    assert.equal(await server.nextLine(), "b'STOPPING=1'");
  });
}

test("notifyReady() says false when nobody can be told", () => {
  using pair = new SocketPair();
  for (const path of ["", "@", pair.path, "vsock:2:1234", "/dev/null", `/${"x".repeat(200)}`, "/a\0b"]) {
    assert.equal(notifyReady(path, "READY=1"), false, path);
  }
});
