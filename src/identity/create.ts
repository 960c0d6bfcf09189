/**
 * Making an identity. Order of the commit: the new key is stored and proven, then a new passphrase gets its file,
 * then identity.json gets its name (the commit point), then the old key goes. Whenever the machine stops, the old
 * identity or the new one works.
 */
import { type Bytes, equalBytes, utf8 } from "../bytes.ts";
import { verify } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import { type Identity, newIdentityFields, type TierName } from "../formats/identity_file.ts";
import { type NewKey, PROTECTION } from "../keystore/keystore.ts";
import { type Detection, detectTiers, loadTier, selectTier } from "../keystore/select.ts";
import { Passphrases, type PassphraseSource } from "../passphrase/sources.ts";
import { ensureDirectory } from "../platform/files.ts";
import { acquireLock } from "../platform/lock.ts";
import type { Layout } from "../platform/paths.ts";
import { findIdentity, loadIdentity, saveIdentity } from "./store.ts";

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

  using passphrases = new Passphrases(layout, current?.fields.passphrase, options.warn);
  const context = { layout, passphrases };
  const key = await (await loadTier(selected)).generate(context);
  using _signer = key.signer;
  const identity = await commit(key, selected, current, options);
  if (current !== null) await removeOldKey(current, context, options.warn);
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

async function commit(
  key: NewKey,
  selected: TierName,
  replaced: Identity | null,
  { layout, name, now }: CreateOptions,
): Promise<Identity> {
  const { signer } = key;
  try {
    await prove(key);
    key.persistSecrets();
    const fields = await newIdentityFields(signer.publicKey, name, selected, now, key.identityFields);
    if (saveIdentity(layout, fields, replaced === null ? "refuse" : "replace")) {
      return { fields, publicKey: signer.publicKey };
    }
    throw new AmeshError("ERR_IDENTITY_EXISTS", `cannot create an identity: "${layout.identity}" exists`);
  } catch (error) {
    if (await isUnnamed(signer.publicKey, layout)) await key.discard().catch(() => {});
    throw error;
  }
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

/** A signature of the new key that verifies under its public key. @throws {AmeshError} `ERR_INTERNAL`. */
async function prove({ signer }: NewKey): Promise<void> {
  const challenge = utf8("amesh proof of a new key v1\0");
  const message = async function* () {
    yield challenge;
  };
  const signature = await signer.sign(message());
  if (!await verify(signer.publicKey, [signature], message())) {
    throw new AmeshError("ERR_INTERNAL", "cannot use the new key: its signature does not verify");
  }
}

async function removeOldKey(
  old: Identity,
  context: { layout: Layout; passphrases: Passphrases },
  warn: (message: string) => void,
): Promise<void> {
  try {
    await (await loadTier(old.fields.storageBackend)).delete(context, old);
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
    warn(`the old key was not removed: ${error.message}`);
  }
}
