/**
 * Putting the key under another passphrase. Order: the next file (`nextPath`) gets the new passphrase, the key file is
 * renamed into place (the commit point), the next file takes the place of the old one. Whenever the machine stops, what is
 * in the one or the other opens the key, and both are tried.
 */
import { type Bytes, equalBytes, wipe } from "../bytes.ts";
import { afterCommit, AmeshError } from "../errors.ts";
import type { Identity } from "../formats/identity_file.ts";
import type { Argon2Params } from "../formats/key_file.ts";
import type { PassphraseProtection, ResealedForm, TierContext } from "../keystore/keystore.ts";
import { nextPath, writePassphraseFile } from "../passphrase/files.ts";
import { generatePassphrase, Passphrases } from "../passphrase/passphrases.ts";
import {
  describeSource,
  type FileSource,
  findSources,
  hasNext,
  type PassphraseSource,
} from "../passphrase/sources.ts";
import { findInfo, PASSPHRASE_MODE, removeFile, requireSafe } from "../platform/files.ts";
import { host } from "../platform/host.ts";
import { findFileSystem, isMountPoint, isVolatile } from "../platform/mounts.ts";
import type { Layout } from "../platform/paths.ts";
import { listOtherKeys } from "./directory.ts";
import { hasLegacyPassphrase } from "./legacy.ts";
import { type PassphraseCommand, underLock } from "./passphrase_key.ts";
import { takeNext } from "./passphrase_next.ts";

/** Where the new passphrase comes from: the one that there is, 256 random bits, or what the user gives. */
export type NextPassphrase =
  | { readonly kind: "keep" | "generate" }
  | { readonly kind: "given"; readonly read: () => Promise<Bytes> };

/** What `passphrase change` asks for. */
export interface ChangeOptions extends PassphraseCommand {
  readonly next: NextPassphrase;
  /** What is to be other than it is. */
  readonly cost: Partial<Argon2Params>;
}

/** What became of it. */
export interface Change {
  readonly protection: PassphraseProtection;
  /** The source that opened the key before. */
  readonly openedBy: PassphraseSource;
  /** The file that holds the new passphrase; `null` when the user keeps it. */
  readonly storedIn: string | null;
}

/**
 * @throws {AmeshError} `ERR_USAGE`: nowhere to put a generated passphrase, a cost outside the limits; `ERR_UNLOCK_FAILED`;
 *   `ERR_BUSY`; `ERR_SYSTEM`. The key then opens as before, unless a file could not be renamed or synced, when what is in
 *   the passphrase file or beside it opens it.
 */
export async function changePassphrase(options: ChangeOptions): Promise<Change> {
  const { next, cost } = options;
  let passphrase: Bytes | null = null;
  const read = async (passphrases: Passphrases) => {
    passphrases.requireAny();
    if (next.kind === "generate") passphrase = generatePassphrase();
    if (next.kind === "given") passphrase = await next.read();
  };
  try {
    return await underLock(options, read, async ({ context, tier, identity }) => {
      const home = passphrase === null ? null : findHome(context, identity, next);
      let openedBy: PassphraseSource | undefined;
      await tier.passphrase.reseal(context, identity, {
        passphrase,
        cost,
        commit: (source, form) => {
          openedBy = source;
          if (passphrase === null || home === null) form.write();
          else writeWithFile(home, passphrase, form);
        },
      });
      if (openedBy === undefined) throw new TypeError("the tier has committed nothing");
      return { protection: tier.passphrase.describe(context, identity), openedBy, storedIn: home };
    });
  } finally {
    wipe(passphrase ?? undefined);
  }
}

/**
 * The file that a new passphrase goes to, so that what other commands use stays valid; `null` where the user keeps it.
 *
 * @throws {AmeshError} `ERR_USAGE`: a generated passphrase would be known to nobody or lost at the next start, or a key
 *   would be lost that is under the old one; `ERR_UNLOCK_FAILED`: another passphrase is where it would go.
 */
function findHome(context: TierContext, identity: Identity, { kind }: NextPassphrase): string | null {
  const { layout, passphrases } = context;
  const { current } = passphrases;
  if (hasLegacyPassphrase(identity)) throw legacyInTheWay(layout, current);
  const isForOnce = current?.kind === "descriptor" || current?.kind === "terminal";
  const source = isForOnce ? findSources(layout, false).find(({ kind }) => kind !== "next-file") : current;
  const home = source === undefined && isForOnce && kind === "generate"
    ? layout.passphrase
    : source !== undefined && isHome(context, source, isForOnce)
    ? source.path
    : null;
  if (home === null) {
    if (kind === "given" || current === undefined) return null;
    throw noHome(current);
  }
  requireFreeNext(home);
  requireNoOtherKeys(layout, identity);
  const [info, keys] = [findInfo(home), findInfo(layout.keys)];
  // Where the key is in memory too, both go together.
  if (info === null || info.dev === keys?.dev || !isVolatile(findFileSystem(info))) return home;
  if (kind === "generate") throw noHome(source ?? current ?? { kind: "terminal" });
  passphrases.warn(
    `${home} is in memory and gone when the machine restarts: keep the new passphrase elsewhere too`,
  );
  return home;
}

/** Whether a new passphrase can take the place of the one in a file: the file is ours, and holds the one in force. */
function isHome(
  { passphrases }: TierContext,
  source: PassphraseSource,
  isForOnce: boolean,
): source is FileSource {
  if (source.kind !== "default-file" && source.kind !== "named-file") return false;
  if (!isReplaceable(source.path)) return false;
  if (!isForOnce) return true;
  const { bytes } = passphrases.readCurrent();
  using file = new Passphrases(passphrases.layout, undefined, passphrases.warn, { only: [source] });
  const { bytes: inFile } = file.readCurrent();
  const isSame = equalBytes(bytes, inFile);
  wipe(bytes, inFile);
  if (!isSame) passphrases.warn(`${describeSource(source)} holds another passphrase, and is left alone`);
  return isSame;
}

function noHome(source: PassphraseSource): AmeshError {
  return new AmeshError(
    "ERR_USAGE",
    `cannot store a generated passphrase for good: the one in force comes from ${describeSource(source)}`,
    {
      hint: "give the new one by --new-passphrase-file or --new-passphrase-fd, and provide it there yourself",
    },
  );
}

/** The `passphrase` field of identity.json is still there, and would be wrong afterwards. */
function legacyInTheWay({ passphrase }: Layout, source: PassphraseSource | undefined): AmeshError {
  return source?.kind === "descriptor"
    ? new AmeshError("ERR_USAGE", "identity.json still holds the passphrase, as amesh 0.7 left it", {
      hint: "leave out --passphrase-fd, and it moves to its own file first",
    })
    : new AmeshError("ERR_UNLOCK_FAILED", `"${passphrase}" holds another passphrase than the key's`, {
      hint: "move it away; then the one in identity.json takes its place",
    });
}

/** @throws {AmeshError} `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`: what is in the place of the new passphrase is not ours. */
function requireFreeNext(path: string): void {
  const info = findInfo(nextPath(path));
  // One that could not be finished is of a key that will not open either.
  if (info === null || hasNext(path)) return;
  requireSafe(nextPath(path), info, PASSPHRASE_MODE);
  throw new AmeshError("ERR_SYSTEM", `cannot change the passphrase: "${nextPath(path)}" is in the way`, {
    hint: "run: amesh doctor",
  });
}

/** @throws {AmeshError} `ERR_USAGE`: the old passphrase may be the only one that opens another key. */
function requireNoOtherKeys(layout: Layout, { fields }: Identity): void {
  const [key] = listOtherKeys(layout, fields.deviceId);
  if (key === undefined) return;
  throw new AmeshError(
    "ERR_USAGE",
    `cannot replace the passphrase file: "${key}" may be under the same one`,
    {
      hint:
        "move that key away with a copy of the passphrase, or destroy it with: amesh doctor --fix --delete-orphans",
    },
  );
}

/** A regular file of our own can be replaced; a link, a pipe or what is mounted by itself is the operator's. */
function isReplaceable(path: string): boolean {
  const info = findInfo(path);
  return info?.kind === "file" && (info.uid === null || info.uid === host.euid()) && !isMountPoint(path);
}

function writeWithFile(path: string, passphrase: Bytes, form: ResealedForm): void {
  writePassphraseFile(nextPath(path), passphrase);
  try {
    form.write();
  } catch (error) {
    // What may be the passphrase of the stored key stays.
    if (!form.isInPlace()) removeQuietly(nextPath(path));
    throw error;
  }
  try {
    takeNext(path);
  } catch (error) {
    const state = `the key is under the new passphrase, which is in "${nextPath(path)}"`;
    throw afterCommit(error, state, "amesh doctor --fix");
  }
}

/** For an error that the user must see: the next command removes it otherwise. */
function removeQuietly(path: string): void {
  try {
    removeFile(path);
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
  }
}
