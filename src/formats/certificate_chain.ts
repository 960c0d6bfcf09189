/** A certificate and those of its issuers: the file that a CA gives, and the one that amesh keeps. */
import { type Bytes, encodeHex, equalBytes, utf8 } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { type Certificate, parseCertificate, unreadable } from "./certificate.ts";
import { encodePem, readPem } from "./pem.ts";

/** Most certificates in one chain. */
export const MAX_CHAIN_LENGTH = 10;
/** Above this a file holds no chain, in bytes. */
export const MAX_CHAIN_BYTES = 65_536;

/** What RFC 7468 §5.1 writes, and an old name of it that OpenSSL reads. */
const LABELS = ["CERTIFICATE", "X509 CERTIFICATE"];

/**
 * The certificates of a file, in its order: PEM with any text around, or one in DER.
 *
 * @param name of the file, for messages.
 * @throws {AmeshError} `ERR_CORRUPT`: none, a damaged one, too many, too large; a private key is in it.
 */
export function parseChain(bytes: Uint8Array, name: string): Certificate[] {
  if (bytes.length > MAX_CHAIN_BYTES) throw unreadable(name, `it is larger than ${MAX_CHAIN_BYTES} bytes`);
  if (isDer(bytes)) return [parseCertificate(bytes, name)];
  const blocks = readPem(new TextDecoder("latin1").decode(bytes));
  if (blocks.some(({ label }) => label.endsWith("PRIVATE KEY"))) {
    throw new AmeshError("ERR_CORRUPT", `cannot use "${name}": there is a private key in it`, {
      hint: "give the certificates alone; the key of this machine stays where it is",
    });
  }
  if (blocks.some(({ label }) => label === "PKCS7" || label === "CMS")) {
    throw new AmeshError("ERR_CORRUPT", `cannot read "${name}": it is PKCS #7`, {
      hint: "take the certificates out with: openssl pkcs7 -print_certs",
    });
  }
  const certificates = blocks.filter(({ label }) => LABELS.includes(label));
  if (certificates.length === 0) throw unreadable(name, "there is no certificate in it");
  if (certificates.length > MAX_CHAIN_LENGTH) {
    throw unreadable(
      name,
      `there are ${certificates.length} certificates in it, more than ${MAX_CHAIN_LENGTH}`,
    );
  }
  const chain = certificates.map(({ bytes: der }) => parseCertificate(der ?? new Uint8Array(0), name));
  // Longer lines than ours, or none at all: what is kept has to be read again.
  if (encodeChain(chain).length > MAX_CHAIN_BYTES) {
    throw unreadable(name, `its certificates are larger than ${MAX_CHAIN_BYTES} bytes of PEM`);
  }
  return chain;
}

/** SEQUENCE with a length of several bytes: a text that begins with a 0 goes on in another way. */
function isDer([tag, length = 0]: Uint8Array): boolean {
  return tag === 0x30 && length > 0x80;
}

/**
 * A chain that begins with the certificate of a key: after each comes one whose subject is its issuer. Whether that one has signed it
 * is not checked.
 *
 * @param publicKey compressed point, 33 bytes.
 * @throws {AmeshError} `ERR_CORRUPT`: none is of this key, or two are; one belongs to no place in the chain.
 */
export function orderChain(
  certificates: readonly Certificate[],
  publicKey: Uint8Array,
  name: string,
): [Certificate, ...Certificate[]] {
  const rest = new Map(certificates.map((certificate) => [encodeHex(certificate.der), certificate]));
  const ours = [...rest].filter(([, { publicKey: key }]) => key !== null && equalBytes(key, publicKey));
  const [leaf] = ours;
  if (leaf === undefined) {
    const [first] = certificates;
    const whose = first?.publicKey === null ? ", whose kind is not even P-256" : "";
    throw new AmeshError("ERR_CORRUPT", `cannot use "${name}": it is of another key${whose}`, {
      hint: "amesh csr makes a request for the key of this machine; give what the CA made of it",
    });
  }
  if (ours.length > 1) {
    throw new AmeshError("ERR_CORRUPT", `cannot use "${name}": ${ours.length} certificates are of this key`, {
      hint: "give the newest one and those of its issuers",
    });
  }
  const chain: [Certificate, ...Certificate[]] = [leaf[1]];
  rest.delete(leaf[0]);
  while (rest.size > 0) {
    const { issuer } = chain.at(-1) as Certificate;
    const next = [...rest].find(([, { subject }]) => equalBytes(subject, issuer));
    if (next === undefined) {
      throw new AmeshError("ERR_CORRUPT", `cannot use "${name}": a certificate in it is not of the chain`, {
        hint: "give the certificate of this machine, that of its issuer, and so on, and nothing else",
      });
    }
    chain.push(next[1]);
    rest.delete(next[0]);
  }
  return chain;
}

/** PEM, in the order given. */
export function encodeChain(certificates: readonly { readonly der: Bytes }[]): Bytes {
  return utf8(certificates.map(({ der }) => encodePem("CERTIFICATE", der)).join(""));
}
