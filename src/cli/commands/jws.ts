/** `amesh jws`: a JSON Web Signature over a file or standard input. */
import { signJws } from "../../agent/token.ts";
import { encodeBase64Url } from "../../bytes.ts";
import { inOnePiece, type Message } from "../../crypto/p256.ts";
import { AmeshError } from "../../errors.ts";
import { compactJws, isMediaType } from "../../formats/jws.ts";
import { loadIdentity } from "../../identity/store.ts";
import { openInput, readPieces, readSmallInput } from "../../platform/input.ts";
import { forbidInspection } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { refuseClaims, refuseTokenType } from "../claims_guard.ts";
import { loadHeaderChain } from "../header_chain.ts";
import { print, printJson, warn } from "../output.ts";
import { requireOneReader } from "../standard_input.ts";

/** Options of `jws`. */
export type JwsFlags = {
  readonly detached: boolean;
  readonly typ: string;
  readonly headerX5c: boolean;
  readonly noAgent: boolean;
  readonly allowProtocolMessage: boolean;
  readonly passphraseFd?: number;
  readonly json: boolean;
};

/** The largest payload that is written into the result, in bytes. */
const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;

/** @throws {AmeshError} `ERR_USAGE`: it could be taken for a token, or the payload is too large; as `signJws`. */
export async function jws(flags: JwsFlags, file = "-"): Promise<void> {
  const { detached, typ, headerX5c, noAgent, allowProtocolMessage, passphraseFd, json } = flags;
  if (!isMediaType(typ)) {
    throw new AmeshError("ERR_USAGE", `cannot use ${JSON.stringify(typ.slice(0, 40))} for --typ`, {
      hint: "give a media type, such as example or application/example",
    });
  }
  if (!allowProtocolMessage) refuseTokenType(typ);
  forbidInspection();
  requireOneReader(file, passphraseFd);
  const content = detached ? null : readPayload(file);
  const message = content === null ? readPieces(openInput(file)) : inOnePiece(content);
  const layout = await ameshLayout();
  const payload: Message = allowProtocolMessage ? message : refuseClaims(message);
  const options = { useAgent: !noAgent, background: false, passphraseFd, warn };
  const identity = await loadIdentity(layout);
  const chain = headerX5c ? await loadHeaderChain(layout, identity) : null;
  const made = await signJws(layout, identity, { typ, chain, payload }, options);
  const text = compactJws(
    made.encodedHeader,
    content === null ? "" : encodeBase64Url(content),
    made.signature,
  );
  if (!json) return await print(`${text}\n`);
  await printJson({ jws: text, header: made.header, detached, deviceId: identity.fields.deviceId });
}

function readPayload(file: string): Uint8Array {
  try {
    return readSmallInput(file, MAX_PAYLOAD_BYTES).bytes;
  } catch (error) {
    if (!(error instanceof AmeshError) || error.code !== "ERR_CORRUPT") throw error;
    throw new AmeshError("ERR_USAGE", "cannot sign this payload: it is larger than 16 MiB", {
      hint: "leave it out of the result: --detached",
      cause: error,
    });
  }
}
