/** The Worker of `fake_agent.ts`: answers while the thread of the test is blocked in its client. */
import { PollSet } from "../../src/platform/poll.ts";
import { acceptConnection, closeFd, type Fd, receive, send } from "../../src/platform/socket.ts";
import type { FakeAgentOptions, FakeAnswer } from "./fake_agent.ts";

/** How often it looks whether it is to end, in milliseconds. */
const TURN_MS = 20;

const scope = globalThis as unknown as {
  onmessage: ((event: { readonly data: FakeAgentOptions }) => void) | null;
  postMessage(message: unknown): void;
};

scope.onmessage = ({ data: { listener, stop, answers } }) => {
  const poll = new PollSet();
  const input = new Map<Fd, number[]>();
  poll.set(listener, { read: true, write: false });
  const drop = (fd: Fd) => {
    poll.delete(fd);
    input.delete(fd);
    closeFd(fd);
  };
  while (Atomics.load(stop, 0) === 0) {
    for (const { fd } of [...poll.wait(TURN_MS)].map((ready) => ({ ...ready }))) {
      if (fd === listener) {
        const accepted = acceptConnection(listener);
        if (accepted === null) continue;
        poll.set(accepted, { read: true, write: false });
        input.set(accepted, []);
        continue;
      }
      const buffer = new Uint8Array(65_536);
      const count = receive(fd, buffer);
      if (count === "later") continue;
      input.get(fd)!.push(...buffer.subarray(0, count));
      if (count === 0 || !answer(fd, input.get(fd)!, answers)) drop(fd);
    }
  }
  for (const fd of [...input.keys()]) drop(fd);
  scope.postMessage("ended");
};

/** Answers each whole request. @returns whether the connection goes on. */
function answer(fd: Fd, bytes: number[], answers: Readonly<Record<string, FakeAnswer>>): boolean {
  for (;;) {
    const view = Uint8Array.from(bytes);
    const length = view.length < 4 ? Infinity : new DataView(view.buffer).getUint32(0);
    if (view.length < 4 + length) return true;
    bytes.splice(0, 4 + length);
    // An extension's name: its type, a length and so many bytes.
    const name = new TextDecoder().decode(view.subarray(9, 9 + (view[8] ?? 0)));
    const found = answers[name];
    if (found === undefined) return false;
    if (found.bytes.length > 0) send(fd, found.bytes);
    if (found.thenClose) return false;
  }
}
