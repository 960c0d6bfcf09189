/**
 * Whether macOS may ask a person (AuthSession.h, SecKeychain.h). A dialog that nobody can see or answer would keep a
 * command waiting for ever, so it is forbidden unless there is somebody: the session has the screen of the Mac, and the
 * process a terminal.
 */
import { FfiLoadError } from "../ffi/ffi.ts";
import { errnoOf } from "../errors.ts";
import { openTerminal } from "../platform/system_file.ts";
import { AppleError, conditionOf } from "./os_status.ts";
import { security } from "./security.ts";

/** callerSecuritySession */
const OWN_SESSION = 0xffffffff;
/** sessionHasGraphicAccess, sessionIsRemote */
const GRAPHIC = 0x10;
const REMOTE = 0x1000;

/** What is known of the login session of this process. */
export interface Session {
  /** Whether a dialog would be shown. */
  readonly isGraphic: boolean;
  /** Whether somebody works from elsewhere. */
  readonly isRemote: boolean;
}

/** The session of this process; one that macOS tells nothing about has no screen. */
export function currentSession(): Session {
  const attributes = new Uint32Array(1);
  const status = security.SessionGetInfo(OWN_SESSION, null, new Uint8Array(attributes.buffer));
  const bits = status === 0 ? attributes[0] ?? 0 : 0;
  return { isGraphic: (bits & GRAPHIC) !== 0, isRemote: (bits & REMOTE) !== 0 };
}

/**
 * Allows dialogs of the keychain where a person can answer them, and no others.
 *
 * @returns whether they are allowed.
 * @throws {AppleError} they cannot be forbidden: then nothing is asked for that could open one.
 */
export function settleDialogs(): boolean {
  const isAllowed = currentSession().isGraphic && hasTerminal();
  const status = security.SecKeychainSetUserInteractionAllowed(isAllowed ? 1 : 0);
  if (status === 0 || isAllowed) return isAllowed;
  throw new AppleError(conditionOf(status), "SecKeychainSetUserInteractionAllowed", status);
}

function hasTerminal(): boolean {
  try {
    openTerminal().handle.close();
    return true;
  } catch (error) {
    if (error instanceof FfiLoadError || errnoOf(error) !== undefined) return false;
    throw error;
  }
}
