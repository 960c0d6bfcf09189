/**
 * What a TSS2_RC means. Bits 16 to 23 name the layer that speaks: 0 is the TPM itself (TPM_RC, TPM 2.0 Part 2 §6.6),
 * the others are the libraries (TCG TSS 2.0 Overview §2.2, tss2_common.h).
 */
import { AmeshError, type AmeshErrorCode } from "../errors.ts";

/** Conditions that amesh knows; the text follows "cannot use the TPM: ". */
const CONDITIONS = {
  notStarted: {
    text: "it is not started up",
    hint: "the firmware starts a TPM at boot; for a simulator, run: tpm2_startup -c",
  },
  failure: {
    text: "it is in failure mode, because a self test did not pass",
    hint: "restart the machine; if it stays so, the TPM is defective",
  },
  restartNeeded: { text: "it must be restarted first", hint: "restart the machine" },
  lockout: {
    text: "it is in lockout after too many failed authorisations",
    hint:
      "wait until the TPM forgives (amesh doctor shows how long), or run: tpm2_dictionarylockout --clear-lockout",
  },
  hierarchyDisabled: {
    text: "its owner hierarchy is disabled",
    hint: "enable it in the firmware setup, or restart the machine",
  },
  badAuth: {
    text: "an auth value is needed that amesh does not have",
    hint: "see: amesh doctor",
  },
  integrity: { text: "the key does not belong to this TPM or is damaged", hint: "see: amesh doctor" },
  malformedKey: { text: "the key is damaged", hint: "restore the key file from a backup" },
  noHandle: { text: "there is no key at this handle", hint: "see: amesh doctor" },
  outOfMemory: {
    text: "other programs hold all of its memory",
    hint:
      "try again; or use /dev/tpmrm0, which shares the TPM; tpm2_flushcontext -t frees what a killed program left",
  },
  busy: { text: "it is busy", hint: "try again" },
  nvBusy: { text: "its memory cannot be written at the moment", hint: "try again later" },
  unsupported: {
    text: "it lacks what amesh needs: P-256, or encryption of parameters by AES-128-CFB",
    hint: "update its firmware, or use --backend encrypted-file",
  },
  reset: { text: "it was reset while it was in use", hint: "try again" },
  connection: {
    text: "the connection to it failed",
    hint: "if AMESH_TPM_TCTI is set, start what it names or unset it; else see: dmesg | grep -i tpm",
  },
  noTcti: {
    text: "the library that reaches it is not installed",
    hint: "install tpm2-tools, or the libtss2-tcti package of the connection that AMESH_TPM_TCTI names",
  },
  badTcti: {
    text: "the connection that AMESH_TPM_TCTI names is not understood",
    hint: "for example AMESH_TPM_TCTI=device:/dev/tpmrm0; or unset it",
  },
  malformedAnswer: {
    text: "its answer makes no sense",
    hint: "try again; if it stays so, the TPM or what lies before it is defective",
  },
  tamperedAnswer: {
    text: "its answer was changed on the way: the HMAC of the session does not match",
    hint: "something between amesh and the TPM interferes; do not trust this machine before you know what",
  },
  timeout: {
    text: "it does not answer",
    hint: "another program may keep it busy; if nothing does, restart the machine",
  },
  refused: { text: "it refused a command", hint: "see: amesh doctor" },
} as const satisfies Record<string, { text: string; hint: string }>;

/** Name of a condition. */
export type TpmCondition = keyof typeof CONDITIONS;

/** A TPM, or a library before it, that did not do what it was asked. */
export class TpmError extends AmeshError {
  override readonly name: string = "TpmError";
  /**
   * @param command the command as Part 3 names it, or the function of the library.
   * @param rc TSS2_RC; `null` for a timeout.
   * @param decoded what Tss2_RC_Decode says, for conditions without a text of their own.
   */
  constructor(
    readonly condition: TpmCondition,
    readonly command: string,
    readonly rc: number | null,
    decoded = "",
  ) {
    const { text, hint } = CONDITIONS[condition];
    const code: AmeshErrorCode = condition === "malformedKey" ? "ERR_CORRUPT" : "ERR_TIER_UNAVAILABLE";
    const where = rc === null ? command : `${command}: 0x${rc.toString(16).padStart(8, "0")}`;
    const detail = condition === "refused" && decoded !== "" ? `${where}, ${decoded}` : where;
    super(code, `cannot use the TPM: ${text} (${detail})`, { hint });
  }

  /** Whether nothing more can be sent through the connection. */
  get isFatal(): boolean {
    return this.rc === null || isFatal(this.rc);
  }
}

/** TPM_RC of format 0 (Part 2 §6.6.3): VER1 codes (0x1xx) and warnings (0x9xx), handles and sessions masked out. */
const FORMAT_ZERO: Readonly<Record<number, TpmCondition>> = {
  0x100: "notStarted", // TPM_RC_INITIALIZE
  0x101: "failure", // TPM_RC_FAILURE
  0x12d: "restartNeeded", // TPM_RC_UPGRADE
  0x130: "restartNeeded", // TPM_RC_REBOOT
  0x153: "failure", // TPM_RC_NEEDS_TEST
  0x143: "unsupported", // TPM_RC_COMMAND_CODE
  0x902: "outOfMemory", // TPM_RC_OBJECT_MEMORY
  0x903: "outOfMemory", // TPM_RC_SESSION_MEMORY
  0x904: "outOfMemory", // TPM_RC_MEMORY
  0x905: "outOfMemory", // TPM_RC_SESSION_HANDLES
  0x906: "outOfMemory", // TPM_RC_OBJECT_HANDLES
  0x901: "outOfMemory", // TPM_RC_CONTEXT_GAP
  0x908: "busy", // TPM_RC_YIELDED
  0x909: "busy", // TPM_RC_CANCELED
  0x90a: "busy", // TPM_RC_TESTING
  0x920: "nvBusy", // TPM_RC_NV_RATE
  0x921: "lockout", // TPM_RC_LOCKOUT
  0x922: "busy", // TPM_RC_RETRY
  0x923: "nvBusy", // TPM_RC_NV_UNAVAILABLE
};

/** TPM_RC_REFERENCE_H0 to S6: what was loaded is not there any more. */
const isReference = (rc: number): boolean => rc >= 0x910 && rc <= 0x91e;

/**
 * Error numbers of format 1 (Part 2 §6.6.3, RC_FMT1) that mean the same for every command; which handle, session or
 * parameter is meant is masked out.
 */
const FORMAT_ONE: Readonly<Record<number, TpmCondition>> = {
  0x05: "hierarchyDisabled", // TPM_RC_HIERARCHY
  0x0b: "noHandle", // TPM_RC_HANDLE
  0x0e: "badAuth", // TPM_RC_AUTH_FAIL
  0x1f: "integrity", // TPM_RC_INTEGRITY
  0x22: "badAuth", // TPM_RC_BAD_AUTH
};

/** What any other error of format 1 means: the fault lies in what the command was given. */
const BY_COMMAND: Readonly<Record<string, TpmCondition>> = {
  TPM2_Load: "malformedKey",
  TPM2_TestParms: "unsupported",
  TPM2_StartAuthSession: "unsupported",
  TPM2_CreatePrimary: "unsupported",
  TPM2_Create: "unsupported",
};

/** Base codes of the libraries (tss2_common.h, TSS2_BASE_RC_*). */
const LIBRARY_CODES: Readonly<Record<number, TpmCondition>> = {
  6: "malformedAnswer", // INSUFFICIENT_BUFFER
  7: "malformedAnswer", // BAD_SEQUENCE
  8: "connection", // NO_CONNECTION
  10: "connection", // IO_ERROR
  11: "badTcti", // BAD_VALUE, from the loader of connections only
  12: "connection", // NOT_PERMITTED
  16: "malformedAnswer", // BAD_SIZE
  17: "malformedAnswer", // MALFORMED_RESPONSE
  18: "malformedAnswer", // INSUFFICIENT_CONTEXT
  19: "malformedAnswer", // INSUFFICIENT_RESPONSE
  21: "noTcti", // NOT_SUPPORTED
  27: "tamperedAnswer", // RSP_AUTH_FAILED
};

/** Resource managers pass on what the TPM said in layers of their own (TSS2_RESMGR_RC_LAYER and _TPM_RC_LAYER). */
const RESOURCE_MANAGERS = [11, 12];

/** TSS2_RC_LAYER numbers end there (tss2_common.h). */
const LAST_LAYER = 31;

/** The layer that speaks; 0 is the TPM, also behind a resource manager. */
function layerOf(rc: number): number {
  const layer = (rc >>> 16) & 0xff;
  return RESOURCE_MANAGERS.includes(layer) ? 0 : layer;
}

/** TSS2_BASE_RC_TRY_AGAIN in any layer. */
export function isTryAgain(rc: number): boolean {
  return layerOf(rc) !== 0 && (rc & 0xffff) === 9;
}

/** Whether the TPM asks for the same command again (Part 2 §6.6.3: RETRY, YIELDED, TESTING). */
export function isRetry(rc: number): boolean {
  return layerOf(rc) === 0 && [0x922, 0x908, 0x90a].includes(rc & 0xffff);
}

/** Whether a library failed: the connection or its state is gone, and nothing more can be sent through it. */
export function isFatal(rc: number): boolean {
  return layerOf(rc) !== 0;
}

/** The condition that a response code other than 0 stands for. @param command as Part 3 names it. */
export function conditionOf(rc: number, command: string): TpmCondition {
  // No TPM and no library has more bits, or is of another layer: the answer itself was damaged.
  if (rc >>> 24 !== 0 || layerOf(rc) > LAST_LAYER) return "malformedAnswer";
  if (layerOf(rc) !== 0) return LIBRARY_CODES[rc & 0xffff] ?? "refused";
  const code = rc & 0xffff;
  if ((code & 0x80) !== 0) return FORMAT_ONE[code & 0x3f] ?? BY_COMMAND[command] ?? "refused";
  return isReference(code) ? "reset" : FORMAT_ZERO[code & 0xfff] ?? "refused";
}
