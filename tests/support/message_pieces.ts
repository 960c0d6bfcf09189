/** Messages as they come from a stream. */

/** A message in pieces of these sizes, the rest in one; the buffer is used again, which the contract of messages allows. */
export async function* inPieces(message: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(message.length);
  for (let at = 0, i = 0; at < message.length; i++) {
    const piece = message.subarray(at, at + (sizes[i] ?? message.length));
    at += piece.length;
    buffer.fill(0xee);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
  }
}
