/**
 * Where the Secure Enclave helper is, and whether it is ours: beside the executable or in `../libexec`, nowhere else, and only
 * when both are signed by the makers of this build and nobody else can have replaced it.
 */
import { errnoOf, errorText, isNotCapable } from "../errors.ts";
import { FfiLoadError } from "../ffi/ffi.ts";
import { type FileInfo, host, type OsName } from "../platform/host.ts";
import { joinPath, parentPath } from "../platform/paths.ts";
import { ownExecutable } from "../platform/spawn.ts";
import { CoreFoundationError } from "./core_foundation.ts";
import { checkHelperSignature, checkOwnSignature, type SignatureVerdict } from "./code_signature.ts";

/** File name of the helper. */
export const HELPER_NAME = "amesh-se-helper";
/** Names a helper for tests, by an absolute path; not even read on macOS. */
export const TEST_HELPER_VARIABLE = "AMESH_TEST_SE_HELPER";

/** Why the Secure Enclave cannot be used, and what would change that. */
export interface EnclaveObstacle {
  readonly cause: string;
  readonly remedy: string | null;
}

/** A helper that may be started, or why there is none. */
export type FoundHelper =
  | { readonly path: string; readonly isDouble: boolean }
  | { readonly path: null; readonly obstacle: EnclaveObstacle };

/** What is asked of the system; given in so that every machine can be described in a test. */
export interface HelperView {
  readonly os: OsName;
  readonly euid: number | null;
  /** Absolute, without symbolic links. @throws {Error} with `code`. */
  executable(): string;
  /** Value of {@linkcode TEST_HELPER_VARIABLE}; not asked on macOS. */
  testHelper(): string | undefined;
  /** lstat(2). @throws {Error} with `code`. */
  info(path: string): Pick<FileInfo, "kind" | "mode" | "uid">;
  ownSignature(): SignatureVerdict;
  helperSignature(path: string): SignatureVerdict;
}

/** The machine that this runs on. */
export const THIS_MACHINE: HelperView = {
  get os() {
    return host.os;
  },
  get euid() {
    return host.euid();
  },
  executable: ownExecutable,
  testHelper: () => {
    try {
      return host.env(TEST_HELPER_VARIABLE);
    } catch (error) {
      // The permissions of a release leave the variable out.
      if (isNotCapable(error)) return undefined;
      throw error;
    }
  },
  info: (path) => host.lstat(path),
  ownSignature: () => checkOwnSignature(),
  helperSignature: (path) => checkHelperSignature(path),
};

const REINSTALL = "install amesh again, as it was released";

/** Finds the helper and checks it. Nothing is started. */
export function findHelper(view: HelperView = THIS_MACHINE): FoundHelper {
  try {
    return view.os === "darwin" ? findReleased(view) : findDouble(view);
  } catch (error) {
    if (errnoOf(error) !== undefined) {
      return missing(`its helper cannot be looked at: ${errorText(error)}`, REINSTALL);
    }
    if (!(error instanceof FfiLoadError || error instanceof CoreFoundationError)) throw error;
    return missing(
      `code signatures cannot be checked: ${error.message}`,
      "report this with the output of: amesh doctor",
    );
  }
}

/** Off macOS only: there is nothing to sign it with, so it is what it is called, a double. */
function findDouble(view: HelperView): FoundHelper {
  const path = view.testHelper();
  if (!path?.startsWith("/")) return missing("not macOS", null);
  const info = lookAt(view, path);
  if (info === null) return missing(`there is no "${path}"`, null);
  return untrusted(view, path, info) ?? { path, isDouble: true };
}

function findReleased(view: HelperView): FoundHelper {
  // First, because it says more than a helper that is missing: a build of one's own has none.
  const own = view.ownSignature();
  if (!own.ok) return missing(own.cause, own.remedy);
  const directory = parentPath(view.executable());
  const places = [directory, joinPath(parentPath(directory), "libexec")].map((place) =>
    joinPath(place, HELPER_NAME)
  );
  for (const path of places) {
    const info = lookAt(view, path);
    if (info === null) continue;
    const objection = untrusted(view, path, info);
    if (objection !== null) return objection;
    const signature = view.helperSignature(path);
    return signature.ok ? { path, isDouble: false } : missing(signature.cause, signature.remedy);
  }
  return missing(
    `its helper is missing: there is no ${places.map((path) => `"${path}"`).join(" and no ")}`,
    REINSTALL,
  );
}

function missing(cause: string, remedy: string | null): FoundHelper {
  return { path: null, obstacle: { cause, remedy } };
}

function lookAt(view: HelperView, path: string): ReturnType<HelperView["info"]> | null {
  try {
    return view.info(path);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errnoOf(error) ?? "")) return null;
    throw error;
  }
}

/**
 * Whether somebody other than this user and root can have put it there. Its directory may be writable for a group: that of
 * Homebrew is, for administrators, who are root whenever they want.
 */
function untrusted(
  view: HelperView,
  path: string,
  file: ReturnType<HelperView["info"]>,
): FoundHelper | null {
  const objection = objectionTo(view, path, file, "file", 0o022) ??
    objectionTo(view, parentPath(path), view.info(parentPath(path)), "directory", 0o002);
  return objection === null ? null : missing(objection, REINSTALL);
}

function objectionTo(
  { euid }: HelperView,
  path: string,
  { kind, mode, uid }: ReturnType<HelperView["info"]>,
  expected: FileInfo["kind"],
  forbidden: number,
): string | null {
  if (kind !== expected) return `"${path}" is no ${expected}`;
  if (uid !== 0 && uid !== euid) return `"${path}" belongs to user ${uid}`;
  return ((mode ?? 0) & forbidden) === 0 ? null : `others may write to "${path}"`;
}
