/** What the tiers have in common that keep something of a key in a file. */
import type { Bytes } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { readPrivateFile } from "../platform/files.ts";

/** `ERR_CORRUPT`. @param reason after "cannot open the key: ". */
export function unusableKey(reason: string, hint = "restore it from a backup", cause?: unknown): AmeshError {
  return new AmeshError("ERR_CORRUPT", `cannot open the key: ${reason}`, { hint, cause });
}

/**
 * The file of a key.
 *
 * @param maximum size in bytes above which it is none.
 * @throws {AmeshError} `ERR_CORRUPT`: it is missing; as `readPrivateFile`.
 */
export function readKeyFile(path: string, maximum: number): Bytes {
  const bytes = readPrivateFile(path, maximum);
  if (bytes !== null) return bytes;
  throw unusableKey(
    `"${path}" is missing`,
    "see: amesh doctor, or restore it from a backup of the amesh directory; without it this identity cannot sign",
  );
}
