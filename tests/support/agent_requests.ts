/** What clients ask of an agent of the fixtures `floor` and `floor-other`, and how its files change under it. */
import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { type Bytes, concatBytes, utf8 } from "../../src/bytes.ts";
import { sha256 } from "../../src/crypto/held_key.ts";
import { expandPoint } from "../../src/crypto/p256.ts";
import {
  encodeExtensionRequest,
  encodeFrame,
  encodeListRequest,
  encodeSignRequest,
  EXTENSION,
  MESSAGE,
  parseDigestAnswer,
  parseExtensionResponse,
  parseIdentities,
  parseSignResponse,
} from "../../src/formats/agent_message.ts";
import { normalizeLowS } from "../../src/formats/ecdsa_signature.ts";
import type { Identity } from "../../src/formats/identity_file.ts";
import { encodeSshKey } from "../../src/formats/public_key.ts";
import { sshString } from "../../src/formats/ssh_wire.ts";
import { addKey, type AmeshPlace, identityOf, OTHER_PASSPHRASE, writeAs } from "./amesh_place.ts";
import { accepts } from "../contract/keystore_contract.ts";
import { fixtureIdentity } from "./fixture.ts";
import { rawFrame, type TestClient } from "./running_agent.ts";

/** Who the agent may serve. */
export const FLOOR = await identityOf("floor");
export const OTHER = await identityOf("floor-other");
/** What is signed, and its digest. */
export const MESSAGE_TEXT = utf8("a message");
export const DIGEST = sha256(MESSAGE_TEXT);
/** Answers without contents. */
export const FAILURE = Uint8Array.of(5);
export const SUCCESS = Uint8Array.of(6);
export const EXTENSION_FAILURE = Uint8Array.of(28);

/** A key as ssh names it. */
export const blobOf = async ({ publicKey }: Identity) => encodeSshKey(await expandPoint(publicKey));
export const FLOOR_BLOB = await blobOf(FLOOR);

/** Whether the agent signs a digest as this identity. */
export async function signsDigest(
  client: TestClient,
  { fields, publicKey }: Identity,
): Promise<boolean | string> {
  const request = encodeExtensionRequest(EXTENSION.SIGN_DIGEST, fields.deviceId, DIGEST);
  const values = parseExtensionResponse(await client.request(request), EXTENSION.SIGN_DIGEST);
  if (values === null) return "refused";
  const answer = parseDigestAnswer(values);
  return answer instanceof Uint8Array ? await accepts(publicKey, answer, MESSAGE_TEXT) : answer.code;
}

/** The same for ssh, where s may be high. */
export async function signsData(client: TestClient, identity: Identity, data: Bytes): Promise<boolean> {
  const answer = await client.request(encodeSignRequest(await blobOf(identity), data));
  const raw = parseSignResponse(answer);
  if (raw === null) assert.deepEqual(answer, FAILURE);
  return raw !== null && await accepts(identity.publicKey, normalizeLowS(raw), data);
}

/** Comments of the keys that are listed. */
export const listed = async (client: TestClient) =>
  parseIdentities(await client.request(encodeListRequest())).map(({ comment }) => comment);
/** A request to lock or unlock. */
export const lockFrame = (type: number, passphrase: string) => encodeFrame(type, sshString(passphrase));
/** A request to bind the connection to a session. */
export const bindFrame = (contents: Uint8Array) =>
  rawFrame(concatBytes(Uint8Array.of(MESSAGE.EXTENSION), sshString(EXTENSION.SESSION_BIND), contents));

/** What the agent says of itself. */
export async function statusOf(client: TestClient) {
  const answer = await client.request(encodeExtensionRequest(EXTENSION.STATUS));
  return JSON.parse(new TextDecoder().decode(parseExtensionResponse(answer, EXTENSION.STATUS)![0]));
}

/** Puts another identity in the place of the one in force, at once, as commands do. */
export function replace({ layout }: AmeshPlace, fields: Record<string, unknown>): void {
  writeAs(`${layout.identity}.new`, JSON.stringify(fields), 0o600);
  renameSync(`${layout.identity}.new`, layout.identity);
}
/** As `init --force` does: from `floor` to `floor-other`. */
export function replaceByOther(here: AmeshPlace): void {
  addKey(here.layout, "floor-other");
  writeAs(here.layout.passphrase, `${OTHER_PASSPHRASE}\n`, 0o400);
  replace(here, fixtureIdentity("floor-other"));
}

/** Waits. */
export async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  for (const begun = performance.now(); !(await isSo());) {
    assert.ok(performance.now() - begun < 10_000, "in vain");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
