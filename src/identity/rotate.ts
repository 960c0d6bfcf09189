/**
 * Rotating the key: a new one takes the place of the old one, and both say so in a continuity statement. The old key is
 * destroyed after the commit (commit.ts).
 */
import type { Bytes } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import type { Continuity, ContinuityStatement } from "../formats/continuity.ts";
import {
  type Identity,
  type IdentityFields,
  newIdentityFields,
  type TierName,
} from "../formats/identity_file.ts";
import type { NewKey, TierContext } from "../keystore/keystore.ts";
import { loadTier, selectTier } from "../keystore/select.ts";
import { type PassphraseInput, Passphrases } from "../passphrase/passphrases.ts";
import type { PassphraseSource } from "../passphrase/sources.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { commitIdentity } from "./commit.ts";
import { isValidStatement, signContinuity, statementPath } from "./continuity.ts";
import { loadIdentity, replacedMeanwhile } from "./store.ts";
import { settle } from "./unfinished.ts";

/** What `rotate` asks for. */
export interface RotateOptions {
  readonly layout: Layout;
  /** Where the new key goes; without it, where the old one is. */
  readonly backend: TierName | undefined;
  readonly now: Date;
  readonly input: PassphraseInput;
  /** Shows a warning to the user. */
  readonly warn: (message: string) => void;
}

/** What became of it. */
export interface Rotation {
  readonly identity: Identity;
  readonly replaced: Identity;
  readonly statement: ContinuityStatement;
  /** Where the statement is kept. */
  readonly statementFile: string;
  /** Where the passphrase of a new encrypted-file key comes from. */
  readonly passphraseSource: PassphraseSource | undefined;
}

/**
 * Replaces the key of this machine's identity.
 *
 * @throws {AmeshError} `ERR_NO_IDENTITY`, `ERR_TIER_UNAVAILABLE` (nothing is written), `ERR_UNLOCK_FAILED`, `ERR_BUSY`, and
 *   what the tiers throw; the old key is then in force, unless what failed came after the commit.
 */
export async function rotateIdentity(options: RotateOptions): Promise<Rotation> {
  const { layout, now } = options;
  const before = await loadIdentity(layout);
  const backend = options.backend ?? before.fields.storageBackend;
  const tier = await loadTier(backend);
  selectTier([{ name: backend, availability: await tier.probe() }], backend);
  using passphrases = passphrasesOf(before, options);
  // A person is asked before the lock is taken.
  if (before.fields.storageBackend === "encrypted-file") {
    await passphrases.prepare();
    passphrases.requireAny();
  }
  using _lock = acquireLock(layout.lock);
  const old = await loadIdentity(layout);
  if (old.fields.deviceId !== before.fields.deviceId) throw replacedMeanwhile();
  passphrases.useLegacyField(old.fields.passphrase);
  const context = { layout, passphrases };
  await settle(context, old);
  const key = await tier.generate(context, old);
  const fields = await fieldsOf(key, old, backend, now);
  const statement = await makeStatement(context, old, key, fields);
  const identity = await commitIdentity(context, { key, fields, replaces: old, statement });
  return {
    identity,
    replaced: old,
    statement,
    statementFile: statementPath(layout, old.fields.deviceId, fields.deviceId),
    passphraseSource: passphrases.newKeySource,
  };
}

/** A person knows the passphrase of the old key only; a new one is in place of it, so it gets the same. */
function passphrasesOf({ fields }: Identity, { layout, warn, input }: RotateOptions): Passphrases {
  const { ask: _nobody, ...unasked } = input;
  const isAsked = fields.storageBackend === "encrypted-file";
  return new Passphrases(layout, fields.passphrase, warn, isAsked ? input : unasked);
}

/** Signed by both keys, one after the other: a TPM has room for one connection. When it fails the new key is gone. */
async function makeStatement(
  context: TierContext,
  old: Identity,
  key: NewKey,
  fields: IdentityFields,
): Promise<ContinuityStatement> {
  try {
    const continuity: Continuity = {
      old: partyOf(old.fields, old.publicKey),
      new: partyOf(fields, key.signer.publicKey),
      createdAt: fields.createdAt,
    };
    let newSignature: Bytes;
    {
      using signer = key.signer;
      newSignature = await signContinuity(signer, "new", continuity);
    }
    const tier = await loadTier(old.fields.storageBackend);
    using oldSigner = await tier.open(context, old, false);
    const oldSignature = await signContinuity(oldSigner, "old", continuity);
    const statement = { ...continuity, oldSignature, newSignature };
    // This proves the new key too.
    if (await isValidStatement(statement)) return statement;
    throw new AmeshError("ERR_INTERNAL", "cannot use the new key: the continuity statement does not verify");
  } catch (error) {
    key.signer[Symbol.dispose]();
    await key.discard().catch(() => {});
    throw error;
  }
}

function partyOf({ deviceId, storageBackend }: IdentityFields, publicKey: Bytes): Continuity["old"] {
  return { deviceId, publicKey, backend: storageBackend };
}

/** A new identity of the old name, with what others have added to identity.json. */
async function fieldsOf(key: NewKey, old: Identity, backend: TierName, now: Date): Promise<IdentityFields> {
  const { passphrase: _passphrase, tpm: _tpm, keychain: _keychain, ...kept } = old.fields;
  const { signer: { publicKey }, identityFields } = key;
  return {
    ...kept,
    ...await newIdentityFields(publicKey, kept.friendlyName, backend, now, identityFields),
  };
}
