/** Character devices and connections: whether one can be opened, and waiting for what comes from it. Linux only. */
import { concatBytes } from "../bytes.ts";
import { library } from "../ffi/ffi.ts";
import { errnoOf } from "../errors.ts";
import { checked, cString, libcPaths } from "./libc.ts";
import { LINUX_FLAGS } from "./open_flags.ts";
import { systemFileInfo } from "./system_file.ts";
import { pause } from "./ready.ts";

const libc = library(libcPaths, {
  close: { parameters: ["i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "size", "i32"], result: "size" },
  send: { parameters: ["i32", "buffer", "size", "i32"], result: "size" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
});

const OPEN_DEVICE = LINUX_FLAGS.readWrite | LINUX_FLAGS.nonBlocking | LINUX_FLAGS.closeOnExec;

/**
 * Opens a device for reading and writing and closes it again.
 *
 * @returns the errno name that keeps it from being opened, `ENOTTY` for what is no device; `null` when nothing does.
 * @throws {FfiLoadError} no libc.
 */
export function tryDevice(path: string): string | null {
  let fd = -1;
  const errno = errnoFrom("open", () => fd = libc.open(cString(path), OPEN_DEVICE));
  if (errno !== null) return errno;
  libc.close(fd);
  return isOtherFile(path) ? "ENOTTY" : null;
}

/** The errno name with which a call fails; `null` when it does not. */
function errnoFrom(name: string, call: () => number): string | null {
  try {
    checked(name, call);
    return null;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno;
  }
}

/** Whether there is something that is no character device: a library that took it for one would write into it. */
export function isOtherFile(path: string): boolean {
  return systemFileInfo(path)?.isCharacterDevice === false;
}

/** Events of epoll(7) (uapi/linux/eventpoll.h). */
const EPOLL = { IN: 0x01, ERR: 0x08, HUP: 0x10, RDHUP: 0x2000, ET: 0x80000000 } as const;
const CLOSED = EPOLL.ERR | EPOLL.HUP | EPOLL.RDHUP;
const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
/** struct epoll_event: u32 events, then 8 bytes of ours, packed on x64 and aligned on arm64; what is read here is in its first four. */
const EVENT_BYTES = 16;

/**
 * Waits for the answers that come from one descriptor.
 *
 * By epoll, edge-triggered, and made before a command is sent: poll(2) on a TPM device takes a lock that the kernel
 * holds as long as the chip works, so it would not keep its time limit, while epoll asks the device only after the
 * kernel has said that it is done.
 */
export class AnswerWatch implements Disposable {
  readonly #epoll: number;
  /** @throws {Error} with `code`. */
  constructor(readonly fd: number) {
    this.#epoll = checked("epoll_create1", () => libc.epoll_create1(EPOLL_CLOEXEC));
    const event = new Uint8Array(EVENT_BYTES);
    new DataView(event.buffer).setUint32(0, EPOLL.IN | EPOLL.RDHUP | EPOLL.ET, true);
    try {
      checked("epoll_ctl", () => libc.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, event));
    } catch (error) {
      libc.close(this.#epoll);
      throw error;
    }
  }

  /**
   * @param remainingMs how long it may still take; asked again whenever the wait is interrupted.
   * @returns `false` when the time is over. A connection that was closed counts as answered: reading it tells.
   */
  wait(remainingMs: () => number): boolean {
    const event = new Uint8Array(EVENT_BYTES);
    for (;;) {
      const ready = libc.epoll_wait(this.#epoll, event, 1, Math.max(0, Math.ceil(remainingMs())));
      const events = new DataView(event.buffer).getUint32(0, true);
      if (ready > 0 && ((events & CLOSED) !== 0 || holdsWholeAnswer(this.fd))) return true;
      if (remainingMs() <= 0) return false;
    }
  }

  [Symbol.dispose](): void {
    libc.close(this.#epoll);
  }
}

/** {@linkcode AnswerWatch.wait} for one answer. */
export function waitForAnswer(fd: number, remainingMs: () => number): boolean {
  using watch = new AnswerWatch(fd);
  return watch.wait(remainingMs);
}

const MSG_PEEK_DONTWAIT = 0x02 | 0x40;
/** tag u16, size u32, responseCode u32 (TPM 2.0 Part 1 §18.9). */
const HEADER_BYTES = 10;
const RESPONSE_TAGS = [0x8001, 0x8002];
/** No answer of a TPM is longer. */
const MAX_ANSWER_BYTES = 4096;

/** Whether all of an answer has come: a device hands it out as a whole, a socket piece by piece. */
function holdsWholeAnswer(fd: number): boolean {
  const answer = new Uint8Array(MAX_ANSWER_BYTES);
  const length = BigInt.asIntN(64, libc.recv(fd, answer, BigInt(answer.length), MSG_PEEK_DONTWAIT));
  // No socket, or one that does not speak plain TPM messages.
  if (length < 0n) return true;
  const view = new DataView(answer.buffer);
  if (length < HEADER_BYTES) return length >= 2n && !RESPONSE_TAGS.includes(view.getUint16(0));
  return !RESPONSE_TAGS.includes(view.getUint16(0)) ||
    length >= BigInt(Math.min(view.getUint32(2), MAX_ANSWER_BYTES));
}

/** The far end of a stream socket: the path of a Unix socket, or a TCP port of this machine. */
export type Peer = { readonly path: string } | { readonly port: number };

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_CLOEXEC = 0x1 | 0x80000;
const SOCK_NONBLOCK = 0x800;
/** Before another try to connect to somebody whose queue is full, in milliseconds. */
const CONNECT_PAUSE_MS = 10;
const MSG_NOSIGNAL = 0x4000;
/** How many descriptors are looked through; libraries get the lowest free one. */
const DESCRIPTORS = 256;

/** The descriptor of this process that is connected to `peer`; `null` when there is none. */
export function findConnection(peer: Peer): number | null {
  for (let fd = 3; fd < DESCRIPTORS; fd++) {
    // struct sockaddr_un is 110 bytes long.
    const address = new Uint8Array(112);
    const length = Uint8Array.of(110, 0, 0, 0);
    if (libc.getpeername(fd, address, length) === 0 && isPeer(address, peer)) return fd;
  }
  return null;
}

function isPeer(address: Uint8Array, peer: Peer): boolean {
  const view = new DataView(address.buffer);
  const family = view.getUint16(0, true);
  if ("port" in peer) return [AF_INET, AF_INET6].includes(family) && view.getUint16(2) === peer.port;
  const end = address.indexOf(0, 2);
  return family === AF_UNIX && new TextDecoder().decode(address.subarray(2, end)) === peer.path;
}

/**
 * Whether somebody behind a socket answers, with anything.
 *
 * @param request what is sent, in one piece.
 * @returns `true` also when nobody listens: who connects next is told that at once.
 */
export function answers(peer: Peer, request: Uint8Array, timeoutMs: number): boolean {
  const deadline = performance.now() + timeoutMs;
  const isUnix = "path" in peer;
  // A Unix socket whose queue is full would keep connect(2) waiting without end.
  const type = isUnix ? SOCK_STREAM_CLOEXEC | SOCK_NONBLOCK : SOCK_STREAM_CLOEXEC;
  const fd = libc.socket(isUnix ? AF_UNIX : AF_INET, type, 0);
  if (fd < 0) return true;
  try {
    const address = addressOf(peer);
    for (;;) {
      const errno = errnoFrom("connect", () => libc.connect(fd, address, address.length));
      if (errno === null) break;
      if (errno !== "EAGAIN") return true;
      if (performance.now() > deadline) return false;
      pause(CONNECT_PAUSE_MS);
    }
    libc.send(fd, request, BigInt(request.length), MSG_NOSIGNAL);
    return waitForAnswer(fd, () => deadline - performance.now());
  } finally {
    libc.close(fd);
  }
}

/** struct sockaddr_un, or struct sockaddr_in of 127.0.0.1. */
function addressOf(peer: Peer): Uint8Array {
  if ("path" in peer) return concatBytes(Uint8Array.of(AF_UNIX, 0), cString(peer.path));
  return Uint8Array.of(AF_INET, 0, peer.port >>> 8, peer.port, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
}
