/** Reading and writing identity.json. Renaming it into place is the commit point of every change. */
import { AmeshError } from "../errors.ts";
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
  type WhenTaken,
  writeFileAtomic,
} from "../platform/files.ts";
import type { Layout } from "../platform/paths.ts";

/**
 * @returns `null` when there is none.
 * @throws {AmeshError} `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`.
 */
export async function findIdentity(layout: Layout): Promise<Identity | null> {
  if (!checkDirectory(layout.directory)) return null;
  const bytes = readPrivateFile(layout.identity, MAX_IDENTITY_BYTES);
  return bytes === null ? null : await parseIdentity(bytes, layout.identity);
}

/** As {@linkcode findIdentity}. @throws {AmeshError} also `ERR_NO_IDENTITY`. */
export async function loadIdentity(layout: Layout): Promise<Identity> {
  const identity = await findIdentity(layout);
  if (identity === null) {
    throw new AmeshError("ERR_NO_IDENTITY", `cannot find an identity in "${layout.directory}"`, {
      hint: 'make one with: amesh init --name "my-server"',
    });
  }
  return identity;
}

/** @returns `false` when there is one and `whenTaken` is `refuse`. @throws {AmeshError} `ERR_SYSTEM`. */
export function saveIdentity(layout: Layout, fields: IdentityFields, whenTaken: WhenTaken): boolean {
  return writeFileAtomic(layout.identity, encodeIdentity(fields), FILE_MODE, whenTaken);
}
