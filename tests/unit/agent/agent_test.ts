import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { runAgent } from "../../../src/agent/agent.ts";
import { AgentClient } from "../../../src/agent/client.ts";
import {
  encodeExtensionRequest,
  encodeFrame,
  encodeListRequest,
  EXTENSION,
} from "../../../src/formats/agent_message.ts";
import { ameshPlace, writeAs } from "../../support/amesh_place.ts";
import { accepts } from "../../contract/keystore_contract.ts";
import { replaceDescriptor } from "../../support/descriptors.ts";
import { ameshError } from "../../support/errors.ts";
import { startAgent, TestClient } from "../../support/running_agent.ts";
import { DIGEST, FLOOR, MESSAGE_TEXT, signsDigest, SUCCESS } from "../../support/agent_requests.ts";

test("an agent tells when it is ready, serves a client, and ends when one says so", async () => {
  using here = ameshPlace("floor");
  const before = Date.now();
  await using agent = await startAgent(here, { idleTimeoutSeconds: 3600 });
  const { deviceId } = FLOOR.fields;
  assert.deepEqual(agent.readiness, { socket: here.file("s"), pid: process.pid, deviceId });
  using client = AgentClient.connect(agent.socket)!;
  const signature = client.signDigest(deviceId, DIGEST);
  assert.ok(await accepts(FLOOR.publicKey, signature, MESSAGE_TEXT));
  const { startedAt, ...status } = client.status()!;
  assert.deepEqual(status, {
    socket: here.file("s"),
    pid: process.pid,
    deviceId,
    backend: "encrypted-file",
    publicKey: FLOOR.publicKey.toBase64(),
    locked: false,
    keyOpen: true,
    confirm: false,
    idleTimeoutSeconds: 3600,
    signatures: 1,
    refused: 0,
    connections: 1,
    lastProblem: null,
  });
  assert.ok(Date.parse(startedAt) >= before && Date.parse(startedAt) <= Date.now());
  assert.equal(client.stop(), true);
  assert.ok(!existsSync(agent.socket));
  assert.equal(await agent.ended, null);
  assert.equal(AgentClient.connect(agent.socket), null);
  assert.deepEqual(here.warnings, []);
});

test("an agent that cannot open its key does not begin", async () => {
  using here = ameshPlace("floor");
  writeAs(here.layout.passphrase, "another passphrase\n", 0o400);
  await assert.rejects(startAgent(here), ameshError("ERR_UNLOCK_FAILED"));
  assert.ok(!existsSync(here.file("s")));
  using nowhere = ameshPlace(null);
  await assert.rejects(startAgent(nowhere), ameshError("ERR_NO_IDENTITY"));
});

test("where somebody listens an agent ends, and leaves that one alone", async () => {
  using here = ameshPlace("floor");
  await using first = await startAgent(here);
  let isTaken = false;
  const request = {
    layout: here.layout,
    socket: first.socket,
    askpass: null,
    idleTimeoutSeconds: 0,
    input: {},
    warn: here.warn,
    log: () => {},
  };
  await runAgent(request, () => assert.fail("ready"), () => void (isTaken = true));
  assert.ok(isTaken);
  using client = await TestClient.connect(first.socket);
  assert.equal(await signsDigest(client, FLOOR), true);
});

test("an agent does not remove a socket that has taken the place of its own", async () => {
  using here = ameshPlace("floor");
  await using first = await startAgent(here);
  using client = await TestClient.connect(first.socket);
  rmSync(first.socket);
  await using second = await startAgent(here);
  assert.deepEqual(await client.request(encodeExtensionRequest(EXTENSION.STOP)), SUCCESS);
  await first.ended;
  using other = await TestClient.connect(second.socket);
  assert.equal(await signsDigest(other, FLOOR), true);
});

// SIGINT is what one of the runtimes ends its tests with.
for (const signal of ["SIGTERM", "SIGHUP"] as const) {
  test(`${signal} ends an agent, and its clients see the end`, async () => {
    using here = ameshPlace("floor");
    await using agent = await startAgent(here);
    using client = await TestClient.connect(agent.socket);
    assert.equal(await signsDigest(client, FLOOR), true);
    process.kill(process.pid, signal);
    assert.equal(await agent.ended, signal);
    assert.equal(await client.next(), null);
    assert.ok(!existsSync(agent.socket));
  });
}

test("a defect on the main thread ends the agent with its error", async () => {
  using here = ameshPlace("floor");
  const agent = await startAgent(here, {
    log: () => {
      throw new TypeError("as the test wants it");
    },
  });
  using client = await TestClient.connect(agent.socket);
  client.send(encodeFrame(19));
  await assert.rejects(agent.ended, /as the test wants it/);
  assert.ok(!existsSync(agent.socket));
});

const onLinux = { skip: process.platform !== "linux" };
test("a defect on the socket's thread ends the agent with its error: Linux only", onLinux, async () => {
  using here = ameshPlace("floor");
  const before = pipes();
  const agent = await startAgent(here);
  // A folder in the place of the pipe by which it is woken.
  const wake = pipes().find(({ fd, isRead, inode }) =>
    isRead && !before.some((known) => known.fd === fd && known.inode === inode)
  )!;
  replaceDescriptor(wake.fd, here.layout.directory);
  using client = await TestClient.connect(agent.socket);
  client.send(encodeListRequest());
  await assert.rejects(agent.ended, /the socket thread failed: .*EISDIR/);
  assert.ok(!existsSync(agent.socket));
});

/** The pipes of this process that do not block and of which it has both ends. */
function pipes(): { fd: number; inode: string; isRead: boolean }[] {
  const all = readdirSync("/proc/self/fd").flatMap((name) => {
    try {
      const inode = readlinkSync(`/proc/self/fd/${name}`);
      const flags = parseInt(
        /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${name}`, "utf8"))![1]!,
        8,
      );
      const isOurs = inode.startsWith("pipe:") && (flags & 0x800) !== 0;
      return isOurs ? [{ fd: Number(name), inode, isRead: (flags & 3) === 0 }] : [];
    } catch {
      return [];
    }
  });
  return all.filter(({ inode }) => all.filter((pipe) => pipe.inode === inode).length === 2);
}
