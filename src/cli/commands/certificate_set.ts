/** `amesh certificate set`: keeps what a CA has made for this machine's key. */
import { MAX_CHAIN_BYTES } from "../../formats/certificate_chain.ts";
import { formatTime, setCertificate } from "../../identity/certificate.ts";
import { isStandardInput, readSmallInput } from "../../platform/input.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printJson, warn } from "../output.ts";
import { formatTable } from "./status.ts";

/** Options of `certificate set`. */
export type CertificateSetFlags = {
  readonly json: boolean;
};

/** @throws {AmeshError} as `setCertificate`; `ERR_CORRUPT`: a file that is too large; `ERR_SYSTEM`. */
export async function certificateSet({ json }: CertificateSetFlags, file = "-"): Promise<void> {
  const layout = await ameshLayout();
  const { bytes } = readSmallInput(file, MAX_CHAIN_BYTES);
  const name = isStandardInput(file) ? "standard input" : file;
  const now = Math.floor(Date.now() / 1000);
  const { leaf, chain } = await setCertificate({ layout, bytes, name, now, warn });
  if (json) {
    await printJson({
      file: layout.certificate,
      subject: leaf.subjectText,
      issuer: leaf.issuerText,
      notAfter: formatTime(leaf.notAfter),
      chainLength: chain.length,
    });
  } else {
    await print(formatTable([
      ["Certificate", layout.certificate],
      ["Subject", leaf.subjectText],
      ["Issuer", leaf.issuerText],
      ["Valid until", formatTime(leaf.notAfter)],
      ["Chain", chain.length === 1 ? "1 certificate" : `${chain.length} certificates`],
    ]));
  }
}
