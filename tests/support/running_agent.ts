/** An agent in the process of the test, and clients of it that do not block the thread that holds its key. */
import { Buffer } from "node:buffer";
import { createConnection, type Socket } from "node:net";
import { type AgentRequest, type Readiness, runAgent } from "../../src/agent/agent.ts";
import { AgentClient } from "../../src/agent/client.ts";
import { type Bytes, concatBytes, u32be } from "../../src/bytes.ts";
import type { AmeshPlace } from "./amesh_place.ts";

/** Made by {@linkcode startAgent}; disposing of it ends the agent, if it still runs. */
export interface RunningAgent extends AsyncDisposable {
  readonly socket: string;
  readonly readiness: Readiness;
  /** What it told of what it refused. */
  readonly log: readonly string[];
  /** As `runAgent` ends. */
  readonly ended: Promise<string | null>;
}

/** Starts one on the socket `s` beside the directory. @throws as `runAgent`; {Error} the socket is taken. */
export async function startAgent(
  { layout, file, warn }: AmeshPlace,
  changes: Partial<AgentRequest> = {},
): Promise<RunningAgent> {
  const log: string[] = [];
  const request: AgentRequest = {
    layout,
    socket: file("s"),
    askpass: null,
    idleTimeoutSeconds: 0,
    input: {},
    warn,
    log: (line) => void log.push(line),
    ...changes,
  };
  const { promise, resolve, reject } = Promise.withResolvers<Readiness>();
  const ended = runAgent(request, resolve, () => reject(new Error("taken")));
  ended.catch(reject);
  const readiness = await promise;
  return {
    socket: request.socket,
    readiness,
    log,
    ended,
    [Symbol.asyncDispose]: async () => {
      AgentClient.connect(request.socket)?.stop();
      await ended.catch(() => {});
    },
  };
}

/** A client that waits without blocking. */
export class TestClient implements Disposable {
  #received = Buffer.alloc(0);
  #hasEnded = false;
  #wake = () => {};

  private constructor(readonly socket: Socket) {
    socket.on("data", (data) => {
      this.#received = Buffer.concat([this.#received, data]);
      this.#wake();
    });
    for (const event of ["end", "error", "close"]) {
      socket.on(event, () => {
        this.#hasEnded = true;
        this.#wake();
      });
    }
  }

  static connect(path: string): Promise<TestClient> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path, () => resolve(new TestClient(socket)));
      socket.once("error", reject);
    });
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** The next frame without its length; `null` at the end. */
  async next(): Promise<Bytes | null> {
    for (;;) {
      const { length } = this.#received;
      const end = length < 4 ? Infinity : 4 + this.#received.readUInt32BE(0);
      if (length >= end) {
        const frame = Uint8Array.from(this.#received.subarray(4, end));
        this.#received = this.#received.subarray(end);
        return frame;
      }
      if (this.#hasEnded) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** @throws {Error} the agent closed the connection. */
  async request(frame: Uint8Array): Promise<Bytes> {
    this.send(frame);
    const answer = await this.next();
    if (answer === null) throw new Error("the agent has closed the connection");
    return answer;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** A frame of its contents, as it stands. */
export function rawFrame(payload: Uint8Array): Bytes {
  return concatBytes(u32be(payload.length), payload);
}
