/** Something that listens where an agent may, and answers what a test wants. */
import type { Bytes } from "../../src/bytes.ts";
import { type AgentStatus, encodeStatus } from "../../src/formats/agent_status.ts";
import { closeFd, type Fd, listenUnix } from "../../src/platform/socket.ts";

/** What is sent to a request. */
export interface FakeAnswer {
  /** Sent as they stand; none: nothing is said. */
  readonly bytes: Bytes;
  readonly thenClose?: boolean;
}

/** What the Worker is told. */
export interface FakeAgentOptions {
  readonly listener: Fd;
  /** Not 0: it is to end. */
  readonly stop: Int32Array<SharedArrayBuffer>;
  /** By the name of the extension; to every other request the connection is closed. */
  readonly answers: Readonly<Record<string, FakeAnswer>>;
}

/** Starts one; disposing of it ends it. */
export function startFakeAgent(path: string, answers: Readonly<Record<string, FakeAnswer>>): AsyncDisposable {
  const listener = listenUnix(path, 16);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("./fake_agent_worker.ts", import.meta.url), { type: "module" });
  const ended = new Promise((resolve) => {
    worker.onmessage = resolve;
  });
  worker.postMessage({ listener, stop, answers } satisfies FakeAgentOptions);
  return {
    [Symbol.asyncDispose]: async () => {
      Atomics.store(stop, 0, 1);
      await ended;
      worker.terminate();
      closeFd(listener);
    },
  };
}

/** The answer of an agent that serves this device. */
export function statusAnswer(deviceId: string | null, socket: string): FakeAnswer {
  const status: AgentStatus = {
    socket,
    pid: 1,
    deviceId,
    backend: "encrypted-file",
    publicKey: null,
    locked: false,
    keyOpen: true,
    confirm: false,
    idleTimeoutSeconds: 0,
    signatures: 0,
    refused: 0,
    connections: 1,
    startedAt: "2026-07-01T12:00:00.000Z",
    lastProblem: null,
  };
  return { bytes: encodeStatus(status) };
}
