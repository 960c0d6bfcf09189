/**
 * TPM keys of amesh 0.7: no file, the key lies at a persistent handle that follows from its alias. They keep working;
 * none is made any more.
 */
import { equalBytes, utf8 } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import { compressPoint } from "../formats/public_key.ts";
import { connectTpm } from "../tpm/detect.ts";
import { evict, readPublic, startSession } from "../tpm/commands.ts";
import type { EsysConnection, EsysTr } from "../tpm/connection.ts";
import { findPersistent, findStorageRoot } from "../tpm/storage_root.ts";
import {
  canHoldSalt,
  type EccPublic,
  isSigningKey,
  nameOfPublic,
  OWNER_PERSISTENT,
  parseEccPublic,
} from "../tpm/structures.ts";
import { unusableKey } from "./key_file.ts";

/** A key at a handle, with a session to use it by. */
export interface HandleKey {
  readonly tpm: EsysConnection;
  readonly handle: EsysTr;
  readonly session: EsysTr;
}

/** `0x81000000 | (first four bytes of SHA-256(keyAlias), big-endian, & 0x00ffffff)` */
export async function persistentHandleOf(keyAlias: string): Promise<number> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(keyAlias)));
  return (OWNER_PERSISTENT.first | (new DataView(digest.buffer).getUint32(0) & 0x00ffffff)) >>> 0;
}

/** @throws {AmeshError} `ERR_CORRUPT`: no key there, or another one. */
export async function openHandleKey(identity: Identity): Promise<HandleKey> {
  const tpmHandle = await handleOf(identity);
  const tpm = connectTpm();
  try {
    const found = await findKey(tpm, tpmHandle, identity);
    if (found === null) {
      throw unusableKey(
        `there is none at TPM handle ${hex(tpmHandle)}, where amesh 0.7 kept it`,
        "it was removed, the TPM was cleared, or this is another TPM; make a new identity with: " +
          "amesh init --force --name NAME",
      );
    }
    // The key itself is known for certain; where it cannot take a salt the SRK has to.
    const { handle, area } = found;
    const root = canHoldSalt(area) ? null : findStorageRoot(tpm);
    const session = startSession(tpm, root?.handle ?? handle);
    if (root?.isTransient) tpm.flush(root.handle);
    return { tpm, handle, session };
  } catch (error) {
    tpm[Symbol.dispose]();
    throw error;
  }
}

/** Takes the key out of the TPM, if it is this identity's; none being there is no error. */
export async function evictHandleKey(identity: Identity): Promise<void> {
  await withHandleKey(identity, evict);
}

/** Whether {@linkcode evictHandleKey} would find the TPM; another key at the handle is none to evict. */
export async function checkHandleKey(identity: Identity): Promise<void> {
  try {
    await withHandleKey(identity, () => {});
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code !== "ERR_CORRUPT") throw error;
  }
}

async function withHandleKey(
  identity: Identity,
  use: (tpm: EsysConnection, handle: EsysTr, tpmHandle: number) => void,
): Promise<void> {
  const tpmHandle = await persistentHandleOf(identity.fields.keyAlias);
  if (tpmHandle > OWNER_PERSISTENT.last) return;
  using tpm = connectTpm();
  const found = await findKey(tpm, tpmHandle, identity);
  if (found !== null) use(tpm, found.handle, tpmHandle);
}

async function handleOf({ fields }: Identity): Promise<number> {
  const tpmHandle = await persistentHandleOf(fields.keyAlias);
  if (tpmHandle <= OWNER_PERSISTENT.last) return tpmHandle;
  throw unusableKey(
    `amesh 0.7 computed TPM handle ${hex(tpmHandle)} for it, but no owner's key can lie above ` +
      `${hex(OWNER_PERSISTENT.last)}, so it was never stored`,
    "make a new identity with: amesh init --force --name NAME",
  );
}

/** A key at a handle that is the identity's. */
interface FoundKey {
  readonly handle: EsysTr;
  readonly area: EccPublic;
}

/** `null` when there is none at the handle. @throws {AmeshError} `ERR_CORRUPT`: another key. */
async function findKey(
  tpm: EsysConnection,
  tpmHandle: number,
  { publicKey }: Identity,
): Promise<FoundKey | null> {
  const handle = findPersistent(tpm, tpmHandle);
  if (handle === null) return null;
  const publicArea = readPublic(tpm, handle);
  const area = parseEccPublic(publicArea);
  // The session is salted to what the library read before, so it must be the same key.
  const isSame = equalBytes(tpm.nameOf(handle), await nameOfPublic(publicArea));
  if (isSame && area !== null && isSigningKey(area) && equalBytes(compressPoint(area.point), publicKey)) {
    return { handle, area };
  }
  throw unusableKey(
    `TPM handle ${hex(tpmHandle)} holds another key`,
    "another program put it there, or this is another TPM; the key of this identity is not in this TPM",
  );
}

const hex = (tpmHandle: number): string => `0x${tpmHandle.toString(16)}`;
