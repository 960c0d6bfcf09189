/**
 * Calls into C libraries: one facade over `Deno.dlopen` and `bun:ffi`.
 *
 * C addresses are bigint on both runtimes (`address`), memory of ours is passed as `buffer`; no pointer objects,
 * so Deno's directory-limited `--allow-ffi` is enough. Libraries are named by absolute path only (Bun loads a bare
 * name from the working directory) and every symbol is bound when it is first called (Deno: ~0.5 ms each).
 * Calls are synchronous and block the thread.
 */
import { bindDeno } from "./deno.ts";
import { bindBun } from "./bun.ts";

/** C types that cross the boundary; `address` and `size` are bigint, `buffer` is memory of ours or NULL. */
export type CType = "buffer" | "address" | "size" | "i32" | "u32" | "u16" | "u8" | "void";

/** Parameter and result types of one C function. */
export interface Signature {
  readonly parameters: readonly CType[];
  readonly result: CType;
}

type Argument<T extends CType> = T extends "buffer" ? Uint8Array | BigUint64Array | null
  : T extends "address" | "size" ? bigint
  : number;
type Arguments<P extends readonly CType[]> = { -readonly [K in keyof P]: Argument<P[K]> };
type Result<T extends CType> = T extends "void" ? void : T extends "address" | "size" ? bigint : number;

/** The functions of a library, typed by their signatures. */
export type Library<S extends Readonly<Record<string, Signature>>> = {
  readonly [K in keyof S]: (...args: Arguments<S[K]["parameters"]>) => Result<S[K]["result"]>;
};

/** A function as the runtimes hand it out. */
export type RawFunction = (...args: unknown[]) => unknown;

/** Binds one symbol of the library at an absolute path, or throws what the runtime throws. */
export type Binder = (path: string, name: string, signature: Signature) => RawFunction;

/** No library could be opened, or it lacks a symbol. */
export class FfiLoadError extends Error {
  override readonly name: string = "FfiLoadError";
  constructor(readonly symbol: string, readonly tried: readonly string[], options: { cause?: unknown }) {
    super(`cannot load ${symbol} from ${tried.join(" or ") || "any library"}`, options);
  }
}

const bind: Binder = "Deno" in globalThis ? bindDeno : bindBun;

/**
 * Describes a library without opening it.
 *
 * @param paths absolute paths in the order in which they are tried when the first symbol is called; the one that
 *   gives it is kept for the others.
 * @throws {TypeError} a path is not absolute (caller bug).
 * @throws {FfiLoadError} from the functions: no path gave the symbol.
 */
export function library<const S extends Readonly<Record<string, Signature>>>(
  paths: () => readonly string[],
  signatures: S,
): Library<S> {
  const functions: Record<string, RawFunction> = {};
  let candidates: readonly string[] | undefined;
  const bindFirst = (name: string, signature: Signature): RawFunction => {
    let cause: unknown;
    candidates ??= paths();
    for (const path of candidates) {
      if (!path.startsWith("/")) throw new TypeError(`library path is not absolute: ${path}`);
      try {
        const bound = bind(path, name, signature);
        candidates = [path];
        return bound;
      } catch (error) {
        cause = error;
      }
    }
    throw new FfiLoadError(name, candidates, { cause });
  };
  for (const [name, signature] of Object.entries(signatures)) {
    let bound: RawFunction | undefined;
    // The library has the function itself from the second call on: through this arrow, which all functions share,
    // V8 would take its slow way into C (0.4 us more for each call).
    functions[name] = (...args) => (bound ??= functions[name] = bindFirst(name, signature))(...args);
  }
  return functions as Library<S>;
}
