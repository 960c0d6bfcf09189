/** A certificate request that this machine's key signs. */
import type { Bytes } from "../bytes.ts";
import { expandPoint, inOnePiece } from "../crypto/p256.ts";
import { encodeRequest, encodeRequestInfo, type RequestContent } from "../formats/certificate_request.ts";
import type { Identity } from "../formats/identity_file.ts";
import { loadIdentity, replacedMeanwhile } from "../identity/store.ts";
import type { Layout } from "../platform/paths.ts";
import { type SigningOptions, signMessage } from "./sign.ts";

/** A request, and whose it is. */
export interface MadeRequest {
  readonly identity: Identity;
  /** CertificationRequest in DER. */
  readonly der: Bytes;
}

/**
 * Makes a request for the key of the identity in force.
 *
 * @param contentFor what to ask for.
 * @throws {AmeshError} as `signMessage`; `ERR_BUSY` when the key was replaced meanwhile; what `contentFor` throws.
 */
export async function makeRequest(
  layout: Layout,
  contentFor: (identity: Identity) => RequestContent,
  options: Omit<SigningOptions, "background">,
): Promise<MadeRequest> {
  const identity = await loadIdentity(layout);
  const info = encodeRequestInfo(contentFor(identity), await expandPoint(identity.publicKey));
  const made = await signMessage(layout, inOnePiece(info), { ...options, background: false });
  if (made.identity.fields.deviceId !== identity.fields.deviceId) throw replacedMeanwhile();
  return { identity, der: encodeRequest(info, made.signature) };
}
