/** Keeps signatures from saying by accident what amesh or another protocol says with the same key. */
import { AmeshError } from "../errors.ts";
import { findProtocol, PROTOCOL_START_BYTES } from "./protocol_message.ts";

/**
 * Passes a message on.
 *
 * @param message each piece is valid until the next.
 * @param consent how the caller says that such a message is meant, for the hint.
 * @throws {AmeshError} `ERR_USAGE` before the first piece: it is a message of a protocol.
 */
export function refuseProtocols(
  message: AsyncIterable<Uint8Array>,
  consent: string,
): AsyncGenerator<Uint8Array> {
  return inspectStart(message, (start, isWhole) => requireNone(start, isWhole, consent));
}

/**
 * Passes a message on after its start has been looked at.
 *
 * @param message each piece is valid until the next.
 * @param judge throws, before the first piece is passed on, when it objects to the first {@linkcode PROTOCOL_START_BYTES},
 *   or to all of a shorter message. It is not asked about an empty one.
 */
export async function* inspectStart(
  message: AsyncIterable<Uint8Array>,
  judge: (start: Uint8Array, isWhole: boolean) => void,
): AsyncGenerator<Uint8Array> {
  // The start of a message whose first piece is shorter than that; `length` bytes of it are there.
  let collected = new Uint8Array(0);
  let length = 0;
  let isDecided = false;
  for await (const piece of message) {
    if (isDecided) {
      yield piece;
    } else if (length === 0 && piece.length >= PROTOCOL_START_BYTES) {
      judge(piece.subarray(0, PROTOCOL_START_BYTES), false);
      isDecided = true;
      yield piece;
    } else {
      const part = piece.subarray(0, PROTOCOL_START_BYTES - length);
      collected = withRoom(collected, length + part.length);
      collected.set(part, length);
      length += part.length;
      if (length < PROTOCOL_START_BYTES) continue;
      judge(collected, false);
      isDecided = true;
      yield collected;
      if (part.length < piece.length) yield piece.subarray(part.length);
    }
  }
  if (isDecided || length === 0) return;
  judge(collected.subarray(0, length), true);
  yield collected.subarray(0, length);
}

/** The same bytes in a buffer for so many at least: most messages are much shorter than what is looked at. */
function withRoom(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  if (length <= bytes.length) return bytes;
  const larger = new Uint8Array(Math.min(PROTOCOL_START_BYTES, Math.max(length, 2 * bytes.length)));
  larger.set(bytes);
  return larger;
}

function requireNone(start: Uint8Array, isWhole: boolean, consent: string): void {
  const protocol = findProtocol(start, isWhole);
  if (protocol === null) return;
  throw new AmeshError("ERR_USAGE", `cannot sign this message: it is ${protocol}`, {
    hint: `if you know what your signature will be taken for: ${consent}`,
  });
}
