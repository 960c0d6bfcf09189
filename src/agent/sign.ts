/** Signing with this machine's key: by the agent where it holds the key, else by opening it. */
import type { Bytes } from "../bytes.ts";
import { hashMessage, type Message, verifyHashed } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import { normalizeLowS } from "../formats/ecdsa_signature.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { Layout } from "../platform/paths.ts";
import { loadIdentity } from "../identity/store.ts";
import { findAgentOf } from "./find.ts";

/** A signature, and whose it is. */
export interface MadeSignature {
  readonly identity: Identity;
  /** Raw `r || s`, 64 bytes, low-S; verified. */
  readonly signature: Bytes;
}

/** How {@linkcode signMessage} comes to the key. */
export interface SigningOptions {
  /** Whether the agent is asked first. It is not when {@linkcode SigningOptions.passphraseFd} names a passphrase. */
  readonly useAgent: boolean;
  /** Unlock while the message is being read; see `Tier.open`. */
  readonly background: boolean;
  /** Descriptor that the passphrase comes from. */
  readonly passphraseFd?: number | undefined;
  readonly warn: (message: string) => void;
}

/**
 * ECDSA P-256 with SHA-256 over a message of any length, by the key of the identity in force.
 *
 * @throws {AmeshError} as `signByAgent` and `openIdentity`.
 */
export async function signMessage(
  layout: Layout,
  message: Message,
  { useAgent, background, passphraseFd, warn }: SigningOptions,
): Promise<MadeSignature> {
  if (useAgent && passphraseFd === undefined) {
    const made = await signByAgent(layout, message);
    if (made !== null) return made;
  }
  // Who signs by the agent needs none of this.
  const { openIdentity } = await import("../identity/open.ts");
  using opened = await openIdentity(layout, warn, background, { descriptor: passphraseFd });
  return { identity: opened.identity, signature: await opened.signer.sign(message) };
}

/**
 * @param message not touched unless the agent is there.
 * @returns `null` when no agent serves the identity in force, or its key takes no digests.
 * @throws {AmeshError} as `loadIdentity`; why the agent does not sign. Nobody goes around it then: it may be locked, or a
 *   person may have said no.
 */
export async function signByAgent(layout: Layout, message: Message): Promise<MadeSignature | null> {
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
