/**
 * Keys in the login keychain: P-256, private half not extractable, found by their application tag (SecItem.h, SecKey.h).
 *
 * Every dictionary says kSecUseDataProtectionKeychain = false: the other keychain of macOS is closed to executables that
 * lie in no bundle (errSecMissingEntitlement), and without it answers of both would be mixed.
 */
import { type Bytes, utf8 } from "../bytes.ts";
import {
  constant,
  ErrorSlot,
  readArray,
  readData,
  readString,
  type Ref,
  retain,
  Scope,
} from "./core_foundation.ts";
import { AppleError, conditionOf, ITEM_NOT_FOUND, type KeychainCondition } from "./os_status.ts";
import { sec, security } from "./security.ts";
import { settleDialogs } from "./session.ts";

/** How many rounds of deletion there are: a tag has few keys, and one that comes back for ever is not waited for. */
const MAX_DELETIONS = 100;
const MAX_PATH_BYTES = 1024;

/** What the default keychain is like. */
export interface KeychainState {
  /** Of its file. */
  readonly path: string;
  readonly isUnlocked: boolean;
}

/** A private key in the keychain, until it is disposed of. */
export interface KeychainKey extends Disposable {
  /** Uncompressed point, 65 bytes; `null` where macOS does not give it, which then only a signature can tell. */
  readonly publicKey: Bytes | null;
  /**
   * Signs the SHA-256 digest of a message, 32 bytes.
   *
   * @returns ECDSA-Sig-Value (RFC 3279 §2.2.3) in DER.
   * @throws {AppleError}
   */
  sign(digest: Bytes): Bytes;
}

/** Looks at the default keychain. @throws {AppleError} `noKeychain` …; {FfiLoadError} no Security.framework. */
export function defaultKeychain(): KeychainState {
  using scope = new Scope();
  const slot = new BigUint64Array(1);
  check("SecKeychainCopyDefault", security.SecKeychainCopyDefault(slot));
  const keychain = scope.own(slot[0] ?? 0n);
  const bits = new Uint32Array(1);
  check("SecKeychainGetStatus", security.SecKeychainGetStatus(keychain, new Uint8Array(bits.buffer)));
  const path = new Uint8Array(MAX_PATH_BYTES);
  const length = Uint32Array.of(MAX_PATH_BYTES);
  check(
    "SecKeychainGetPath",
    security.SecKeychainGetPath(keychain, new Uint8Array(length.buffer), path),
  );
  return {
    path: new TextDecoder().decode(path.subarray(0, length[0])),
    // kSecUnlockStateStatus. The bit for writing says the same, whatever the modes of the file are.
    isUnlocked: ((bits[0] ?? 0) & 1) !== 0,
  };
}

/**
 * Makes a key and stores it. A tag that is in use is no error to macOS, which would then find the older key: the caller
 * chooses one that nobody else has.
 *
 * @param label what people read in Keychain Access.
 * @throws {AppleError}; something may have been stored all the same.
 */
export function createKey(tag: string, label: string): KeychainKey {
  settleDialogs();
  using scope = new Scope();
  // The public half is stored too: macOS looks it up there when it is asked for.
  const attributes = scope.dictionary([
    [sec("kSecAttrIsPermanent"), yes()],
    [sec("kSecAttrApplicationTag"), scope.data(utf8(tag))],
  ]);
  const parameters = scope.dictionary([
    [sec("kSecAttrKeyType"), sec("kSecAttrKeyTypeECSECPrimeRandom")],
    [sec("kSecAttrKeySizeInBits"), scope.number(256)],
    [sec("kSecAttrLabel"), scope.string(label)],
    [sec("kSecUseDataProtectionKeychain"), no()],
    // Here, because among the attributes of the private key it is passed over, and the default is yes.
    [sec("kSecAttrIsExtractable"), no()],
    [sec("kSecPrivateKeyAttrs"), attributes],
    [sec("kSecPublicKeyAttrs"), attributes],
  ]);
  const error = new ErrorSlot();
  const key = security.SecKeyCreateRandomKey(parameters, error.pointer);
  if (key === 0n) throw failure("SecKeyCreateRandomKey", error);
  return keyOf(key);
}

/** The keys that have a tag, in the order of macOS; the caller disposes of them. @throws {AppleError} */
export function findKeys(tag: string): KeychainKey[] {
  settleDialogs();
  using scope = new Scope();
  const query = scope.dictionary([
    [sec("kSecClass"), sec("kSecClassKey")],
    [sec("kSecAttrKeyClass"), sec("kSecAttrKeyClassPrivate")],
    [sec("kSecAttrApplicationTag"), scope.data(utf8(tag))],
    [sec("kSecUseDataProtectionKeychain"), no()],
    [sec("kSecMatchLimit"), sec("kSecMatchLimitAll")],
    [sec("kSecReturnRef"), yes()],
  ]);
  const slot = new BigUint64Array(1);
  const status = security.SecItemCopyMatching(query, slot);
  if (status === ITEM_NOT_FOUND) {
    // Nothing is found either where there is no keychain at all, which is another matter.
    defaultKeychain();
    return [];
  }
  if (status !== 0) throw errorOf("SecItemCopyMatching", status, messageOf(status));
  return adopt(readArray(scope.own(slot[0] ?? 0n)));
}

/** Keys for objects that an array holds; when one of them fails none is left open. */
function adopt(borrowed: readonly Ref[]): KeychainKey[] {
  const keys: KeychainKey[] = [];
  try {
    for (const ref of borrowed) keys.push(keyOf(retain(ref)));
    return keys;
  } catch (error) {
    for (const key of keys) key[Symbol.dispose]();
    throw error;
  }
}

/** Deletes every key that has a tag, both halves of it. @returns how often macOS deleted some. @throws {AppleError} */
export function deleteKeys(tag: string): number {
  settleDialogs();
  using scope = new Scope();
  const query = scope.dictionary([
    [sec("kSecClass"), sec("kSecClassKey")],
    [sec("kSecAttrApplicationTag"), scope.data(utf8(tag))],
    [sec("kSecUseDataProtectionKeychain"), no()],
    // Without it only one goes.
    [sec("kSecMatchLimit"), sec("kSecMatchLimitAll")],
  ]);
  for (let count = 0; count < MAX_DELETIONS; count++) {
    const status = security.SecItemDelete(query);
    if (status === ITEM_NOT_FOUND) return count;
    if (status !== 0) throw errorOf("SecItemDelete", status, messageOf(status));
  }
  throw new AppleError("malformedAnswer", "SecItemDelete", 0);
}

/** @param key owned; it is released when the result is disposed of, or at once when this fails. */
function keyOf(key: Ref): KeychainKey {
  const scope = new Scope();
  scope.own(key);
  try {
    return {
      publicKey: publicKeyOf(key),
      sign: (digest) => signDigest(key, digest),
      [Symbol.dispose]: () => scope[Symbol.dispose](),
    };
  } catch (error) {
    scope[Symbol.dispose]();
    throw error;
  }
}

function publicKeyOf(key: Ref): Bytes | null {
  using scope = new Scope();
  const publicKey = scope.own(security.SecKeyCopyPublicKey(key));
  if (publicKey === 0n) return null;
  const error = new ErrorSlot();
  const data = scope.own(security.SecKeyCopyExternalRepresentation(publicKey, error.pointer));
  if (data !== 0n) return readData(data);
  error.take();
  return null;
}

function signDigest(key: Ref, digest: Bytes): Bytes {
  // A key that an agent holds outlives terminals.
  settleDialogs();
  using scope = new Scope();
  const error = new ErrorSlot();
  const signature = scope.own(
    security.SecKeyCreateSignature(
      key,
      sec("kSecKeyAlgorithmECDSASignatureDigestX962SHA256"),
      scope.data(digest),
      error.pointer,
    ),
  );
  if (signature === 0n) throw failure("SecKeyCreateSignature", error);
  return readData(signature);
}

const yes = (): Ref => constant("CoreFoundation", "kCFBooleanTrue");
const no = (): Ref => constant("CoreFoundation", "kCFBooleanFalse");

/** @throws {AppleError} a status other than 0, of what is itself asked to explain others. */
function check(operation: string, status: number): void {
  if (status !== 0) throw new AppleError(conditionOf(status), operation, status, messageOf(status));
}

function messageOf(status: number): string {
  using scope = new Scope();
  const message = scope.own(security.SecCopyErrorMessageString(status, 0n));
  return message === 0n ? "" : readString(message);
}

/** The error of a function that gave nothing. */
function failure(operation: string, slot: ErrorSlot): AppleError {
  const report = slot.take();
  if (report === null) return new AppleError("silent", operation, null);
  const { code, domain, text } = report;
  // Codes of other domains are other things.
  if (domain !== "NSOSStatusErrorDomain") {
    return new AppleError("refused", operation, code, `${domain}: ${text}`);
  }
  return errorOf(operation, code, text);
}

function errorOf(operation: string, status: number, text: string): AppleError {
  const condition = conditionOf(status);
  return new AppleError(
    CAN_MEAN_LOCKED.includes(condition) && isLocked() ? "locked" : condition,
    operation,
    status,
    text,
  );
}

/** What macOS says of a locked keychain, and of other things too. */
const CAN_MEAN_LOCKED: readonly KeychainCondition[] = ["notAllowed", "denied", "refused"];

function isLocked(): boolean {
  try {
    return !defaultKeychain().isUnlocked;
  } catch (error) {
    if (error instanceof AppleError) return false;
    throw error;
  }
}
