/** Keeps `sign` from saying by accident what amesh or another protocol says with the same key. */
import { type Bytes, concatBytes } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { findProtocol, PROTOCOL_START_BYTES } from "../formats/protocol_message.ts";

/**
 * Passes a message on.
 *
 * @throws {AmeshError} `ERR_USAGE` before the first piece: it is a message of a protocol.
 */
export async function* refuseProtocols(message: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let start: Bytes | null = new Uint8Array(0);
  for await (const piece of message) {
    if (start === null) {
      yield piece;
      continue;
    }
    start = concatBytes(start, piece);
    if (start.length < PROTOCOL_START_BYTES) continue;
    requireNone(start);
    yield start;
    start = null;
  }
  if (start === null) return;
  requireNone(start);
  yield start;
}

function requireNone(start: Uint8Array): void {
  const protocol = findProtocol(start.subarray(0, PROTOCOL_START_BYTES));
  if (protocol === null) return;
  throw new AmeshError("ERR_USAGE", `cannot sign this message: it is ${protocol}`, {
    hint: "if you know what your signature will be taken for: --allow-protocol-message",
  });
}
