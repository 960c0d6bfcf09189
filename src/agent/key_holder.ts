/**
 * The key in the socket thread: the scalar of a key in software, or the way to the chip; whether it is locked; and whether
 * it is still the key of this machine's identity. What takes time is asked of the main thread.
 */
import type { Bytes } from "../bytes.ts";
import { wipe } from "../bytes.ts";
import { type MemoryKey, openMemoryKey } from "../crypto/held_key.ts";
import type { Refusal } from "../formats/agent_message.ts";
import { receive } from "../platform/socket.ts";
import { IdleClock } from "./idle_clock.ts";
import { Journal } from "./journal.ts";
import type { FromServer, KeyFacts, KeyState, ServerOptions, ToServer } from "./messages.ts";
import { fileStamp } from "./stamp.ts";

/** After the key could not be opened it is not tried again for so long, in milliseconds. */
const PATIENCE_MS = 1000;

/** As long as poll(2) can wait, in milliseconds. */
const MAX_WAIT_MS = 0x7fff_ffff;

/** A signature that is being made by the chip, or waits for it. */
interface Order {
  readonly digest: Bytes;
  readonly bytes: Bytes | null;
  isVoid(): boolean;
  done(answer: Bytes | Refusal): void;
}

/** Sends to the main thread. @param transfer bytes that go with it and are gone here. */
type Post = (message: FromServer, transfer?: readonly Uint8Array[]) => void;

/** The key as the socket thread has it. */
export class KeyHolder implements Disposable {
  readonly #options: ServerOptions;
  readonly #post: Post;
  #state: KeyState;
  #memory: MemoryKey | null = null;
  #isOpen = false;
  #isLocked = false;
  /** What was asked of the main thread about the identity, and who waits for it. */
  #asked: "open" | "changed" | null = null;
  readonly #waiting: (() => void)[] = [];
  /** With the identity whose key is to sign. */
  readonly #orders: (Order & { readonly deviceId: string | undefined })[] = [];
  #current: Order | null = null;
  #afterLock: ((done: boolean) => void) | null = null;
  readonly #idle = new IdleClock();
  #failedAt = -Infinity;
  /** Also of what is refused elsewhere. */
  readonly journal: Journal;

  constructor(options: ServerOptions, state: KeyState, post: Post) {
    this.#options = options;
    this.#post = post;
    this.journal = new Journal(options.isWatched ? (line) => post({ type: "log", line }) : null);
    this.#state = state;
    this.#take(state);
  }

  get facts(): KeyFacts | null {
    return this.#state.facts;
  }

  get isLocked(): boolean {
    return this.#isLocked;
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#isLocked;
  }

  /** How many messages of the main thread are announced. */
  takeWakes(): number {
    const bytes = new Uint8Array(64);
    const count = receive(this.#options.wake, bytes);
    return count === "later" ? 0 : count;
  }

  /** Looks whether the identity is still the one whose key this is. Cheap: once for what came in together. */
  watch(): void {
    // A machine that has slept wakes up with requests.
    this.closeIdle();
    if (this.#asked === null && fileStamp(this.#options.identity) !== this.#state.stamp) this.#ask("changed");
  }

  #ask(what: "open" | "changed"): void {
    this.#asked = what;
    this.#post({ type: what });
  }

  /** Calls back when it is known which identity there is: at once, unless it has just been replaced. */
  withIdentity(use: () => void): void {
    if (this.#asked === null) use();
    else this.#waiting.push(use);
  }

  /** Calls back with `null` when the key is open, else with the reason why it is not. */
  withOpenKey(use: (refusal: Refusal | null) => void): void {
    this.withIdentity(() => {
      if (this.#isLocked) return use(LOCKED);
      if (this.#isOpen) {
        this.#idle.start();
        return use(null);
      }
      if (performance.now() - this.#failedAt < PATIENCE_MS) return use(this.#state.problem);
      this.#waiting.push(() => {
        this.#idle.start();
        use(this.#isLocked ? LOCKED : this.#isOpen ? null : this.#state.problem);
      });
      if (this.#asked === null) this.#ask("open");
    });
  }

  /** Whether nothing is about to change: the identity is known. */
  get isSettled(): boolean {
    return this.#asked === null;
  }

  /** As {@linkcode memory}, for a use that is made now. */
  use(): MemoryKey | null {
    if (this.memory !== null) this.#idle.start();
    return this.memory;
  }

  /** The key, when it is open and lies in memory. */
  get memory(): MemoryKey | null {
    return this.isOpen ? this.#memory : null;
  }

  /** Lets the chip sign, after what was ordered before. */
  order(order: Order): void {
    this.#orders.push({ ...order, deviceId: this.facts?.deviceId });
    this.#sendOrder();
  }

  #sendOrder(): void {
    while (this.#current === null) {
      const order = this.#orders.shift();
      if (order === undefined) return;
      if (order.isVoid()) continue;
      const refusal = this.#isLocked ? LOCKED : order.deviceId === this.facts?.deviceId ? null : REPLACED;
      if (refusal !== null) {
        order.done(refusal);
        continue;
      }
      this.#current = order;
      this.#post({ type: "sign", digest: order.digest, bytes: order.bytes });
    }
  }

  /** Locks by a passphrase. @param done whether it did. */
  lock(passphrase: Bytes, done: (done: boolean) => void): void {
    // What is sealed is the key of the identity in force.
    this.withIdentity(() => this.#lock(passphrase, done));
  }

  #lock(passphrase: Bytes, done: (done: boolean) => void): void {
    if (this.#isLocked || this.#afterLock !== null) return done(false);
    const scalar = this.#memory?.copyScalar() ?? null;
    this.#afterLock = done;
    this.#post({ type: "lock", passphrase, scalar }, scalar === null ? [passphrase] : [passphrase, scalar]);
  }

  /** Unlocks by that passphrase. */
  unlock(passphrase: Bytes, done: (done: boolean) => void): void {
    this.withIdentity(() => this.#unlock(passphrase, done));
  }

  #unlock(passphrase: Bytes, done: (done: boolean) => void): void {
    if (!this.#isLocked || this.#afterLock !== null) return done(false);
    this.#afterLock = done;
    this.#post({ type: "unlock", passphrase }, [passphrase]);
  }

  /** A message of the main thread. */
  hear(message: Exclude<ToServer, { type: "stop" }>): void {
    switch (message.type) {
      case "state":
        this.#close();
        return this.#settle(() => this.#take(message.state));
      case "same":
        return this.#settle(() => {
          this.#state = { ...this.#state, stamp: message.stamp };
        });
      case "signed": {
        const order = this.#current;
        this.#current = null;
        this.#idle.start();
        if (!(message.answer instanceof Uint8Array)) {
          // The main thread has let go of it, too: the next use opens it again.
          this.#isOpen = false;
        }
        order?.done(message.answer);
        return this.#sendOrder();
      }
      case "locked":
        if (message.done) {
          this.#close();
          this.#isLocked = true;
          this.#sendOrder();
        }
        return this.#finishLock(message.done);
      case "unlocked":
        if (message.done) this.#isLocked = false;
        if (message.scalar !== null) this.#hold(message.scalar);
        return this.#finishLock(message.done);
    }
  }

  #settle(change: () => void): void {
    this.#asked = null;
    change();
    for (const use of this.#waiting.splice(0)) use();
  }

  #take(state: KeyState): void {
    this.#state = { ...state, open: null };
    if (state.open?.in === "memory") this.#hold(state.open.scalar);
    else this.#isOpen = state.open !== null;
    this.#failedAt = state.problem === null ? -Infinity : performance.now();
    if (state.problem !== null) this.journal.note(state.problem.message);
  }

  #hold(scalar: Bytes): void {
    this.#memory = openMemoryKey(scalar);
    wipe(scalar);
    this.#isOpen = true;
    this.#idle.start();
  }

  #finishLock(isDone: boolean): void {
    const done = this.#afterLock;
    this.#afterLock = null;
    done?.(isDone);
  }

  #close(): void {
    this.#memory?.[Symbol.dispose]();
    this.#memory = null;
    this.#isOpen = false;
  }

  /** Until the key is closed for want of use, in milliseconds; -1: never. */
  idleMs(): number {
    const { idleTimeoutSeconds } = this.#options;
    // A chip that takes long is in use.
    if (idleTimeoutSeconds === 0 || !this.isOpen || this.#current !== null) return -1;
    const ms = Math.ceil(idleTimeoutSeconds * 1000 - this.#idle.elapsedMs());
    return Math.min(Math.max(0, ms), MAX_WAIT_MS);
  }

  /** Closes the key when nobody has used it for so long. */
  closeIdle(): void {
    if (this.idleMs() !== 0) return;
    this.#close();
    this.#post({ type: "closed" });
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}

/** The answer to what was asked of the key of another identity than the one in force. */
export const REPLACED: Refusal = {
  code: "ERR_BUSY",
  message: "cannot use the key: the agent serves another identity now",
  hint: "try again",
};

/** The answer to everything that needs the key of a locked agent. */
const LOCKED: Refusal = {
  code: "ERR_UNLOCK_FAILED",
  message: "cannot use the key: the agent is locked",
  hint: "unlock it with: ssh-add -X",
};
