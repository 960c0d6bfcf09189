/** What the `passphrase` commands have in common: an identity whose key lies under one, and the lock. */
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { PassphraseTier, Tier, TierContext } from "../keystore/keystore.ts";
import { loadTier } from "../keystore/select.ts";
import { type PassphraseInput, Passphrases } from "../passphrase/passphrases.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { migrateUnderLock } from "./legacy.ts";
import { loadIdentity } from "./store.ts";
import { settle } from "./unfinished.ts";

/** What a command may use. */
export interface PassphraseCommand {
  readonly layout: Layout;
  readonly input: PassphraseInput;
  /** Shows a warning to the user. */
  readonly warn: (message: string) => void;
}

/** An identity whose key lies under a passphrase. */
export interface PassphraseKey {
  readonly identity: Identity;
  readonly tier: Tier & { readonly passphrase: PassphraseTier };
}

/** @throws {AmeshError} `ERR_USAGE` for a key that has no passphrase; as `loadIdentity`. */
async function loadPassphraseKey(layout: Layout): Promise<PassphraseKey> {
  return await requirePassphraseKey(await loadIdentity(layout));
}

/** @throws {AmeshError} `ERR_USAGE` for a key that has no passphrase. */
export async function requirePassphraseKey(identity: Identity): Promise<PassphraseKey> {
  const { storageBackend: backend } = identity.fields;
  const tier = await loadTier(backend);
  if (hasPassphrase(tier)) return { identity, tier };
  throw new AmeshError("ERR_USAGE", `a key of backend "${backend}" has no passphrase`, {
    hint: "see how it is protected with: amesh status",
  });
}

function hasPassphrase(tier: Tier): tier is PassphraseKey["tier"] {
  return tier.passphrase !== undefined;
}

/** A key that is to be changed. */
export interface LockedKey extends PassphraseKey {
  readonly context: TierContext;
}

/**
 * Runs a change under the lock, with what was unfinished finished and the passphrase out of identity.json.
 *
 * @param ask is called before the lock is taken, after a person has been asked for the passphrase in force, of which there
 *   may be none.
 * @throws {AmeshError} `ERR_BUSY`; as `loadIdentity`; `ERR_USAGE` for a key that has no passphrase; what `ask` and `change` throw.
 */
export async function underLock<T>(
  { layout, input, warn }: PassphraseCommand,
  ask: (passphrases: Passphrases) => Promise<void>,
  change: (key: LockedKey) => Promise<T>,
): Promise<T> {
  const before = await loadPassphraseKey(layout);
  using passphrases = new Passphrases(layout, before.identity.fields.passphrase, warn, input);
  await passphrases.prepare();
  await ask(passphrases);
  using _lock = acquireLock(layout.lock);
  const { identity, tier } = await loadPassphraseKey(layout);
  passphrases.useLegacyField(identity.fields.passphrase);
  const context = { layout, passphrases };
  await settle(context, identity);
  return await change({ context, tier, identity: await migrateUnderLock(identity, passphrases) });
}
