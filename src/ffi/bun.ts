/** The facade's binder on Bun. */
import type { Binder, CType } from "./ffi.ts";

/** The part of `bun:ffi` that is used. */
interface BunFfi {
  dlopen(
    path: string,
    symbols: Record<string, { args: readonly string[]; returns: string }>,
  ): { symbols: Record<string, ReturnType<Binder>> };
}

const TYPES: Readonly<Record<CType, string>> = {
  buffer: "ptr",
  address: "u64",
  size: "u64",
  i32: "i32",
  u32: "u32",
  u16: "u16",
  u8: "u8",
  void: "void",
};

/** @throws {Error} the library or the symbol is missing. */
export const bindBun: Binder = (path, name, signature) => {
  const { process } = globalThis as unknown as { process: { getBuiltinModule(name: string): BunFfi } };
  const { symbols } = process.getBuiltinModule("bun:ffi").dlopen(path, {
    [name]: { args: signature.parameters.map((type) => TYPES[type]), returns: TYPES[signature.result] },
  });
  return symbols[name] as ReturnType<Binder>;
};
