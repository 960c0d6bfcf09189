/** Opening the key of this machine's identity, whatever its tier. */
import { AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { Signer } from "../keystore/keystore.ts";
import { loadTier } from "../keystore/select.ts";
import { Passphrases } from "../passphrase/sources.ts";
import type { Layout } from "../platform/paths.ts";
import { hasLegacyPassphrase, migrateLegacyPassphrase } from "./legacy.ts";
import { loadIdentity } from "./store.ts";

/** An identity with its key at hand; dispose of it to let go of the key and wipe the passphrase. */
export interface OpenedIdentity extends Disposable {
  readonly identity: Identity;
  readonly signer: Signer;
}

/**
 * Loads the identity and opens its key in the tier that identity.json pins, never in another one.
 *
 * @param background see `Tier.open`; ignored while a passphrase is to be migrated.
 * @throws {AmeshError} as `loadIdentity` and `Tier.open`.
 */
export async function openIdentity(
  layout: Layout,
  warn: (message: string) => void,
  background: boolean,
): Promise<OpenedIdentity> {
  const identity = await loadIdentity(layout);
  try {
    return await openLoaded(identity, layout, warn, background);
  } catch (error) {
    // Replaced between reading identity.json and reading its key: the new one is the one that was asked for.
    if (!(error instanceof AmeshError) || error.code !== "ERR_CORRUPT") throw error;
    const current = await loadIdentity(layout);
    if (current.fields.deviceId === identity.fields.deviceId) throw error;
    return await openLoaded(current, layout, warn, background);
  }
}

async function openLoaded(
  identity: Identity,
  layout: Layout,
  warn: (message: string) => void,
  background: boolean,
): Promise<OpenedIdentity> {
  const tier = await loadTier(identity.fields.storageBackend);
  const passphrases = new Passphrases(layout, identity.fields.passphrase, warn);
  try {
    const wait = hasLegacyPassphrase(identity);
    const signer = await tier.open({ layout, passphrases }, identity, background && !wait);
    await migrateLegacyPassphrase(identity, passphrases);
    return {
      identity,
      signer,
      [Symbol.dispose]: () => {
        signer[Symbol.dispose]();
        passphrases[Symbol.dispose]();
      },
    };
  } catch (error) {
    passphrases[Symbol.dispose]();
    throw error;
  }
}
