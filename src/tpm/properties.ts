/** What a TPM says of itself: who made it, whether it is locked out, whether its owner hierarchy can be used. */
import type { EsysConnection } from "./connection.ts";
import { readTpmProperties } from "./commands.ts";
import { TpmError } from "./response_code.ts";
import { parseProperties } from "./structures.ts";

/** TPM_PT (TPM 2.0 Part 2 §6.13). */
const PT = {
  FAMILY_INDICATOR: 0x100,
  MANUFACTURER: 0x105,
  VENDOR_STRING_1: 0x106,
  VENDOR_STRING_4: 0x109,
  FIRMWARE_VERSION_1: 0x10b,
  FIRMWARE_VERSION_2: 0x10c,
  PERMANENT: 0x200,
  STARTUP_CLEAR: 0x201,
  LOCKOUT_COUNTER: 0x20e,
  MAX_AUTH_FAIL: 0x20f,
  LOCKOUT_INTERVAL: 0x210,
  LOCKOUT_RECOVERY: 0x211,
} as const;

/** TPMA_PERMANENT (Part 2 §8.6). */
const OWNER_AUTH_SET = 1 << 0;
const IN_LOCKOUT = 1 << 9;
/** TPMA_STARTUP_CLEAR (Part 2 §8.7). */
const STORAGE_ENABLED = 1 << 1;

/** State and make of a TPM. */
export interface TpmProperties {
  /** `2.0`. */
  readonly family: string;
  /** TCG vendor ID, up to four characters (`IFX`, `STM`, `IBM`). */
  readonly manufacturer: string;
  /** What the vendor calls it, often empty. */
  readonly vendor: string;
  /** Four numbers of 16 bits. */
  readonly firmware: string;
  readonly ownerAuthSet: boolean;
  readonly ownerEnabled: boolean;
  readonly lockout: {
    readonly inLockout: boolean;
    /** Failed authorisations that count at present. */
    readonly failures: number;
    /** How many begin a lockout. */
    readonly limit: number;
    /** Seconds after which one failure is forgiven. */
    readonly intervalSeconds: number;
    /** Seconds after a failed use of the lockout authorisation before another one. */
    readonly recoverySeconds: number;
  };
}

/** @throws {TpmError} also when the answer makes no sense. */
export function readProperties(tpm: EsysConnection): TpmProperties {
  const fixed = properties(tpm, PT.FAMILY_INDICATOR, 0x10);
  // In failure mode a TPM answers this command with a few properties only (Part 1 §13.2), and not with this one.
  const family = characters(fixed(PT.FAMILY_INDICATOR));
  if (family === "") throw new TpmError("failure", "TPM2_GetCapability", null);
  const variable = properties(tpm, PT.PERMANENT, 0x14);
  const version = [PT.FIRMWARE_VERSION_1, PT.FIRMWARE_VERSION_2].flatMap((property) => {
    const value = fixed(property);
    return [value >>> 16, value & 0xffff];
  });
  const vendor = Array.from(
    { length: PT.VENDOR_STRING_4 - PT.VENDOR_STRING_1 + 1 },
    (_, i) => characters(fixed(PT.VENDOR_STRING_1 + i)),
  );
  return {
    family,
    manufacturer: characters(fixed(PT.MANUFACTURER)).trim(),
    vendor: vendor.join("").trim().replaceAll(/ +/g, " "),
    firmware: version.join("."),
    ownerAuthSet: (variable(PT.PERMANENT) & OWNER_AUTH_SET) !== 0,
    ownerEnabled: (variable(PT.STARTUP_CLEAR) & STORAGE_ENABLED) !== 0,
    lockout: {
      inLockout: (variable(PT.PERMANENT) & IN_LOCKOUT) !== 0,
      failures: variable(PT.LOCKOUT_COUNTER),
      limit: variable(PT.MAX_AUTH_FAIL),
      intervalSeconds: variable(PT.LOCKOUT_INTERVAL),
      recoverySeconds: variable(PT.LOCKOUT_RECOVERY),
    },
  };
}

function properties(tpm: EsysConnection, first: number, count: number): (property: number) => number {
  const found = parseProperties(readTpmProperties(tpm, first, count));
  if (found === null) throw new TpmError("malformedAnswer", "TPM2_GetCapability", null);
  return (property) => found.get(property) ?? 0;
}

/** Four ASCII characters of a property, without what is no printable character. */
function characters(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).filter((code) => code >= 0x20 && code < 0x7f)
    .map((code) => String.fromCharCode(code)).join("");
}

/** The lines that `doctor` shows. */
export function describeProperties(
  { manufacturer, vendor, firmware, lockout }: TpmProperties,
): Record<string, string> {
  const { inLockout, failures, limit, intervalSeconds, recoverySeconds } = lockout;
  return {
    "TPM": `${manufacturer}${vendor === "" ? "" : ` ${vendor}`}, firmware ${firmware}`,
    "Lockout": `${inLockout ? "in force" : "no"}; ${failures} of ${limit} failures; one is forgiven every ` +
      `${intervalSeconds} s; recovery ${recoverySeconds} s`,
  };
}
