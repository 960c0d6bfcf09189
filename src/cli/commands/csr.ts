/** `amesh csr`: a certificate request for this machine's key. */
import { makeRequest } from "../../agent/certificate_request.ts";
import { encodeBase64, utf8 } from "../../bytes.ts";
import { AmeshError } from "../../errors.ts";
import { type RequestedName, requireNames } from "../../formats/alternative_name.ts";
import {
  describeContent,
  renewalContent,
  type RequestContent,
  requestContent,
} from "../../formats/certificate_request.ts";
import { encodeSubject } from "../../formats/distinguished_name.ts";
import type { Identity } from "../../formats/identity_file.ts";
import { encodePem } from "../../formats/pem.ts";
import { readCertificate } from "../../identity/certificate.ts";
import { writeOutputFile } from "../../platform/files.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout, type Layout } from "../../platform/paths.ts";
import type { CsrFlags } from "../csr_flags.ts";
import { print, printJson, warn } from "../output.ts";

/** @throws {AmeshError} as `makeRequest`; `ERR_USAGE`: a subject or name that cannot be; `ERR_SYSTEM` for output. */
export async function csr(flags: CsrFlags): Promise<void> {
  const { format, out, noAgent, passphraseFd, json } = flags;
  if (json && format === "der") {
    throw new AmeshError("ERR_USAGE", "--json cannot hold a binary request", { hint: "use --format pem" });
  }
  forbidInspection();
  const layout = await ameshLayout();
  const contentFor = flags.renew ? renewal(flags, layout) : asked(flags);
  let content: RequestContent | undefined;
  const { identity, der } = await makeRequest(layout, (of) => (content = contentFor(of)), {
    useAgent: !noAgent,
    passphraseFd,
    warn,
  });
  const pem = encodePem("CERTIFICATE REQUEST", der);
  const target = out === "-" || out === "/dev/stdout" ? undefined : out;
  if (target !== undefined) writeOutputFile(target, format === "der" ? der : utf8(pem));
  if (json) {
    await printJson({
      request: pem,
      ...describeContent(content as RequestContent),
      deviceId: identity.fields.deviceId,
      publicKey: encodeBase64(identity.publicKey),
    });
  } else if (target === undefined) await print(format === "der" ? der : pem);
}

function namesOf({ dns = [], ip = [], uri = [], email = [] }: CsrFlags): RequestedName[] {
  return Object.entries({ dns, ip, uri, email }).flatMap(([kind, values]) =>
    values.map((value) => ({ kind: kind as RequestedName["kind"], value }))
  );
}

/** What the options say. @throws {AmeshError} `ERR_USAGE`. */
function asked(flags: CsrFlags): (identity: Identity) => RequestContent {
  const names = requireNames(namesOf(flags));
  const subject = flags.subject === undefined ? null : encodeSubject(flags.subject);
  return ({ fields }) => requestContent(subject ?? encodeSubject(`CN=${fields.deviceId}`), names);
}

/** What the stored certificate has. Also when it is of an older key: that one had the names that the new one needs. */
function renewal(flags: CsrFlags, layout: Layout): () => RequestContent {
  if (flags.subject !== undefined || namesOf(flags).length > 0) {
    throw new AmeshError("ERR_USAGE", "--renew takes all names from the stored certificate", {
      hint: "leave --renew out and give all names anew",
    });
  }
  return () => {
    const stored = readCertificate(layout);
    if (stored !== null) return renewalContent(stored.leaf);
    throw new AmeshError("ERR_USAGE", "cannot renew: there is no certificate yet", {
      hint: "make the first request with its names, then: amesh certificate set FILE",
    });
  };
}
