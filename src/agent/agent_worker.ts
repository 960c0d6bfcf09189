/** The Worker of `agent.ts`: the socket thread. */
import { KeyHolder } from "./key_holder.ts";
import type { FromServer, StartMessage, ToServer } from "./messages.ts";
import { endNow } from "../platform/process.ts";
import { AgentServer } from "./server.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<StartMessage | ToServer>) => void;
  postMessage(message: FromServer, transfer: ArrayBuffer[]): void;
};

/** How long the main thread may take to end this one, in milliseconds: it may be waiting for a chip that hangs. */
const LAST_MS = 3_000;

const received: ToServer[] = [];
let deliver: ((message: ToServer) => void) | null = null;

const post = (message: FromServer, transfer: readonly Uint8Array[] = []) =>
  scope.postMessage(message, transfer.map(({ buffer }) => buffer as ArrayBuffer));

/** What the main thread has announced may still be on its way. */
function next(): Promise<ToServer> {
  const first = received.shift();
  return first === undefined
    ? new Promise((resolve) => {
      deliver = resolve;
    })
    : Promise.resolve(first);
}

scope.onmessage = ({ data }) => {
  if (data.type === "start") {
    const keys = new KeyHolder(data.options, data.state, post);
    const server = new AgentServer(data.options, { post, next }, keys);
    post({ type: "started" });
    server.run().then(
      () => void setTimeout(endNow, LAST_MS),
      (error) => post({ type: "failed", text: String(error) }),
    );
    return;
  }
  const waiting = deliver;
  deliver = null;
  if (waiting === null) received.push(data);
  else waiting(data);
};
