/** What an agent does with each request. */
import { type Bytes, encodeBase64, equalBytes, wipe } from "../bytes.ts";
import { normalizeLowS } from "../formats/ecdsa_signature.ts";
import {
  type AgentRequest,
  encodeDigestAnswer,
  encodeExtensionResponse,
  encodeIdentities,
  encodeSignResponse,
  EXTENSION,
  EXTENSION_FAILURE_FRAME,
  FAILURE_FRAME,
  parseSessionBind,
  parseSignDigest,
  type Refusal,
  SUCCESS_FRAME,
} from "../formats/agent_message.ts";
import { encodeStatus } from "../formats/agent_status.ts";
import { WireError } from "../formats/ssh_wire.ts";
import { host } from "../platform/host.ts";
import { programOf } from "../platform/spawn.ts";
import { sha256 } from "../crypto/held_key.ts";
import { Confirmations } from "./confirmation.ts";
import type { Connection } from "./connection.ts";
import { type KeyHolder, REPLACED } from "./key_holder.ts";
import type { ServerOptions } from "./messages.ts";
import { describeData, shown } from "./session.ts";

/** What requests need of the loop around them. */
export interface Surroundings {
  readonly options: ServerOptions;
  readonly keys: KeyHolder;
  readonly connectionCount: () => number;
  /** A connection that was busy has its answer. */
  readonly resume: (connection: Connection) => void;
  readonly stop: () => void;
}

/** Something to be signed for a client. */
interface Use {
  readonly connection: Connection;
  /** In words, for a person who is asked. */
  readonly purpose: string;
  /** Key in memory. */
  readonly now: (key: NonNullable<KeyHolder["memory"]>) => Uint8Array;
  /** Chip. */
  readonly digest: () => Bytes;
  readonly bytes: Bytes | null;
  readonly answer: (answer: Uint8Array | Refusal) => Bytes;
}

const NOT_CONFIRMED: Refusal = {
  code: "ERR_NOT_CONFIRMED",
  message: "cannot use the key: it was not confirmed",
  hint: "the agent was started with --confirm: answer its question with yes",
};

/** Answers requests. */
export class Requests {
  readonly confirmations: Confirmations | null;
  readonly #startedAt = new Date().toISOString();
  #signatures = 0;
  #refused = 0;

  constructor(readonly around: Surroundings) {
    const { askpass } = around.options;
    this.confirmations = askpass === null ? null : new Confirmations(askpass);
  }

  /** Answers at once, or makes the connection busy and answers later. @throws {WireError} it is malformed. */
  handle(connection: Connection, request: AgentRequest): void {
    switch (request.kind) {
      case "list":
        return this.#later(connection, (done) => this.around.keys.withIdentity(() => done(this.#list())));
      case "sign":
        return this.#sign(connection, request.publicKey, request.data);
      case "lock":
      case "unlock":
        return this.#lock(connection, request.kind, request.passphrase);
      case "extension":
        return this.#extension(connection, request.name, request.contents);
      case "unsupported":
        return this.#refuse(connection, FAILURE_FRAME, "an agent of amesh adds, removes and loads no keys");
    }
  }

  #refuse(connection: Connection, frame: Bytes, reason: string): void {
    this.#refused++;
    const program = connection.peer?.pid == null ? "" : ` of process ${connection.peer.pid}`;
    this.around.keys.journal.note(`refused a request${program}: ${reason}`);
    connection.reply(frame);
  }

  /** Runs what may take time: until it has an answer no other request of this client is taken. */
  #later(connection: Connection, run: (done: (frame: Bytes) => void) => void): void {
    let isDone = false;
    let isLate = false;
    run((frame) => {
      isDone = true;
      connection.reply(frame);
      if (isLate) this.around.resume(connection);
    });
    if (isDone) return;
    isLate = true;
    connection.isBusy = true;
  }

  #list(): Bytes {
    const { facts, isLocked } = this.around.keys;
    return encodeIdentities(facts === null || isLocked ? [] : [{ blob: facts.blob, comment: facts.name }]);
  }

  #sign(connection: Connection, publicKey: Uint8Array, data: Uint8Array): void {
    const { keys } = this.around;
    const objection = connection.session.objection(data);
    if (objection !== null) {
      return this.#refuse(connection, FAILURE_FRAME, `what is to be signed is ${objection}`);
    }
    const isOurs = () => keys.facts !== null && equalBytes(keys.facts.blob, publicKey);
    // The key in force may be about to be another one.
    const memory = this.confirmations === null && keys.isSettled && isOurs() ? keys.use() : null;
    if (memory !== null) {
      this.#signatures++;
      return connection.reply(encodeSignResponse(memory.sign(data)));
    }
    // A copy: the frame is gone when the key is there.
    const [message, wanted] = [Uint8Array.from(data), Uint8Array.from(publicKey)];
    this.#later(connection, (done) =>
      keys.withIdentity(() => {
        if (keys.facts === null || !equalBytes(keys.facts.blob, wanted)) {
          this.#refused++;
          return done(FAILURE_FRAME);
        }
        this.#use({
          connection,
          purpose: describeData(message) ?? "to sign something of unknown form",
          now: (key) => key.sign(message),
          digest: () => sha256(message),
          bytes: message,
          answer: (answer) => answer instanceof Uint8Array ? encodeSignResponse(answer) : FAILURE_FRAME,
        }, done);
      }));
  }

  #signDigest(connection: Connection, contents: Uint8Array): void {
    const { deviceId, digest } = parseSignDigest(contents);
    if (connection.session.isRemote) {
      return this.#refuse(connection, EXTENSION_FAILURE_FRAME, "digests are signed for this machine only");
    }
    const { keys } = this.around;
    this.#later(connection, (done) =>
      keys.withIdentity(() => {
        if (keys.facts?.deviceId !== deviceId) {
          this.#refused++;
          return done(encodeDigestAnswer(REPLACED));
        }
        this.#use({
          connection,
          purpose: "to sign what it does not show",
          now: (key) => key.signDigest(digest),
          digest: () => digest,
          bytes: null,
          answer: (answer) =>
            encodeDigestAnswer(answer instanceof Uint8Array ? normalizeLowS(answer) : answer),
        }, done);
      }));
  }

  /** Signs when the key is open and, where that is wanted, a person agrees. */
  #use(use: Use, done: (frame: Bytes) => void): void {
    const finish = (answer: Uint8Array | Refusal) => {
      if (answer instanceof Uint8Array) this.#signatures++;
      else {
        this.#refused++;
        this.around.keys.journal.note(answer.message);
      }
      done(use.answer(answer));
    };
    const { keys } = this.around;
    const deviceId = keys.facts?.deviceId;
    const sign = () => {
      // Also after a person has taken long to agree.
      keys.watch();
      keys.withOpenKey((refusal) => {
        if (use.connection.isClosed) return;
        if (refusal !== null) return finish(refusal);
        if (keys.facts?.deviceId !== deviceId) return finish(REPLACED);
        const { memory } = keys;
        if (memory !== null) return finish(use.now(memory));
        keys.order({
          digest: use.digest(),
          bytes: use.bytes,
          isVoid: () => use.connection.isClosed,
          done: finish,
        });
      });
    };
    if (this.confirmations === null || keys.isLocked) return sign();
    this.confirmations.ask({
      text: this.#question(use),
      isVoid: () => use.connection.isClosed,
      answer: (isAllowed) => isAllowed ? sign() : finish(NOT_CONFIRMED),
    });
  }

  #question({ connection, purpose }: Use): string {
    const { facts } = this.around.keys;
    const pid = connection.peer?.pid ?? null;
    const who = pid === null ? "a program" : `${shown(programOf(pid) ?? "a program")} (process ${pid})`;
    const way = connection.session.isRemote ? " for another machine" : "";
    const key = facts === null ? "" : fingerprint(facts.blob);
    return `Allow ${who}${way} ${purpose}\nwith the key ${shown(facts?.name ?? "")} ${key}?`;
  }

  #lock(connection: Connection, kind: "lock" | "unlock", passphrase: Uint8Array): void {
    if (connection.session.isRemote) {
      return this.#refuse(connection, FAILURE_FRAME, `${kind}ing is for this machine only`);
    }
    const secret = Uint8Array.from(passphrase);
    wipe(passphrase);
    this.#later(
      connection,
      (done) => this.around.keys[kind](secret, (isDone) => done(isDone ? SUCCESS_FRAME : FAILURE_FRAME)),
    );
  }

  #extension(connection: Connection, name: string, contents: Uint8Array): void {
    switch (name) {
      case EXTENSION.QUERY:
        return connection.reply(encodeExtensionResponse(name, ...Object.values(EXTENSION)));
      case EXTENSION.SESSION_BIND:
        if (bind(connection, contents)) return connection.reply(SUCCESS_FRAME);
        return this.#refuse(connection, EXTENSION_FAILURE_FRAME, "a session that cannot be bound to");
      case EXTENSION.SIGN_DIGEST:
        return this.#signDigest(connection, contents);
      case EXTENSION.STATUS:
      case EXTENSION.STOP:
        if (connection.session.isRemote) {
          return this.#refuse(connection, EXTENSION_FAILURE_FRAME, `${name} is for this machine only`);
        }
        if (name === EXTENSION.STATUS) {
          return this.#later(connection, (done) => this.around.keys.withIdentity(() => done(this.#status())));
        }
        connection.reply(SUCCESS_FRAME);
        return this.around.stop();
      default:
        connection.reply(FAILURE_FRAME);
    }
  }

  #status(): Bytes {
    const { keys, options } = this.around;
    const { facts } = keys;
    return encodeStatus({
      socket: options.socket,
      pid: host.pid,
      deviceId: facts?.deviceId ?? null,
      backend: facts?.backend ?? null,
      publicKey: facts?.publicKey ?? null,
      locked: keys.isLocked,
      keyOpen: keys.isOpen,
      confirm: this.confirmations !== null,
      idleTimeoutSeconds: options.idleTimeoutSeconds,
      signatures: this.#signatures,
      refused: this.#refused,
      connections: this.around.connectionCount(),
      startedAt: this.#startedAt,
      lastProblem: keys.journal.last,
    });
  }
}

/** Whoever tries to bind a connection comes from elsewhere, also when what is sent is malformed. */
function bind({ session }: Connection, contents: Uint8Array): boolean {
  try {
    return session.bind(parseSessionBind(contents));
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    session.refuse();
    return false;
  }
}

/** As ssh-keygen -l shows a key. */
function fingerprint(blob: Uint8Array): string {
  return `SHA256:${encodeBase64(sha256(blob)).replace(/=+$/, "")}`;
}
