/**
 * CoreFoundation's objects: made, read and let go of (CFBase.h, CFData.h, CFString.h, CFNumber.h, CFArray.h,
 * CFDictionary.h, CFError.h, CFURL.h).
 *
 * What a function with Create or Copy in its name gives belongs to the caller, who releases it exactly once; what Get
 * gives is borrowed (Memory Management Programming Guide for Core Foundation). A {@linkcode Scope} holds what is owned.
 */
import { type Bytes, utf8 } from "../bytes.ts";
import { library } from "../ffi/ffi.ts";
import { cString, readMemory, readPointer, variableAddress } from "../platform/libc.ts";
import { type Framework, frameworkPath, frameworkPaths } from "./library.ts";

/** Address of an object; 0 is none. */
export type Ref = bigint;

const cf = library(() => frameworkPaths("CoreFoundation"), {
  CFRelease: { parameters: ["address"], result: "void" },
  CFRetain: { parameters: ["address"], result: "address" },
  CFDataCreate: { parameters: ["address", "buffer", "size"], result: "address" },
  CFDataGetLength: { parameters: ["address"], result: "size" },
  CFDataGetBytePtr: { parameters: ["address"], result: "address" },
  CFStringCreateWithCString: { parameters: ["address", "buffer", "u32"], result: "address" },
  CFStringGetLength: { parameters: ["address"], result: "size" },
  CFStringGetMaximumSizeForEncoding: { parameters: ["size", "u32"], result: "size" },
  CFStringGetCString: { parameters: ["address", "buffer", "size", "u32"], result: "u8" },
  CFNumberCreate: { parameters: ["address", "size", "buffer"], result: "address" },
  CFArrayGetCount: { parameters: ["address"], result: "size" },
  CFArrayGetValueAtIndex: { parameters: ["address", "size"], result: "address" },
  CFDictionaryCreate: {
    parameters: ["address", "buffer", "buffer", "size", "address", "address"],
    result: "address",
  },
  CFErrorGetCode: { parameters: ["address"], result: "size" },
  CFErrorGetDomain: { parameters: ["address"], result: "address" },
  CFErrorCopyDescription: { parameters: ["address"], result: "address" },
  CFURLCreateFromFileSystemRepresentation: {
    parameters: ["address", "buffer", "size", "u8"],
    result: "address",
  },
});

/** kCFAllocatorDefault */
const DEFAULT_ALLOCATOR = 0n;
/** kCFStringEncodingUTF8 */
const UTF8 = 0x08000100;
/** kCFNumberSInt32Type */
const SINT32 = 3n;

/** An object could not be made, which happens for want of memory. */
export class CoreFoundationError extends Error {
  override readonly name: string = "CoreFoundationError";
  constructor(operation: string) {
    super(`${operation} gave no object`);
  }
}

/** Holds what is owned, and releases it when it is disposed of: `using scope = new Scope()`. */
export class Scope implements Disposable {
  readonly #owned: Ref[] = [];

  /** Takes over what a Create or Copy function gave. @returns the same; 0 is nothing to own. */
  own(ref: Ref): Ref {
    if (ref !== 0n) this.#owned.push(ref);
    return ref;
  }

  /** CFData of these bytes. */
  data(bytes: Bytes): Ref {
    const buffer = bytes.length === 0 ? null : bytes;
    return this.#made("CFDataCreate", cf.CFDataCreate(DEFAULT_ALLOCATOR, buffer, BigInt(bytes.length)));
  }

  /** CFString of a text without zero characters. */
  string(text: string): Ref {
    const made = cf.CFStringCreateWithCString(DEFAULT_ALLOCATOR, cString(text), UTF8);
    return this.#made("CFStringCreateWithCString", made);
  }

  /** CFNumber of a signed 32-bit integer. */
  number(value: number): Ref {
    const bytes = new Uint8Array(Int32Array.of(value).buffer);
    return this.#made("CFNumberCreate", cf.CFNumberCreate(DEFAULT_ALLOCATOR, SINT32, bytes));
  }

  /** CFDictionary, which keeps its keys and values alive by itself. */
  dictionary(entries: readonly (readonly [key: Ref, value: Ref])[]): Ref {
    const made = cf.CFDictionaryCreate(
      DEFAULT_ALLOCATOR,
      BigUint64Array.from(entries, ([key]) => key),
      BigUint64Array.from(entries, ([, value]) => value),
      BigInt(entries.length),
      addressOf("CoreFoundation", "kCFTypeDictionaryKeyCallBacks"),
      addressOf("CoreFoundation", "kCFTypeDictionaryValueCallBacks"),
    );
    return this.#made("CFDictionaryCreate", made);
  }

  /** CFURL of a file. */
  fileUrl(path: string): Ref {
    const bytes = utf8(path);
    const made = cf.CFURLCreateFromFileSystemRepresentation(
      DEFAULT_ALLOCATOR,
      bytes,
      BigInt(bytes.length),
      0,
    );
    return this.#made("CFURLCreateFromFileSystemRepresentation", made);
  }

  #made(operation: string, ref: Ref): Ref {
    if (ref === 0n) throw new CoreFoundationError(operation);
    return this.own(ref);
  }

  [Symbol.dispose](): void {
    // Each is forgotten before it is released, so that disposing twice releases once.
    for (let ref; (ref = this.#owned.pop()) !== undefined;) cf.CFRelease(ref);
  }
}

/** Makes a borrowed object one that the caller owns. */
export function retain(ref: Ref): Ref {
  return cf.CFRetain(ref);
}

const addresses = new Map<string, bigint>();

function addressOf(framework: Framework, name: string): bigint {
  const known = addresses.get(name);
  if (known !== undefined) return known;
  const address = variableAddress(frameworkPath(framework) ?? "", name);
  addresses.set(name, address);
  return address;
}

/** The object that a constant names (`kSecClass` is a variable that holds a CFStringRef); borrowed. */
export function constant(framework: Framework, name: string): Ref {
  return readPointer(addressOf(framework, name));
}

/** A copy of a CFData's bytes. */
export function readData(data: Ref): Bytes {
  return readMemory(cf.CFDataGetBytePtr(data), Number(cf.CFDataGetLength(data)));
}

/** The text of a CFString; empty when it has no UTF-8 form. */
export function readString(string: Ref): string {
  const size = cf.CFStringGetMaximumSizeForEncoding(cf.CFStringGetLength(string), UTF8) + 1n;
  const buffer = new Uint8Array(Number(size));
  // CFStringGetCStringPtr would need no copy, and may give nothing at any time.
  if (cf.CFStringGetCString(string, buffer, size, UTF8) === 0) return "";
  return new TextDecoder().decode(buffer.subarray(0, buffer.indexOf(0)));
}

/** The objects in a CFArray; borrowed. */
export function readArray(array: Ref): Ref[] {
  const length = Number(cf.CFArrayGetCount(array));
  return Array.from({ length }, (_, index) => cf.CFArrayGetValueAtIndex(array, BigInt(index)));
}

/** What a CFError says. */
export interface ErrorReport {
  /** An OSStatus when the domain is `NSOSStatusErrorDomain`. */
  readonly code: number;
  readonly domain: string;
  readonly text: string;
}

/** Where a function puts the CFError that the caller then owns: a `CFErrorRef *`. */
export class ErrorSlot {
  readonly pointer = new BigUint64Array(1);

  /** Takes the error out and releases it; `null` when the function left none. */
  take(): ErrorReport | null {
    const [error = 0n] = this.pointer;
    this.pointer[0] = 0n;
    if (error === 0n) return null;
    using scope = new Scope();
    scope.own(error);
    const description = scope.own(cf.CFErrorCopyDescription(error));
    const domain = cf.CFErrorGetDomain(error);
    return {
      // CFIndex is signed, and the facade's `size` is not.
      code: Number(BigInt.asIntN(64, cf.CFErrorGetCode(error))),
      domain: domain === 0n ? "" : readString(domain),
      text: description === 0n ? "" : readString(description),
    };
  }
}
