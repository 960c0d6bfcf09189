/**
 * The parent of amesh's keys: the ECC storage root key (SRK), at 0x81000001 where one is kept that fits, else made
 * anew from the owner seed. Never an RSA key, never evicting anything. What is found is compared with the Name that
 * identity.json remembers, so that nobody can put another key in its place.
 */
import { AmeshError } from "../errors.ts";
import { encodeHex } from "../bytes.ts";
import { createPrimary, HIERARCHY, readPublic } from "./commands.ts";
import type { EsysConnection, EsysTr } from "./connection.ts";
import { type TpmCondition, TpmError } from "./response_code.ts";
import {
  EK_TEMPLATE,
  isStorageParent,
  OBJECT,
  parseEccPublic,
  PERSISTENT_SRK,
  RH_OWNER,
  SRK_TEMPLATE,
} from "./structures.ts";

/** An SRK that is loaded. */
export interface StorageRoot {
  readonly handle: EsysTr;
  /** Name (TPM 2.0 Part 1 §16) in hex: `000b` and a SHA-256 digest. */
  readonly name: string;
  /** What a key file names as its parent: {@linkcode PERSISTENT_SRK} or {@linkcode RH_OWNER}. */
  readonly parent: number;
  /** Whether it was made for this connection and takes up one of the TPM's few places. */
  readonly isTransient: boolean;
}

/** An SRK at a persistent handle. */
export interface KeptRoot extends StorageRoot {
  /** Whether the TPM's dictionary-attack lockout does not concern it (TPMA_OBJECT noDA). */
  readonly isExemptFromLockout: boolean;
}

/** What identity.json remembers of the TPM. */
export interface RecordedRoot {
  readonly name: string;
  /** A persistent handle, or {@linkcode RH_OWNER}. */
  readonly parent: number;
  /** Name of the endorsement key in hex, where it could be read. */
  readonly ekName: string | undefined;
}

/** The SRK for a new key. @throws {TpmError} also when the owner hierarchy cannot be used. */
export function findStorageRoot(tpm: EsysConnection): StorageRoot {
  return findPersistentRoot(tpm) ?? createRoot(tpm);
}

/** The SRK at 0x81000001; `null` when there is none or it does not fit. */
export function findPersistentRoot(tpm: EsysConnection): KeptRoot | null {
  const handle = findPersistent(tpm, PERSISTENT_SRK);
  if (handle === null) return null;
  const area = parseEccPublic(readPublic(tpm, handle));
  if (area === null || !isStorageParent(area)) return null;
  return {
    handle,
    name: encodeHex(tpm.nameOf(handle)),
    parent: PERSISTENT_SRK,
    isExemptFromLockout: (area.attributes & OBJECT.noDA) !== 0,
    isTransient: false,
  };
}

/** The object at a persistent handle; `null` when there is none. */
export function findPersistent(tpm: EsysConnection, tpmHandle: number): EsysTr | null {
  try {
    return tpm.fromTpmHandle(tpmHandle);
  } catch (error) {
    if (error instanceof TpmError && error.condition === "noHandle") return null;
    throw error;
  }
}

function createRoot(tpm: EsysConnection): StorageRoot {
  const handle = createPrimary(tpm, HIERARCHY.owner, SRK_TEMPLATE);
  return { handle, name: encodeHex(tpm.nameOf(handle)), parent: RH_OWNER, isTransient: true };
}

/**
 * The SRK that a stored key was made under. One that was kept at a handle and is gone from there is made anew where it
 * came from our template.
 *
 * @throws {AmeshError} `ERR_TIER_UNAVAILABLE`: there is another SRK, with what that means.
 */
export function openStorageRoot(tpm: EsysConnection, recorded: RecordedRoot): StorageRoot {
  const { parent } = recorded;
  const kept = parent === RH_OWNER ? null : findPersistent(tpm, parent);
  if (kept !== null && isRecorded(tpm, kept, recorded)) {
    return { handle: kept, name: recorded.name, parent, isTransient: false };
  }
  const created = createRecorded(tpm, recorded);
  if (created.name === recorded.name) return created;
  tpm.flush(created.handle);
  throw explainOtherRoot(tpm, recorded, kept !== null);
}

const isRecorded = (tpm: EsysConnection, handle: EsysTr, { name }: RecordedRoot): boolean =>
  encodeHex(tpm.nameOf(handle)) === name;

/** Makes the SRK; where the owner does not let us, the same one may have been kept since. */
function createRecorded(tpm: EsysConnection, recorded: RecordedRoot): StorageRoot {
  try {
    return createRoot(tpm);
  } catch (error) {
    const isRefused = error instanceof TpmError &&
      (error.condition === "badAuth" || error.condition === "hierarchyDisabled");
    const kept = isRefused ? findPersistent(tpm, PERSISTENT_SRK) : null;
    if (kept === null || !isRecorded(tpm, kept, recorded)) throw error;
    return { handle: kept, name: recorded.name, parent: PERSISTENT_SRK, isTransient: false };
  }
}

/** The endorsement hierarchy of this TPM cannot be used, now or later. */
const NO_ENDORSEMENT: readonly TpmCondition[] = ["badAuth", "hierarchyDisabled", "unsupported"];

/** Name of the endorsement key in hex; `undefined` where the endorsement hierarchy cannot be used. */
export function findEkName(tpm: EsysConnection): string | undefined {
  try {
    const handle = createPrimary(tpm, HIERARCHY.endorsement, EK_TEMPLATE);
    const name = encodeHex(tpm.nameOf(handle));
    tpm.flush(handle);
    return name;
  } catch (error) {
    // Not for a moment's trouble: a new key would lack the Name for good.
    if (error instanceof TpmError && NO_ENDORSEMENT.includes(error.condition)) return undefined;
    throw error;
  }
}

/**
 * TPM2_Clear replaces the owner seed and with it every SRK, but not the endorsement key: together their Names tell
 * another TPM from one that was cleared, and that from an SRK that somebody replaced.
 */
function explainOtherRoot(
  tpm: EsysConnection,
  { parent, ekName }: RecordedRoot,
  isReplaced: boolean,
): AmeshError {
  const now = ekName === undefined ? undefined : findEkName(tpm);
  if (now !== undefined && now !== ekName) {
    return unusable(
      "the key belongs to another TPM",
      "use this directory on the machine that made it; here, make a new identity with: amesh init --force --name NAME",
    );
  }
  const handle = `0x${parent.toString(16)}`;
  if (isReplaced) {
    return unusable(
      `the SRK at ${handle} is not the one that the key was made under: it was replaced, or the TPM was cleared and set up anew`,
      "its keys are lost with it; if nobody here did that, find out who did before you make a new identity",
    );
  }
  const cleared = now === undefined
    ? "the TPM was cleared, its firmware was reset, or this is another TPM"
    : "the TPM was cleared or its firmware was reset";
  if (parent !== RH_OWNER) {
    return unusable(
      `the SRK at ${handle} is gone: it was evicted, or ${cleared}`,
      `if it was evicted, make it again from its own template and keep it at ${handle}; a cleared TPM has lost its keys`,
    );
  }
  return unusable(
    cleared,
    "its keys are lost with it; make a new identity with: amesh init --force --name NAME",
  );
}

function unusable(cause: string, hint: string): AmeshError {
  return new AmeshError("ERR_TIER_UNAVAILABLE", `cannot use the key: ${cause}`, { hint });
}
