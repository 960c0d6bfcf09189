/** What ssh lets a user's key sign: a login (RFC 4252 §7) and signatures of files and git objects (PROTOCOL.sshsig). */
import { equalBytes, utf8 } from "../bytes.ts";
import { SshReader, WireError } from "./ssh_wire.ts";

/** SSH_MSG_USERAUTH_REQUEST. */
export const USERAUTH_REQUEST = 50;
/** A session id is a hash: no longer than twice the longest in use. */
export const MAX_SESSION_ID_BYTES = 128;
/** What stands before everything that is signed as SSHSIG; the signature file begins so too. */
export const SSHSIG_MAGIC = utf8("SSHSIG");

/** A login by public key, as the client signs it. */
export interface UserauthRequest {
  readonly sessionId: Uint8Array;
  readonly user: string;
  readonly algorithm: string;
  readonly publicKey: Uint8Array;
  /** Of publickey-hostbound-v00@openssh.com (OpenSSH's PROTOCOL §3.1): the key of the server; else `null`. */
  readonly hostKey: Uint8Array | null;
}

/** What is signed as SSHSIG: a hash, for one purpose. */
export interface SshsigData {
  readonly namespace: string;
}

/** Lengths of the hashes that PROTOCOL.sshsig allows, in bytes. */
const HASH_BYTES: Readonly<Record<string, number>> = { sha256: 32, sha512: 64 };

/**
 * @param data all that is to be signed.
 * @returns `null` when it is no request for ssh-connection by public key, or not exactly one.
 */
export function parseUserauthRequest(data: Uint8Array): UserauthRequest | null {
  return parsed(data, (reader) => {
    const sessionId = reader.string();
    if (sessionId.length === 0 || sessionId.length > MAX_SESSION_ID_BYTES) return null;
    if (reader.byte() !== USERAUTH_REQUEST) return null;
    const user = reader.text();
    if (reader.text() !== "ssh-connection") return null;
    const method = reader.text();
    const isBound = method === "publickey-hostbound-v00@openssh.com";
    // OpenSSH writes and takes 1 only, although every byte but 0 is true.
    if ((!isBound && method !== "publickey") || reader.byte() !== 1) return null;
    const [algorithm, publicKey] = [reader.text(), reader.string()];
    return { sessionId, user, algorithm, publicKey, hostKey: isBound ? reader.string() : null };
  });
}

/**
 * @param data all that is to be signed.
 * @returns `null` when it is not exactly what an SSHSIG signature is made of.
 */
export function parseSshsigData(data: Uint8Array): SshsigData | null {
  const start = data.subarray(0, SSHSIG_MAGIC.length);
  if (!equalBytes(start, SSHSIG_MAGIC)) return null;
  return parsed(data.subarray(SSHSIG_MAGIC.length), (reader) => {
    const namespace = reader.text();
    // Reserved: whoever reads it must ignore it.
    reader.string();
    const length = HASH_BYTES[reader.text()];
    return namespace !== "" && reader.string().length === length ? { namespace } : null;
  });
}

/** What `parse` finds when that is all there is. */
function parsed<T>(data: Uint8Array, parse: (reader: SshReader) => T | null): T | null {
  const reader = new SshReader(data);
  try {
    const found = parse(reader);
    if (found !== null) reader.end();
    return found;
  } catch (error) {
    if (error instanceof WireError) return null;
    throw error;
  }
}
