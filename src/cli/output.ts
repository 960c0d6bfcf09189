/**
 * What reaches the user: results on stdout, everything for people on stderr. The only file that writes to either.
 */
import { utf8 } from "../bytes.ts";
import { errnoOf, systemError } from "../errors.ts";
import { printable } from "../formats/printable.ts";
import { type FileHandle, host } from "../platform/host.ts";
import { untilReady } from "../platform/ready.ts";

export { printable };

/** The reader of stdout has gone away, which is no error: the command ends quietly. */
export class OutputClosed extends Error {
  override readonly name: string = "OutputClosed";
}

/** Writes a result. @throws {OutputClosed}; {AmeshError} `ERR_SYSTEM` (disk full …). */
export async function print(result: string | Uint8Array): Promise<void> {
  try {
    if (result.length > 0) await host.writeStdout(typeof result === "string" ? utf8(result) : result);
  } catch (error) {
    if (errnoOf(error) === "EPIPE") throw new OutputClosed("stdout was closed", { cause: error });
    throw systemError("write to standard output", error);
  }
}

/** Writes a result as one line of JSON. */
export async function printJson(value: unknown): Promise<void> {
  await print(`${JSON.stringify(value)}\n`);
}

/** Writes a line for people. Nobody listening is no reason to fail. */
export function tell(line: string): void {
  try {
    writeStream(host.stderr, utf8(`${line}\n`));
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

/** A warning: the command goes on. */
export function warn(message: string): void {
  tell(`amesh: warning: ${printable(message)}`);
}

function writeStream(stream: FileHandle, bytes: Uint8Array): void {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(untilReady(() => stream.write(rest)));
}
