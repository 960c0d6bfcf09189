/**
 * Where the frameworks of macOS lie. They are in no file of their own but in the cache of the dynamic linker, so nothing
 * here looks for them: dlopen(3) knows their paths.
 *
 * Off macOS one library can stand in for both, for tests: the one that AMESH_TEST_SECURITY_LIB names. On macOS that
 * variable is not even read.
 */
import { isNotCapable } from "../errors.ts";
import { host } from "../platform/host.ts";

/** Frameworks that amesh uses. */
export type Framework = "CoreFoundation" | "Security";

/** The variable that names the stand-in, by an absolute path. */
export const DOUBLE_VARIABLE = "AMESH_TEST_SECURITY_LIB";

/** Absolute path of a framework's library; `null` off macOS. */
export function frameworkPath(name: Framework): string | null {
  return host.os === "darwin" ? `/System/Library/Frameworks/${name}.framework/${name}` : doublePath();
}

/** {@linkcode frameworkPath} as the facade takes it. */
export function frameworkPaths(name: Framework): string[] {
  const path = frameworkPath(name);
  return path === null ? [] : [path];
}

/** Path of the library that stands in for both frameworks; `null` on macOS, and where none is named. */
export function doublePath(): string | null {
  if (host.os === "darwin") return null;
  try {
    const path = host.env(DOUBLE_VARIABLE);
    return path?.startsWith("/") ? path : null;
  } catch (error) {
    // The permissions of a release leave the variable out.
    if (isNotCapable(error)) return null;
    throw error;
  }
}

/** Whether this is macOS, or something stands in for it. */
export function appleAvailable(): boolean {
  return frameworkPath("Security") !== null;
}
