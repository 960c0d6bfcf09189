/** What an OSStatus of the keychain means (SecBase.h, MacErrors.h) and what can be done about it. */
import { AmeshError, type AmeshErrorCode } from "../errors.ts";

const UNLOCK = "run: security unlock-keychain ~/Library/Keychains/login.keychain-db";
const ALLOW =
  'run the command in a terminal of the graphical session and choose "Always Allow"; macOS asks again after every ' +
  "upgrade of an executable that is not code-signed by a release";

/** Conditions that amesh knows; the text follows "cannot use the keychain: ". */
const CONDITIONS = {
  locked: { text: "it is locked, and nobody can be asked for its password here", hint: UNLOCK },
  notAllowed: {
    text: "macOS has to ask whether this executable may use the key, and nobody can be asked here",
    hint: ALLOW,
  },
  denied: {
    text: "access to the key was denied",
    hint: `${UNLOCK}; if it is unlocked, ${ALLOW}`,
  },
  cancelled: { text: "the dialog was cancelled", hint: 'try again, and choose "Always Allow"' },
  noKeychain: {
    text: "there is no login keychain",
    hint:
      "log in at the Mac once as this user, or make one with: security create-keychain login.keychain-db && " +
      "security default-keychain -s login.keychain-db; with sudo, HOME must be that of the user",
  },
  notFound: {
    text: "the key is not in it",
    hint: "make a new identity with: amesh init --force --name NAME",
  },
  duplicate: { text: "it holds the same key already", hint: "try again" },
  readOnly: {
    text: "it cannot be written",
    hint: "make its file and folder writable: ~/Library/Keychains",
  },
  storage: {
    text: "its file cannot be read or written",
    hint: "look for room on the disk and for its faults",
  },
  unreachable: {
    text: "the security service of macOS does not answer",
    hint: "log out and in again, or restart the Mac",
  },
  notEntitled: {
    text: "macOS wants an entitlement that no bare executable can have",
    hint: "use --backend encrypted-file, and report this with the output of: amesh doctor",
  },
  unsupported: { text: "this version of macOS does not do it", hint: "use --backend encrypted-file" },
  misused: {
    text: "it did not understand the request",
    hint: "report this with the output of: amesh doctor; until then use --backend encrypted-file",
  },
  silent: { text: "it refused without a reason", hint: "try again; see: amesh doctor" },
  malformedAnswer: { text: "its answer makes no sense", hint: "try again; see: amesh doctor" },
  refused: { text: "it refused", hint: "see: amesh doctor" },
} as const satisfies Record<string, { text: string; hint: string }>;

/** Name of a condition. */
export type KeychainCondition = keyof typeof CONDITIONS;

/** errSecItemNotFound */
export const ITEM_NOT_FOUND = -25300;

const BY_STATUS: Readonly<Record<number, KeychainCondition>> = {
  [-25300]: "notFound", // errSecItemNotFound
  [-25299]: "duplicate", // errSecDuplicateItem
  [-25308]: "notAllowed", // errSecInteractionNotAllowed
  [-25315]: "notAllowed", // errSecInteractionRequired
  [-25320]: "notAllowed", // errSecInDarkWake
  [-25293]: "denied", // errSecAuthFailed
  [-128]: "cancelled", // errSecUserCanceled
  [-25291]: "noKeychain", // errSecNotAvailable
  [-25294]: "noKeychain", // errSecNoSuchKeychain
  [-25295]: "noKeychain", // errSecInvalidKeychain
  [-25307]: "noKeychain", // errSecNoDefaultKeychain
  [-25292]: "readOnly", // errSecReadOnly
  [-61]: "readOnly", // errSecWrPerm
  [-34]: "storage", // errSecDiskFull
  [-36]: "storage", // errSecIO
  [-67585]: "unreachable", // errSecServiceNotAvailable
  [-34018]: "notEntitled", // errSecMissingEntitlement
  [-4]: "unsupported", // errSecUnimplemented
  [-50]: "misused", // errSecParam
};

/** The condition that a status other than 0 stands for. */
export function conditionOf(status: number): KeychainCondition {
  return BY_STATUS[status] ?? "refused";
}

/** A keychain that did not do what it was asked. */
export class AppleError extends AmeshError {
  override readonly name: string = "AppleError";
  /**
   * @param operation the function that failed.
   * @param status OSStatus; `null` when it gave none.
   * @param text what macOS says, for conditions without a text of their own.
   */
  constructor(
    readonly condition: KeychainCondition,
    readonly operation: string,
    readonly status: number | null,
    text = "",
  ) {
    const { text: meaning, hint } = CONDITIONS[condition];
    const code: AmeshErrorCode = condition === "notFound" ? "ERR_CORRUPT" : "ERR_TIER_UNAVAILABLE";
    const where = status === null ? operation : `${operation}: ${status}`;
    const detail = condition === "refused" && text !== "" ? `${where}, ${text}` : where;
    super(code, `cannot use the keychain: ${meaning} (${detail})`, { hint });
  }
}
