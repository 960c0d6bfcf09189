/** Errors as they cross threads, pipes and sockets, and back. */
import { AmeshError, type AmeshErrorCode, EXIT_CODES } from "../errors.ts";
import type { Refusal } from "../formats/agent_message.ts";

/** What is told of an error. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof AmeshError) {
    return { code: error.code, message: error.message, hint: error.hint ?? "" };
  }
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return {
    code: "ERR_INTERNAL",
    message: `unexpected ${text}`,
    hint: "this is a defect of amesh; please report it",
  };
}

/**
 * The error that was told of. A code that is not known here is `ERR_INTERNAL`.
 *
 * @param also what can be done besides what the hint says.
 */
export function errorOf({ code, message, hint }: Refusal, also = ""): AmeshError {
  const known = Object.hasOwn(EXIT_CODES, code) ? code as AmeshErrorCode : "ERR_INTERNAL";
  const hints = [hint, also].filter((text) => text !== "").join("; or ");
  return new AmeshError(known, message, hints === "" ? {} : { hint: hints });
}
