/** A connection of the agent and its client, in one process. */
import { Connection } from "../../src/agent/connection.ts";
import { PollSet } from "../../src/platform/poll.ts";
import { closeFd, makePipe, send } from "../../src/platform/socket.ts";

/** What comes through a pipe into a connection. */
export interface FedConnection extends Disposable {
  readonly connection: Connection;
  /** As much as fits; nothing more comes when it was the end. @returns how many bytes. */
  feed(bytes: Uint8Array): number;
  end(): void;
}

/** A connection that only reads. */
export function fedConnection(): FedConnection {
  const pipe = makePipe();
  const connection = new Connection(pipe.read, null);
  let isOpen = true;
  const end = () => {
    if (isOpen) closeFd(pipe.write);
    isOpen = false;
  };
  return {
    connection,
    feed: (bytes) => {
      const count = bytes.length === 0 ? 0 : send(pipe.write, bytes);
      return typeof count === "number" ? count : 0;
    },
    end,
    [Symbol.dispose]: () => {
      end();
      connection.close();
    },
  };
}

/** Everything that a connection takes out of pieces, each copied; ends at `"malformed"`. */
export function framesOf(pieces: Iterable<Uint8Array>): (Uint8Array | "malformed")[] {
  using fed = fedConnection();
  const { connection } = fed;
  const poll = new PollSet();
  poll.set(connection.fd, { read: true, write: false });
  const frames: (Uint8Array | "malformed")[] = [];
  for (const piece of pieces) {
    for (let rest = piece; rest.length > 0;) {
      rest = rest.subarray(fed.feed(rest));
      while (poll.wait(0).length > 0) {
        if (!connection.fill()) throw new Error("at its end");
        for (let frame = connection.nextFrame(); frame !== null; frame = connection.nextFrame()) {
          frames.push(frame === "malformed" ? frame : Uint8Array.from(frame));
          if (frame === "malformed") return frames;
        }
      }
    }
  }
  return frames;
}
