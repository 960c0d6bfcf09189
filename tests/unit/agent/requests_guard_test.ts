import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { sha256 } from "../../../src/crypto/held_key.ts";
import {
  encodeExtensionRequest,
  encodeSignRequest,
  EXTENSION,
  MESSAGE,
} from "../../../src/formats/agent_message.ts";
import { type AmeshPlace, ameshPlace } from "../../support/amesh_place.ts";
import { SSHSIG, USERAUTH } from "../../support/protocol_messages.ts";
import { startAgent, TestClient } from "../../support/running_agent.ts";
import { makeSshHost, sessionBindContents } from "../../support/ssh_host.ts";
import {
  bindFrame,
  EXTENSION_FAILURE,
  FAILURE,
  FLOOR,
  FLOOR_BLOB,
  listed,
  lockFrame,
  MESSAGE_TEXT,
  signsData,
  signsDigest,
  statusOf,
  SUCCESS,
  until,
} from "../../support/agent_requests.ts";

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
  for (
    const [index, purpose] of ["to log in as root", "to sign what it does not show", "to sign for git"]
      .entries()
  ) {
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
