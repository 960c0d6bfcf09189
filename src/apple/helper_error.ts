/** A Secure Enclave helper that did not do what it was asked, and what to do about it. */
import { AmeshError } from "../errors.ts";
import type { HelperAction, HelperRefusal, RefusalCode } from "../formats/helper_message.ts";

const REINSTALL = "install amesh again: the executable and its helper belong together";
const DEFECT = "this is a defect of amesh or its helper; please report it";

/** Conditions that amesh knows; the text follows "cannot use the Secure Enclave: ". */
const CONDITIONS = {
  "bad-request": { text: "its helper does not understand amesh", hint: REINSTALL },
  "unsupported-version": { text: "its helper is of another version than amesh", hint: REINSTALL },
  "unknown-action": { text: "its helper does not understand amesh", hint: REINSTALL },
  "enclave-unavailable": {
    text: "this Mac has none",
    hint: "use --backend keychain",
  },
  "bad-blob": {
    text: "it does not accept the key",
    hint: "the key was made by the Secure Enclave of another Mac, or its file is damaged",
  },
  "missing-entitlement": {
    text: "macOS says that its helper lacks an entitlement",
    hint: DEFECT,
  },
  "interaction-not-allowed": {
    text: "macOS does not let it be used now",
    hint: "log in once at the Mac itself after it has started: until then its keys are locked",
  },
  "user-canceled": { text: "it was cancelled", hint: "try again" },
  "access-denied": {
    text: "access to the key was denied",
    hint: "use the key as the user who made it",
  },
  "internal": { text: "its helper failed", hint: "try again; if it stays so, please report it" },
  "not-started": { text: "its helper cannot be started", hint: REINSTALL },
  "timeout": { text: "its helper does not answer", hint: "try again; if it stays so, restart the Mac" },
  "ended": { text: "its helper has ended", hint: "try again; if it stays so, please report it" },
  "malformed": { text: "the answer of its helper makes no sense", hint: REINSTALL },
  "wrong-version": { text: "its helper is of another version than amesh", hint: REINSTALL },
  "wrong-id": { text: "its helper answered another question", hint: DEFECT },
  "too-long": { text: "the answer of its helper is too long", hint: REINSTALL },
  "wrong-key": {
    text: "its helper uses another key than it was asked to",
    hint: "do not trust this machine before you know why",
  },
  "wrong-signature": {
    text: "its signature does not verify",
    hint: "try again; if it stays so, do not trust this machine before you know why",
  },
} as const satisfies Readonly<Record<RefusalCode | string, { text: string; hint: string }>>;

/** Name of a condition. */
export type HelperCondition = keyof typeof CONDITIONS;

/** The helper, or the Secure Enclave behind it, did not do what it was asked. */
export class HelperError extends AmeshError {
  override readonly name: string = "HelperError";
  /** What is wrong, without what cannot be done because of it. */
  readonly reason: string;

  /**
   * @param action what was asked.
   * @param detail a few words of ours, or a number of Apple's.
   * @param cause what the helper wrote about it; never shown.
   */
  constructor(
    readonly condition: HelperCondition,
    action: HelperAction | "start",
    detail = "",
    cause?: unknown,
  ) {
    const { text, hint } = CONDITIONS[condition];
    const where = detail === "" ? action : `${action}: ${detail}`;
    const reason = `${text} (${where})`;
    super("ERR_TIER_UNAVAILABLE", `cannot use the Secure Enclave: ${reason}`, { hint, cause });
    this.reason = reason;
  }
}

/** The error of a refusal. @param diagnostics what the helper wrote to its stderr. */
export function refusalError(
  action: HelperAction,
  { code, status, domain, message }: HelperRefusal,
  diagnostics: string,
): HelperError {
  const detail = status === undefined ? code : `${code}, ${domain ?? "no domain"} ${status}`;
  const cause = new Error(diagnostics === "" ? message : `${message}; ${diagnostics}`);
  return new HelperError(code, action, detail, cause);
}
