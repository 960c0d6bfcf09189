/**
 * The certificate of this machine's key, as a CA has given it: a chain in a file beside identity.json. It is public, and kept like the
 * rest so that nobody else puts another one in its place.
 */
import { type Bytes, equalBytes } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import type { Certificate } from "../formats/certificate.ts";
import { encodeChain, MAX_CHAIN_BYTES, orderChain, parseChain } from "../formats/certificate_chain.ts";
import type { Identity } from "../formats/identity_file.ts";
import { Passphrases } from "../passphrase/passphrases.ts";
import { FILE_MODE, readPrivateFile, writeFileAtomic } from "../platform/files.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { loadIdentity } from "./store.ts";
import { settle } from "./unfinished.ts";

/** A certificate chain. */
export interface StoredCertificate {
  /** The certificate of the key. */
  readonly leaf: Certificate;
  /** DER of every certificate, the leaf first, then its issuers. */
  readonly chain: readonly Bytes[];
}

/**
 * The stored chain, whoever's key it is of: after `rotate` and `init --force` it is of the old one.
 *
 * @returns `null` when there is none.
 * @throws {AmeshError} `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`.
 */
export function readCertificate({ certificate: path }: Layout): StoredCertificate | null {
  const bytes = readPrivateFile(path, MAX_CHAIN_BYTES);
  if (bytes === null) return null;
  const certificates = parseChain(bytes, path);
  return { leaf: certificates[0] as Certificate, chain: certificates.map(({ der }) => der) };
}

/** Whether a certificate is of the key of this identity. */
export function isOfIdentity({ publicKey }: Certificate, identity: Identity): boolean {
  return publicKey !== null && equalBytes(publicKey, identity.publicKey);
}

/**
 * The chain that may be shown for this identity. How long it is valid is for who uses it to look at.
 *
 * @param warn is told of a certificate that is of another key.
 * @returns `null` when there is none, or it is of another key.
 * @throws {AmeshError} as {@linkcode readCertificate}.
 */
export function loadCertificate(
  layout: Layout,
  identity: Identity,
  warn: (message: string) => void = () => {},
): StoredCertificate | null {
  const stored = readCertificate(layout);
  if (stored === null || isOfIdentity(stored.leaf, identity)) return stored;
  warn(`the certificate in ${layout.certificate} is of another key and is not used`);
  return null;
}

/** What `certificate set` asks for. */
export interface SetOptions {
  readonly layout: Layout;
  /** Content of the file that the CA gave. */
  readonly bytes: Bytes;
  /** Its name, for messages. */
  readonly name: string;
  /** Seconds since 1970. */
  readonly now: number;
  readonly warn: (message: string) => void;
}

/**
 * Stores the chain of this machine's key, in the place of the one before.
 *
 * @throws {AmeshError} `ERR_NO_IDENTITY`; `ERR_CORRUPT`: as `parseChain` and `orderChain`, expired; `ERR_BUSY`; `ERR_SYSTEM`. What
 *   was stored before is then as it was.
 */
export async function setCertificate(
  { layout, bytes, name, now, warn }: SetOptions,
): Promise<StoredCertificate> {
  // Before the lock: what is in the file needs no change of anything to be refused.
  const certificates = parseChain(bytes, name);
  orderChain(certificates, (await loadIdentity(layout)).publicKey, name);
  using _lock = acquireLock(layout.lock);
  using passphrases = new Passphrases(layout, undefined, warn);
  const identity = await loadIdentity(layout);
  await settle({ layout, passphrases }, identity, "keep passphrases");
  const chain = orderChain(certificates, identity.publicKey, name);
  const [leaf] = chain;
  requireCurrent(leaf, name, now, warn);
  writeFileAtomic(layout.certificate, encodeChain(chain), FILE_MODE, "replace");
  return { leaf, chain: chain.map(({ der }) => der) };
}

function requireCurrent(
  { notBefore, notAfter }: Certificate,
  name: string,
  now: number,
  warn: (message: string) => void,
): void {
  if (notAfter < now || notAfter < notBefore) {
    throw new AmeshError(
      "ERR_CORRUPT",
      `cannot use "${name}": it is not valid since ${formatTime(notAfter)}`,
      {
        hint: "look at the clock of this machine, or ask the CA for a new one: amesh csr",
      },
    );
  }
  if (notBefore > now) warn(`the certificate is not valid before ${formatTime(notBefore)}`);
}

/** `2026-03-01T09:00:00Z`. @param seconds since 1970. */
export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
