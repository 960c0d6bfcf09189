/**
 * The keystore of amesh as a library: this machine's identity for programs that sign with it (docs/library.md).
 *
 * ```ts
 * import { openIdentity } from "@amesh/cli";
 *
 * using identity = await openIdentity();
 * const signature = await identity.sign("a message");
 * console.log(await identity.publicKey.verify(signature, "a message")); // true
 * ```
 *
 * Deno permissions: `read`; `env` of the variables that name the directory and the passphrase; `sys=uid`; and `ffi` for libc,
 * and for a key in a TPM or a keychain. Importing this file opens and starts nothing.
 *
 * @module
 */
export { AmeshError, type AmeshErrorCode, type AmeshErrorOptions, EXIT_CODES } from "./errors.ts";
export { SIGNATURE_FORMATS, type SignatureFormat } from "./formats/ecdsa_signature.ts";
export { TIER_NAMES, type TierName } from "./formats/identity_file.ts";
export type { Protection } from "./keystore/keystore.ts";
export {
  type KeyedSignature,
  MachineIdentity,
  openIdentity,
  type OpenOptions,
  type SignOptions,
} from "./library/machine_identity.ts";
export type { Data } from "./library/message.ts";
export type { GivenPassphrase } from "./library/passphrase.ts";
export { parsePublicKey, type PublicJwk, PublicKey } from "./library/public_key.ts";
export type { Rotation } from "./library/rotation.ts";
export type { TokenOptions } from "./library/token.ts";
export { VERSION } from "./version.ts";
