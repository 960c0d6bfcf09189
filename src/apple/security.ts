/**
 * The functions of Security.framework that amesh calls (SecItem.h, SecKey.h, SecKeychain.h, AuthSession.h, SecCode.h,
 * SecStaticCode.h, SecRequirement.h), each bound when it is first called. A parameter that ends in `*` is memory of ours.
 */
import { library } from "../ffi/ffi.ts";
import { constant, type Ref } from "./core_foundation.ts";
import { frameworkPaths } from "./library.ts";

/** Nothing here knows what a call means. */
export const security = library(() => frameworkPaths("Security"), {
  /** dictionary, CFErrorRef * -> key, owned */
  SecKeyCreateRandomKey: { parameters: ["address", "buffer"], result: "address" },
  /** key -> key, owned */
  SecKeyCopyPublicKey: { parameters: ["address"], result: "address" },
  /** key, CFErrorRef * -> data, owned */
  SecKeyCopyExternalRepresentation: { parameters: ["address", "buffer"], result: "address" },
  /** key, algorithm, data, CFErrorRef * -> data, owned */
  SecKeyCreateSignature: { parameters: ["address", "address", "address", "buffer"], result: "address" },
  /** dictionary, CFTypeRef * (owned) */
  SecItemCopyMatching: { parameters: ["address", "buffer"], result: "i32" },
  /** dictionary */
  SecItemDelete: { parameters: ["address"], result: "i32" },
  /** status, NULL -> string, owned */
  SecCopyErrorMessageString: { parameters: ["i32", "address"], result: "address" },
  /** SecKeychainRef * (owned) */
  SecKeychainCopyDefault: { parameters: ["buffer"], result: "i32" },
  /** keychain, SecKeychainStatus * */
  SecKeychainGetStatus: { parameters: ["address", "buffer"], result: "i32" },
  /** keychain, UInt32 * (size, then length), char * */
  SecKeychainGetPath: { parameters: ["address", "buffer", "buffer"], result: "i32" },
  /** Boolean */
  SecKeychainSetUserInteractionAllowed: { parameters: ["u8"], result: "i32" },
  /** session, SecuritySessionId *, SessionAttributeBits * */
  SessionGetInfo: { parameters: ["u32", "buffer", "buffer"], result: "i32" },
  /** flags, SecCodeRef * (owned) */
  SecCodeCopySelf: { parameters: ["u32", "buffer"], result: "i32" },
  /** code, flags, requirement */
  SecCodeCheckValidity: { parameters: ["address", "u32", "address"], result: "i32" },
  /** URL, flags, SecStaticCodeRef * (owned) */
  SecStaticCodeCreateWithPath: { parameters: ["address", "u32", "buffer"], result: "i32" },
  /** static code, flags, requirement */
  SecStaticCodeCheckValidity: { parameters: ["address", "u32", "address"], result: "i32" },
  /** string, flags, SecRequirementRef * (owned) */
  SecRequirementCreateWithString: { parameters: ["address", "u32", "buffer"], result: "i32" },
});

/** A constant of Security.framework by its name in the headers; borrowed. */
export function sec(name: `kSec${string}`): Ref {
  return constant("Security", name);
}
