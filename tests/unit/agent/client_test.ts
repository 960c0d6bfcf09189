import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { AgentClient } from "../../../src/agent/client.ts";
import { agentAt } from "../../../src/agent/find.ts";
import { type Bytes, concatBytes, u32be, utf8 } from "../../../src/bytes.ts";
import { AmeshError } from "../../../src/errors.ts";
import {
  encodeDigestAnswer,
  encodeExtensionResponse,
  encodeFrame,
  EXTENSION,
  FAILURE_FRAME,
  MAX_FRAME_BYTES,
  SUCCESS_FRAME,
} from "../../../src/formats/agent_message.ts";
import { sshString } from "../../../src/formats/ssh_wire.ts";
import { closeFd, listenUnix } from "../../../src/platform/socket.ts";
import { evaluation, projectUrl, startChild } from "../../support/child_process.ts";
import { ameshError } from "../../support/errors.ts";
import { type FakeAnswer, startFakeAgent, statusAnswer } from "../../support/fake_agent.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const { STATUS, SIGN_DIGEST, STOP } = EXTENSION;
const DIGEST = new Uint8Array(32).fill(7);
const SIGNATURE = new Uint8Array(64).fill(9);

/** Runs with a client of something that gives these answers. */
async function withAnswers(
  answers: Readonly<Record<string, FakeAnswer>>,
  run: (client: AgentClient, path: string) => void,
): Promise<void> {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  await using _agent = startFakeAgent(path, answers);
  using client = AgentClient.connect(path);
  assert.ok(client !== null);
  run(client, path);
}

test("connect() is null where nobody listens", () => {
  using directory = temporaryDirectory();
  assert.equal(AgentClient.connect(directory.file("absent")), null);
  writeFileSync(directory.file("file"), "");
  assert.equal(AgentClient.connect(directory.file("file")), null);
  closeFd(listenUnix(directory.file("stale"), 1));
  assert.equal(AgentClient.connect(directory.file("stale")), null);
  assert.equal(AgentClient.connect(directory.file("x".repeat(200))), null);
});

const asRoot = {
  skip: process.platform !== "linux" || process.geteuid?.() !== 0 || !existsSync("/usr/bin/setpriv"),
};
test("connect() is null where another user listens: as root on Linux only", asRoot, async () => {
  using directory = temporaryDirectory();
  const path = directory.file("s");
  const code = (uid: number) => `
    import { chmodSync } from "node:fs";
    import { listenUnix } from ${JSON.stringify(projectUrl("src/platform/socket.ts"))};
    chmodSync(${JSON.stringify(directory.path)}, 0o777);
    globalThis.process.seteuid(${uid});
    listenUnix(${JSON.stringify(path)} + ${uid}, 8);
    console.log("listens");
    setInterval(() => {}, 1000);`;
  for (const [uid, isTrusted] of [[65_534, false], [0, true]] as const) {
    const child = startChild(evaluation(code(uid)));
    try {
      assert.equal(await child.firstLine, "listens");
      using client = AgentClient.connect(`${path}${uid}`);
      assert.equal(client !== null, isTrusted, `${uid}`);
    } finally {
      await child.kill();
    }
  }
});

test("status() is what the agent says of itself", async () => {
  await withAnswers({ [STATUS]: statusAnswer("am_x", "/s") }, (client) => {
    assert.equal(client.status()?.deviceId, "am_x");
    // A client asks as often as it likes.
    assert.equal(client.status()?.socket, "/s");
  });
});

const cut = (frame: Bytes, length: number) => ({ bytes: frame.slice(0, length), thenClose: true });
const answered = (frame: Bytes) => ({ bytes: frame });
const jsonAnswer = (json: string) => answered(encodeExtensionResponse(STATUS, utf8(json)));
const STATUS_FRAME = statusAnswer("am_x", "/s").bytes;
const noStatus: [what: string, answer: FakeAnswer][] = [
  ["refuses", answered(FAILURE_FRAME)],
  ["knows the extension and refuses", answered(encodeFrame(28))],
  ["says yes and no more", answered(SUCCESS_FRAME)],
  ["answers another request", answered(encodeExtensionResponse("query", "a"))],
  ["gives no field", answered(encodeExtensionResponse(STATUS))],
  ["gives no JSON", jsonAnswer("{")],
  ["gives null", jsonAnswer("null")],
  ["gives no object", jsonAnswer("5")],
  ["gives a list", jsonAnswer("[]")],
  ["gives an object without its fields", jsonAnswer("{}")],
  ["gives no text", answered(encodeExtensionResponse(STATUS, Uint8Array.of(0xff)))],
  ["has a field that is cut", answered(encodeFrame(29, sshString(STATUS), u32be(9)))],
  ["is cut in its length", cut(STATUS_FRAME, 3)],
  ["is cut", cut(STATUS_FRAME, STATUS_FRAME.length - 1)],
  ["ends at once", { bytes: new Uint8Array(0), thenClose: true }],
  ["is empty", answered(new Uint8Array(4))],
  ["is too long", answered(concatBytes(u32be(MAX_FRAME_BYTES + 1), new Uint8Array(9)))],
  ["is of the longest length", answered(u32be(0xffffffff))],
];
for (const [what, answer] of noStatus) {
  test(`what ${what} is no agent of amesh`, async () => {
    await withAnswers({ [STATUS]: answer }, (client, path) => {
      assert.equal(client.status(), null);
      assert.equal(agentAt(path), null);
    });
  });
}

test("status() does not wait for ever for something that says nothing", async () => {
  await withAnswers({ [STATUS]: { bytes: u32be(20) } }, (client) => {
    const begun = performance.now();
    assert.equal(client.status(), null);
    const took = performance.now() - begun;
    assert.ok(took > 4_000 && took < 9_000, `${took}`);
  });
});

test("signDigest() is what the agent signed", async () => {
  await withAnswers({ [SIGN_DIGEST]: answered(encodeDigestAnswer(SIGNATURE)) }, (client) => {
    assert.deepEqual(client.signDigest("am_x", DIGEST), SIGNATURE);
  });
});

test("signDigest() gives the agent's reason, and tells the way around it", async () => {
  for (const hint of ["", "unlock it"]) {
    const refusal = { code: "ERR_UNLOCK_FAILED", message: "cannot use the key: x", hint };
    await withAnswers({ [SIGN_DIGEST]: answered(encodeDigestAnswer(refusal)) }, (client) => {
      assert.throws(() => client.signDigest("am_x", DIGEST), (error) => {
        assert.ok(error instanceof AmeshError);
        assert.deepEqual([error.code, error.message], [refusal.code, refusal.message]);
        assert.match(error.hint!, hint === "" ? /^sign without the agent/ : /^unlock it; or sign without/);
        return true;
      });
    });
  }
});

test("signDigest() does not take a code that it does not know", async () => {
  for (const code of ["ERR_NEW", "constructor", ""]) {
    const refusal = { code, message: "cannot: x", hint: "" };
    await withAnswers({ [SIGN_DIGEST]: answered(encodeDigestAnswer(refusal)) }, (client) => {
      assert.throws(() => client.signDigest("am_x", DIGEST), ameshError("ERR_INTERNAL", /^cannot: x$/));
    });
  }
});

const SIGNED_FRAME = encodeDigestAnswer(SIGNATURE);
const noSignature: [what: string, answer: FakeAnswer][] = [
  ["refuses", answered(FAILURE_FRAME)],
  ["refuses the extension", answered(encodeFrame(28))],
  ["answers another request", answered(encodeExtensionResponse(STATUS, "signed", SIGNATURE))],
  ["gives no field", answered(encodeExtensionResponse(SIGN_DIGEST))],
  ["says something else", answered(encodeExtensionResponse(SIGN_DIGEST, "maybe", SIGNATURE))],
  ["gives 63 bytes", answered(encodeExtensionResponse(SIGN_DIGEST, "signed", SIGNATURE.subarray(1)))],
  ["is cut", cut(SIGNED_FRAME, SIGNED_FRAME.length - 1)],
  ["ends at once", { bytes: new Uint8Array(0), thenClose: true }],
  ["is empty", answered(new Uint8Array(4))],
  ["is too long", answered(concatBytes(u32be(MAX_FRAME_BYTES + 1), new Uint8Array(9)))],
];
for (const [what, answer] of noSignature) {
  test(`signDigest() throws ERR_SYSTEM when the answer ${what}`, async () => {
    await withAnswers({ [SIGN_DIGEST]: answer }, (client, path) => {
      assert.throws(
        () => client.signDigest("am_x", DIGEST),
        (error) => ameshError("ERR_SYSTEM")(error) && (error as Error).message.includes(path),
      );
    });
  });
}

test("stop() is true when the agent has said yes and closed the connection", async () => {
  const cases: [FakeAnswer, boolean][] = [
    [{ bytes: SUCCESS_FRAME, thenClose: true }, true],
    [{ bytes: FAILURE_FRAME, thenClose: true }, false],
    [{ bytes: encodeFrame(28) }, false],
  ];
  for (const [answer, isDone] of cases) {
    await withAnswers({ [STOP]: answer }, (client) => assert.equal(client.stop(), isDone));
  }
});
