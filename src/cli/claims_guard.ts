/** Keeps `jws` from making by accident what a verifier takes for a token, with claims that nobody has looked at. */
import { concatBytes } from "../bytes.ts";
import type { Message } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import { isTokenType } from "../formats/jws.ts";
import {
  beginsAsClaims,
  hasOwnClaims,
  LONGEST_CLAIM_NAME_BYTES,
  mentionsOwnClaims,
} from "../formats/jwt_claims.ts";
import { inspectStart } from "../formats/protocol_guard.ts";

/** @throws {AmeshError} `ERR_USAGE`: the header would say that this is a token. */
export function refuseTokenType(typ: string): void {
  if (isTokenType(typ)) throw isToken(`"${typ}" is the type of one`);
}

/**
 * Passes a payload on, whose members are looked at: all of an object of up to 64 KiB, the outermost ones exactly; of a longer
 * one wherever such a name stands.
 *
 * @throws {AmeshError} `ERR_USAGE` before the last piece: verifiers would find claims in it.
 */
export async function* refuseClaims(payload: Message): Message {
  let isLongObject = false;
  const judge = (start: Uint8Array, isWhole: boolean) => {
    if (!beginsAsClaims(start)) return;
    if (isWhole && hasOwnClaims(start)) throw isToken("it has claims such as exp and aud");
    isLongObject = !isWhole;
  };
  let end: Uint8Array = new Uint8Array(0);
  for await (const piece of inspectStart(payload, judge)) {
    if (isLongObject) {
      const part = concatBytes(end, piece);
      if (mentionsOwnClaims(part)) throw isToken("it may have claims such as exp and aud");
      end = part.slice(-LONGEST_CLAIM_NAME_BYTES);
    }
    yield piece;
  }
}

function isToken(why: string): AmeshError {
  return new AmeshError(
    "ERR_USAGE",
    `cannot sign this payload: verifiers would take it for a token, ${why}`,
    {
      hint:
        "make tokens with: amesh jwt; if you know what your signature will be taken for: --allow-protocol-message",
    },
  );
}
