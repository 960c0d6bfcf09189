/** Keeps `sign` from saying by accident what amesh or another protocol says with the same key. */
import { AmeshError } from "../errors.ts";
import { findProtocol, PROTOCOL_START_BYTES } from "../formats/protocol_message.ts";

/**
 * Passes a message on.
 *
 * @param message each piece is valid until the next.
 * @throws {AmeshError} `ERR_USAGE` before the first piece: it is a message of a protocol.
 */
export async function* refuseProtocols(message: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  // The start of a message whose first piece is shorter than that; `length` bytes of it are there.
  let collected: Uint8Array | null = null;
  let length = 0;
  let isDecided = false;
  for await (const piece of message) {
    if (isDecided) {
      yield piece;
    } else if (length === 0 && piece.length >= PROTOCOL_START_BYTES) {
      requireNone(piece.subarray(0, PROTOCOL_START_BYTES));
      isDecided = true;
      yield piece;
    } else {
      collected ??= new Uint8Array(PROTOCOL_START_BYTES);
      const part = piece.subarray(0, PROTOCOL_START_BYTES - length);
      collected.set(part, length);
      length += part.length;
      if (length < PROTOCOL_START_BYTES) continue;
      requireNone(collected);
      isDecided = true;
      yield collected;
      if (part.length < piece.length) yield piece.subarray(part.length);
    }
  }
  if (isDecided || collected === null) return;
  requireNone(collected.subarray(0, length));
  yield collected.subarray(0, length);
}

/** @param start the first {@linkcode PROTOCOL_START_BYTES}, or all of a shorter message. */
function requireNone(start: Uint8Array): void {
  const protocol = findProtocol(start, start.length < PROTOCOL_START_BYTES);
  if (protocol === null) return;
  throw new AmeshError("ERR_USAGE", `cannot sign this message: it is ${protocol}`, {
    hint: "if you know what your signature will be taken for: --allow-protocol-message",
  });
}
