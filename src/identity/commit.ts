/**
 * Putting a new key in force. Order: a new passphrase gets its file, the identity that is replaced is recorded, then
 * identity.json gets its name (the commit point), then the old key goes, and last the record of it. Whenever the machine
 * stops, the old identity or the new one works, and the record tells the next command what is left to do.
 */
import { type Bytes, equalBytes, utf8 } from "../bytes.ts";
import { verify } from "../crypto/p256.ts";
import { afterCommit, AmeshError } from "../errors.ts";
import type { ContinuityStatement } from "../formats/continuity.ts";
import type { Identity, IdentityFields } from "../formats/identity_file.ts";
import type { NewKey, TierContext } from "../keystore/keystore.ts";
import { ensureDirectory } from "../platform/files.ts";
import type { Layout } from "../platform/paths.ts";
import { saveStatement } from "./continuity.ts";
import { findReplaced, finishReplacement, recordReplacement, undoReplacement } from "./records.ts";
import { findIdentity, saveIdentity } from "./store.ts";

/** What comes into force with a new key. */
export interface NewIdentity {
  readonly key: NewKey;
  readonly fields: IdentityFields;
  /** The identity in force, read under the lock. */
  readonly replaces: Identity | null;
  readonly statement?: ContinuityStatement;
}

/** A signature of the new key that verifies under its public key. @throws {AmeshError} `ERR_INTERNAL`. */
export async function proveKey({ signer }: NewKey): Promise<void> {
  const challenge = utf8("amesh proof of a new key v1\0");
  const message = async function* () {
    yield challenge;
  };
  const signature = await signer.sign(message());
  if (!await verify(signer.publicKey, [signature], message())) {
    throw new AmeshError("ERR_INTERNAL", "cannot use the new key: its signature does not verify");
  }
}

/**
 * Puts a proven key in force; the caller holds the lock. When it fails before the commit the new key is gone again.
 *
 * @throws {AmeshError} `ERR_IDENTITY_EXISTS`, `ERR_SYSTEM`.
 */
export async function commitIdentity(
  context: TierContext,
  { key, fields, replaces, statement }: NewIdentity,
): Promise<Identity> {
  const { layout } = context;
  const { publicKey } = key.signer;
  try {
    key.persistSecrets();
    // What would keep the statement from being written is met before there is a record of it.
    if (statement !== undefined) ensureDirectory(layout.history);
    if (replaces !== null) recordReplacement(layout, replaces, fields.deviceId);
    if (statement !== undefined) saveStatement(layout, statement);
    if (!saveIdentity(layout, fields, replaces === null ? "refuse" : "replace")) {
      throw new AmeshError("ERR_IDENTITY_EXISTS", `cannot create an identity: "${layout.identity}" exists`);
    }
  } catch (error) {
    if (await isUnnamed(publicKey, layout)) {
      await key.discard().catch(() => {});
      await undoQuietly(layout, fields.deviceId);
      throw error;
    }
    throw afterCommit(error, "the new key may be in force", "amesh doctor --fix");
  }
  key.committed?.();
  if (replaces !== null) await removeReplaced(context, replaces);
  return { fields, publicKey };
}

/**
 * Whether identity.json surely does not name this key. The rename may have been made though its fsync failed, and what
 * cannot be read may name it: such a key stays.
 */
async function isUnnamed(publicKey: Bytes, layout: Layout): Promise<boolean> {
  try {
    const named = await findIdentity(layout);
    return named === null || !equalBytes(named.publicKey, publicKey);
  } catch {
    return false;
  }
}

/** For an error that the user must see: what cannot be taken back now, the next command takes back. */
async function undoQuietly(layout: Layout, deviceId: string): Promise<void> {
  try {
    const replaced = await findReplaced(layout);
    // The record may be of an earlier change, whose statement counts.
    if (replaced?.replacedBy === deviceId) undoReplacement(layout, replaced);
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
  }
}

async function removeReplaced(context: TierContext, replaced: Identity): Promise<void> {
  try {
    await finishReplacement(context, replaced);
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
    context.passphrases.warn(`the old key was not removed: ${error.message}; run: amesh doctor --fix`);
  }
}
