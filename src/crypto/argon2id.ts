/**
 * Argon2id (RFC 9106): native where the runtime has it (Bun's node:crypto), else hash-wasm. The tests prove that both
 * give the same bytes.
 */
import { type Bytes, wipe } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import type { Argon2Params } from "../formats/key_file.ts";
import { host } from "../platform/host.ts";
import { dropPages, preferHugePages } from "../platform/libc.ts";

/** Length of the derived key in bytes. */
export const DERIVED_KEY_BYTES = 32;

/** Input of one stretch. */
export interface StretchInput {
  /** 1 to 4096 bytes; read only, the caller wipes them. */
  readonly passphrase: Bytes;
  /** 16 bytes. */
  readonly salt: Bytes;
  readonly params: Argon2Params;
}

/**
 * Derives 32 bytes from a passphrase.
 *
 * @param background keep this thread free (on Deno by a Worker, which costs some 40 ms to start).
 * @returns new bytes, which the caller wipes.
 * @throws {AmeshError} `ERR_SYSTEM` when the memory for `params.m` cannot be had.
 */
export async function stretchPassphrase(input: StretchInput, background: boolean): Promise<Bytes> {
  try {
    if (host.runtime === "bun") return await stretchNative(input);
    return background ? await stretchInWorker(input) : await stretchWasm(input);
  } catch (error) {
    // Of the Worker's error only the text arrives.
    if (error instanceof RangeError || /RangeError|memory/i.test(String(error))) {
      throw notEnoughMemory(input.params.m, error);
    }
    throw error;
  }
}

/** `ERR_SYSTEM`; never a reason to use weaker parameters. */
export function notEnoughMemory(needKiB: number, cause?: unknown): AmeshError {
  return new AmeshError(
    "ERR_SYSTEM",
    `cannot stretch the passphrase: it needs ${Math.ceil(needKiB / 1024)} MiB of memory, and there is less`,
    { hint: "give the machine or the container more memory; the cost is never lowered by itself", cause },
  );
}

let lastRun: Promise<unknown> = Promise.resolve();

/** The portable implementation. One at a time: each takes the memory that its cost asks for. */
export function stretchWasm(input: StretchInput): Promise<Bytes> {
  const run = lastRun.then(() => runWasm(input));
  lastRun = run.catch(() => {});
  return run;
}

async function runWasm({ passphrase, salt, params }: StretchInput): Promise<Bytes> {
  // The file of this one function: the package's main module holds twenty more and is not tree-shakeable.
  const { default: { argon2id } } = await import("hash-wasm/dist/argon2.umd.min.js") as unknown as {
    default: Pick<typeof import("hash-wasm"), "argon2id">;
  };
  const derived = await withWorkingMemory(() =>
    argon2id({
      password: passphrase,
      salt,
      iterations: params.t,
      memorySize: params.m,
      parallelism: params.p,
      hashLength: DERIVED_KEY_BYTES,
      outputType: "binary",
    })
  );
  return takeBytes(derived);
}

/** What is used of the exports of hash-wasm's modules (Argon2 and BLAKE2b). */
interface WasmExports {
  readonly memory: WebAssembly.Memory;
  Hash_SetMemorySize(bytes: number): void;
}

/**
 * Runs hash-wasm with its working memory in huge pages, and wipes all its memory afterwards.
 *
 * In small pages a fifth of the time goes into page faults, two for each: the library reads a page before it writes
 * it. It keeps its memory to itself, so its modules are met where they are instantiated.
 */
async function withWorkingMemory<T>(run: () => Promise<T>): Promise<T> {
  const { instantiate } = WebAssembly;
  const memories: WebAssembly.Memory[] = [];
  const meet = async (module: WebAssembly.Module, imports?: WebAssembly.Imports) => {
    const exports = (await instantiate(module, imports)).exports as unknown as WasmExports;
    memories.push(exports.memory);
    const Hash_SetMemorySize = (bytes: number) => {
      exports.Hash_SetMemorySize(bytes);
      preferHugePages(new Uint8Array(exports.memory.buffer));
    };
    return { exports: { ...exports, Hash_SetMemorySize } };
  };
  WebAssembly.instantiate = meet as unknown as typeof instantiate;
  try {
    return await run();
  } finally {
    WebAssembly.instantiate = instantiate;
    for (const { buffer } of memories) dropPages(new Uint8Array(buffer));
  }
}

/** A copy with a buffer of its own; the original is wiped. */
function takeBytes(derived: Uint8Array): Bytes {
  const bytes = Uint8Array.from(derived);
  wipe(derived);
  return bytes;
}

/** node:crypto of Node.js 24.7 and Bun, which Deno does not have. */
interface NativeArgon2 {
  argon2(
    algorithm: "argon2id",
    parameters: {
      message: Uint8Array;
      nonce: Uint8Array;
      parallelism: number;
      tagLength: number;
      memory: number;
      passes: number;
    },
    callback: (error: Error | null, derived: Uint8Array) => void,
  ): void;
}

async function stretchNative({ passphrase, salt, params }: StretchInput): Promise<Bytes> {
  const { argon2 } = await import("node:crypto") as unknown as NativeArgon2;
  return await new Promise((resolve, reject) => {
    argon2(
      "argon2id",
      {
        message: passphrase,
        nonce: salt,
        parallelism: params.p,
        tagLength: DERIVED_KEY_BYTES,
        memory: params.m,
        passes: params.t,
      },
      (error, derived) => error === null || error === undefined ? resolve(takeBytes(derived)) : reject(error),
    );
  });
}

/** What the Worker answers. */
export type StretchAnswer = { readonly derived: Bytes } | { readonly error: string };

function stretchInWorker(input: StretchInput): Promise<Bytes> {
  const worker = new Worker(new URL("./argon2id_worker.ts", import.meta.url), { type: "module" });
  return new Promise<Bytes>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<StretchAnswer>) => {
      if ("derived" in data) resolve(data.derived);
      else reject(new Error(data.error));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
    worker.postMessage(input);
  }).finally(() => worker.terminate());
}
