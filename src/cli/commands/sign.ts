/** `amesh sign`: ECDSA P-256 with SHA-256 over a file or standard input of any length. */
import { concatBytes, encodeBase64, utf8 } from "../../bytes.ts";
import { signMessage } from "../../agent/sign.ts";
import { AmeshError } from "../../errors.ts";
import { encodeSignature, formatSignature } from "../../formats/ecdsa_signature.ts";
import { refuseProtocols } from "../../formats/protocol_guard.ts";
import { writeOutputFile } from "../../platform/files.ts";
import { findInput, type Input, openInput, readPieces } from "../../platform/input.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printJson, warn } from "../output.ts";
import type { SignFlags } from "../sign_flags.ts";
import { requireOneReader } from "../standard_input.ts";

/** From this size in bytes on, reading the input takes long enough to unlock the key meanwhile. */
const BACKGROUND_BYTES = 64 * 1024 * 1024;

/** @throws {AmeshError} as `openIdentity`; `ERR_SYSTEM` for input or output; `ERR_USAGE`. */
export async function sign(flags: SignFlags, file = "-"): Promise<void> {
  const { format, encoding, out, passphraseFd, json } = flags;
  if (json && encoding === "binary") {
    throw new AmeshError("ERR_USAGE", "--json cannot hold a binary signature", {
      hint: "use --encoding base64",
    });
  }
  forbidInspection();
  const input = openInput(file);
  const target = out === "-" || out === "/dev/stdout" ? undefined : out;
  if (target !== undefined) requireOther(input, target);
  requireOneReader(file, passphraseFd);
  const message = flags.allowProtocolMessage
    ? readPieces(input)
    : refuseProtocols(readPieces(input), "--allow-protocol-message");
  const { identity, signature: raw } = await signMessage(await ameshLayout(), message, {
    useAgent: !flags.noAgent,
    background: (input.info?.size ?? 0) >= BACKGROUND_BYTES,
    passphraseFd,
    warn,
  });
  const signature = await formatSignature(raw, format);
  const text = encoding === "binary" ? undefined : encodeSignature(signature, encoding);
  const bytes = text === undefined ? signature : concatBytes(utf8(text), utf8("\n"));
  if (target !== undefined) writeOutputFile(target, bytes);
  if (json) {
    const { deviceId } = identity.fields;
    await printJson({
      signature: text,
      format,
      encoding,
      deviceId,
      publicKey: encodeBase64(identity.publicKey),
    });
  } else if (target === undefined) await print(bytes);
}

/** Signing a file into itself would lose it. */
function requireOther({ info }: Input, out: string): void {
  const target = findInput(out);
  if (info === null || target === null || target.dev !== info.dev || target.ino !== info.ino) return;
  throw new AmeshError("ERR_USAGE", "cannot write the signature over its input", {
    hint: "choose another --out",
  });
}
