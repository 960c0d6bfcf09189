/** How long the certificate of this machine's key is good for. */
import type { Certificate } from "../formats/certificate.ts";
import type { Identity } from "../formats/identity_file.ts";
import { isOfIdentity } from "./certificate.ts";

/** Before its end, a certificate is due: so many seconds, or so much of its lifetime. */
export type RenewBefore = { readonly seconds: number } | { readonly percent: number };

/** What `certificate status` says. */
export type CertificateState = "valid" | "not yet valid" | "due" | "expired" | "of another key" | "none";

/** A third of the lifetime: what step and certbot leave for several tries. */
export const DEFAULT_RENEW_BEFORE: RenewBefore = { percent: 100 / 3 };

/** Whether a new certificate is needed now. */
export function needsRenewal(state: CertificateState): boolean {
  return state !== "valid" && state !== "not yet valid";
}

/**
 * @param now seconds since 1970.
 * @param certificate `null` when there is none.
 */
export function certificateState(
  certificate: Certificate | null,
  identity: Identity,
  now: number,
  renewBefore: RenewBefore,
): CertificateState {
  if (certificate === null) return "none";
  const { notBefore, notAfter } = certificate;
  if (!isOfIdentity(certificate, identity)) return "of another key";
  // Its last second is part of it (RFC 5280 §4.1.2.5).
  if (notAfter < now) return "expired";
  if (now < notBefore) return "not yet valid";
  const before = "seconds" in renewBefore
    ? renewBefore.seconds
    : (notAfter - notBefore + 1) * renewBefore.percent / 100;
  return notAfter - now < before ? "due" : "valid";
}
