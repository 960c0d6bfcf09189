/** What the two threads of an agent tell each other. Scalars and passphrases are transferred, and wiped by the receiver. */
import type { Bytes } from "../bytes.ts";
import type { Refusal } from "../formats/agent_message.ts";
import type { Fd } from "../platform/socket.ts";

/** With which the socket thread begins. */
export interface ServerOptions {
  /** Listening socket. */
  readonly listener: Fd;
  /** Its file, as `fileStamp` tells it. */
  readonly stamp: string;
  /** Pipe in which a byte announces a message of the main thread. */
  readonly wake: Fd;
  /** Path of the socket, absolute. */
  readonly socket: string;
  /** identity.json, absolute. */
  readonly identity: string;
  /** Program that asks a person before each use; `null`: nobody is asked. */
  readonly askpass: string | null;
  /** 0: never. */
  readonly idleTimeoutSeconds: number;
  /** Whether anybody reads what is logged. */
  readonly isWatched: boolean;
}

/** The key of an identity, as far as everybody may know it. */
export interface KeyFacts {
  readonly deviceId: string;
  readonly backend: string;
  /** Comment of the listed key. */
  readonly name: string;
  /** Compressed point in base64. */
  readonly publicKey: string;
  /** ssh key blob, 104 bytes. */
  readonly blob: Bytes;
}

/** An identity and its key as the main thread found them. */
export interface KeyState {
  /** Which identity.json that was, see `fileStamp`. */
  readonly stamp: string;
  /** `null` when there is no identity. */
  readonly facts: KeyFacts | null;
  /** Where the key is now; `null` when it could not be opened, or is not open. */
  readonly open: { readonly in: "memory"; readonly scalar: Bytes } | { readonly in: "hardware" } | null;
  /** Why it is not open. */
  readonly problem: Refusal | null;
}

/** The first message to the socket thread. */
export interface StartMessage {
  readonly type: "start";
  readonly options: ServerOptions;
  readonly state: KeyState;
}

/** What follows. */
export type ToServer =
  | { readonly type: "state"; readonly state: KeyState }
  /** identity.json was written again and names the same key. */
  | { readonly type: "same"; readonly stamp: string }
  /** Raw signature, 64 bytes. */
  | { readonly type: "signed"; readonly answer: Bytes | Refusal }
  | { readonly type: "locked"; readonly done: boolean }
  | { readonly type: "unlocked"; readonly done: boolean; readonly scalar: Bytes | null }
  | { readonly type: "stop" };

/** To the main thread. All but the first and the last four are answered. */
export type FromServer =
  /** The loop is about to begin. */
  | { readonly type: "started" }
  /** The key is needed. */
  | { readonly type: "open" }
  /** identity.json is another file. */
  | { readonly type: "changed" }
  | { readonly type: "sign"; readonly digest: Bytes; readonly bytes: Bytes | null }
  | { readonly type: "lock"; readonly passphrase: Bytes; readonly scalar: Bytes | null }
  | { readonly type: "unlock"; readonly passphrase: Bytes }
  /** The key was closed, because nobody has used it for so long. */
  | { readonly type: "closed" }
  | { readonly type: "log"; readonly line: string }
  /** The socket is gone; nothing follows. */
  | { readonly type: "stopped" }
  /** A defect. */
  | { readonly type: "failed"; readonly text: string };
