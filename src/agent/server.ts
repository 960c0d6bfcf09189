/**
 * The socket thread of an agent: one loop around poll(2) that no client and no chip can hold up. A key in memory signs here;
 * what takes time (a chip, opening a key, a person) goes on elsewhere while the loop goes on.
 */
import { errorText } from "../errors.ts";
import { FAILURE_FRAME, parseRequest } from "../formats/agent_message.ts";
import { WireError } from "../formats/ssh_wire.ts";
import { host } from "../platform/host.ts";
import { PollSet } from "../platform/poll.ts";
import { acceptConnection, closeFd, type Fd, peerOf } from "../platform/socket.ts";
import { Connection } from "./connection.ts";
import type { KeyHolder } from "./key_holder.ts";
import type { FromServer, ServerOptions, ToServer } from "./messages.ts";
import { Requests } from "./requests.ts";
import { removeSocket } from "./socket_file.ts";

/** The way to the main thread. */
export interface MainThread {
  post(message: FromServer, transfer?: readonly Uint8Array[]): void;
  /** The next message of the main thread; one has been announced by a byte in the pipe. */
  next(): Promise<ToServer>;
}

/** More clients than that wait to be accepted. */
const MAX_CONNECTIONS = 4096;
/** Requests of one client before the others have their turn. */
const FRAMES_PER_TURN = 32;
/** The runtimes finish what they have collected when a thread comes back to them, so it does from time to time. */
const REQUESTS_PER_REST = 1024;
/** Before a program that asks is looked at again, and before accepting is tried again, in milliseconds. */
const RETRY_MS = 50;

/** One run of the socket thread. */
export class AgentServer {
  readonly #poll = new PollSet();
  readonly #connections = new Map<Fd, Connection>();
  /** Those with whole frames left that had their turn. */
  readonly #unfinished = new Set<Connection>();
  readonly #requests: Requests;
  #isAccepting = false;
  /** Since when nothing can be accepted, because there are no descriptors left. */
  #refusedAt: number | null = null;
  #isStopping = false;
  #handled = 0;

  constructor(readonly options: ServerOptions, readonly main: MainThread, readonly keys: KeyHolder) {
    this.#requests = new Requests({
      options,
      keys,
      connectionCount: () => this.#connections.size,
      resume: (connection) => this.#resume(connection),
      stop: () => {
        this.#isStopping = true;
      },
    });
    this.#poll.set(options.wake, { read: true, write: false });
    this.#accept(true);
  }

  /** Serves until it is told to stop. */
  async run(): Promise<void> {
    while (!this.#isStopping) {
      for (const { fd, readable, gone } of this.#poll.wait(this.#timeout())) {
        if (fd === this.options.wake) await this.#hear();
        else if (fd === this.options.listener) this.#welcome();
        else this.#guard(this.#connections.get(fd), (connection) => this.#serve(connection, readable, gone));
      }
      // Answers of a person make connections go on, and those that go on can have something to ask.
      this.#ask();
      for (const connection of [...this.#unfinished]) this.#guard(connection, () => this.#work(connection));
      this.#ask();
      this.#acceptAgain();
      this.keys.closeIdle();
      if (this.#handled >= REQUESTS_PER_REST) {
        this.#handled = 0;
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    }
    this.#end();
  }

  #timeout(): number {
    if (this.#unfinished.size > 0) return 0;
    if (!this.#isAccepting || this.#requests.confirmations?.hasWork) return RETRY_MS;
    return this.keys.idleMs();
  }

  #end(): void {
    removeSocket(this.options.socket, this.options.stamp);
    this.#requests.confirmations?.stop();
    for (const connection of this.#connections.values()) {
      connection.flush();
      connection.close();
    }
    closeFd(this.options.listener);
    this.keys[Symbol.dispose]();
    this.main.post({ type: "stopped" });
  }

  async #hear(): Promise<void> {
    for (let count = this.keys.takeWakes(); count > 0; count--) {
      const message = await this.main.next();
      if (message.type === "stop") this.#isStopping = true;
      else this.keys.hear(message);
    }
  }

  #accept(isAccepting: boolean): void {
    this.#isAccepting = isAccepting;
    if (isAccepting) this.#poll.set(this.options.listener, { read: true, write: false });
    else this.#poll.delete(this.options.listener);
  }

  #acceptAgain(): void {
    if (this.#isAccepting || this.#connections.size >= MAX_CONNECTIONS) return;
    if (this.#refusedAt === null || performance.now() - this.#refusedAt >= RETRY_MS) this.#accept(true);
  }

  #welcome(): void {
    while (this.#connections.size < MAX_CONNECTIONS) {
      let fd: Fd | null;
      try {
        fd = acceptConnection(this.options.listener);
      } catch (error) {
        if (this.#refusedAt === null) {
          this.keys.journal.note(`cannot accept a connection: ${errorText(error)}`);
        }
        this.#refusedAt = performance.now();
        break;
      }
      this.#refusedAt = null;
      if (fd === null) return;
      const peer = peerOf(fd);
      if (peer !== null && peer.uid !== host.euid() && peer.uid !== 0) {
        this.keys.journal.note(`refused a connection of user ${peer.uid}`);
        closeFd(fd);
        continue;
      }
      this.#connections.set(fd, new Connection(fd, peer));
      this.#poll.set(fd, { read: true, write: false });
    }
    this.#accept(false);
  }

  /** What goes wrong with one client is no other client's trouble. */
  #guard(connection: Connection | undefined, use: (connection: Connection) => void): void {
    if (connection === undefined) return;
    try {
      use(connection);
    } catch (error) {
      this.keys.journal.note(`closed a connection: ${errorText(error)}`);
      this.#drop(connection);
    }
  }

  #serve(connection: Connection, readable: boolean, gone: boolean): void {
    if (connection.isBlocked) {
      if (gone || !connection.flush()) this.#drop(connection);
      else this.#work(connection);
    } else if (connection.isBusy) {
      if (gone) this.#drop(connection);
    } else if (readable || gone) {
      if (connection.fill()) this.#work(connection);
      else this.#drop(connection);
    }
  }

  /** Answers what a client has asked, and says what to wait for next. */
  #work(connection: Connection): void {
    this.#unfinished.delete(connection);
    this.keys.watch();
    let turns = 0;
    while (!connection.isBusy && !connection.isBlocked && !connection.isClosed && turns++ < FRAMES_PER_TURN) {
      const frame = connection.nextFrame();
      if (frame === null) break;
      if (frame === "malformed") {
        connection.flush();
        return this.#drop(connection);
      }
      this.#handled++;
      this.#handle(connection, frame);
    }
    if (!connection.flush()) return this.#drop(connection);
    const { isBlocked, isBusy } = connection;
    const isUnfinished = turns > FRAMES_PER_TURN && !isBusy && !isBlocked;
    if (isUnfinished) this.#unfinished.add(connection);
    // Not read before all of it is answered: the end of what a client sends is no reason to leave requests unanswered.
    this.#poll.set(connection.fd, { read: !isBlocked && !isBusy && !isUnfinished, write: isBlocked });
  }

  #handle(connection: Connection, frame: Uint8Array): void {
    try {
      this.#requests.handle(connection, parseRequest(frame));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      connection.reply(FAILURE_FRAME);
    }
  }

  /** The request that was being worked on has its answer. */
  #resume(connection: Connection): void {
    connection.isBusy = false;
    if (!connection.isClosed) this.#unfinished.add(connection);
  }

  #drop(connection: Connection): void {
    this.#unfinished.delete(connection);
    this.#poll.delete(connection.fd);
    this.#connections.delete(connection.fd);
    connection.close();
  }

  /** Lets the program that asks a person go on. */
  #ask(): void {
    const failure = this.#requests.confirmations?.proceed() ?? null;
    if (failure !== null) {
      this.keys.journal.note(`cannot ask by "${this.options.askpass}": ${errorText(failure)}`);
    }
  }
}
