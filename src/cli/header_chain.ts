/** The certificates of this machine's key for the header of a token. */
import type { Bytes } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { Layout } from "../platform/paths.ts";
import { warn } from "./output.ts";

/**
 * @returns certificates in DER, the key's own first.
 * @throws {AmeshError} `ERR_CERTIFICATE_DUE`: there is none, or it has expired; as `loadCertificate`.
 */
export async function loadHeaderChain(layout: Layout, identity: Identity): Promise<readonly Bytes[]> {
  // Its parser is for those who want certificates.
  const { formatTime, loadCertificate } = await import("../identity/certificate.ts");
  const stored = await loadCertificate(layout, identity, warn);
  if (stored === null) {
    throw new AmeshError("ERR_CERTIFICATE_DUE", "cannot put a certificate into the header: there is none", {
      hint: "ask a CA for one with: amesh csr; and store it with: amesh certificate set FILE",
    });
  }
  const { notBefore, notAfter } = stored.leaf;
  const now = Date.now() / 1000;
  if (notAfter < now) {
    throw new AmeshError(
      "ERR_CERTIFICATE_DUE",
      `cannot put the certificate into the header: it is not valid since ${formatTime(notAfter)}`,
      { hint: "ask the CA for a new one with: amesh csr --renew" },
    );
  }
  if (notBefore > now) warn(`the certificate is not valid before ${formatTime(notBefore)}`);
  return stored.chain;
}
