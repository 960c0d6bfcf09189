/**
 * Argon2id (RFC 9106): native where the runtime has it (Bun's node:crypto), else hash-wasm. The tests prove that both
 * give the same bytes.
 */
import { type Bytes, wipe } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import type { Argon2Params } from "../formats/key_file.ts";
import { host } from "../platform/host.ts";

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
 * @returns new bytes, which the caller wipes. hash-wasm's working memory is beyond reach (docs/threat-model.md).
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

/** The portable implementation. */
export async function stretchWasm({ passphrase, salt, params }: StretchInput): Promise<Bytes> {
  // The file of this one function: the package's main module holds twenty more and is not tree-shakeable.
  const { default: { argon2id } } = await import("hash-wasm/dist/argon2.umd.min.js") as unknown as {
    default: Pick<typeof import("hash-wasm"), "argon2id">;
  };
  const derived = await argon2id({
    password: passphrase,
    salt,
    iterations: params.t,
    memorySize: params.m,
    parallelism: params.p,
    hashLength: DERIVED_KEY_BYTES,
    outputType: "binary",
  });
  return takeBytes(derived);
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
