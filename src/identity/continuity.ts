/** Making and checking continuity statements: that a new key follows an old one, said by both (docs/file-formats.md). */
import { type Bytes, equalBytes } from "../bytes.ts";
import { inOnePiece, verify } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import {
  type Continuity,
  continuityMessage,
  type ContinuityRole,
  type ContinuityStatement,
  encodeContinuity,
} from "../formats/continuity.ts";
import type { Signer } from "../keystore/keystore.ts";
import { FILE_MODE, writeFileAtomic } from "../platform/files.ts";
import { joinPath, type Layout } from "../platform/paths.ts";

/** What one of the two keys says, raw, 64 bytes. @throws {AmeshError} as `Signer.sign`. */
export async function signContinuity(
  signer: Signer,
  role: ContinuityRole,
  continuity: Continuity,
): Promise<Bytes> {
  return await signer.sign(inOnePiece(continuityMessage(role, continuity)));
}

/** Whether both signatures of a statement are valid. */
export async function isValidStatement(statement: ContinuityStatement): Promise<boolean> {
  const says = async (role: ContinuityRole, signature: Bytes) =>
    await verify(statement[role].publicKey, [signature], inOnePiece(continuityMessage(role, statement)));
  return await says("old", statement.oldSignature) && await says("new", statement.newSignature);
}

/** Where a statement of these two device ids is kept. */
export function statementPath({ history }: Layout, oldDeviceId: string, newDeviceId: string): string {
  return joinPath(history, `${oldDeviceId}.${newDeviceId}.json`);
}

/** Keeps a statement in `history/`, which exists. @throws {AmeshError} `ERR_SYSTEM`. */
export function saveStatement(layout: Layout, statement: ContinuityStatement): void {
  const path = statementPath(layout, statement.old.deviceId, statement.new.deviceId);
  writeFileAtomic(path, encodeContinuity(statement), FILE_MODE, "replace");
}

/**
 * Puts statements in the order in which the keys followed each other, and checks each of them.
 *
 * @param statements in any order; all of them must belong to one chain.
 * @param first public key that the chain begins with: compressed point, 33 bytes.
 * @returns the statements in order.
 * @throws {AmeshError} `ERR_SIGNATURE_INVALID`: one is not valid, or they are no chain that begins there.
 */
export async function verifyChain(
  statements: readonly ContinuityStatement[],
  first: Bytes,
): Promise<ContinuityStatement[]> {
  const rest = [...statements];
  const chain: ContinuityStatement[] = [];
  for (let key = first; rest.length > 0;) {
    const at = rest.findIndex(({ old }) => equalBytes(old.publicKey, key));
    const [next] = at < 0 ? [] : rest.splice(at, 1);
    if (next === undefined) throw brokenChain(chain, rest);
    if (!await isValidStatement(next)) {
      throw invalid(
        `the statement of ${next.old.deviceId} about ${next.new.deviceId} is not signed by both keys`,
      );
    }
    chain.push(next);
    key = next.new.publicKey;
  }
  return chain;
}

function brokenChain(
  chain: readonly ContinuityStatement[],
  rest: readonly ContinuityStatement[],
): AmeshError {
  const fork = rest.find(({ old }) => chain.some((other) => other.old.deviceId === old.deviceId));
  if (fork !== undefined) return invalid(`two statements are about what follows ${fork.old.deviceId}`);
  const from = chain.at(-1)?.new.deviceId ?? "the given key";
  return invalid(`no statement leads from ${from} to ${rest.map(({ old }) => old.deviceId).join(", ")}`);
}

function invalid(reason: string): AmeshError {
  return new AmeshError("ERR_SIGNATURE_INVALID", `the rotation is not valid: ${reason}`, {
    hint: "give every statement between the old key and the new one, once, and the public key of the oldest",
  });
}
