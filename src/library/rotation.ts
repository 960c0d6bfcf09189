/** Noticing that another identity has come into force, and what shows that its key follows the old one. */
import { clearInterval, setInterval } from "node:timers";
import type { Bytes } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { type ContinuityStatement, MAX_CONTINUITY_BYTES, parseContinuity } from "../formats/continuity.ts";
import { verifyChain } from "../identity/continuity.ts";
import { listNames, STATEMENT_NAME } from "../identity/directory.ts";
import { readPrivateFile } from "../platform/files.ts";
import { baseName, type Layout } from "../platform/paths.ts";
import type { PublicKey } from "./public_key.ts";

/** The identity has been replaced, by this or another process: `amesh rotate`, or `amesh init --force`. */
export interface Rotation {
  /** The key that was in force. Its private half has been destroyed. */
  readonly previous: PublicKey;
  /** The key that is in force. */
  readonly current: PublicKey;
  /**
   * The continuity statements (JSON, docs/file-formats.md) by which the keys say that the new one follows the old one, in
   * order and verified; more than one where the key was rotated more than once. Empty where there is no such chain: then
   * nothing but this directory says that it is the same machine.
   */
  readonly statements: readonly string[];
}

/** More rotations than this are not followed. */
const MAX_STATEMENTS = 100;

/** The statements that lead from one key to another; empty when they do not, or cannot be read. */
export async function findStatements(layout: Layout, from: PublicKey, to: PublicKey): Promise<string[]> {
  try {
    const texts: string[] = [];
    const statements: ContinuityStatement[] = [];
    const paths = listNames(layout.history, STATEMENT_NAME);
    for (let id = from.deviceId; id !== to.deviceId;) {
      const path = paths.find((path) => baseName(path).startsWith(`${id}.`));
      const bytes = path === undefined ? null : readPrivateFile(path, MAX_CONTINUITY_BYTES);
      if (path === undefined || bytes === null || texts.length === MAX_STATEMENTS) return [];
      const statement = await parseContinuity(bytes, path);
      statements.push(statement);
      texts.push(new TextDecoder().decode(bytes));
      id = statement.new.deviceId;
    }
    await verifyChain(statements, from.compressed as Bytes);
    return texts;
  } catch (error) {
    if (error instanceof AmeshError) return [];
    throw error;
  }
}

/** Calls `look` again and again, without keeping the process alive, until it is disposed of. */
export function lookEvery(milliseconds: number, look: () => void): Disposable {
  const timer = setInterval(look, milliseconds);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
