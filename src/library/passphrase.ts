/** The passphrase that a program gives to the library, kept for the day when the key is rotated. */
import { type Bytes, wipe } from "../bytes.ts";
import { PASSPHRASE_VARIABLE } from "../passphrase/sources.ts";
import type { PassphraseInput } from "../passphrase/passphrases.ts";
import { forbidInspection, hasEnvironmentVariable, takeEnvironmentSecret } from "../platform/libc.ts";

/** Bytes, which are copied, or a function that is asked each time that a key is opened. */
export type GivenPassphrase = Uint8Array | (() => Uint8Array | Promise<Uint8Array>);

/** Where a passphrase comes from; disposing of it wipes what is kept. */
export interface KeptPassphrase extends Disposable {
  readonly input: PassphraseInput;
}

/** @param hardenProcess what amesh does to a process of its own: no core dumps, no ptrace(2), no passphrase in the environment. @throws {TypeError} it is of another type. */
export function keepPassphrase(given: GivenPassphrase | undefined, hardenProcess: boolean): KeptPassphrase {
  // Whoever is not told by types gives a string; another source must not stand in for it.
  if (given !== undefined && typeof given !== "function" && !(given instanceof Uint8Array)) {
    throw new TypeError("the passphrase is neither a Uint8Array nor a function");
  }
  let kept = given instanceof Uint8Array ? Uint8Array.from(given) : null;
  if (hardenProcess) {
    forbidInspection();
    if (hasEnvironmentVariable(PASSPHRASE_VARIABLE)) {
      const taken = takeEnvironmentSecret(PASSPHRASE_VARIABLE);
      if (given === undefined) kept = taken;
      else wipe(taken);
    }
  }
  const ask = async (): Promise<Bytes> => {
    if (typeof given === "function") return Uint8Array.from(await given());
    return Uint8Array.from(kept ?? []);
  };
  const isGiven = typeof given === "function" || kept !== null;
  return {
    input: { given: isGiven ? ask : undefined, keepsEnvironment: true },
    [Symbol.dispose]: () => wipe(kept ?? undefined),
  };
}
