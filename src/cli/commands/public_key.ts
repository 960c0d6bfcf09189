/** `amesh public-key`: this machine's public key in the forms that programs exchange. */
import { encodeBase64 } from "../../bytes.ts";
import { expandPoint } from "../../crypto/p256.ts";
import { formatPublicKey, type PublicKeyFormat } from "../../formats/public_key.ts";
import { loadIdentity } from "../../identity/store.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printable, printJson } from "../output.ts";

/** Options of `public-key`. */
export type PublicKeyFlags = {
  readonly format: PublicKeyFormat;
  readonly json: boolean;
};

/** @throws {AmeshError} `ERR_NO_IDENTITY`, `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`. */
export async function publicKey({ format, json }: PublicKeyFlags): Promise<void> {
  const { fields, publicKey: compressed } = await loadIdentity(await ameshLayout());
  // The name ends a line of authorized_keys, so it must not begin another one.
  const bytes = await formatPublicKey(await expandPoint(compressed), format, printable(fields.friendlyName));
  if (!json) return await print(bytes);
  const text = format === "der" ? encodeBase64(bytes) : new TextDecoder().decode(bytes).trimEnd();
  await printJson({
    deviceId: fields.deviceId,
    format,
    publicKey: format === "jwk" || format === "jwks" ? JSON.parse(text) : text,
  });
}
