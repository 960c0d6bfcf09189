/** `csr` and the commands of the certificate, their options and help texts. */
import { buildRouteMap } from "@stricli/core";
import type { RenewBefore } from "../identity/certificate_status.ts";
import {
  command,
  duration,
  flag,
  inputFile,
  json,
  NumberError,
  optional,
  passphraseFd,
  repeated,
} from "./command.ts";
import type { CertificateSetFlags } from "./commands/certificate_set.ts";
import type { CertificateStatusFlags } from "./commands/certificate_status.ts";
import { type CsrFlags, REQUEST_FORMATS } from "./csr_flags.ts";

/** `amesh csr`. */
export const csr = command<CsrFlags, []>({
  brief: "Make a certificate request for this machine's key",
  description:
    "PKCS #10, signed with ECDSA P-256 and SHA-256. Asks for the use as a client, and with --dns or --ip as a\n" +
    "server too. Names can be given several times. The subject is an RFC 4514 string.",
  examples: [
    "amesh csr --dns web-1.example.org --ip 192.0.2.7 --out web-1.csr",
    'amesh csr --subject "CN=web-1,OU=Fleet,O=Example" --uri spiffe://example.org/web-1',
    "amesh csr --renew --out web-1.csr",
  ],
  parameters: {
    flags: {
      subject: optional("Name; without it, the device id as CN", "NAME"),
      dns: repeated("DNS name; * may be its first label", "HOST"),
      ip: repeated("IPv4 or IPv6 address", "ADDRESS"),
      uri: repeated("URI, such as a SPIFFE id", "URI"),
      email: repeated("Mail address", "ADDRESS"),
      renew: flag("Ask for what the stored certificate has"),
      format: { kind: "enum", brief: "Form of the request", values: REQUEST_FORMATS, default: "pem" },
      out: optional("Write the request to this file instead of standard output", "FILE"),
      noAgent: flag("Open the key here, also where an agent holds it"),
      passphraseFd,
      json,
    },
  },
  load: async () => (await import("./commands/csr.ts")).csr,
});

const certificateSet = command<CertificateSetFlags, [file?: string]>({
  brief: "Keep the certificate that a CA has made for this machine's key",
  description:
    "Takes a chain in PEM, or one certificate in DER, in the place of the one before. Refused when it is of\n" +
    "another key, expired, or no chain. Whether to trust who signed it is for whoever meets this machine.",
  examples: ["amesh certificate set web-1.pem", "cat web-1.crt ca.crt | amesh certificate set -"],
  parameters: { flags: { json }, positional: inputFile },
  load: async () => (await import("./commands/certificate_set.ts")).certificateSet,
});

/** `30d`, `12h` … or a part of the lifetime such as `33%`. @throws {NumberError} that becomes the complaint. */
const renewBefore = (value: string): RenewBefore => {
  const percent = /^(\d{1,2})%$/.exec(value)?.[1];
  if (percent !== undefined) return { percent: Number(percent) };
  if (value.includes("%")) throw new NumberError("it is no part of a lifetime such as 33%");
  return { seconds: duration(value) };
};

const certificateStatus = command<CertificateStatusFlags, []>({
  brief: "Show the certificate of this machine's key; exit 11 when a new one is needed",
  description:
    "Ends with 11 when less than a third of its lifetime is left (or what --renew-before says), when it has\n" +
    "expired or is of another key, and when there is none; with 0 when it is good.",
  examples: [
    "amesh certificate status",
    "amesh certificate status --renew-before 30d",
    "amesh certificate status --json || renew-certificate",
  ],
  parameters: {
    flags: {
      renewBefore: {
        kind: "parsed",
        brief: "Time before its end, such as 30d, or part of its lifetime, such as 33%",
        parse: renewBefore,
        placeholder: "TIME|PART",
        optional: true,
      },
      json,
    },
  },
  load: async () => (await import("./commands/certificate_status.ts")).certificateStatus,
});

/** `certificate set` and `certificate status`. */
export const certificate = buildRouteMap({
  routes: { set: certificateSet, status: certificateStatus },
  docs: {
    brief: "Keep and look at the certificate of this machine's key",
    fullDescription:
      "What a CA makes of `amesh csr` is kept beside the key. Tokens and signatures carry it with --header-x5c, and\n" +
      "`amesh csr --renew` asks for the same names again.",
  },
});
