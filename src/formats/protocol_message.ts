/** Messages that mean something in a protocol that this key serves, and that `sign` must not sign unasked. */

/** How much of a message tells what it is, in bytes. */
export const PROTOCOL_START_BYTES = 64;

/** What amesh itself defines and signs begins with an ASCII label, a version and a zero byte. */
const AMESH_LABEL = /^amesh [a-z0-9 -]{1,40} v[0-9]{1,4}\0/;

/**
 * @param start the first {@linkcode PROTOCOL_START_BYTES} of a message, or all of a shorter one.
 * @returns what it is, after "it is"; `null` when it is nothing of that kind.
 */
export function findProtocol(start: Uint8Array): string | null {
  return AMESH_LABEL.test(new TextDecoder("latin1").decode(start)) ? "a statement of amesh itself" : null;
}
