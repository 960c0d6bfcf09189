/**
 * The secure-enclave tier: a P-256 key that is born in the Secure Enclave of this Mac, stored as an opaque blob in
 * `keys/<deviceId>.se.json`. Only the Secure Enclave that made it can use it, which the helper asks it to.
 */
import { EnclaveHelper, HELPER_LIMITS, type HelperLimits } from "../apple/helper.ts";
import { findHelper, type FoundHelper } from "../apple/find_helper.ts";
import { HelperError } from "../apple/helper_error.ts";
import { type Bytes, equalBytes, utf8 } from "../bytes.ts";
import { type HashedMessage, hashMessage, type Message, verifyHashed } from "../crypto/p256.ts";
import { AmeshError, systemError } from "../errors.ts";
import { normalizeLowS } from "../formats/ecdsa_signature.ts";
import { type HelperResult, MAX_PIECE_BYTES, PROTOCOL_VERSION } from "../formats/helper_message.ts";
import { deviceIdOf, type Identity } from "../formats/identity_file.ts";
import { compressPoint } from "../formats/public_key.ts";
import { encodeSeKey, MAX_SE_KEY_BYTES, parseSeKey, type SeKey } from "../formats/se_key.ts";
import {
  checkDirectory,
  ensureDirectory,
  FILE_MODE,
  findInfo,
  removeFile,
  writeFileAtomic,
} from "../platform/files.ts";
import { PASSPHRASE_VARIABLE } from "../passphrase/sources.ts";
import { joinPath, type Layout } from "../platform/paths.ts";
import { readKeyFile, unusableKey } from "./key_file.ts";
import type { Availability, NewKey, Signer, Tier, TierContext } from "./keystore.ts";

/** How a tier reaches its helper. */
export interface HelperAccess {
  /** Finds and checks it anew. */
  find(): FoundHelper;
  readonly limits: HelperLimits;
  /** For the trial of `probe`, all of it. */
  readonly trialLimits: HelperLimits;
}

/** Nobody waits longer for the trial than this, in milliseconds. */
const TRIAL_MS = 20_000;

/** The helper of this machine. */
const THIS_HELPER: HelperAccess = {
  find: () => findHelper(),
  limits: HELPER_LIMITS,
  trialLimits: { ...HELPER_LIMITS, totalMs: TRIAL_MS },
};

/** The tier; its contract is `Tier`'s. */
export const secureEnclaveTier: Tier = makeSecureEnclaveTier(THIS_HELPER);

/** A tier that reaches its helper in another way; for tests. */
export function makeSecureEnclaveTier(access: HelperAccess): Tier {
  return {
    name: "secure-enclave",
    probe: () => probe(access),
    generate: (context) => generate(access, context),
    open: (context, identity) => Promise.resolve().then(() => open(access, context, identity)),
    inspect: async (context, identity) => {
      await Promise.resolve();
      open(access, context, identity)[Symbol.dispose]();
    },
    checkDelete: ({ layout }) => Promise.resolve(void checkDirectory(layout.keys)),
    delete: async ({ layout }, { fields }) => {
      await Promise.resolve();
      // Not through a link: what lies behind it is not ours.
      if (checkDirectory(layout.keys)) removeFile(keyPath(layout, fields.deviceId));
    },
  };
}

function keyPath(layout: Layout, deviceId: string): string {
  return joinPath(layout.keys, `${deviceId}.se.json`);
}

/** Makes a key, signs with it and lets go of it: nothing else shows whether this Mac lets us. Nothing is stored by that. */
async function probe({ find, trialLimits }: HelperAccess): Promise<Availability> {
  const found = find();
  if (found.path === null) return { available: false, ...found.obstacle };
  let details: Record<string, string> = { [found.isDouble ? "Stand-in for macOS" : "Helper"]: found.path };
  try {
    const { helper, facts } = start(found.path, trialLimits);
    using _helper = helper;
    details = { ...details, "Version": facts.helper, "System": `${facts.os}, ${facts.arch}` };
    const { blob, publicKey } = makeKey(helper);
    await sign(helper, blob, publicKey, messageOf(utf8("amesh trial of the Secure Enclave v1\0")));
    return { available: true, details };
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
    const cause = error instanceof HelperError ? error.reason : error.message;
    return { available: false, cause, remedy: error.hint ?? null, details };
  }
}

/** Path of the helper. @throws {AmeshError} `ERR_TIER_UNAVAILABLE` with the cause and the remedy. */
function requireHelper({ find }: HelperAccess): string {
  const found = find();
  if (found.path !== null) return found.path;
  const { cause, remedy } = found.obstacle;
  throw new AmeshError("ERR_TIER_UNAVAILABLE", `cannot use backend "secure-enclave": ${cause}`, {
    hint: remedy ?? "such a key can be used on the Mac where it was made, and nowhere else",
  });
}

/** Starts a helper and asks it what it is. @throws {HelperError} */
function start(path: string, limits: HelperLimits): { helper: EnclaveHelper; facts: HelperResult<"probe"> } {
  const helper = new EnclaveHelper(path, limits, [PASSPHRASE_VARIABLE]);
  try {
    const facts = helper.ask({ action: "probe" });
    if (!facts.protocol.includes(PROTOCOL_VERSION)) {
      throw new HelperError("unsupported-version", "probe", `it speaks ${facts.protocol.join(", ")}`);
    }
    if (!facts.secureEnclave) throw new HelperError("enclave-unavailable", "probe");
    return { helper, facts };
  } catch (error) {
    helper[Symbol.dispose]();
    throw error;
  }
}

function makeKey(helper: EnclaveHelper): Pick<SeKey, "blob" | "publicKey"> {
  const { blob, publicKey } = helper.ask({ action: "generate" });
  return { blob, publicKey: compressPoint(publicKey) };
}

async function generate(access: HelperAccess, { layout }: TierContext): Promise<NewKey> {
  const { helper } = start(requireHelper(access), access.limits);
  try {
    const made = makeKey(helper);
    const path = keyPath(layout, await deviceIdOf(made.publicKey));
    ensureDirectory(layout.keys);
    if (findInfo(path) !== null) throw systemError(`write "${path}"`, { code: "EEXIST" });
    const discard = async () => {
      await Promise.resolve(removeFile(path));
    };
    try {
      const file = encodeSeKey({ ...made, createdAt: new Date().toISOString() });
      writeFileAtomic(path, file, FILE_MODE, "refuse");
      // Read back: what is proven is the stored key, not the one in memory.
      const key = loadKeyFile(path, made.publicKey);
      requireUsable(helper, key, path);
      return { signer: signerOf(helper, key), identityFields: {}, persistSecrets: () => {}, discard };
    } catch (error) {
      await discard().catch(() => {});
      throw error;
    }
  } catch (error) {
    helper[Symbol.dispose]();
    throw error;
  }
}

function open(access: HelperAccess, { layout }: TierContext, { fields, publicKey }: Identity): Signer {
  const program = requireHelper(access);
  const path = keyPath(layout, fields.deviceId);
  checkDirectory(layout.keys);
  const key = loadKeyFile(path, publicKey);
  const { helper } = start(program, access.limits);
  try {
    requireUsable(helper, key, path);
    return signerOf(helper, key);
  } catch (error) {
    helper[Symbol.dispose]();
    throw error;
  }
}

/** @throws {AmeshError} `ERR_CORRUPT`: missing, damaged, or the key of another identity. */
function loadKeyFile(path: string, publicKey: Bytes): SeKey {
  const key = parseSeKey(readKeyFile(path, MAX_SE_KEY_BYTES), path);
  if (equalBytes(key.publicKey, publicKey)) return key;
  throw unusableKey(`"${path}" belongs to another identity`);
}

/** Lets the Secure Enclave open the key. @throws {AmeshError} `ERR_CORRUPT` when it does not; {HelperError}. */
function requireUsable(helper: EnclaveHelper, { blob, publicKey }: SeKey, path: string): void {
  let opened: HelperResult<"public-key">;
  try {
    opened = helper.ask({ action: "public-key", blob });
  } catch (error) {
    if (!(error instanceof HelperError) || error.condition !== "bad-blob") throw error;
    throw unusableKey(
      `the Secure Enclave of this Mac does not accept "${path}"`,
      "if nobody has logged in at this Mac since it was started, log in first; else the key was made by another Mac, or before " +
        "this one was erased, or it is damaged; a new identity: amesh init --force --name NAME",
      error,
    );
  }
  if (!equalBytes(compressPoint(opened.publicKey), publicKey)) {
    throw new HelperError("wrong-key", "public-key");
  }
}

/**
 * Signs a message of any length in constant memory: the helper hashes it too, because the Secure Enclave takes no digest of
 * somebody else's.
 *
 * @returns raw `r || s`, 64 bytes, low-S; verified.
 * @throws {HelperError}; what reading the message throws.
 */
async function sign(helper: EnclaveHelper, blob: Bytes, publicKey: Bytes, message: Message): Promise<Bytes> {
  const begun = helper.ask({ action: "sign-begin", blob });
  if (!equalBytes(compressPoint(begun.publicKey), publicKey)) {
    throw new HelperError("wrong-key", "sign-begin");
  }
  const hashed = await hashMessage(passedOn(helper, message));
  const { signature } = helper.ask({ action: "sign-end" });
  if (await verifyHashed(publicKey, signature, hashed)) return normalizeLowS(signature);
  throw new HelperError("wrong-signature", "sign-end");
}

/** The message, whose pieces the helper gets on their way. */
async function* passedOn(helper: EnclaveHelper, message: Message): AsyncGenerator<Uint8Array> {
  for await (const piece of message) {
    for (let at = 0; at < piece.length; at += MAX_PIECE_BYTES) {
      helper.ask({ action: "sign-update", data: piece.slice(at, at + MAX_PIECE_BYTES) as Bytes });
    }
    yield piece;
  }
}

async function* messageOf(bytes: Bytes): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

/** A signer that owns the helper. */
function signerOf(helper: EnclaveHelper, { blob, publicKey }: SeKey): Signer {
  let isOpen = true;
  let last: Promise<unknown> = Promise.resolve();
  // The helper makes one signature at a time.
  const signNext = (message: Message): Promise<Bytes> => {
    const next = last.then(() => {
      if (!isOpen) throw new TypeError("the signer has been disposed of");
      return sign(helper, blob, publicKey, message);
    });
    last = next.catch(() => {});
    return next;
  };
  return {
    publicKey,
    sign: signNext,
    held: {
      in: "hardware",
      signHashed: async ({ bytes }: HashedMessage) => {
        if (bytes !== null) return await signNext(messageOf(bytes));
        throw new AmeshError(
          "ERR_TIER_UNAVAILABLE",
          "cannot use the Secure Enclave: it signs messages only, and of this one there is a digest",
          { hint: "an agent serves ssh and git with such a key, which send messages" },
        );
      },
    },
    [Symbol.dispose]: () => {
      if (isOpen) helper[Symbol.dispose]();
      isOpen = false;
    },
  };
}
