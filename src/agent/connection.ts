/** One client of the agent: its frames in, its answers out. Never blocks. */
import { type Bytes, concatBytes } from "../bytes.ts";
import { FRAME_LENGTH_BYTES, MAX_FRAME_BYTES } from "../formats/agent_message.ts";
import { closeFd, type Fd, type Peer, receive, send } from "../platform/socket.ts";
import { SessionBindings } from "./session.ts";

/** What a connection holds at rest in bytes; it grows with what arrives, not with what a length announces. */
const REST_BYTES = 4096;

/** A client. */
export class Connection {
  readonly session = new SessionBindings();
  /** A request is being worked on: the next one waits, because answers keep the order of requests. */
  isBusy = false;
  #isClosed = false;
  #input: Bytes = new Uint8Array(REST_BYTES);
  /** What has arrived and was not taken: from `start` to `end`. */
  #start = 0;
  #end = 0;
  #output: Bytes | null = null;
  readonly #answers: Bytes[] = [];

  constructor(readonly fd: Fd, readonly peer: Peer | null) {}

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether answers wait for the client to read them; until then it is not read from. */
  get isBlocked(): boolean {
    return this.#output !== null;
  }

  /** Takes what has arrived. @returns `false` at its end. */
  fill(): boolean {
    if (this.#end === this.#input.length) this.#makeRoom();
    const count = receive(this.fd, this.#input.subarray(this.#end));
    if (count === "later") return true;
    this.#end += count;
    return count > 0;
  }

  #makeRoom(): void {
    const rest = this.#input.subarray(this.#start, this.#end);
    const target = this.#start > 0 ? this.#input : new Uint8Array(2 * this.#input.length);
    target.set(rest);
    // What is not in force any more may have been a passphrase.
    if (target === this.#input) this.#input.fill(0, rest.length);
    else this.#input.fill(0);
    this.#input = target;
    this.#end = rest.length;
    this.#start = 0;
  }

  /**
   * The next whole frame without its length, valid until {@linkcode fill}.
   *
   * @returns `null` when there is none yet; `"malformed"` when there cannot be one: empty, or too long.
   */
  nextFrame(): Uint8Array | null | "malformed" {
    const available = this.#end - this.#start;
    if (available < FRAME_LENGTH_BYTES) return this.#rest();
    const [a, b, c, d] = this.#input.subarray(this.#start, this.#start + FRAME_LENGTH_BYTES);
    const length = ((a as number) * 2 ** 24) + ((b as number) << 16) + ((c as number) << 8) + (d as number);
    if (length === 0 || length > MAX_FRAME_BYTES) return "malformed";
    if (available < FRAME_LENGTH_BYTES + length) return null;
    const at = this.#start + FRAME_LENGTH_BYTES;
    this.#start = at + length;
    return this.#input.subarray(at, this.#start);
  }

  /** Begins anew where everything was taken, and gives back what a large frame took. */
  #rest(): null {
    if (this.#start !== this.#end) return null;
    // Frames hold passphrases of lock and unlock.
    this.#input.fill(0, 0, this.#end);
    if (this.#input.length > REST_BYTES) this.#input = new Uint8Array(REST_BYTES);
    this.#start = this.#end = 0;
    return null;
  }

  /** Adds an answer; {@linkcode flush} sends it. */
  reply(frame: Bytes): void {
    if (!this.#isClosed) this.#answers.push(frame);
  }

  /** Sends what the client takes. @returns `false` when it is gone. */
  flush(): boolean {
    if (this.#answers.length > 0) {
      const answers = this.#answers.splice(0);
      const all = this.#output === null ? answers : [this.#output, ...answers];
      this.#output = all.length === 1 ? all[0] as Bytes : concatBytes(...all);
    }
    while (this.#output !== null) {
      const sent = send(this.fd, this.#output);
      if (sent === "closed") return false;
      if (sent === "later") return true;
      this.#output = sent === this.#output.length ? null : this.#output.subarray(sent);
    }
    return true;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#input.fill(0);
    closeFd(this.fd);
  }
}
