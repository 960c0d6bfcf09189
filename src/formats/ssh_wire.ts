/** Data types of the SSH protocols (RFC 4251 §5). */
import { type Bytes, concatBytes, u32be, utf8 } from "../bytes.ts";

/** The bytes end too early, go on too long, or hold no text where one must stand. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** C0 and C1 control characters and DEL: nothing that a name or a comment has, and a terminal would obey them. */
const CONTROL = /\p{Cc}/u;
// Not a stream: one decoder serves all. A byte order mark is kept, so that a text encodes to the bytes it was read from.
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads values one after the other; nothing is copied. */
export class SshReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** What is not read yet: a view. */
  get rest(): Uint8Array {
    return this.#bytes.subarray(this.#at);
  }

  /** @throws {WireError} at the end. */
  byte(): number {
    const start = this.#advance(1);
    return this.#bytes[start] as number;
  }

  /** Zero is false, everything else true. @throws {WireError} at the end. */
  boolean(): boolean {
    return this.byte() !== 0;
  }

  /** 4 bytes, big-endian. @throws {WireError} when fewer remain. */
  u32(): number {
    const start = this.#advance(4);
    const byte = (i: number) => this.#bytes[start + i] as number;
    return (byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3)) >>> 0;
  }

  /** A length and so many bytes: a view of them. @throws {WireError} when fewer remain. */
  string(): Uint8Array {
    const start = this.#advance(this.u32());
    return this.#bytes.subarray(start, this.#at);
  }

  /** @throws {WireError} as `string`, or when it is not UTF-8 or has control characters. */
  text(): string {
    let text: string;
    try {
      text = DECODER.decode(this.string());
    } catch (error) {
      if (error instanceof WireError) throw error;
      throw new WireError("a text is not UTF-8");
    }
    if (CONTROL.test(text)) throw new WireError("a text has control characters");
    return text;
  }

  /** @throws {WireError} when bytes remain. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw new WireError("there are bytes after the end");
  }

  /** Goes on by so many bytes; gives the place where they begin. */
  #advance(count: number): number {
    const start = this.#at;
    if (count > this.#bytes.length - start) throw new WireError("the bytes end too early");
    this.#at = start + count;
    return start;
  }
}

/** A string: its length in 4 bytes, and its bytes (a text in UTF-8). */
export function sshString(value: Uint8Array | string): Bytes {
  const bytes = typeof value === "string" ? utf8(value) : value;
  return concatBytes(u32be(bytes.length), bytes);
}

/** An mpint with its length: no needless zeros in front, one where the top bit would mean a negative number. */
export function sshMpint(unsigned: Uint8Array): Bytes {
  let first = 0;
  while (unsigned[first] === 0) first++;
  const magnitude = unsigned.subarray(first);
  return sshString((magnitude[0] ?? 0) < 0x80 ? magnitude : concatBytes(Uint8Array.of(0), magnitude));
}
