/** `amesh certificate status`: the certificate of this machine's key, and whether a new one is needed. */
import { encodeHex } from "../../bytes.ts";
import { EXIT_CODES } from "../../errors.ts";
import { type Certificate, fingerprintOf } from "../../formats/certificate.ts";
import type { Identity } from "../../formats/identity_file.ts";
import { formatTime, readCertificate, type StoredCertificate } from "../../identity/certificate.ts";
import {
  type CertificateState,
  certificateState,
  DEFAULT_RENEW_BEFORE,
  needsRenewal,
  type RenewBefore,
} from "../../identity/certificate_status.ts";
import { loadIdentity } from "../../identity/store.ts";
import { host } from "../../platform/host.ts";
import { ameshLayout, type Layout } from "../../platform/paths.ts";
import { print, printJson, tell } from "../output.ts";
import { formatTable } from "./status.ts";

/** Options of `certificate status`. */
export type CertificateStatusFlags = {
  readonly renewBefore?: RenewBefore;
  readonly json: boolean;
};

const SECONDS_OF_DAY = 86_400;

/**
 * Ends with 11 when a new certificate is needed.
 *
 * @throws {AmeshError} `ERR_NO_IDENTITY`, `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`.
 */
export async function certificateStatus(
  { renewBefore = DEFAULT_RENEW_BEFORE, json }: CertificateStatusFlags,
): Promise<void> {
  const layout = await ameshLayout();
  const identity = await loadIdentity(layout);
  const stored = readCertificate(layout);
  const now = Math.floor(Date.now() / 1000);
  const state = certificateState(stored?.leaf ?? null, identity, now, renewBefore);
  const isDue = needsRenewal(state);
  // Before printing: a reader that goes away must not make it good.
  if (isDue) host.setExitCode(EXIT_CODES.ERR_CERTIFICATE_DUE);
  const shown = { state, renew: isDue, file: layout.certificate };
  if (json) {
    return await printJson({ ...shown, certificate: stored === null ? null : await describe(stored, now) });
  }
  await print(formatTable([
    ["State", STATES[state]],
    ["File", layout.certificate],
    ...stored === null ? [] : await rows(stored, now),
  ]));
  if (isDue) tell(`A new certificate is needed: ${stored === null ? "amesh csr" : "amesh csr --renew"}`);
}

/** The state of the stored certificate in a line; `null` when there is none. @throws {AmeshError} as `readCertificate`. */
export function describeState(layout: Layout, identity: Identity): string | null {
  const stored = readCertificate(layout);
  if (stored === null) return null;
  const state = certificateState(stored.leaf, identity, Math.floor(Date.now() / 1000), DEFAULT_RENEW_BEFORE);
  return `${STATES[state]} (until ${formatTime(stored.leaf.notAfter)})`;
}

/** A state in words. */
const STATES: Readonly<Record<CertificateState, string>> = {
  valid: "valid",
  "not yet valid": "not valid yet; look at the clock of this machine",
  due: "valid, and due for renewal",
  expired: "expired",
  "of another key": "of another key: that key was replaced, and nothing shows this certificate any more",
  none: "there is none",
};

async function describe({ leaf, chain }: StoredCertificate, now: number): Promise<Record<string, unknown>> {
  return {
    subject: leaf.subjectText,
    issuer: leaf.issuerText,
    serial: leaf.serial,
    names: leaf.names,
    notBefore: formatTime(leaf.notBefore),
    notAfter: formatTime(leaf.notAfter),
    daysLeft: daysLeft(leaf, now),
    sha256: encodeHex(await fingerprintOf(leaf.der)),
    chainLength: chain.length,
  };
}

/** Whole days until the end; negative after it. */
function daysLeft({ notAfter }: Certificate, now: number): number {
  return Math.floor((notAfter - now) / SECONDS_OF_DAY);
}

async function rows({ leaf, chain }: StoredCertificate, now: number): Promise<[string, string][]> {
  const days = daysLeft(leaf, now);
  const left = days < 0 ? "over" : days === 1 ? "1 day left" : `${days} days left`;
  return [
    ["Subject", leaf.subjectText],
    ["Issuer", leaf.issuerText],
    ["Serial", leaf.serial],
    ...leaf.names.map(({ kind, value }): [string, string] => ["Name", `${kind} ${value}`]),
    ["Valid from", formatTime(leaf.notBefore)],
    ["Valid until", `${formatTime(leaf.notAfter)} (${left})`],
    ["SHA-256", encodeHex(await fingerprintOf(leaf.der))],
    ["Chain", chain.length === 1 ? "1 certificate" : `${chain.length} certificates`],
  ];
}
