/** A key holder of the agent whose main thread is the test. */
import { verify } from "node:crypto";
import { writeFileSync } from "node:fs";
import { KeyHolder } from "../../src/agent/key_holder.ts";
import type { FromServer, KeyFacts, KeyState, ServerOptions } from "../../src/agent/messages.ts";
import { fileStamp } from "../../src/agent/stamp.ts";
import { type Bytes, encodeBase64, utf8 } from "../../src/bytes.ts";
import { expandPoint, generateKeyPair } from "../../src/crypto/p256.ts";
import type { Refusal } from "../../src/formats/agent_message.ts";
import { encodeSshKey } from "../../src/formats/public_key.ts";
import { closeFd, makePipe } from "../../src/platform/socket.ts";
import { publicKeyObject } from "./p256_key.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

/** A key and what everybody may know of it. */
export interface TestKey {
  readonly scalar: Bytes;
  readonly facts: KeyFacts;
}

/** A new key. */
export async function makeKey(deviceId: string): Promise<TestKey> {
  const { scalar, publicKey } = await generateKeyPair();
  const facts = {
    deviceId,
    backend: "encrypted-file",
    name: deviceId,
    publicKey: encodeBase64(publicKey),
    blob: encodeSshKey(await expandPoint(publicKey)),
  };
  return { scalar, facts };
}

/** Keys of two identities. */
export const ONE = await makeKey("am_one");
export const TWO = await makeKey("am_two");
/** Why a key is not open. */
export const PROBLEM: Refusal = { code: "ERR_UNLOCK_FAILED", message: "cannot unlock the key", hint: "" };
/** What who needs a locked key is told. */
export const LOCKED = /the agent is locked/;

/** A holder whose main thread is the test; its identity.json says nothing and is only looked at from outside. */
export function place(
  how: { idle?: number; open?: KeyState["open"]; facts?: KeyFacts | null; problem?: Refusal } = {},
) {
  const directory = temporaryDirectory();
  const identity = directory.file("identity.json");
  writeFileSync(identity, "1");
  const pipe = makePipe();
  const options: ServerOptions = {
    listener: -1,
    stamp: "",
    wake: pipe.read,
    socket: directory.file("s"),
    identity,
    askpass: null,
    idleTimeoutSeconds: how.idle ?? 0,
    isWatched: true,
  };
  const posted: FromServer[] = [];
  const state = (changes: Partial<KeyState> = {}): KeyState => ({
    stamp: fileStamp(identity),
    facts: ONE.facts,
    open: null,
    problem: null,
    ...changes,
  });
  const { open = memoryOf(ONE), facts = ONE.facts, problem = null } = how;
  const keys = new KeyHolder(
    options,
    state({ open, facts, problem }),
    (message) => void posted.push(message),
  );
  return {
    keys,
    identity,
    pipe,
    state,
    /** The messages to the main thread since the last call, without those to the log. */
    sent: () => posted.splice(0).filter(({ type }) => type !== "log"),
    types: () => posted.splice(0).map(({ type }) => type).filter((type) => type !== "log"),
    logged: () => posted.splice(0).flatMap((message) => message.type === "log" ? [message.line] : []),
    [Symbol.dispose]: () => {
      keys[Symbol.dispose]();
      closeFd(pipe.read);
      closeFd(pipe.write);
      directory[Symbol.dispose]();
    },
  };
}

/** A scalar that can be wiped. */
export function memoryOf(key: TestKey) {
  return { in: "memory" as const, scalar: Uint8Array.from(key.scalar) };
}
/** A key that lies in a chip. */
export const HARDWARE = { in: "hardware" } as const;

/** What a use is told: the key's device, or why there is none. */
export function uses(keys: KeyHolder): string[] {
  const told: string[] = [];
  keys.withOpenKey((refusal) => {
    if (refusal !== null) return void told.push(refusal.message);
    const message = utf8("a message");
    const signature = keys.memory?.sign(message);
    if (signature === undefined) return void told.push("not in memory");
    const signer = [ONE, TWO].find(({ facts }) =>
      verify(
        "sha256",
        message,
        { key: publicKeyObject(facts.publicKey), dsaEncoding: "ieee-p1363" },
        signature,
      )
    );
    told.push(signer?.facts.deviceId ?? "another key");
  });
  return told;
}
