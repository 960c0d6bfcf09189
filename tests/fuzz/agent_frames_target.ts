/** The stream of bytes in which a client's frames come. */
import assert from "node:assert/strict";
import { type Bytes, concatBytes, u32be } from "../../src/bytes.ts";
import { AmeshError } from "../../src/errors.ts";
import {
  encodeListRequest,
  encodeSignRequest,
  FRAME_LENGTH_BYTES,
  MAX_FRAME_BYTES,
} from "../../src/formats/agent_message.ts";
import { framesOf } from "../support/agent_connection.ts";
import { SSH_KEY_BLOB, USERAUTH } from "../support/protocol_messages.ts";
import type { Mutator } from "./bytes_mutators.ts";
import { Random } from "./random.ts";
import { makeTarget, type Target } from "./target.ts";

/** The first byte of an input says how the rest is cut. */
const CUTS = 1;

/** What the frames of a stream are, by the description alone. */
function expected(stream: Uint8Array): (Uint8Array | "malformed")[] {
  const frames: (Uint8Array | "malformed")[] = [];
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  for (let at = 0; at + FRAME_LENGTH_BYTES <= stream.length;) {
    const length = view.getUint32(at);
    if (length === 0 || length > MAX_FRAME_BYTES) return [...frames, "malformed"];
    at += FRAME_LENGTH_BYTES + length;
    if (at > stream.length) break;
    frames.push(stream.slice(at - length, at));
  }
  return frames;
}

/** Pieces of a stream. */
function* pieces(stream: Bytes, how: number): Generator<Bytes> {
  const random = new Random(`${how}/${stream.length}`);
  const longest = random.pick([1, 3, 7, 100, 4096, 4097, 65_536, stream.length + 1]);
  // A long stream in single bytes takes its time.
  const shortest = Math.max(1, stream.length >> 8);
  for (let at = 0; at < stream.length;) {
    const length = Math.max(shortest, random.between(1, longest));
    yield stream.subarray(at, at + length);
    at += length;
  }
}

/** Frames of any length, and lengths that no frame has. */
const fresh: Mutator = (random) => {
  const frames = Array.from({ length: random.between(1, 12) }, () => {
    const length = random.pick([1, 1, 5, 100, 4091, 4092, 4093, 9000, random.below(300)]);
    const claimed = random.oneIn(30)
      ? random.pick([0, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 2 ** 32 - 1])
      : length;
    return concatBytes(u32be(claimed), new Uint8Array(length).fill(random.below(256)));
  });
  return concatBytes(random.bytes(CUTS), ...frames);
};

const seed = (how: number, ...frames: readonly Bytes[]) => concatBytes(Uint8Array.of(how), ...frames);

/** Target of the agent's connections. */
export const AGENT_FRAMES_TARGET: Target = makeTarget<void>({
  name: "agent-frames",
  seeds: [
    seed(1, encodeListRequest()),
    seed(2, encodeListRequest(), encodeSignRequest(SSH_KEY_BLOB, USERAUTH), encodeListRequest()),
    seed(3, encodeSignRequest(SSH_KEY_BLOB, new Uint8Array(10_000)), encodeListRequest()),
    seed(4, encodeListRequest(), new Uint8Array(4)),
  ],
  mutators: [fresh],
  limit: FRAME_LENGTH_BYTES + MAX_FRAME_BYTES,
  codes: ["ERR_CORRUPT"],
  parse: (input) => {
    const stream = input.subarray(CUTS);
    const frames = framesOf(pieces(stream, input[0] ?? 0));
    assert.deepEqual(frames, expected(stream));
    if (frames.includes("malformed")) throw new AmeshError("ERR_CORRUPT", "no frame has this length");
  },
  check: () => {},
});
