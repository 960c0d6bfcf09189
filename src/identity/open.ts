/** Opening the key of this machine's identity, whatever its tier. */
import type { Identity } from "../formats/identity_file.ts";
import type { Signer } from "../keystore/keystore.ts";
import { loadTier } from "../keystore/select.ts";
import { type PassphraseInput, Passphrases } from "../passphrase/passphrases.ts";
import type { Layout } from "../platform/paths.ts";
import { hasLegacyPassphrase, migrateLegacyPassphrase } from "./legacy.ts";
import { withIdentity } from "./store.ts";

/** An identity with its key at hand; dispose of it to let go of the key and wipe the passphrase. */
export interface OpenedIdentity extends Disposable {
  readonly identity: Identity;
  readonly signer: Signer;
  /** Wipes the passphrase: once the key has been opened, nothing needs it any more. */
  forgetPassphrase(): void;
}

/**
 * Loads the identity and opens its key in the tier that identity.json pins, never in another one.
 *
 * @param background see `Tier.open`; ignored while a passphrase is to be migrated.
 * @throws {AmeshError} as `withIdentity` and `Tier.open`.
 */
export async function openIdentity(
  layout: Layout,
  warn: (message: string) => void,
  background: boolean,
  input: PassphraseInput = {},
): Promise<OpenedIdentity> {
  const passphrases = new Passphrases(layout, undefined, warn, input);
  try {
    return await withIdentity(layout, (identity) => openLoaded(identity, passphrases, background));
  } catch (error) {
    passphrases[Symbol.dispose]();
    throw error;
  }
}

async function openLoaded(
  identity: Identity,
  passphrases: Passphrases,
  background: boolean,
): Promise<OpenedIdentity> {
  const tier = await loadTier(identity.fields.storageBackend);
  passphrases.useLegacyField(identity.fields.passphrase);
  const isLater = background && !hasLegacyPassphrase(identity);
  const signer = await tier.open({ layout: passphrases.layout, passphrases }, identity, isLater);
  if (tier.passphrase === undefined) passphrases.forgetVariable();
  try {
    await migrateLegacyPassphrase(identity, passphrases);
  } catch (error) {
    signer[Symbol.dispose]();
    throw error;
  }
  const forgetPassphrase = () => passphrases[Symbol.dispose]();
  if (!isLater) forgetPassphrase();
  return {
    identity,
    signer,
    forgetPassphrase,
    [Symbol.dispose]: () => {
      signer[Symbol.dispose]();
      forgetPassphrase();
    },
  };
}
