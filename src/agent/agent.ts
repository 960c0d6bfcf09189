/** One agent: a thread for its socket, and this one for its key and the signals. */
import type { Refusal } from "../formats/agent_message.ts";
import type { PassphraseInput } from "../passphrase/passphrases.ts";
import { host, type SignalName } from "../platform/host.ts";
import type { Layout } from "../platform/paths.ts";
import { closeFd, makePipe, send } from "../platform/socket.ts";
import { Keeper } from "./keeper.ts";
import type { FromServer, KeyState, ServerOptions, StartMessage, ToServer } from "./messages.ts";
import { refusalOf } from "./refusal.ts";
import { defaultSocket, type ListeningSocket, listenOn, removeSocket } from "./socket_file.ts";

/** How an agent is to be. */
export interface AgentRequest {
  readonly layout: Layout;
  /** Absolute. */
  readonly socket: string;
  /** Program that asks a person before each use; `null`: nobody is asked. */
  readonly askpass: string | null;
  /** 0: never. */
  readonly idleTimeoutSeconds: number;
  readonly input: PassphraseInput;
  readonly warn: (message: string) => void;
  /** Told what is refused, and why; `null`: nobody watches. */
  readonly log: ((line: string) => void) | null;
}

/** The signals that end an agent. */
const SIGNALS: readonly SignalName[] = ["SIGHUP", "SIGINT", "SIGTERM"];

/** What is known when an agent is ready. */
export interface Readiness {
  readonly socket: string;
  readonly pid: number;
  readonly deviceId: string;
}

/**
 * Serves until it is told to stop: by a signal, or by a client.
 *
 * @returns the signal; `null` for a client.
 * @param onReady called when the key is open and the socket listens.
 * @param onTaken called in place of that when somebody listens there already; nothing else is done then.
 * @throws {AmeshError} as `openIdentity` and `listenOn`.
 */
export async function runAgent(
  request: AgentRequest,
  onReady: (readiness: Readiness) => void | Promise<void>,
  onTaken: () => void | Promise<void>,
): Promise<SignalName | null> {
  const { layout, socket, warn } = request;
  using keeper = new Keeper(layout, warn, request.input);
  // Before the socket: whoever connects finds a key.
  const state = await keeper.open();
  const listening = await listenOn(socket, socket === defaultSocket(layout), layout.run);
  if (listening === null) {
    await onTaken();
    return null;
  }
  const thread = new SocketThread(keeper, request, listening);
  try {
    thread.start(state);
    // A Worker that cannot be loaded fails, and never starts.
    await Promise.race([thread.started, thread.ended]);
    let signal: SignalName | null = null;
    using _signals = stopOnSignals((name) => {
      signal = name;
      thread.stop();
    });
    await onReady({ socket, pid: host.pid, deviceId: state.facts?.deviceId ?? "" });
    await thread.ended;
    return signal;
  } finally {
    thread.end();
    removeSocket(socket, listening.stamp);
  }
}

function stopOnSignals(stop: (signal: SignalName) => void): Disposable {
  if (host.os === "windows") return { [Symbol.dispose]: () => {} };
  const listeners = SIGNALS.map((signal) => host.onSignal(signal, () => stop(signal)));
  return { [Symbol.dispose]: () => listeners.forEach((listener) => listener[Symbol.dispose]()) };
}

/** The Worker that serves the socket, and the answers that it gets. */
class SocketThread {
  readonly started: Promise<void>;
  readonly ended: Promise<void>;
  readonly #worker = new Worker(new URL("./agent_worker.ts", import.meta.url), { type: "module" });
  readonly #pipe = makePipe();
  /** One message after the other: opening a key and signing with it must not overtake each other. */
  #last: Promise<unknown> = Promise.resolve();
  #isOpen = true;

  constructor(readonly keeper: Keeper, readonly request: AgentRequest, readonly listening: ListeningSocket) {
    const { promise: started, resolve: isStarted } = Promise.withResolvers<void>();
    this.started = started;
    this.ended = new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }: MessageEvent<FromServer>) => {
        if (data.type === "started") isStarted();
        else if (data.type === "stopped") resolve();
        else if (data.type === "failed") reject(new Error(`the socket thread failed: ${data.text}`));
        else this.#last = this.#last.then(() => this.#answer(data)).catch(reject);
      };
      this.#worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(`the socket thread failed: ${event.message}`));
      };
    });
    // Nobody waits for it until the agent is ready.
    this.ended.catch(() => {});
  }

  start(state: KeyState): void {
    const { socket, askpass, idleTimeoutSeconds, layout } = this.request;
    const options: ServerOptions = {
      ...this.listening,
      wake: this.#pipe.read,
      socket,
      identity: layout.identity,
      askpass,
      idleTimeoutSeconds,
      isWatched: this.request.log !== null,
    };
    this.#post({ type: "start", options, state }, secretsOf(state));
  }

  stop(): void {
    this.#send({ type: "stop" });
  }

  end(): void {
    this.#worker.terminate();
    closeFd(this.#pipe.write);
    closeFd(this.#pipe.read);
  }

  #post(message: StartMessage | ToServer, secrets: readonly Uint8Array[] = []): void {
    this.#worker.postMessage(message, secrets.map(({ buffer }) => buffer as ArrayBuffer));
  }

  /** The thread sleeps in poll(2), so a byte in its pipe goes with every message. */
  #send(message: ToServer, secrets: readonly Uint8Array[] = []): void {
    this.#post(message, secrets);
    send(this.#pipe.write, Uint8Array.of(1));
  }

  #sendState(state: KeyState): void {
    this.#isOpen = state.open !== null;
    this.#send({ type: "state", state }, secretsOf(state));
  }

  async #answer(message: Exclude<FromServer, { type: "started" | "stopped" | "failed" }>): Promise<void> {
    switch (message.type) {
      case "log":
        return this.request.log?.(message.line);
      case "open":
        return this.#sendState(await this.keeper.tryOpen());
      case "changed": {
        const found = await this.keeper.follow(this.#isOpen);
        if (typeof found === "string") this.#send({ type: "same", stamp: found });
        else this.#sendState(found);
        return;
      }
      case "sign":
        return this.#send({ type: "signed", answer: await this.#sign(message) });
      case "lock": {
        const done = await this.keeper.lock(message.passphrase, message.scalar);
        if (done) this.#isOpen = false;
        return this.#send({ type: "locked", done });
      }
      case "unlock": {
        const unlocked = await this.keeper.unlock(message.passphrase);
        const scalar = unlocked?.scalar ?? null;
        if (scalar !== null) this.#isOpen = true;
        return this.#send(
          { type: "unlocked", done: unlocked !== null, scalar },
          scalar === null ? [] : [scalar],
        );
      }
      case "closed":
        this.#isOpen = false;
        return this.keeper.close();
    }
  }

  async #sign(message: Extract<FromServer, { type: "sign" }>): Promise<Uint8Array<ArrayBuffer> | Refusal> {
    try {
      return await this.keeper.sign(message);
    } catch (error) {
      return refusalOf(error);
    }
  }
}

function secretsOf({ open }: KeyState): readonly Uint8Array[] {
  return open?.in === "memory" ? [open.scalar] : [];
}
