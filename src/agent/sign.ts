/** Signing through the agent, where it holds the key of this identity. */
import type { Bytes } from "../bytes.ts";
import { hashMessage, type Message, verifyHashed } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import { normalizeLowS } from "../formats/ecdsa_signature.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { Layout } from "../platform/paths.ts";
import { loadIdentity } from "../identity/store.ts";
import { findAgentOf } from "./find.ts";

/** A signature, and whose it is. */
export interface AgentSignature {
  readonly identity: Identity;
  /** Raw `r || s`, 64 bytes, low-S; verified. */
  readonly signature: Bytes;
}

/**
 * @param message not touched unless the agent is there.
 * @returns `null` when no agent serves the identity in force, or its key takes no digests.
 * @throws {AmeshError} as `loadIdentity`; why the agent does not sign. Nobody goes around it then: it may be locked, or a
 *   person may have said no.
 */
export async function signByAgent(layout: Layout, message: Message): Promise<AgentSignature | null> {
  const identity = await loadIdentity(layout);
  const { deviceId, storageBackend } = identity.fields;
  // It signs messages, never digests, and is as quick without an agent.
  if (storageBackend === "secure-enclave") return null;
  using agent = findAgentOf(layout, deviceId);
  if (agent === null) return null;
  const hashed = await hashMessage(message);
  const signature = agent.client.signDigest(deviceId, hashed.digest);
  if (await verifyHashed(identity.publicKey, signature, hashed)) {
    return { identity, signature: normalizeLowS(signature) };
  }
  throw new AmeshError("ERR_SYSTEM", "cannot use the agent: its signature does not verify", {
    hint: `look who listens on "${agent.socket}", and sign without it: --no-agent`,
  });
}
