/** The facade's binder on Deno. */
import type { Binder, CType } from "./ffi.ts";

const TYPES: Readonly<Record<CType, Deno.NativeResultType>> = {
  buffer: "buffer",
  address: "usize",
  size: "usize",
  i32: "i32",
  u32: "u32",
  u16: "u16",
  u8: "u8",
  void: "void",
};

/** @throws {Error} the library or symbol is missing, or the permission list does not cover the path. */
export const bindDeno: Binder = (path, name, signature) => {
  const { symbols } = Deno.dlopen(path, {
    [name]: {
      parameters: signature.parameters.map((type) => TYPES[type] as Deno.NativeType),
      result: TYPES[signature.result],
    },
  });
  return symbols[name] as ReturnType<Binder>;
};
