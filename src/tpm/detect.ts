/** Whether this machine's TPM can hold a key of ours, step by step, each with its own cause and remedy. */
import { AmeshError } from "../errors.ts";
import { FfiLoadError } from "../ffi/ffi.ts";
import { isOtherFile } from "../platform/device.ts";
import { host } from "../platform/host.ts";
import { testParms } from "./commands.ts";
import { EsysConnection } from "./connection.ts";
import { findDeviceObstacle, libraryObstacle, type Obstacle } from "./host_device.ts";
import { describeProperties, readProperties, type TpmProperties } from "./properties.ts";
import { TpmError } from "./response_code.ts";
import { findPersistentRoot, type KeptRoot } from "./storage_root.ts";
import { PARMS_AES_128_CFB, PARMS_P256 } from "./structures.ts";
import { DEFAULT_DEVICE, findTcti, type Tcti, TCTI_VARIABLE } from "./tcti.ts";

/** Makes the SRK that amesh would make and keeps it where amesh looks for it. */
const KEEP_SRK = "tpm2_createprimary -C o -P file:OWNERAUTH -G ecc256:aes128cfb " +
  "-a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda' -c srk.ctx && " +
  "tpm2_evictcontrol -C o -P file:OWNERAUTH -c srk.ctx 0x81000001";

/** What was found. */
export interface TpmDetection {
  /** `null` when the TPM can be used. */
  readonly obstacle: Obstacle | null;
  /** What the TPM says of itself, for people. */
  readonly details: Readonly<Record<string, string>>;
}

/** Never throws; changes nothing in the TPM. */
export function detectTpm(): TpmDetection {
  if (host.os !== "linux") {
    return {
      obstacle: { cause: "TPM 2.0 is used on Linux only", remedy: "use --backend encrypted-file" },
      details: {},
    };
  }
  let details: Readonly<Record<string, string>> = {};
  try {
    const way = findTcti();
    details = wayDetails(way);
    const obstacle = way.device === null ? null : findDeviceObstacle(way.device);
    if (obstacle !== null) return { obstacle, details };
    using tpm = new EsysConnection(way);
    const properties = readProperties(tpm);
    details = { ...details, ...describeProperties(properties) };
    if (properties.family !== "2.0") {
      return { obstacle: { cause: "it is no TPM 2.0", remedy: "use --backend encrypted-file" }, details };
    }
    testParms(tpm, PARMS_P256);
    testParms(tpm, PARMS_AES_128_CFB);
    details = { ...details, "Sessions": "HMAC, salted to the SRK, parameters encrypted by AES-128-CFB" };
    // A kept SRK is used with its own auth value; only to make one the owner's is needed.
    const kept = findPersistentRoot(tpm);
    if (kept !== null) return { obstacle: lockoutObstacle(kept, properties), details };
    return { obstacle: ownerObstacle(properties), details };
  } catch (error) {
    return { obstacle: explain(error), details };
  }
}

function wayDetails({ fromEnvironment, conf }: Tcti): Record<string, string> {
  return fromEnvironment
    ? { "Connection": `${conf} (from ${TCTI_VARIABLE}, instead of device:${DEFAULT_DEVICE})` }
    : {};
}

function lockoutObstacle({ isExemptFromLockout }: KeptRoot, { lockout }: TpmProperties): Obstacle | null {
  if (isExemptFromLockout || !lockout.inLockout) return null;
  return {
    cause:
      "the TPM is in lockout after too many failed authorisations, and the SRK at 0x81000001 is not exempt",
    remedy:
      `wait ${lockout.intervalSeconds} s for each failure, or run: tpm2_dictionarylockout --clear-lockout`,
  };
}

function ownerObstacle({ ownerAuthSet, ownerEnabled }: TpmProperties): Obstacle | null {
  if (!ownerEnabled) {
    return {
      cause: "the TPM's owner hierarchy is disabled",
      remedy: "enable it in the firmware setup, or restart the machine",
    };
  }
  if (!ownerAuthSet) return null;
  return {
    cause: "the TPM's owner hierarchy has an auth value, and no SRK that fits is kept at 0x81000001",
    remedy: `let the TPM's administrator keep one there: ${KEEP_SRK}`,
  };
}

/** @throws what is no failure of TPM or system. */
function explain(error: unknown): Obstacle {
  if (error instanceof FfiLoadError) return libraryObstacle();
  if (!(error instanceof AmeshError)) throw error;
  const remedy = error.hint ?? "see: amesh doctor";
  if (error.code === "ERR_USAGE") {
    return { cause: error.message.replace(/^cannot use /, ""), remedy, code: error.code };
  }
  return { cause: error.message.replace(/^cannot use the TPM: /, "the TPM cannot be used: "), remedy };
}

/**
 * Opens the TPM for work.
 *
 * @throws {AmeshError} `ERR_TIER_UNAVAILABLE` with the cause and the remedy; `ERR_USAGE` for `AMESH_TPM_TCTI`.
 */
export function connectTpm(): EsysConnection {
  const unavailable = ({ cause, remedy }: Obstacle, error?: unknown) =>
    new AmeshError("ERR_TIER_UNAVAILABLE", `cannot use the TPM: ${cause}`, { hint: remedy, cause: error });
  if (host.os !== "linux") throw unavailable({ cause: "this is not Linux", remedy: "see: amesh doctor" });
  const way = findTcti();
  if (way.device !== null && isOtherFile(way.device)) {
    const obstacle = findDeviceObstacle(way.device);
    if (obstacle !== null) throw unavailable(obstacle);
  }
  try {
    return new EsysConnection(way);
  } catch (error) {
    if (error instanceof FfiLoadError) throw unavailable(libraryObstacle(), error);
    if (!(error instanceof TpmError) || way.device === null) throw error;
    // The libraries say "IO failure" to everything; only now is it worth asking the system why.
    const obstacle = findDeviceObstacle(way.device);
    throw obstacle === null ? error : unavailable(obstacle, error);
  }
}
