/** Reading and writing identity.json. Renaming it into place, or away, is the commit point of every change. */
import { AmeshError, systemError } from "../errors.ts";
import {
  encodeIdentity,
  type Identity,
  type IdentityFields,
  MAX_IDENTITY_BYTES,
  parseIdentity,
} from "../formats/identity_file.ts";
import {
  checkDirectory,
  FILE_MODE,
  readPrivateFile,
  syncDirectory,
  type WhenTaken,
  writeFileAtomic,
} from "../platform/files.ts";
import { host } from "../platform/host.ts";
import type { Layout } from "../platform/paths.ts";

/**
 * @returns `null` when there is none.
 * @throws {AmeshError} `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`.
 */
export async function findIdentity(layout: Layout): Promise<Identity | null> {
  return checkDirectory(layout.directory) ? await readIdentity(layout.identity) : null;
}

/** As {@linkcode findIdentity}. @throws {AmeshError} also `ERR_NO_IDENTITY`. */
export async function loadIdentity(layout: Layout): Promise<Identity> {
  const identity = await findIdentity(layout);
  if (identity === null) throw noIdentity(layout);
  return identity;
}

/** How often the identity may be replaced while it is being used. */
const MAX_REPLACEMENTS = 50;

/**
 * Uses the identity in force without the lock. What fails because the identity was replaced between being read and its key
 * being looked at is done again with the new one, which is the one that was asked for.
 *
 * @throws {AmeshError} as {@linkcode loadIdentity}; what `use` throws.
 */
export async function withIdentity<T>(layout: Layout, use: (identity: Identity) => Promise<T>): Promise<T> {
  let identity = await loadIdentity(layout);
  for (let replacements = 0;; replacements++) {
    try {
      return await use(identity);
    } catch (error) {
      if (!(error instanceof AmeshError) || replacements === MAX_REPLACEMENTS) throw error;
      const current = await loadIdentity(layout);
      if (current.fields.deviceId === identity.fields.deviceId) throw error;
      identity = current;
    }
  }
}

/** `ERR_NO_IDENTITY`. */
export function noIdentity({ directory }: Layout): AmeshError {
  return new AmeshError("ERR_NO_IDENTITY", `cannot find an identity in "${directory}"`, {
    hint: 'make one with: amesh init --name "my-server"',
  });
}

/** `ERR_BUSY`: between asking and taking the lock another amesh has put another identity in force. */
export function replacedMeanwhile(): AmeshError {
  return new AmeshError("ERR_BUSY", "the identity was replaced meanwhile: nothing was changed", {
    hint: "look at it with: amesh status",
  });
}

/** The identity in a file of that form: identity.json, or the record of a change. As {@linkcode findIdentity}. */
export async function readIdentity(path: string): Promise<Identity | null> {
  const bytes = readPrivateFile(path, MAX_IDENTITY_BYTES);
  return bytes === null ? null : await parseIdentity(bytes, path);
}

/** @returns `false` when there is one and `whenTaken` is `refuse`. @throws {AmeshError} `ERR_SYSTEM`. */
export function saveIdentity(layout: Layout, fields: IdentityFields, whenTaken: WhenTaken): boolean {
  return writeFileAtomic(layout.identity, encodeIdentity(fields), FILE_MODE, whenTaken);
}

/** Takes identity.json out of force: renames it to the record of its deletion. @throws {AmeshError} `ERR_SYSTEM`. */
export function retireIdentity(layout: Layout): void {
  try {
    host.rename(layout.identity, layout.deleted);
    syncDirectory(layout.directory);
  } catch (error) {
    throw systemError(`delete "${layout.identity}"`, error);
  }
}
