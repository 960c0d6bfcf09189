/**
 * Unix sockets and pipes by the C library: descriptors are its numbers, and nothing needs a network
 * permission of Deno. Linux and macOS (never run there). Every call works on any thread; calls on one
 * descriptor are the caller's to order.
 *
 * Constants are those of Linux (asm-generic/socket.h, linux/socket.h) and macOS (sys/socket.h, sys/un.h).
 */
import { utf8 } from "../bytes.ts";
import { errnoOf } from "../errors.ts";
import { library } from "../ffi/ffi.ts";
import { closeOnExec, setNonblocking } from "./descriptor_flags.ts";
import { host } from "./host.ts";
import { bindErrno, checked, failure, libcPaths } from "./libc.ts";
import { abstractAddress, pathAddress } from "./socket_address.ts";

const libc = library(libcPaths, {
  accept: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getpeereid: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  pipe: { parameters: ["buffer"], result: "i32" },
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  // Of these four the result is an ssize_t; its lower half tells all, because no buffer here has 2 GiB.
  read: { parameters: ["i32", "buffer", "size"], result: "i32" },
  send: { parameters: ["i32", "buffer", "size", "i32"], result: "i32" },
  sendto: { parameters: ["i32", "buffer", "size", "i32", "buffer", "u32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "size"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  umask: { parameters: ["u32"], result: "u32" },
});

/** A descriptor of this process, as the kernel counts them. */
export type Fd = number;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
/** Of Linux; also the flags of accept4(2) and pipe2(2). */
const CLOEXEC = 0x80000;
const NONBLOCK = 0x800;

const LINUX = {
  solSocket: 1,
  receiveTimeout: 20,
  sendTimeout: 21,
  noSignal: 0x4000,
} as const;
const DARWIN = {
  solSocket: 0xffff,
  receiveTimeout: 0x1006,
  sendTimeout: 0x1005,
  noSignal: 0,
} as const;
const system = () => host.os === "darwin" ? DARWIN : LINUX;

/** SO_NOSIGPIPE of macOS, where send(2) has no flag for it. */
const SO_NOSIGPIPE = 0x1022;
/** How long {@linkcode connectUnix} waits for a place in the listener's queue, in milliseconds. */
const CONNECT_MS = 10_000;
/** How long {@linkcode notifyReady} waits for a supervisor whose queue is full, in milliseconds. */
const NOTIFY_MS = 1_000;
/** Execute for the owner, all for the others: what is left of a socket's 0777 is 0600. */
const PRIVATE_UMASK = 0o177;

/**
 * Listens on a new socket file, which has mode 0600 from birth.
 *
 * The umask that this takes is the whole process's and is put back before it returns: no other thread should
 * make files meanwhile.
 *
 * @param path a file that does not exist; whoever listens removes it.
 * @param backlog how many may wait to be accepted.
 * @returns close-on-exec and non-blocking.
 * @throws {Error} with `code`: `EADDRINUSE` when the name is taken, by whatever; `ENAMETOOLONG` for more than
 *   107 bytes (macOS: 103); `EINVAL` for an empty path or one with a zero byte; `EACCES`, `ENOENT` …
 */
export function listenUnix(path: string, backlog: number): Fd {
  const address = pathAddress(path);
  return opened(openSocket(SOCK_STREAM, true), (fd) => {
    const umask = libc.umask(PRIVATE_UMASK);
    try {
      checked("bind", () => libc.bind(fd, address, address.length));
    } finally {
      libc.umask(umask);
    }
    checked("listen", () => libc.listen(fd, backlog));
  });
}

/**
 * Connects to a socket file.
 *
 * @param timeoutMs how long it may wait for a place in the listener's queue, in milliseconds.
 * @returns blocking and close-on-exec.
 * @throws {Error} with `code`: `ECONNREFUSED` when nobody listens any more, `ENOENT`, `EACCES`,
 *   `ENAMETOOLONG`, `ETIMEDOUT` when there was no place, `EPROTOTYPE` for a datagram socket;
 *   `ECONNREFUSED` (Linux) or `ENOTSOCK` (macOS) for another file.
 */
export function connectUnix(path: string, timeoutMs = CONNECT_MS): Fd {
  const address = pathAddress(path);
  return opened(openSocket(SOCK_STREAM, false), (fd) => {
    setTimeouts(fd, timeoutMs);
    bindErrno();
    while (libc.connect(fd, address, address.length) < 0) {
      const errno = failure();
      if (errno !== "EINTR") throw failed("connect", errno === "EAGAIN" ? "ETIMEDOUT" : errno);
    }
    setTimeouts(fd, 0);
  });
}

/**
 * Takes the next connection of a non-blocking listener.
 *
 * @returns non-blocking and close-on-exec; `null` when none waits, or when it has gone again.
 * @throws {Error} with `code`; `EMFILE` or `ENFILE` leave the connection in the queue.
 */
export function acceptConnection(listener: Fd): Fd | null {
  bindErrno();
  for (;;) {
    const fd = host.os === "darwin"
      ? libc.accept(listener, null, null)
      : libc.accept4(listener, null, null, CLOEXEC | NONBLOCK);
    if (fd >= 0) return host.os === "darwin" ? preparedOrGone(fd) : fd;
    const errno = failure();
    if (errno === "EAGAIN" || errno === "ECONNABORTED") return null;
    if (errno !== "EINTR") throw failed("accept", errno);
  }
}

/**
 * Reads what has come on a socket or a pipe.
 *
 * @param into not empty.
 * @returns how many bytes; 0 at the end, also when the connection was reset; `"later"` when there is nothing
 *   yet (a blocking socket: within its timeout).
 * @throws {Error} with `code`.
 */
export function receive(fd: Fd, into: Uint8Array): number | "later" {
  bindErrno();
  for (;;) {
    const count = libc.read(fd, into, sizeOf(into));
    if (count >= 0) return count;
    const errno = failure();
    if (errno === "EAGAIN") return "later";
    if (errno === "ECONNRESET") return 0;
    if (errno !== "EINTR") throw failed("read", errno);
  }
}

/**
 * Writes to a socket or a pipe.
 *
 * @returns how many bytes were taken, which may be fewer than all; `"later"` when there is no room (a
 *   blocking socket: within its timeout); `"closed"` when nobody will read them.
 * @throws {Error} with `code`.
 */
export function send(fd: Fd, bytes: Uint8Array): number | "later" | "closed" {
  bindErrno();
  const noSignal = system().noSignal;
  let isSocket = true;
  for (;;) {
    const count = isSocket
      ? libc.send(fd, bytes, sizeOf(bytes), noSignal)
      : libc.write(fd, bytes, sizeOf(bytes));
    if (count >= 0) return count;
    const errno = failure();
    if (errno === "EAGAIN") return "later";
    if (errno === "EPIPE" || errno === "ECONNRESET") return "closed";
    // Both runtimes ignore SIGPIPE, which is all that keeps write(2) on a pipe from ending this process.
    if (errno === "ENOTSOCK" && isSocket) isSocket = false;
    else if (errno !== "EINTR") throw failed("send", errno);
  }
}

/** The last length that was passed: buffers are used again, and a bigint for each call would be garbage. */
let lastLength = 0;
let lastSize = 0n;
function sizeOf(bytes: Uint8Array): bigint {
  if (bytes.length !== lastLength) {
    lastLength = bytes.length;
    lastSize = BigInt(lastLength);
  }
  return lastSize;
}

/**
 * Limits how long a blocking socket waits in one call.
 *
 * @param ms milliseconds; 0: for ever.
 * @throws {Error} with `code`.
 */
export function setTimeouts(fd: Fd, ms: number): void {
  // struct timeval: seconds in 8 bytes, microseconds in 8 (macOS: in 4, and 4 unused).
  const timeval = new DataView(new ArrayBuffer(16));
  timeval.setBigInt64(0, BigInt(Math.floor(ms / 1000)), true);
  timeval.setUint32(8, Math.floor((ms % 1000) * 1000), true);
  const { receiveTimeout, sendTimeout } = system();
  for (const option of [receiveTimeout, sendTimeout]) {
    setOption(fd, option, new Uint8Array(timeval.buffer));
  }
}

function setOption(fd: Fd, option: number, value: Uint8Array): void {
  const { solSocket } = system();
  checked("setsockopt", () => libc.setsockopt(fd, solSocket, option, value, value.length));
}

const failed = (name: string, errno: string) =>
  Object.assign(new Error(`${name}: ${errno}`), { code: errno });

/** The descriptor, closed again when `use` throws. */
function opened(fd: Fd, use: (fd: Fd) => void): Fd {
  try {
    use(fd);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function openSocket(type: number, nonblocking: boolean): Fd {
  if (host.os !== "darwin") {
    const flags = nonblocking ? CLOEXEC | NONBLOCK : CLOEXEC;
    return checked("socket", () => libc.socket(AF_UNIX, type | flags, 0));
  }
  return opened(checked("socket", () => libc.socket(AF_UNIX, type, 0)), (fd) => prepare(fd, nonblocking));
}

/** What Linux does when it makes a socket. */
function prepare(fd: Fd, nonblocking: boolean): void {
  closeOnExec(fd);
  if (nonblocking) setNonblocking(fd);
  setOption(fd, SO_NOSIGPIPE, Uint8Array.of(1, 0, 0, 0));
}

/** macOS takes no options for a socket whose other end has gone. */
function preparedOrGone(fd: Fd): Fd | null {
  try {
    return opened(fd, (fd) => prepare(fd, true));
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return null;
  }
}

/** A pipe whose ends are non-blocking and close-on-exec. @throws {Error} with `code`: `EMFILE`, `ENFILE`. */
export function makePipe(): { readonly read: Fd; readonly write: Fd } {
  const ends = new Int32Array(2);
  const bytes = new Uint8Array(ends.buffer);
  if (host.os === "darwin") {
    checked("pipe", () => libc.pipe(bytes));
    for (const fd of ends) {
      closeOnExec(fd);
      setNonblocking(fd);
    }
  } else {
    checked("pipe2", () => libc.pipe2(bytes, CLOEXEC | NONBLOCK));
  }
  return { read: ends[0] as Fd, write: ends[1] as Fd };
}

/** Closes a descriptor; one that is not open is left as it is. */
export function closeFd(fd: Fd): void {
  libc.close(fd);
}

/** Who is at the other end of a connection, as it was when the connection was made. */
export interface Peer {
  readonly uid: number;
  /** `null` when it is a process that this one cannot see (another PID namespace). */
  readonly pid: number | null;
}

/** SO_PEERCRED of Linux: pid, uid and gid; LOCAL_PEERPID of macOS, at the level SOL_LOCAL. */
const SO_PEERCRED = 17;
const LOCAL_PEERPID = { level: 0, option: 2 } as const;

/** @returns `null` where the platform does not tell. */
export function peerOf(fd: Fd): Peer | null {
  const value = new Int32Array(3);
  const bytes = new Uint8Array(value.buffer);
  if (host.os === "darwin") {
    const ids = new Uint32Array(2);
    const idBytes = new Uint8Array(ids.buffer);
    if (libc.getpeereid(fd, idBytes, idBytes.subarray(4)) < 0) return null;
    const { level, option } = LOCAL_PEERPID;
    const isKnown = libc.getsockopt(fd, level, option, bytes, Uint8Array.of(4, 0, 0, 0)) === 0;
    return { uid: ids[0] as number, pid: isKnown ? value[0] || null : null };
  }
  const size = Uint8Array.of(bytes.length, 0, 0, 0);
  if (libc.getsockopt(fd, LINUX.solSocket, SO_PEERCRED, bytes, size) < 0) return null;
  return { uid: (value[1] as number) >>> 0, pid: value[0] || null };
}

/**
 * Tells the supervisor of this process how it is (sd_notify(3)).
 *
 * @param socketPath of NOTIFY_SOCKET: a path, or `@` and an abstract name.
 * @param state lines such as `READY=1`.
 * @returns whether it took them; what came of it is of no weight to the one who tells.
 */
export function notifyReady(socketPath: string, state: string): boolean {
  const message = utf8(state);
  try {
    const address = socketPath.startsWith("@")
      ? abstractAddress(socketPath.slice(1))
      : pathAddress(socketPath);
    const fd = openSocket(SOCK_DGRAM, false);
    try {
      setTimeouts(fd, NOTIFY_MS);
      const size = BigInt(message.length);
      return libc.sendto(fd, message, size, system().noSignal, address, address.length) === message.length;
    } finally {
      libc.close(fd);
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}
