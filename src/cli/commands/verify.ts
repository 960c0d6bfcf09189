/** `amesh verify`: whether a signature over a file or standard input is a key's. Needs no identity with `--key`. */
import { type Bytes, utf8 } from "../../bytes.ts";
import { verify as verifySignature } from "../../crypto/p256.ts";
import { AmeshError } from "../../errors.ts";
import { MAX_SIGNATURE_TEXT_BYTES, parseSignature } from "../../formats/ecdsa_signature.ts";
import { MAX_PUBLIC_KEY_FILE_BYTES, parsePublicKey } from "../../formats/public_key.ts";
import { loadIdentity } from "../../identity/store.ts";
import { isStandardInput, openInput, readPieces, readSmallInput } from "../../platform/input.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printJson } from "../output.ts";

/** Options of `verify`. */
export type VerifyFlags = {
  readonly signature: string;
  readonly key?: string;
  readonly json: boolean;
};

/**
 * @throws {AmeshError} `ERR_SIGNATURE_INVALID`, also for one that cannot be read; `ERR_CORRUPT` for the key;
 *   `ERR_NO_IDENTITY`, `ERR_SYSTEM`, `ERR_USAGE`.
 */
export async function verify({ signature, key, json }: VerifyFlags, file = "-"): Promise<void> {
  const names = [file, key, signature.startsWith("@") ? signature.slice(1) : undefined];
  if (names.filter((name) => name !== undefined && isStandardInput(name)).length > 1) {
    throw new AmeshError("ERR_USAGE", "standard input can be read once only", {
      hint: "name files instead of -",
    });
  }
  const point = key === undefined
    ? (await loadIdentity(await ameshLayout())).publicKey
    : parsePublicKey(readSmallInput(key, MAX_PUBLIC_KEY_FILE_BYTES).bytes);
  const candidates = await parseSignature(readSignature(signature));
  if (!await verifySignature(point, candidates, readPieces(openInput(file)))) {
    throw new AmeshError("ERR_SIGNATURE_INVALID", "the signature is not valid for this input and key");
  }
  if (json) await printJson({ valid: true });
  else await print("valid\n");
}

function readSignature(signature: string): Bytes {
  if (!signature.startsWith("@")) return utf8(signature);
  try {
    return readSmallInput(signature.slice(1), MAX_SIGNATURE_TEXT_BYTES).bytes;
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code !== "ERR_CORRUPT") throw error;
    throw new AmeshError("ERR_SIGNATURE_INVALID", error.message, { cause: error });
  }
}
