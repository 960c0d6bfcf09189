/** Standard input, which can be read once. */
import { AmeshError } from "../errors.ts";
import { isStandardInput } from "../platform/input.ts";

/** @throws {AmeshError} `ERR_USAGE`: the file and the passphrase would both come from there. */
export function requireOneReader(file: string, passphraseFd: number | undefined): void {
  if (passphraseFd !== 0 || !isStandardInput(file)) return;
  throw new AmeshError("ERR_USAGE", "standard input can be read once only", {
    hint: "name the file to sign, or another descriptor",
  });
}
