/** Messages of the agent protocol: what clients send to an agent, and what amesh takes for its answers. */
import assert from "node:assert/strict";
import { type Bytes, concatBytes, u32be, utf8 } from "../../src/bytes.ts";
import { AmeshError } from "../../src/errors.ts";
import {
  encodeDigestAnswer,
  encodeExtensionResponse,
  encodeFrame,
  encodeIdentities,
  encodeListRequest,
  encodeSignRequest,
  encodeSignResponse,
  EXTENSION,
  MAX_FRAME_BYTES,
  MESSAGE,
  parseDigestAnswer,
  parseExtensionResponse,
  parseIdentities,
  parseRequest,
  parseSessionBind,
  parseSignDigest,
  parseSignResponse,
} from "../../src/formats/agent_message.ts";
import { sshMpint, sshString, WireError } from "../../src/formats/ssh_wire.ts";
import { SSH_KEY_BLOB, USERAUTH } from "../support/protocol_messages.ts";
import type { Mutator } from "./bytes_mutators.ts";
import type { Random } from "./random.ts";
import { makeTarget, type Target } from "./target.ts";

/** A parser by the first byte of an input, which says what encodes to the rest of it; `null`: nothing does. */
type Parse = (payload: Bytes) => () => Uint8Array | null;

const withoutLength = (frame: Bytes) => frame.subarray(4);
const extension = (name: string, contents: Uint8Array) =>
  encodeFrame(MESSAGE.EXTENSION, sshString(name), contents);

const PARSERS: readonly Parse[] = [
  (payload) => {
    const request = parseRequest(payload);
    return () => {
      switch (request.kind) {
        case "list":
          return withoutLength(encodeListRequest());
        case "sign":
          // The flags say nothing of an ECDSA key.
          return concatBytes(
            withoutLength(encodeSignRequest(request.publicKey, request.data)).subarray(0, -4),
            payload.subarray(-4),
          );
        case "lock":
        case "unlock": {
          const type = request.kind === "lock" ? MESSAGE.LOCK : MESSAGE.UNLOCK;
          return concatBytes(Uint8Array.of(type), sshString(request.passphrase));
        }
        case "extension":
          return withoutLength(extension(request.name, request.contents));
        case "unsupported":
          assert.ok(![11, 13, 22, 23, 27].includes(payload[0]!));
          return null;
      }
    };
  },
  (payload) => {
    const { hostKey, sessionId, signature, isForwarding } = parseSessionBind(payload);
    const last = payload.at(-1)!;
    return () => {
      assert.equal(isForwarding, last !== 0);
      return concatBytes(...[hostKey, sessionId, signature].map(sshString), Uint8Array.of(last));
    };
  },
  (payload) => {
    const { deviceId, digest } = parseSignDigest(payload);
    return () => {
      assert.equal(digest.length, 32);
      return concatBytes(sshString(deviceId), sshString(digest));
    };
  },
  (payload) => {
    const fields = parseExtensionResponse(payload, EXTENSION.SIGN_DIGEST);
    if (fields === null) return () => null;
    const answer = parseDigestAnswer(fields);
    return () => {
      assert.deepEqual(withoutLength(encodeExtensionResponse(EXTENSION.SIGN_DIGEST, ...fields)), payload);
      const again = parseExtensionResponse(withoutLength(encodeDigestAnswer(answer)), EXTENSION.SIGN_DIGEST)!;
      assert.deepEqual(parseDigestAnswer(again), answer);
      return null;
    };
  },
  (payload) => {
    const keys = parseIdentities(payload);
    return () => payload[0] === MESSAGE.IDENTITIES_ANSWER ? withoutLength(encodeIdentities(keys)) : null;
  },
  (payload) => {
    const raw = parseSignResponse(payload);
    return () => {
      if (raw === null) return null;
      assert.equal(raw.length, 64);
      const again = withoutLength(encodeSignResponse(raw));
      assert.deepEqual(parseSignResponse(again), raw);
      return null;
    };
  },
];

/** A string whose length is right, most of the time. */
function someString(random: Random): Bytes {
  const bytes = random.bytes(random.pick([0, 1, 5, 32, 33, 64, 200]));
  return random.oneIn(12)
    ? concatBytes(u32be(random.pick([0, 31, 0xffff, 0xffffffff])), bytes)
    : sshString(bytes);
}

/** A message of any fields. */
const fresh: Mutator = (random) => {
  const name = random.pick([...Object.values(EXTENSION), "x@example.org", ""]);
  const strings = (count: number) => concatBytes(...Array.from({ length: count }, () => someString(random)));
  switch (random.below(6)) {
    case 0: {
      const type = random.pick([11, 13, 13, 22, 23, 27, 27, random.below(256)]);
      const tail = type === 13 ? u32be(random.below(8)) : new Uint8Array(0);
      const name27 = type === 27 ? sshString(name) : new Uint8Array(0);
      const count = type === 13 ? 2 : type === 11 ? 0 : 1;
      return concatBytes(Uint8Array.of(0, type), name27, strings(count), tail);
    }
    case 1:
      return concatBytes(Uint8Array.of(1), strings(3), Uint8Array.of(random.pick([0, 1, 255])));
    case 2: {
      const digest = random.bytes(random.pick([32, 32, 32, 31, 33]));
      return concatBytes(Uint8Array.of(2), sshString(random.pick(["am_x", "é", "\n"])), sshString(digest));
    }
    case 3: {
      const kind = random.pick(["signed", "refused", "refused", "x"]);
      const signature = random.bytes(random.pick([64, 64, 63]));
      const rest = kind === "signed" ? sshString(signature) : strings(random.pick([3, 3, 2]));
      const frame = encodeFrame(
        MESSAGE.EXTENSION_RESPONSE,
        sshString(EXTENSION.SIGN_DIGEST),
        sshString(kind),
        rest,
      );
      return concatBytes(Uint8Array.of(3), withoutLength(frame));
    }
    case 4: {
      const count = random.below(4);
      const keys = Array.from({ length: count }, () => concatBytes(someString(random), sshString("name")));
      const claimed = random.oneIn(6) ? random.pick([0, count + 1, 0xffffffff]) : count;
      return concatBytes(Uint8Array.of(4, MESSAGE.IDENTITIES_ANSWER), u32be(claimed), ...keys);
    }
    default: {
      const number = () => sshMpint(random.bytes(random.pick([32, 32, 31, 33, 0])));
      const blob = concatBytes(sshString("ecdsa-sha2-nistp256"), sshString(concatBytes(number(), number())));
      return concatBytes(Uint8Array.of(5, MESSAGE.SIGN_RESPONSE), sshString(blob));
    }
  }
};

/** One length changed a little, or a lot. */
const changedLength: Mutator = (random, input) => {
  const copy = Uint8Array.from(input);
  const zeros = [...copy.keys()].filter((at) => at + 3 < copy.length && copy[at] === 0 && copy[at + 1] === 0);
  if (zeros.length === 0) return copy;
  const at = random.pick(zeros);
  copy.set(u32be(random.pick([0, 1, copy[at + 3]! + 1, copy[at + 3]! + 255, 0x7fffffff, 0xffffffff])), at);
  return copy;
};

const seed = (parser: number, payload: Uint8Array) => concatBytes(Uint8Array.of(parser), payload);
const string = (length: number) => sshString(new Uint8Array(length).fill(length));
const REFUSAL = { code: "ERR_BUSY", message: "cannot sign: é", hint: "" };

/** Target of the agent and of its clients. */
export const AGENT_MESSAGE_TARGET: Target = makeTarget<() => Uint8Array | null>({
  name: "agent-message",
  seeds: [
    seed(0, withoutLength(encodeListRequest())),
    seed(0, withoutLength(encodeSignRequest(SSH_KEY_BLOB, USERAUTH))),
    seed(0, concatBytes(Uint8Array.of(MESSAGE.LOCK), sshString("passphrase"))),
    seed(0, withoutLength(extension(EXTENSION.SIGN_DIGEST, concatBytes(sshString("am_x"), string(32))))),
    seed(1, concatBytes(string(51), string(32), string(83), Uint8Array.of(1))),
    seed(2, concatBytes(sshString("am_N3kquVV09okB7uln"), string(32))),
    seed(3, withoutLength(encodeDigestAnswer(new Uint8Array(64).fill(1)))),
    seed(3, withoutLength(encodeDigestAnswer(REFUSAL))),
    seed(4, withoutLength(encodeIdentities([{ blob: SSH_KEY_BLOB, comment: "name" }]))),
    seed(5, withoutLength(encodeSignResponse(new Uint8Array(64).fill(0x81)))),
    utf8("\x05\x05"),
  ],
  mutators: [fresh, changedLength],
  limit: MAX_FRAME_BYTES,
  codes: ["ERR_CORRUPT"],
  parse: (input) => {
    const parser = PARSERS[input[0] ?? PARSERS.length];
    try {
      if (parser === undefined) throw new WireError("no parser");
      return parser(input.subarray(1));
    } catch (error) {
      if (error instanceof WireError) throw new AmeshError("ERR_CORRUPT", error.message);
      throw error;
    }
  },
  check: (encode, input) => {
    const again = encode();
    if (again !== null) assert.deepEqual(Uint8Array.from(again), input.slice(1), "not canonical");
  },
});
