import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { test } from "node:test";
import { concatBytes, utf8 } from "../../../src/bytes.ts";
import {
  encodeExtensionRequest,
  encodeFrame,
  encodeListRequest,
  EXTENSION,
  MAX_FRAME_BYTES,
  MESSAGE,
  parseDigestAnswer,
  parseExtensionResponse,
  parseIdentities,
} from "../../../src/formats/agent_message.ts";
import { sshString } from "../../../src/formats/ssh_wire.ts";
import { ameshPlace, writeAs } from "../../support/amesh_place.ts";
import { fixtureIdentity } from "../../support/fixture.ts";
import { REQUEST_INFO, SSHSIG, TOKEN_INPUT, USERAUTH } from "../../support/protocol_messages.ts";
import { startAgent, TestClient } from "../../support/running_agent.ts";
import {
  DIGEST,
  FAILURE,
  FLOOR,
  FLOOR_BLOB,
  listed,
  lockFrame,
  MESSAGE_TEXT,
  OTHER,
  replace,
  replaceByOther,
  signsData,
  signsDigest,
  statusOf,
  SUCCESS,
  until,
} from "../../support/agent_requests.ts";

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
