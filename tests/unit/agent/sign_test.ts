import assert from "node:assert/strict";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { signByAgent } from "../../../src/agent/sign.ts";
import { type Bytes, concatBytes, utf8 } from "../../../src/bytes.ts";
import { openMemoryKey, sha256 } from "../../../src/crypto/held_key.ts";
import { generateKeyPair } from "../../../src/crypto/p256.ts";
import { encodeDigestAnswer, encodeFrame, EXTENSION } from "../../../src/formats/agent_message.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import type { Layout } from "../../../src/platform/paths.ts";
import { type AmeshPlace, ameshPlace, identityOf } from "../../support/amesh_place.ts";
import { accepts, pieces } from "../../contract/keystore_contract.ts";
import { ameshError } from "../../support/errors.ts";
import { type FakeAnswer, startFakeAgent, statusAnswer } from "../../support/fake_agent.ts";

const FLOOR = await identityOf("floor");
const OTHER = await identityOf("floor-other");
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const TEXT = utf8("a message");

/** Where an agent listens when nobody says where. */
function usual({ layout }: AmeshPlace): string {
  mkdirSync(layout.run, { mode: 0o700, recursive: true });
  return join(layout.run, "agent.sock");
}

async function signedByFloor(layout: Layout, message: Bytes): Promise<Bytes> {
  using opened = await openIdentity(layout, () => {}, false);
  return await opened.signer.sign(pieces(message));
}

const answers = (deviceId: string, signature: Bytes, socket = "/s"): Record<string, FakeAnswer> => ({
  [EXTENSION.STATUS]: statusAnswer(deviceId, socket),
  [EXTENSION.SIGN_DIGEST]: { bytes: encodeDigestAnswer(signature) },
});

/** That the message is not touched. */
async function* untouched(): AsyncGenerator<Uint8Array> {
  assert.fail("the message was read");
  yield TEXT;
}

test("without an agent there is no signature, and the message is not touched", async () => {
  using here = ameshPlace("floor");
  assert.equal(await signByAgent(here.layout, untouched()), null);
  using nowhere = ameshPlace(null);
  await assert.rejects(signByAgent(nowhere.layout, untouched()), ameshError("ERR_NO_IDENTITY"));
});

test("an agent of this identity signs, wherever it listens and however long the message is", async () => {
  for (const message of [TEXT, new Uint8Array(0), new Uint8Array((1 << 20) + 5)]) {
    for (const isUsual of [true, false]) {
      using elsewhere = ameshPlace(null);
      using here = ameshPlace("floor", isUsual ? {} : { SSH_AUTH_SOCK: elsewhere.file("s") });
      const signature = await signedByFloor(here.layout, message);
      const path = isUsual ? usual(here) : elsewhere.file("s");
      await using _agent = startFakeAgent(path, answers(FLOOR.fields.deviceId, signature));
      const signed = await signByAgent(here.layout, pieces(message));
      assert.deepEqual(signed?.signature, signature);
      assert.deepEqual(signed?.identity.publicKey, FLOOR.publicKey);
    }
  }
});

test("an agent of another identity is passed over, for the next one or none", async () => {
  using elsewhere = ameshPlace(null);
  using here = ameshPlace("floor", { SSH_AUTH_SOCK: elsewhere.file("s") });
  const { deviceId } = FLOOR.fields;
  const signature = await signedByFloor(here.layout, TEXT);
  await using _other = startFakeAgent(usual(here), answers(OTHER.fields.deviceId, signature));
  assert.equal(await signByAgent(here.layout, untouched()), null);
  await using _own = startFakeAgent(elsewhere.file("s"), answers(deviceId, signature));
  assert.deepEqual((await signByAgent(here.layout, pieces(TEXT)))?.signature, signature);
});

test("an agent that is not amesh's is passed over", async () => {
  using elsewhere = ameshPlace(null);
  using here = ameshPlace("floor", { SSH_AUTH_SOCK: elsewhere.file("s") });
  await using _ssh = startFakeAgent(elsewhere.file("s"), { [EXTENSION.STATUS]: { bytes: encodeFrame(5) } });
  assert.equal(await signByAgent(here.layout, untouched()), null);
});

test("an empty SSH_AUTH_SOCK counts as none", async () => {
  using here = ameshPlace("floor", { SSH_AUTH_SOCK: "" });
  assert.equal(await signByAgent(here.layout, untouched()), null);
});

test("a signature that is not this identity's is not handed on", async () => {
  const { scalar } = await generateKeyPair();
  using foreign = openMemoryKey(scalar);
  using here = ameshPlace("floor");
  const right = await signedByFloor(here.layout, TEXT);
  const wrong = [
    Uint8Array.from(foreign.signDigest(sha256(TEXT))),
    await signedByFloor(here.layout, utf8("another message")),
    new Uint8Array(64),
    new Uint8Array(64).fill(0xff),
    concatBytes(right.subarray(32), right.subarray(0, 32)),
  ];
  const path = usual(here);
  for (const signature of wrong) {
    rmSync(path, { force: true });
    await using _agent = startFakeAgent(path, answers(FLOOR.fields.deviceId, signature, path));
    for (const message of [TEXT, new Uint8Array((1 << 20) + 5)]) {
      await assert.rejects(
        signByAgent(here.layout, pieces(message)),
        ameshError("ERR_SYSTEM", /its signature does not verify$/),
      );
    }
  }
});

test("a signature is low-S or none, also when an agent gives the other one", async () => {
  using here = ameshPlace("floor");
  const signature = await signedByFloor(here.layout, TEXT);
  const s = ORDER - BigInt(`0x${signature.subarray(32).toHex()}`);
  const high = concatBytes(signature.subarray(0, 32), Uint8Array.fromHex(s.toString(16).padStart(64, "0")));
  await using _agent = startFakeAgent(usual(here), answers(FLOOR.fields.deviceId, high));
  let signed;
  try {
    signed = await signByAgent(here.layout, pieces(TEXT));
  } catch (error) {
    ameshError("ERR_SYSTEM")(error);
    return;
  }
  assert.ok(signed !== null && await accepts(FLOOR.publicKey, signed.signature, TEXT));
});

test("what an agent refuses is not done without it", async () => {
  using here = ameshPlace("floor");
  const refusal = { code: "ERR_NOT_CONFIRMED", message: "cannot use the key: x", hint: "" };
  await using _agent = startFakeAgent(usual(here), {
    [EXTENSION.STATUS]: statusAnswer(FLOOR.fields.deviceId, "/s"),
    [EXTENSION.SIGN_DIGEST]: { bytes: encodeDigestAnswer(refusal) },
  });
  await assert.rejects(signByAgent(here.layout, pieces(TEXT)), ameshError("ERR_NOT_CONFIRMED"));
});
