/**
 * A running Secure Enclave helper (swift-helper/PROTOCOL.md): one request and its answer at a time, each with a time limit.
 *
 * Calls block this thread, but never without end. Whatever happens the process is ended and reaped: by the end of its input
 * when all is well, by a signal when it does not keep to the protocol.
 */
import { type Bytes, concatBytes } from "../bytes.ts";
import { errorText } from "../errors.ts";
import {
  encodeRequest,
  type HelperAction,
  type HelperRequest,
  type HelperResult,
  MAX_LINE_BYTES,
  parseAnswer,
} from "../formats/helper_message.ts";
import { setBlocking } from "../platform/descriptor_flags.ts";
import { baseName } from "../platform/paths.ts";
import { PollSet } from "../platform/poll.ts";
import { pause } from "../platform/ready.ts";
import { closeFd, type Fd, makePipe, receive, send } from "../platform/socket.ts";
import { endProcess, type Exit, spawn, waitExit } from "../platform/spawn.ts";
import { type HelperCondition, HelperError, refusalError } from "./helper_error.ts";

/** How long the helper may take. */
export interface HelperLimits {
  /** For one answer, in milliseconds. */
  readonly requestMs: number;
  /** From its start on, in milliseconds. */
  readonly totalMs: number;
}

/** A first start may wait for macOS to check the program, and a key takes the Secure Enclave a moment. */
export const HELPER_LIMITS: HelperLimits = { requestMs: 10_000, totalMs: Infinity };

/** How much of its stderr is kept, in bytes. */
const EXCERPT_BYTES = 1024;
/** How long it may take to end by itself, in milliseconds, and how often that is looked at. */
const END_MS = 1000;
const END_STEP_MS = 2;
/** How long a killed process is waited for, in milliseconds. */
const KILL_MS = 5000;
const SIGKILL = 9;
const NEWLINE = 0x0a;

/** One process. Disposing of it ends it. */
export class EnclaveHelper implements Disposable {
  readonly #limits: HelperLimits;
  readonly #startedAt = performance.now();
  readonly #pid: number;
  /** Our ends of its standard streams; `null` when they are closed. */
  #streams: { readonly input: Fd; readonly output: Fd; readonly diagnostics: Fd } | null;
  readonly #poll = new PollSet();
  #lastId = 0;
  #excerpt: Bytes = new Uint8Array(0);
  /** Why nothing can be asked any more. */
  #failure: HelperError | null = null;

  /**
   * @param path absolute; checked by the caller.
   * @param without variables that it does not get, see `spawn`.
   * @throws {HelperError} `not-started`.
   */
  constructor(path: string, limits: HelperLimits = HELPER_LIMITS, without: readonly string[] = []) {
    this.#limits = limits;
    const { pid, ...streams } = start(path, without);
    this.#pid = pid;
    this.#streams = streams;
    this.#poll.set(streams.output, { read: true, write: false });
    this.#poll.set(streams.diagnostics, { read: true, write: false });
  }

  /**
   * Asks and waits for the answer.
   *
   * @throws {HelperError} it refuses; or it does not answer, not in time, or not as the protocol says: then it has been
   *   ended, and every later call throws the same.
   */
  ask<A extends HelperAction>(request: HelperRequest & { readonly action: A }): HelperResult<A> {
    if (this.#failure !== null) throw this.#failure;
    const { action } = request;
    const id = ++this.#lastId;
    const answer = parseAnswer(this.#exchange(encodeRequest(id, request), action), id, action);
    if (answer.kind === "result") return answer.result;
    if (answer.kind !== "refusal") throw this.#fail(answer.kind, action);
    throw refusalError(action, answer.refusal, this.#diagnostics());
  }

  /** Sends a line. @returns the one that comes back, without its newline. */
  #exchange(line: Bytes, action: HelperAction): Bytes {
    const streams = this.#streams;
    if (streams === null) throw new TypeError("the helper has been disposed of");
    const { requestMs, totalMs } = this.#limits;
    const deadline = Math.min(performance.now() + requestMs, this.#startedAt + totalMs);
    let unsent: Uint8Array = line;
    let received: Bytes = new Uint8Array(0);
    this.#poll.set(streams.input, { read: false, write: true });
    for (;;) {
      const left = deadline - performance.now();
      if (left <= 0) throw this.#fail("timeout", action);
      let isOver = false;
      for (const { fd } of this.#poll.wait(Math.ceil(left))) {
        if (fd === streams.diagnostics) this.#readDiagnostics(fd);
        else if (fd === streams.input) {
          const sent = send(fd, unsent);
          if (typeof sent === "number") unsent = unsent.subarray(sent);
          // When nobody reads it any more, its output ends too.
          if (sent === "closed" || unsent.length === 0) this.#poll.delete(fd);
        } else {
          const piece = read(fd);
          isOver = piece === null;
          received = concatBytes(received, piece ?? new Uint8Array(0));
        }
      }
      const end = received.indexOf(NEWLINE);
      if ((end < 0 ? received.length : end) >= MAX_LINE_BYTES) throw this.#fail("too-long", action);
      if (end >= 0) {
        // More than one line, or one to half a question: it speaks of something else.
        if (end < received.length - 1 || unsent.length > 0) throw this.#fail("malformed", action);
        return received.slice(0, end);
      }
      if (isOver) throw this.#fail("ended", action);
    }
  }

  /** Keeps the beginning; the rest is read all the same, because a full pipe would stop the helper. */
  #readDiagnostics(fd: Fd): void {
    const piece = read(fd);
    if (piece === null) this.#poll.delete(fd);
    else if (this.#excerpt.length < EXCERPT_BYTES) {
      this.#excerpt = concatBytes(this.#excerpt, piece).slice(0, EXCERPT_BYTES);
    }
  }

  /** What it has written to its stderr, shortened, on one line. */
  #diagnostics(): string {
    if (this.#streams !== null) this.#readDiagnostics(this.#streams.diagnostics);
    return new TextDecoder().decode(this.#excerpt).replaceAll(/[\p{C}\s]+/gu, " ").trim();
  }

  /** Ends it. @returns the error, which every later call gets too. */
  #fail(condition: HelperCondition, action: HelperAction): HelperError {
    const diagnostics = this.#diagnostics();
    const exit = this.#end(condition === "ended" ? END_MS : 0);
    const detail = condition === "ended" ? describeExit(exit) : "";
    const cause = diagnostics === "" ? undefined : new Error(diagnostics);
    return this.#failure = new HelperError(condition, action, detail, cause);
  }

  /** @param patienceMs how long it may take to end by itself. @returns how it did; `null` when it was killed. */
  #end(patienceMs: number): Exit | null {
    if (this.#streams === null) return null;
    for (const fd of Object.values(this.#streams)) {
      this.#poll.delete(fd);
      closeFd(fd);
    }
    this.#streams = null;
    const exit = waitFor(this.#pid, patienceMs);
    if (exit !== null) return exit;
    endProcess(this.#pid, SIGKILL);
    waitFor(this.#pid, KILL_MS);
    return null;
  }

  [Symbol.dispose](): void {
    this.#end(END_MS);
  }
}

/** What there is to read; `null` at the end. */
function read(fd: Fd): Bytes | null {
  const buffer = new Uint8Array(MAX_LINE_BYTES);
  const count = receive(fd, buffer);
  if (count === "later") return new Uint8Array(0);
  return count === 0 ? null : buffer.slice(0, count);
}

function describeExit(exit: Exit | null): string {
  if (exit?.signal != null) return `signal ${exit.signal}`;
  return exit?.code == null ? "" : `exit code ${exit.code}`;
}

/** Waits for the end of a child. @returns `null` when it still runs. */
function waitFor(pid: number, ms: number): Exit | null {
  const deadline = performance.now() + ms;
  for (;;) {
    const exit = waitExit(pid);
    if (exit !== null || performance.now() >= deadline) return exit;
    pause(END_STEP_MS);
  }
}

/** Its standard streams are pipes; it inherits nothing else. @throws {HelperError} `not-started`. */
function start(
  path: string,
  without: readonly string[],
): { pid: number; input: Fd; output: Fd; diagnostics: Fd } {
  using all = new DisposableStack();
  using theirs = new DisposableStack();
  const pipe = (ourEnd: "read" | "write") => {
    const ends = makePipe();
    const [ours, other] = ourEnd === "read" ? [ends.read, ends.write] : [ends.write, ends.read];
    all.defer(() => closeFd(ours));
    theirs.defer(() => closeFd(other));
    setBlocking(other);
    return { ours, other };
  };
  try {
    const [input, output, diagnostics] = [pipe("write"), pipe("read"), pipe("read")];
    const descriptors = { 0: input.other, 1: output.other, 2: diagnostics.other };
    const pid = spawn({ path, argv: [baseName(path)], descriptors, without });
    all.move();
    return { pid, input: input.ours, output: output.ours, diagnostics: diagnostics.ours };
  } catch (error) {
    throw new HelperError("not-started", "start", errorText(error), error);
  }
}
