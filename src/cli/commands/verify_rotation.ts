/** `amesh verify-rotation`: whether a new key follows an old one, by what both have signed. Needs no identity. */
import { encodeBase64 } from "../../bytes.ts";
import { expandPoint } from "../../crypto/p256.ts";
import { AmeshError } from "../../errors.ts";
import {
  continuityFields,
  type ContinuityStatement,
  MAX_CONTINUITY_BYTES,
  parseContinuity,
} from "../../formats/continuity.ts";
import {
  compressPoint,
  formatPublicKey,
  MAX_PUBLIC_KEY_FILE_BYTES,
  parsePublicKey,
  type PublicKeyFormat,
} from "../../formats/public_key.ts";
import { verifyChain } from "../../identity/continuity.ts";
import { isStandardInput, readSmallInput } from "../../platform/input.ts";
import { print, printJson } from "../output.ts";
import { formatTable } from "./status.ts";

/** Options of `verify-rotation`. */
export type VerifyRotationFlags = {
  readonly key: string;
  readonly format?: PublicKeyFormat;
  readonly json: boolean;
};

/** @throws {AmeshError} `ERR_SIGNATURE_INVALID`; `ERR_CORRUPT`: no statement or no key; `ERR_SYSTEM`, `ERR_USAGE`. */
export async function verifyRotation(
  { key, format, json }: VerifyRotationFlags,
  ...files: readonly string[]
): Promise<void> {
  if ([key, ...files].filter(isStandardInput).length > 1) {
    throw new AmeshError("ERR_USAGE", "standard input can be read once only", {
      hint: "name files instead of -",
    });
  }
  if (json && format !== undefined) {
    throw new AmeshError(
      "ERR_USAGE",
      "--json prints the public key in base64, so --format has nothing to say",
      {
        hint: "use one of them",
      },
    );
  }
  const trusted = parsePublicKey(readSmallInput(key, MAX_PUBLIC_KEY_FILE_BYTES).bytes);
  const statements: ContinuityStatement[] = [];
  for (const file of files) {
    statements.push(await parseContinuity(readSmallInput(file, MAX_CONTINUITY_BYTES).bytes, file));
  }
  const chain = await verifyChain(statements, compressPoint(await expandPoint(trusted)));
  const { old } = chain[0] as ContinuityStatement;
  const { new: newest, createdAt } = chain.at(-1) as ContinuityStatement;
  if (json) {
    await printJson({
      valid: true,
      oldDeviceId: old.deviceId,
      newDeviceId: newest.deviceId,
      newBackend: newest.backend,
      newPublicKey: encodeBase64(newest.publicKey),
      rotations: chain.map(continuityFields),
    });
  } else if (format === undefined) {
    await print(formatTable([
      ["Valid", chain.length === 1 ? "yes, one rotation" : `yes, ${chain.length} rotations`],
      ["Old device ID", old.deviceId],
      ["New device ID", newest.deviceId],
      ["New backend", newest.backend],
      ["New public key", encodeBase64(newest.publicKey)],
      ["Rotated", createdAt],
    ]));
  } else await print(await formatPublicKey(await expandPoint(newest.publicKey), format, newest.deviceId));
}
