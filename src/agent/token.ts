/** JSON Web Signatures by this machine's key. */
import type { Bytes } from "../bytes.ts";
import { expandPoint, type Message } from "../crypto/p256.ts";
import type { Identity } from "../formats/identity_file.ts";
import { encodeJsonPart, type JwsHeader, jwsHeader, signingInput } from "../formats/jws.ts";
import { thumbprintOf } from "../formats/public_key.ts";
import { replacedMeanwhile } from "../identity/store.ts";
import type { Layout } from "../platform/paths.ts";
import { type SigningOptions, signMessage } from "./sign.ts";

/** What is signed. */
export interface JwsRequest {
  /** `typ` of the header. */
  readonly typ: string;
  /** Certificates in DER for the header, the key's own first; `null` for none. */
  readonly chain: readonly Uint8Array[] | null;
  readonly payload: Message;
}

/** A signature and what it was made with. */
export interface MadeJws {
  readonly header: JwsHeader;
  /** The header as it was signed. */
  readonly encodedHeader: string;
  /** Raw, 64 bytes. */
  readonly signature: Bytes;
}

/**
 * Signs a payload of any length, in constant memory.
 *
 * @param identity the one in force, whose key the header names.
 * @throws {AmeshError} as `signMessage`; `ERR_BUSY` when another identity has come into force meanwhile.
 */
export async function signJws(
  layout: Layout,
  identity: Identity,
  { typ, chain, payload }: JwsRequest,
  options: SigningOptions,
): Promise<MadeJws> {
  const header = jwsHeader(typ, await thumbprintOf(await expandPoint(identity.publicKey)), chain);
  const encodedHeader = encodeJsonPart(header);
  const made = await signMessage(layout, signingInput(encodedHeader, payload), options);
  if (made.identity.fields.deviceId !== identity.fields.deviceId) throw replacedMeanwhile();
  return { header, encodedHeader, signature: made.signature };
}
