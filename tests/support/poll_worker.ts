/** A Worker that waits for one descriptor at a time, as the agent's does: it blocks its thread in poll(2). */
import { PollSet } from "../../src/platform/poll.ts";
import { receive } from "../../src/platform/socket.ts";

/** The part of a Worker's global scope that is used. */
interface Scope {
  onmessage: ((event: { readonly data: number }) => void) | null;
  postMessage(message: unknown): void;
}
const scope = globalThis as unknown as Scope;

scope.onmessage = ({ data: fd }) => {
  const set = new PollSet();
  set.set(fd, { read: true, write: false });
  scope.postMessage("waits");
  const [ready] = set.wait(-1);
  const buffer = new Uint8Array(16);
  const count = receive(fd, buffer);
  scope.postMessage({ ...ready, bytes: [...buffer.subarray(0, Number(count))] });
};
