/** A client of our own agent: who it is, a signature of it, its end. Calls block this thread. */
import type { Bytes } from "../bytes.ts";
import { AmeshError, errnoOf, systemError } from "../errors.ts";
import {
  encodeExtensionRequest,
  EXTENSION,
  FRAME_LENGTH_BYTES,
  MAX_FRAME_BYTES,
  MESSAGE,
  parseDigestAnswer,
  parseExtensionResponse,
} from "../formats/agent_message.ts";
import { type AgentStatus, parseStatus } from "../formats/agent_status.ts";
import { SshReader, WireError } from "../formats/ssh_wire.ts";
import { host } from "../platform/host.ts";
import { findInput } from "../platform/input.ts";
import { withoutLibc } from "../platform/libc.ts";
import { closeFd, connectUnix, type Fd, peerOf, receive, send, setTimeouts } from "../platform/socket.ts";
import { errorOf } from "./refusal.ts";

/** How long an agent may take to say who it is, in milliseconds. A signature may take as long as a person does. */
const STATUS_MS = 5_000;

/** A connection to an agent. */
export class AgentClient implements Disposable {
  readonly #fd: Fd;
  readonly #path: string;

  /** Who answers, as the kernel tells it; `null` where it does not, or where that process is not to be seen from here. */
  readonly pid: number | null;

  private constructor(fd: Fd, path: string, pid: number | null) {
    this.#fd = fd;
    this.#path = path;
    this.pid = pid;
  }

  /**
   * @returns `null` when nobody listens there, or somebody else than this user or root.
   */
  static connect(path: string): AgentClient | null {
    // Without one there is no need to load what sockets need, and Windows has none of it.
    try {
      if (host.os === "windows" || findInput(path)?.kind !== "socket") return null;
      return withoutLibc(() => AgentClient.#open(path), () => null);
    } catch (error) {
      // A path that leads nowhere, in a variable that others set, is no reason not to go on.
      if (!(error instanceof AmeshError) && errnoOf(error) === undefined) throw error;
      return null;
    }
  }

  static #open(path: string): AgentClient | null {
    const fd = connectUnix(path);
    const peer = peerOf(fd);
    if (peer === null || peer.uid === host.euid() || peer.uid === 0) {
      return new AgentClient(fd, path, peer?.pid ?? null);
    }
    closeFd(fd);
    return null;
  }

  /** @returns `null` when it is no agent of amesh, or does not answer. */
  status(): AgentStatus | null {
    try {
      setTimeouts(this.#fd, STATUS_MS);
      const fields = this.#extension(EXTENSION.STATUS);
      return fields === null ? null : parseStatus(fields);
    } catch (error) {
      if (error instanceof WireError || error instanceof AmeshError) return null;
      throw error;
    }
  }

  /**
   * @param digest SHA-256, 32 bytes.
   * @returns raw signature, 64 bytes; the caller verifies it.
   * @throws {AmeshError} why the agent did not sign; `ERR_SYSTEM` when it ended meanwhile.
   */
  signDigest(deviceId: string, digest: Bytes): Bytes {
    setTimeouts(this.#fd, 0);
    try {
      const fields = this.#extension(EXTENSION.SIGN_DIGEST, deviceId, digest);
      if (fields === null) throw new WireError("it refuses");
      const answer = parseDigestAnswer(fields);
      if (answer instanceof Uint8Array) return answer;
      throw errorOf(answer, "sign without the agent: --no-agent");
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new AmeshError("ERR_SYSTEM", `cannot sign by the agent at "${this.#path}": ${error.message}`, {
        hint: "sign without it: --no-agent",
        cause: error,
      });
    }
  }

  /** Asks it to end, and waits until it has closed the connection. @returns whether it did. */
  stop(): boolean {
    setTimeouts(this.#fd, STATUS_MS);
    this.#send(encodeExtensionRequest(EXTENSION.STOP));
    if (this.#receiveFrame()[0] !== MESSAGE.SUCCESS) return false;
    return receive(this.#fd, new Uint8Array(1)) === 0;
  }

  /** One request and its answer. @throws {WireError} the answer is malformed; {AmeshError} `ERR_SYSTEM`. */
  request(frame: Bytes): Bytes {
    this.#send(frame);
    return this.#receiveFrame();
  }

  #extension(name: string, ...fields: readonly (Uint8Array | string)[]): Bytes[] | null {
    return parseExtensionResponse(this.request(encodeExtensionRequest(name, ...fields)), name);
  }

  #send(frame: Bytes): void {
    for (let rest = frame; rest.length > 0;) {
      const count = send(this.#fd, rest);
      if (typeof count === "string") throw this.#ended();
      rest = rest.subarray(count);
    }
  }

  #receiveFrame(): Bytes {
    const length = new SshReader(this.#receiveBytes(FRAME_LENGTH_BYTES)).u32();
    if (length === 0 || length > MAX_FRAME_BYTES) throw new WireError("its answer is malformed");
    return this.#receiveBytes(length);
  }

  #receiveBytes(length: number): Bytes {
    const bytes = new Uint8Array(length);
    for (let read = 0; read < length;) {
      const count = receive(this.#fd, bytes.subarray(read));
      if (typeof count === "string" || count === 0) throw this.#ended();
      read += count;
    }
    return bytes;
  }

  #ended(): AmeshError {
    return systemError(
      `talk to the agent at "${this.#path}"`,
      new Error("it does not answer"),
      "is it still there: amesh agent status; to sign without it: amesh sign --no-agent",
    );
  }

  [Symbol.dispose](): void {
    closeFd(this.#fd);
  }
}
