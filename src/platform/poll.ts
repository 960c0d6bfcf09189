/** poll(2): waiting for many descriptors at once, in a thread of its own. Linux and macOS. */
import { library } from "../ffi/ffi.ts";
import { bindErrno, failure, libcPaths } from "./libc.ts";
import type { Fd } from "./socket.ts";

const libc = library(libcPaths, {
  // The count is an unsigned long on Linux; macOS looks at the lower half.
  poll: { parameters: ["buffer", "size", "i32"], result: "i32" },
});

/** poll.h, the same on both systems. */
const POLLIN = 0x1;
const POLLOUT = 0x4;
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLNVAL = 0x20;

/**
 * Words of a struct pollfd: the descriptor, then what is asked for (lower half) and what is so (upper half).
 */
const ENTRY_WORDS = 2;

/** What {@linkcode PollSet.wait} tells of one descriptor. */
export interface Ready {
  readonly fd: Fd;
  /** Reading will not wait: there are bytes, the end, or a connection to accept. */
  readonly readable: boolean;
  readonly writable: boolean;
  /**
   * The other side is gone for good, or the descriptor is not open; told whatever the interest is, at every
   * wait. What the other side had sent can still be read when it is `readable` too.
   */
  readonly gone: boolean;
}

/** Descriptors and what they are waited for. */
export class PollSet {
  readonly #indexes = new Map<Fd, number>();
  #words = new Int32Array(2 * 16);
  #bytes = new Uint8Array(this.#words.buffer);
  #size = 0n;
  /** Handed out by every wait, and filled again by the next one. */
  readonly #ready: Ready[] = [];
  readonly #spare: { -readonly [K in keyof Ready]: Ready[K] }[] = [];

  /** Adds a descriptor, or changes what it is waited for. With neither interest only `gone` is told. */
  set(fd: Fd, interest: { readonly read: boolean; readonly write: boolean }): void {
    const events = (interest.read ? POLLIN : 0) | (interest.write ? POLLOUT : 0);
    let index = this.#indexes.get(fd);
    if (index === undefined) {
      index = this.#indexes.size;
      this.#indexes.set(fd, index);
      this.#size = BigInt(index + 1);
      this.#reserve(index + 1);
      this.#words[index * ENTRY_WORDS] = fd;
    }
    this.#words[index * ENTRY_WORDS + 1] = events;
  }

  /** Takes a descriptor out, before it is closed: its number may come back for another one. */
  delete(fd: Fd): void {
    const index = this.#indexes.get(fd);
    if (index === undefined) return;
    this.#indexes.delete(fd);
    const last = this.#indexes.size;
    this.#size = BigInt(last);
    if (index === last) return;
    // The last one moves into the place that is free.
    this.#words.copyWithin(index * ENTRY_WORDS, last * ENTRY_WORDS, (last + 1) * ENTRY_WORDS);
    this.#indexes.set(this.#words[index * ENTRY_WORDS] as Fd, index);
  }

  #reserve(count: number): void {
    if (count * ENTRY_WORDS <= this.#words.length) return;
    const words = new Int32Array(this.#words.length * 2);
    words.set(this.#words);
    this.#words = words;
    this.#bytes = new Uint8Array(words.buffer);
  }

  /**
   * Blocks this thread until a descriptor is ready.
   *
   * @param timeoutMs milliseconds; -1: for ever.
   * @returns the ready ones in no order; none when the time is over or a signal came. The array and what is
   *   in it are good until the next call.
   * @throws {Error} with `code`.
   */
  wait(timeoutMs: number): readonly Ready[] {
    const ready = this.#ready;
    ready.length = 0;
    bindErrno();
    let left = libc.poll(this.#bytes, this.#size, timeoutMs);
    if (left < 0) {
      const errno = failure();
      if (errno === "EINTR") return ready;
      throw Object.assign(new Error(`poll: ${errno}`), { code: errno });
    }
    const words = this.#words;
    for (let at = 0; left > 0 && at < words.length; at += ENTRY_WORDS) {
      const events = (words[at + 1] as number) >>> 16;
      if (events === 0) continue;
      left--;
      const entry = this.#spare[ready.length] ??= { fd: 0, readable: false, writable: false, gone: false };
      entry.fd = words[at] as Fd;
      entry.readable = (events & POLLIN) !== 0;
      entry.writable = (events & POLLOUT) !== 0;
      entry.gone = (events & (POLLERR | POLLHUP | POLLNVAL)) !== 0;
      ready.push(entry);
    }
    return ready;
  }
}

/** Whether a write of a line would not wait, or would fail at once. */
export function isWritable(fd: Fd): boolean {
  const poll = new PollSet();
  poll.set(fd, { read: false, write: true });
  return poll.wait(0).length > 0;
}
