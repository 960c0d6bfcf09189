/** An ssh server as an agent gets to know it: a host key, and what it signs in a key exchange. */
import { Buffer } from "node:buffer";
import { generateKeyPairSync, sign } from "node:crypto";
import { type Bytes, concatBytes } from "../../src/bytes.ts";
import type { SessionBind } from "../../src/formats/agent_message.ts";
import { sshString } from "../../src/formats/ssh_wire.ts";

/** Made by {@linkcode makeSshHost}. */
export interface SshHost {
  /** Key blob. */
  readonly hostKey: Bytes;
  /** What a client tells its agent of a session with this host. */
  bind(sessionId: Uint8Array, isForwarding: boolean): SessionBind;
}

/** A host with a new Ed25519 key. */
export function makeSshHost(): SshHost {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const point = Buffer.from(publicKey.export({ format: "jwk" }).x as string, "base64url");
  const hostKey = concatBytes(sshString("ssh-ed25519"), sshString(point));
  return {
    hostKey,
    bind: (sessionId, isForwarding) => ({
      hostKey,
      sessionId,
      signature: concatBytes(sshString("ssh-ed25519"), sshString(sign(null, sessionId, privateKey))),
      isForwarding,
    }),
  };
}

/** Contents of session-bind@openssh.com. */
export function sessionBindContents({ hostKey, sessionId, signature, isForwarding }: SessionBind): Bytes {
  const strings = [hostKey, sessionId, signature].map(sshString);
  return concatBytes(...strings, Uint8Array.of(isForwarding ? 1 : 0));
}
