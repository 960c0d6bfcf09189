import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { runAgent } from "../../../src/agent/agent.ts";
import { AgentClient } from "../../../src/agent/client.ts";
import { type Bytes, concatBytes, utf8 } from "../../../src/bytes.ts";
import { sha256 } from "../../../src/crypto/held_key.ts";
import { expandPoint } from "../../../src/crypto/p256.ts";
import {
  encodeExtensionRequest,
  encodeFrame,
  encodeListRequest,
  encodeSignRequest,
  EXTENSION,
  MAX_FRAME_BYTES,
  MESSAGE,
  parseDigestAnswer,
  parseExtensionResponse,
  parseIdentities,
  parseSignResponse,
} from "../../../src/formats/agent_message.ts";
import { normalizeLowS } from "../../../src/formats/ecdsa_signature.ts";
import type { Identity } from "../../../src/formats/identity_file.ts";
import { encodeSshKey } from "../../../src/formats/public_key.ts";
import { sshString } from "../../../src/formats/ssh_wire.ts";
import {
  addKey,
  type AmeshPlace,
  ameshPlace,
  identityOf,
  OTHER_PASSPHRASE,
  writeAs,
} from "../../support/amesh_place.ts";
import { accepts } from "../../contract/keystore_contract.ts";
import { replaceDescriptor } from "../../support/descriptors.ts";
import { ameshError } from "../../support/errors.ts";
import { fixtureIdentity } from "../../support/fixture.ts";
import { REQUEST_INFO, SSHSIG, TOKEN_INPUT, USERAUTH } from "../../support/protocol_messages.ts";
import { rawFrame, startAgent, TestClient } from "../../support/running_agent.ts";
import { makeSshHost, sessionBindContents } from "../../support/ssh_host.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const MESSAGE_TEXT = utf8("a message");
const DIGEST = sha256(MESSAGE_TEXT);
const FAILURE = Uint8Array.of(5);
const SUCCESS = Uint8Array.of(6);
const EXTENSION_FAILURE = Uint8Array.of(28);

const blobOf = async ({ publicKey }: Identity) => encodeSshKey(await expandPoint(publicKey));
const FLOOR_BLOB = await blobOf(FLOOR);

/** Whether the agent signs a digest as this identity. */
async function signsDigest(client: TestClient, { fields, publicKey }: Identity): Promise<boolean | string> {
  const request = encodeExtensionRequest(EXTENSION.SIGN_DIGEST, fields.deviceId, DIGEST);
  const values = parseExtensionResponse(await client.request(request), EXTENSION.SIGN_DIGEST);
  if (values === null) return "refused";
  const answer = parseDigestAnswer(values);
  return answer instanceof Uint8Array ? await accepts(publicKey, answer, MESSAGE_TEXT) : answer.code;
}

/** The same for ssh, where s may be high. */
async function signsData(client: TestClient, identity: Identity, data: Bytes): Promise<boolean> {
  const answer = await client.request(encodeSignRequest(await blobOf(identity), data));
  const raw = parseSignResponse(answer);
  if (raw === null) assert.deepEqual(answer, FAILURE);
  return raw !== null && await accepts(identity.publicKey, normalizeLowS(raw), data);
}

const listed = async (client: TestClient) =>
  parseIdentities(await client.request(encodeListRequest())).map(({ comment }) => comment);
const lockFrame = (type: number, passphrase: string) => encodeFrame(type, sshString(passphrase));
const bindFrame = (contents: Uint8Array) =>
  rawFrame(concatBytes(Uint8Array.of(MESSAGE.EXTENSION), sshString(EXTENSION.SESSION_BIND), contents));

async function statusOf(client: TestClient) {
  const answer = await client.request(encodeExtensionRequest(EXTENSION.STATUS));
  return JSON.parse(new TextDecoder().decode(parseExtensionResponse(answer, EXTENSION.STATUS)![0]));
}

/** Puts another identity in the place of the one in force, at once, as commands do. */
function replace({ layout }: AmeshPlace, fields: Record<string, unknown>): void {
  writeAs(`${layout.identity}.new`, JSON.stringify(fields), 0o600);
  renameSync(`${layout.identity}.new`, layout.identity);
}
function replaceByOther(here: AmeshPlace): void {
  addKey(here.layout, "floor-other");
  writeAs(here.layout.passphrase, `${OTHER_PASSPHRASE}\n`, 0o400);
  replace(here, fixtureIdentity("floor-other"));
}

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

test("ssh's requests: the key is listed, and signs what it may", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using client = await TestClient.connect(agent.socket);
  const keys = parseIdentities(await client.request(encodeListRequest()));
  assert.deepEqual(keys, [{ blob: FLOOR_BLOB, comment: FLOOR.fields.friendlyName }]);
  for (const data of [USERAUTH, SSHSIG, MESSAGE_TEXT, new Uint8Array(0), new Uint8Array(200_000)]) {
    assert.equal(await signsData(client, FLOOR, data), true);
  }
  for (const data of [REQUEST_INFO, TOKEN_INPUT, utf8("amesh continuity v1\0")]) {
    assert.equal(await signsData(client, FLOOR, data), false);
  }
  assert.equal(await signsData(client, OTHER, USERAUTH), false);
  const { signatures, refused } = await statusOf(client);
  assert.deepEqual([signatures, refused], [5, 4]);
  assert.match(agent.log.join("\n"), /^refused a request of process \d+: what is to be signed is /);
});

const unanswered: [what: string, frame: Uint8Array, answer: Uint8Array][] = [
  ["adding a key", encodeFrame(17, new Uint8Array(20)), FAILURE],
  ["removing a key", encodeFrame(18, sshString(FLOOR_BLOB)), FAILURE],
  ["removing all keys", encodeFrame(19), FAILURE],
  ["adding a smartcard", encodeFrame(20), FAILURE],
  ["an unknown request", encodeFrame(200), FAILURE],
  ["an answer", encodeFrame(6), FAILURE],
  ["a list that is malformed", encodeFrame(11, Uint8Array.of(1)), FAILURE],
  ["a signature that is malformed", encodeFrame(13, Uint8Array.of(1)), FAILURE],
  ["an unknown extension", encodeExtensionRequest("x@example.org"), FAILURE],
  ["unlocking what is not locked", lockFrame(MESSAGE.UNLOCK, "x"), FAILURE],
];
test("what an agent does not do it refuses, and goes on with the connection", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using client = await TestClient.connect(agent.socket);
  for (const [what, frame, answer] of unanswered) {
    assert.deepEqual(await client.request(frame), answer, what);
  }
  const query = parseExtensionResponse(await client.request(encodeExtensionRequest("query")), "query")!;
  const names = query.map((name) => new TextDecoder().decode(name));
  assert.deepEqual(names.sort(), [
    "query",
    "session-bind@openssh.com",
    "sign-digest@amesh.dev",
    "status@amesh.dev",
    "stop@amesh.dev",
  ]);
  assert.equal(await signsDigest(client, FLOOR), true);
  const other = encodeExtensionRequest(EXTENSION.SIGN_DIGEST, OTHER.fields.deviceId, DIGEST);
  const answer = parseDigestAnswer(
    parseExtensionResponse(await client.request(other), EXTENSION.SIGN_DIGEST)!,
  );
  assert.ok(!(answer instanceof Uint8Array));
  assert.equal(answer.code, "ERR_BUSY");
});

test("a frame that is empty or too long ends the connection, and no other one", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using other = await TestClient.connect(agent.socket);
  for (const length of [0, MAX_FRAME_BYTES + 1]) {
    using client = await TestClient.connect(agent.socket);
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, length);
    client.send(concatBytes(encodeListRequest(), header, encodeListRequest()));
    await client.next();
    assert.equal(await client.next(), null);
  }
  assert.equal(await signsDigest(other, FLOOR), true);
});

test("many requests at once are answered in order, also with some that take time in between", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using client = await TestClient.connect(agent.socket);
  const sign = encodeExtensionRequest(EXTENSION.SIGN_DIGEST, FLOOR.fields.deviceId, DIGEST);
  const lock = lockFrame(MESSAGE.LOCK, "secret");
  const unlock = lockFrame(MESSAGE.UNLOCK, "secret");
  const many = Array.from({ length: 100 }, () => encodeListRequest());
  client.send(concatBytes(...many, lock, encodeListRequest(), sign, unlock, sign, ...many));
  const kinds: string[] = [];
  for (let i = 0; i < 205; i++) {
    const frame = (await client.next())!;
    const values = frame[0] === 29 ? parseExtensionResponse(frame, EXTENSION.SIGN_DIGEST)! : [];
    kinds.push(`${frame[0]} ${frame[0] === 12 ? frame[4] : new TextDecoder().decode(values[0])}`);
  }
  const lists = Array(100).fill("12 1");
  assert.deepEqual(kinds, [...lists, "6 ", "12 0", "29 refused", "6 ", "29 signed", ...lists]);
});

test("a client that reads nothing, one that says half a request and one that goes hold up nobody", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using deaf = await TestClient.connect(agent.socket);
  deaf.socket.pause();
  const many = concatBytes(...Array.from({ length: 4000 }, () => encodeListRequest()));
  for (let i = 0; i < 5; i++) deaf.send(many);
  using half = await TestClient.connect(agent.socket);
  half.send(encodeListRequest().subarray(0, 3));
  for (let i = 0; i < 20; i++) {
    using gone = await TestClient.connect(agent.socket);
    gone.send(encodeListRequest());
  }
  using client = await TestClient.connect(agent.socket);
  for (let i = 0; i < 20; i++) assert.equal(await signsDigest(client, FLOOR), true);
  half.send(encodeListRequest().subarray(3));
  assert.equal((await half.next())?.[0], MESSAGE.IDENTITIES_ANSWER);
  deaf.socket.resume();
  for (let i = 0; i < 20_000; i++) assert.equal((await deaf.next())?.[0], MESSAGE.IDENTITIES_ANSWER);
});

test("300 clients at the same time have their own answers, and are counted", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  const clients = await Promise.all(Array.from({ length: 300 }, () => TestClient.connect(agent.socket)));
  const answers = await Promise.all(clients.map((client) => signsDigest(client, FLOOR)));
  assert.ok(answers.every((answer) => answer === true));
  assert.equal((await statusOf(clients[0]!)).connections, 300);
  for (const client of clients.slice(1)) client[Symbol.dispose]();
  await until(async () => (await statusOf(clients[0]!)).connections === 1);
  clients[0]![Symbol.dispose]();
});

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  for (const begun = performance.now(); !(await isSo());) {
    assert.ok(performance.now() - begun < 10_000, "in vain");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("locking takes the key away from all clients, and unlocking brings it back", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using client = await TestClient.connect(agent.socket);
  using other = await TestClient.connect(agent.socket);
  assert.deepEqual(await client.request(lockFrame(MESSAGE.LOCK, "secret")), SUCCESS);
  assert.deepEqual(await client.request(lockFrame(MESSAGE.LOCK, "again")), FAILURE);
  for (const one of [client, other]) {
    assert.deepEqual(await listed(one), []);
    assert.equal(await signsDigest(one, FLOOR), "ERR_UNLOCK_FAILED");
    assert.equal(await signsData(one, FLOOR, USERAUTH), false);
  }
  const { locked, keyOpen } = await statusOf(other);
  assert.deepEqual([locked, keyOpen], [true, false]);
  assert.deepEqual(await other.request(lockFrame(MESSAGE.UNLOCK, "wrong")), FAILURE);
  assert.equal(await signsData(client, FLOOR, USERAUTH), false);
  assert.deepEqual(await other.request(lockFrame(MESSAGE.UNLOCK, "secret")), SUCCESS);
  for (const one of [client, other]) {
    assert.equal(await signsData(one, FLOOR, USERAUTH), true);
    assert.equal((await listed(one)).length, 1);
  }
});

test("an agent follows its identity: another one, the first one again, none, and one that comes back", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using client = await TestClient.connect(agent.socket);
  assert.equal(await signsDigest(client, FLOOR), true);
  const passphrase = readFileSync(here.layout.passphrase);
  replaceByOther(here);
  assert.equal(await signsDigest(client, FLOOR), "ERR_BUSY");
  assert.equal(await signsDigest(client, OTHER), true);
  assert.deepEqual(await listed(client), [OTHER.fields.friendlyName]);
  writeAs(here.layout.passphrase, passphrase, 0o400);
  replace(here, fixtureIdentity("floor"));
  assert.equal(await signsData(client, FLOOR, USERAUTH), true);
  assert.equal(await signsData(client, OTHER, USERAUTH), false);
  rmSync(here.layout.identity);
  assert.deepEqual(await listed(client), []);
  assert.equal(await signsData(client, FLOOR, USERAUTH), false);
  const { deviceId, lastProblem } = await statusOf(client);
  assert.equal(deviceId, null);
  assert.match(lastProblem, /identity/);
  replace(here, fixtureIdentity("floor"));
  await until(() => signsData(client, FLOOR, USERAUTH));
});

test("a lock that comes right after another identity did takes that one's key, and gives it back", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using client = await TestClient.connect(agent.socket);
  assert.equal(await signsDigest(client, FLOOR), true);
  replaceByOther(here);
  assert.deepEqual(await client.request(lockFrame(MESSAGE.LOCK, "secret")), SUCCESS);
  assert.deepEqual(await client.request(lockFrame(MESSAGE.UNLOCK, "secret")), SUCCESS);
  assert.equal(await signsDigest(client, OTHER), true);
});

test("a connection that is bound to a session signs for that only, the others as before", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  const host = makeSshHost();
  const bind = host.bind(new Uint8Array(32).fill(1), true);
  const tries: [what: string, frame: Uint8Array, answer: Uint8Array][] = [
    ["a binding", bindFrame(sessionBindContents(bind)), SUCCESS],
    [
      "a binding without a right signature",
      bindFrame(sessionBindContents({ ...bind, sessionId: new Uint8Array(32) })),
      EXTENSION_FAILURE,
    ],
  ];
  for (const [what, frame, answer] of tries) {
    using client = await TestClient.connect(agent.socket);
    assert.equal(await signsDigest(client, FLOOR), true);
    assert.deepEqual(await client.request(frame), answer, what);
    await isForwarded(client);
  }
  using client = await TestClient.connect(agent.socket);
  assert.equal(await signsDigest(client, FLOOR), true);
});

/** That a connection has no more than what may come from another machine. */
async function isForwarded(client: TestClient): Promise<void> {
  assert.equal(await signsDigest(client, FLOOR), "refused");
  for (const name of [EXTENSION.STATUS, EXTENSION.STOP]) {
    assert.deepEqual(await client.request(encodeExtensionRequest(name)), EXTENSION_FAILURE);
  }
  for (const type of [MESSAGE.LOCK, MESSAGE.UNLOCK]) {
    assert.deepEqual(await client.request(lockFrame(type, "x")), FAILURE);
  }
  assert.equal(await signsData(client, FLOOR, USERAUTH), true);
  assert.equal(await signsData(client, FLOOR, SSHSIG), true);
  assert.equal(await signsData(client, FLOOR, MESSAGE_TEXT), false);
  assert.equal((await listed(client)).length, 1);
}

test("a connection that somebody tried to bind, in a form that cannot be read, counts as one of another machine", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here);
  using client = await TestClient.connect(agent.socket);
  const answer = await client.request(bindFrame(Uint8Array.of(1, 2, 3)));
  assert.ok(answer[0] === 5 || answer[0] === 28, `${answer}`);
  await isForwarded(client);
});

/** A program that asks, beside the directory. */
function askpass(here: AmeshPlace, script: string): string {
  const path = here.file("askpass");
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o700);
  return path;
}

test("with --confirm a person is asked for each use, and told who wants what", async () => {
  using here = ameshPlace("floor");
  const path = askpass(here, 'echo "$1" >> "$0.log"; [ ! -e "$0.no" ]');
  await using agent = await startAgent(here, { askpass: path });
  using client = await TestClient.connect(agent.socket);
  assert.equal((await listed(client)).length, 1);
  assert.equal((await statusOf(client)).confirm, true);
  assert.ok(!existsSync(`${path}.log`));
  assert.equal(await signsData(client, FLOOR, USERAUTH), true);
  assert.equal(await signsDigest(client, FLOOR), true);
  writeFileSync(`${path}.no`, "");
  assert.equal(await signsData(client, FLOOR, SSHSIG), false);
  assert.equal(await signsDigest(client, FLOOR), "ERR_NOT_CONFIRMED");
  const asked = readFileSync(`${path}.log`, "utf8");
  const name = FLOOR.fields.friendlyName;
  const questions = asked.match(/^Allow .*\n.*\?$/gm)!;
  assert.equal(questions.length, 4);
  for (const [index, purpose] of ["to log in as root", "to sign what it does not show", "to sign for git"].entries()) {
    assert.match(questions[index]!, new RegExp(`^Allow .+ \\(process ${process.pid}\\) ${purpose}\\n`));
  }
  const fingerprint = sha256(FLOOR_BLOB).toBase64({ omitPadding: true });
  assert.ok(
    questions.every((question) => question.endsWith(`\nwith the key ${name} SHA256:${fingerprint}?`)),
  );
});

test("while a person is asked other clients are served, and one that goes takes its question with it", async () => {
  using here = ameshPlace("floor");
  const path = askpass(here, 'echo x >> "$0.log"; [ -e "$0.yes" ] && exit 0; exec sleep 600');
  await using agent = await startAgent(here, { askpass: path });
  const waiting = await TestClient.connect(agent.socket);
  waiting.send(encodeSignRequest(FLOOR_BLOB, USERAUTH));
  await until(() => existsSync(`${path}.log`));
  using client = await TestClient.connect(agent.socket);
  assert.equal((await listed(client)).length, 1);
  writeFileSync(`${path}.yes`, "");
  const signed = signsDigest(client, FLOOR);
  assert.equal(
    await Promise.race([signed, new Promise((resolve) => setTimeout(resolve, 300, "waits"))]),
    "waits",
  );
  waiting[Symbol.dispose]();
  assert.equal(await signed, true);
  using last = await TestClient.connect(agent.socket);
  assert.equal((await statusOf(last)).signatures, 1);
});

test("a program that cannot be started is a no, and is told of", async () => {
  using here = ameshPlace("floor");
  await using agent = await startAgent(here, { askpass: here.file("absent") });
  using client = await TestClient.connect(agent.socket);
  assert.equal(await signsDigest(client, FLOOR), "ERR_NOT_CONFIRMED");
  await until(() => agent.log.some((line) => /^cannot ask by ".*absent": no such file/.test(line)));
});

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
