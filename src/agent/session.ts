/**
 * What an agent knows of the other end of a connection, and what it therefore signs for it (session-bind@openssh.com,
 * OpenSSH PROTOCOL.agent §1).
 */
import { equalBytes } from "../bytes.ts";
import { verifyHostSignature } from "../crypto/ssh_host_key.ts";
import type { SessionBind } from "../formats/agent_message.ts";
import { findProtocol } from "../formats/protocol_message.ts";
import { parseSshsigData, parseUserauthRequest } from "../formats/ssh_signed_data.ts";

/** As OpenSSH has them: sessions that a connection can pass through, length of a session id in bytes. */
const MAX_SESSIONS = 16;
const MAX_SESSION_ID_BYTES = 128;

/** What somebody wants to be signed, in words for a person; `null` for data of no known form. */
export function describeData(data: Uint8Array): string | null {
  const userauth = parseUserauthRequest(data);
  if (userauth !== null) return `to log in as ${shown(userauth.user)}`;
  const sshsig = parseSshsigData(data);
  return sshsig === null ? null : `to sign for ${shown(sshsig.namespace)}`;
}

/** How much of a text that somebody else has chosen a dialog shows. */
const MAX_SHOWN_CHARACTERS = 64;

/** Without what would change how the rest of a dialog looks: controls, directions, line ends, length. */
export function shown(text: string): string {
  const clean = text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd");
  return clean.length > MAX_SHOWN_CHARACTERS ? `${clean.slice(0, MAX_SHOWN_CHARACTERS)}…` : clean;
}

/** The sessions of one connection. */
export class SessionBindings {
  readonly #sessions: Pick<SessionBind, "sessionId" | "hostKey" | "isForwarding">[] = [];
  #wasRefused = false;

  /** Whether this connection may come from another machine: it is bound to a session, or somebody tried to bind it. */
  get isRemote(): boolean {
    return this.#wasRefused || this.#sessions.length > 0;
  }

  /**
   * Binds the connection to a session that a host has signed.
   *
   * @returns whether that is in force; what follows on the connection is treated as remote in any case.
   */
  bind({ hostKey, sessionId, signature, isForwarding }: SessionBind): boolean {
    const isDone = this.#isAllowed(hostKey, sessionId) && verifyHostSignature(hostKey, signature, sessionId);
    if (!isDone) this.refuse();
    else if (!this.#sessions.some((known) => equalBytes(known.sessionId, sessionId))) {
      // Copies: what was given are views into a frame.
      this.#sessions.push({
        hostKey: Uint8Array.from(hostKey),
        sessionId: Uint8Array.from(sessionId),
        isForwarding,
      });
    }
    return isDone;
  }

  /** Somebody tried to bind the connection in vain. */
  refuse(): void {
    this.#wasRefused = true;
  }

  #isAllowed(hostKey: Uint8Array, sessionId: Uint8Array): boolean {
    if (sessionId.length === 0 || sessionId.length > MAX_SESSION_ID_BYTES) return false;
    if (this.#sessions.length >= MAX_SESSIONS) return false;
    return this.#sessions.every((known) =>
      known.isForwarding && (!equalBytes(known.sessionId, sessionId) || equalBytes(known.hostKey, hostKey))
    );
  }

  /** Why this is not signed here, after "it is"; `null` when it is. */
  objection(data: Uint8Array): string | null {
    const userauth = parseUserauthRequest(data);
    const last = this.#sessions.at(-1);
    if (last !== undefined && !last.isForwarding) {
      if (userauth === null) return "no login, and the connection was bound for one";
      const { sessionId, hostKey } = userauth;
      const isSame = equalBytes(sessionId, last.sessionId) &&
        (hostKey === null || equalBytes(hostKey, last.hostKey));
      return isSame ? null : "a login in another session than the connection was bound for";
    }
    if (userauth !== null || parseSshsigData(data) !== null) return null;
    if (this.isRemote) return "neither a login nor an ssh signature, and the connection is forwarded";
    return findProtocol(data, true);
  }
}
