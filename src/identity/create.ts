/** Making an identity: choosing the tier, making and proving the key, putting it in force (commit.ts). */
import { AmeshError } from "../errors.ts";
import { type Identity, newIdentityFields, type TierName } from "../formats/identity_file.ts";
import { PROTECTION } from "../keystore/keystore.ts";
import { type Detection, detectTiers, loadTier, selectTier } from "../keystore/select.ts";
import { type PassphraseInput, Passphrases } from "../passphrase/passphrases.ts";
import type { PassphraseSource } from "../passphrase/sources.ts";
import { ensureDirectory } from "../platform/files.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { commitIdentity, proveKey } from "./commit.ts";
import { findIdentity, loadIdentity } from "./store.ts";
import { settle } from "./unfinished.ts";

const NAME_MAX_CHARACTERS = 64;

/** What `init` asks for. */
export interface CreateOptions {
  readonly layout: Layout;
  /** 1 to 64 characters, none of them a control character. */
  readonly name: string;
  readonly backend: TierName | "auto";
  /** Replace an existing identity. */
  readonly force: boolean;
  /** An existing identity is no error. */
  readonly ifMissing: boolean;
  readonly now: Date;
  readonly input?: PassphraseInput;
  /** Shows a warning to the user. */
  readonly warn: (message: string) => void;
  /** Is told what was found before anything is made. */
  readonly onDetected: (detections: readonly Detection[], selected: TierName) => void;
}

/** What became of it. */
export interface CreateResult {
  readonly identity: Identity;
  /** `false` when there was one and `ifMissing` was asked for. */
  readonly created: boolean;
  /** Where the passphrase of a new encrypted-file key comes from. */
  readonly passphraseSource: PassphraseSource | undefined;
}

/** @throws {AmeshError} `ERR_USAGE` for a name that is empty, too long or holds control characters. */
export function requireName(name: string): void {
  const length = [...name].length;
  // deno-lint-ignore no-control-regex -- that is what is looked for.
  if (length === 0 || length > NAME_MAX_CHARACTERS || /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(name)) {
    throw new AmeshError(
      "ERR_USAGE",
      "cannot use this name: it must have 1 to 64 characters, no control characters",
      {
        hint: 'for example: amesh init --name "my-server"',
      },
    );
  }
}

/**
 * Makes an identity, or replaces the one that is there.
 *
 * @throws {AmeshError} `ERR_USAGE`, `ERR_TIER_UNAVAILABLE` (nothing is written), `ERR_IDENTITY_EXISTS`, `ERR_BUSY`,
 *   `ERR_CORRUPT` (an unreadable identity is never replaced), and what the tier throws.
 */
export async function createIdentity(options: CreateOptions): Promise<CreateResult> {
  const { layout, force, backend } = options;
  requireName(options.name);
  const before = await findIdentity(layout);
  if (before !== null && !force) return existing(before, options);
  const detections = await detectTiers();
  const selected = selectTier(detections, backend);
  if (before !== null && backend === "auto") refuseDowngrade(before, selected, detections);
  options.onDetected(detections, selected);
  ensureDirectory(layout.directory);
  using _lock = await lockUnlessExisting(options);
  if (_lock === null) return existing(await loadIdentity(layout), options);
  const current = await findIdentity(layout);
  if (current !== null && !force) return existing(current, options);

  using passphrases = new Passphrases(layout, current?.fields.passphrase, options.warn, options.input);
  const context = { layout, passphrases };
  await settle(context, current);
  const key = await (await loadTier(selected)).generate(context, current);
  using signer = key.signer;
  try {
    await proveKey(key);
  } catch (error) {
    await key.discard().catch(() => {});
    throw error;
  }
  const fields = await newIdentityFields(
    signer.publicKey,
    options.name,
    selected,
    options.now,
    key.identityFields,
  );
  const identity = await commitIdentity(context, { key, fields, replaces: current });
  return { identity, created: true, passphraseSource: passphrases.newKeySource };
}

/** A key in hardware is replaced by one in software only when that is asked for by name. */
function refuseDowngrade(old: Identity, selected: TierName, detections: readonly Detection[]): void {
  const name = old.fields.storageBackend;
  if (!PROTECTION[name].hardware || PROTECTION[selected].hardware) return;
  const found = detections.find((detection) => detection.name === name)?.availability;
  const cause = found === undefined || found.available ? "" : `: ${found.cause}`;
  throw new AmeshError(
    "ERR_TIER_UNAVAILABLE",
    `cannot replace a key in hardware by one in software: backend "${name}" is not available${cause}`,
    { hint: `make it available (see: amesh doctor), or choose by name: --backend ${selected}` },
  );
}

function existing(identity: Identity, { layout, ifMissing }: CreateOptions): CreateResult {
  if (ifMissing) return { identity, created: false, passphraseSource: undefined };
  throw new AmeshError("ERR_IDENTITY_EXISTS", `cannot create an identity: "${layout.identity}" exists`, {
    hint:
      "see it with: amesh status; replace it, and lose its key for ever, with: amesh init --force --name NAME",
  });
}

/** @returns `null` when another amesh holds the lock and has made an identity meanwhile. */
async function lockUnlessExisting({ layout, force }: CreateOptions): Promise<Disposable | null> {
  try {
    return acquireLock(layout.lock);
  } catch (error) {
    const isBusy = error instanceof AmeshError && error.code === "ERR_BUSY";
    if (isBusy && !force && await findIdentity(layout) !== null) return null;
    throw error;
  }
}
