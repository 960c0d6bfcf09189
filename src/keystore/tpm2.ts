/**
 * The tpm2 tier: a P-256 key that is born in the TPM, stored wrapped in `keys/<deviceId>.tss2.pem`. Only the TPM that
 * made it can unwrap it, under the SRK whose Name identity.json remembers.
 */
import { type Bytes, equalBytes } from "../bytes.ts";
import { type HashedMessage, hashMessage, type Message, verifyHashed } from "../crypto/p256.ts";
import { AmeshError, systemError } from "../errors.ts";
import { normalizeLowS } from "../formats/ecdsa_signature.ts";
import { deviceIdOf, type Identity } from "../formats/identity_file.ts";
import { compressPoint } from "../formats/public_key.ts";
import { encodeTss2Key, MAX_TSS2_KEY_BYTES, parseTss2Key, type Tss2Key } from "../formats/tss2_key.ts";
import {
  checkDirectory,
  ensureDirectory,
  FILE_MODE,
  findInfo,
  removeFile,
  writeFileAtomic,
} from "../platform/files.ts";
import { joinPath, type Layout } from "../platform/paths.ts";
import { connectTpm, detectTpm } from "../tpm/detect.ts";
import { create, load, sign, startSession } from "../tpm/commands.ts";
import type { EsysConnection, EsysTr } from "../tpm/connection.ts";
import { TpmError } from "../tpm/response_code.ts";
import {
  findEkName,
  findStorageRoot,
  openStorageRoot,
  type RecordedRoot,
  type StorageRoot,
} from "../tpm/storage_root.ts";
import { isSigningKey, KEY_TEMPLATE, parseEccPublic, parseEcdsaSignature } from "../tpm/structures.ts";
import { readKeyFile, unusableKey } from "./key_file.ts";
import type { Availability, NewKey, Signer, Tier, TierContext } from "./keystore.ts";
import { checkHandleKey, evictHandleKey, openHandleKey } from "./tpm2_handle.ts";

/** The tier; its contract is `Tier`'s. */
export const tpm2Tier: Tier = {
  name: "tpm2",
  probe: () => Promise.resolve(probe()),
  generate,
  open,
  inspect: async (context, identity) => (await open(context, identity))[Symbol.dispose](),
  checkDelete: async ({ layout }, identity) => {
    if (isHandleKey(layout, identity)) await checkHandleKey(identity);
    else checkDirectory(layout.keys);
  },
  delete: async ({ layout }, identity) => {
    const path = keyPath(layout, identity.fields.deviceId);
    if (isHandleKey(layout, identity)) await evictHandleKey(identity);
    // Not through a link: what lies behind it is not ours.
    else if (checkDirectory(layout.keys)) removeFile(path);
  },
};

function probe(): Availability {
  const { obstacle, details } = detectTpm();
  return obstacle === null ? { available: true, details } : { available: false, ...obstacle, details };
}

function keyPath(layout: Layout, deviceId: string): string {
  return joinPath(layout.keys, `${deviceId}.tss2.pem`);
}

/** Whether this is an identity of amesh 0.7, whose key lies at a persistent handle and has no file. */
function isHandleKey(layout: Layout, { fields }: Identity): boolean {
  return fields.tpm === undefined && findInfo(keyPath(layout, fields.deviceId)) === null;
}

async function generate({ layout }: TierContext): Promise<NewKey> {
  const tpm = connectTpm();
  try {
    const ekName = findEkName(tpm);
    const root = findStorageRoot(tpm);
    const session = startSession(tpm, root.handle);
    const created = create(tpm, root.handle, session, KEY_TEMPLATE);
    const area = parseEccPublic(created.publicArea);
    if (area === null || !isSigningKey(area)) throw new TpmError("malformedAnswer", "TPM2_Create", null);
    const publicKey = compressPoint(area.point);
    const path = keyPath(layout, await deviceIdOf(publicKey));
    ensureDirectory(layout.keys);
    if (findInfo(path) !== null) throw systemError(`write "${path}"`, { code: "EEXIST" });
    const discard = async () => {
      await Promise.resolve(removeFile(path));
    };
    try {
      writeFileAtomic(path, encodeTss2Key({ parent: root.parent, ...created }), FILE_MODE, "refuse");
      // Read back: what is proven is the stored key, not the one in memory.
      const key = loadKeyFile(path, publicKey);
      const handle = loadKey(tpm, root, session, key, path);
      return {
        signer: signerOf(tpm, handle, session, publicKey),
        identityFields: { tpm: recordOf(root, ekName) },
        persistSecrets: () => {},
        discard,
      };
    } catch (error) {
      await discard().catch(() => {});
      throw error;
    }
  } catch (error) {
    tpm[Symbol.dispose]();
    throw error;
  }
}

function recordOf({ name, parent }: StorageRoot, ekName: string | undefined): Record<string, unknown> {
  const record = { srkName: name, parent: `0x${parent.toString(16)}` };
  return ekName === undefined ? record : { ...record, ekName };
}

async function open({ layout }: TierContext, identity: Identity): Promise<Signer> {
  if (isHandleKey(layout, identity)) {
    const { tpm, handle, session } = await openHandleKey(identity);
    return signerOf(tpm, handle, session, identity.publicKey);
  }
  const path = keyPath(layout, identity.fields.deviceId);
  checkDirectory(layout.keys);
  const key = loadKeyFile(path, identity.publicKey);
  const recorded = recordedRoot(identity, key, path);
  const tpm = connectTpm();
  try {
    const root = openStorageRoot(tpm, recorded);
    const session = startSession(tpm, root.handle);
    return signerOf(tpm, loadKey(tpm, root, session, key, path), session, identity.publicKey);
  } catch (error) {
    tpm[Symbol.dispose]();
    throw error;
  }
}

/** @throws {AmeshError} `ERR_CORRUPT`: missing, damaged, or the key of another identity. */
function loadKeyFile(path: string, publicKey: Bytes): Tss2Key {
  const key = parseTss2Key(readKeyFile(path, MAX_TSS2_KEY_BYTES), path);
  const area = parseEccPublic(key.publicArea);
  if (area === null || !isSigningKey(area)) throw unusableKey(`"${path}" holds no P-256 key that signs`);
  if (!equalBytes(compressPoint(area.point), publicKey)) {
    throw unusableKey(`"${path}" belongs to another identity`);
  }
  return key;
}

function recordedRoot({ fields }: Identity, key: Tss2Key, path: string): RecordedRoot {
  const { tpm } = fields;
  if (tpm === undefined) throw unusableKey("identity.json does not say which SRK it was made under");
  const parent = Number(tpm.parent);
  if (parent !== key.parent) throw unusableKey(`"${path}" names another parent than identity.json`);
  return { name: tpm.srkName, parent, ekName: tpm.ekName };
}

/** Loads a key under the right SRK, which is let go of: a TPM has room for three objects. */
function loadKey(
  tpm: EsysConnection,
  root: StorageRoot,
  session: EsysTr,
  key: Tss2Key,
  path: string,
): EsysTr {
  try {
    const handle = load(tpm, root.handle, session, key);
    if (root.isTransient) tpm.flush(root.handle);
    return handle;
  } catch (error) {
    if (!(error instanceof TpmError)) throw error;
    if (error.condition !== "integrity" && error.condition !== "malformedKey") throw error;
    throw unusableKey(
      `"${path}" is damaged: the TPM that made it does not accept it`,
      "restore it from a backup",
      error,
    );
  }
}

/** A signer that owns the connection. */
function signerOf(tpm: EsysConnection, handle: EsysTr, session: EsysTr, publicKey: Bytes): Signer {
  let isOpen = true;
  const signHashed = async (hashed: HashedMessage): Promise<Bytes> => {
    if (!isOpen) throw new TypeError("the signer has been disposed of");
    const raw = parseEcdsaSignature(sign(tpm, handle, session, hashed.digest));
    if (raw === null) throw new TpmError("malformedAnswer", "TPM2_Sign", null);
    const signature = normalizeLowS(raw);
    if (await verifyHashed(publicKey, signature, hashed)) return signature;
    throw new AmeshError("ERR_TIER_UNAVAILABLE", "cannot use the TPM: its signature does not verify", {
      hint: "try again; if it stays so, the TPM or what lies before it is defective",
    });
  };
  return {
    publicKey,
    sign: async (message: Message) => await signHashed(await hashMessage(message)),
    held: { in: "hardware", signHashed },
    [Symbol.dispose]: () => {
      if (isOpen) tpm[Symbol.dispose]();
      isOpen = false;
    },
  };
}
