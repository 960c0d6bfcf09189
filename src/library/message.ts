/** What callers give to be signed or verified, as the rest of amesh takes it. */
import { utf8 } from "../bytes.ts";
import { inOnePiece, type Message } from "../crypto/p256.ts";

/**
 * Bytes, a text (its UTF-8 bytes are meant), or bytes that come one piece after the other: a `ReadableStream`, such as the
 * body of a `Request`, or anything else that `for await` takes, such as a stream of `node:fs`.
 */
export type Data = Uint8Array | string | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/** Data that can be read as often as needed, or once. */
export interface Readable {
  /** Whether it was read, and cannot be read again. */
  isSpent(): boolean;
  message(): Message;
}

/** @throws {TypeError} it is nothing of that kind; from the message: a piece is no bytes. */
export function readableOf(data: Data): Readable {
  const bytes = typeof data === "string" ? utf8(data) : data;
  if (bytes instanceof Uint8Array) return { isSpent: () => false, message: () => inOnePiece(bytes) };
  if (typeof bytes === "object" && bytes !== null && Symbol.asyncIterator in bytes) {
    const pieces = bytes as AsyncIterable<Uint8Array>;
    let isSpent = false;
    const read = async function* (): Message {
      isSpent = true;
      for await (const piece of pieces) {
        if (!(piece instanceof Uint8Array)) throw new TypeError("a piece of the stream is no Uint8Array");
        yield piece;
      }
    };
    return { isSpent: () => isSpent, message: read };
  }
  throw new TypeError("the data is neither a Uint8Array, nor a string, nor a stream of bytes");
}
