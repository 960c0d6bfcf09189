/** A key that stays open while it is in force: closed when it is in force no more and the last signature is made. */
import { wipe } from "../bytes.ts";
import { type OpenedIdentity, openIdentity } from "../identity/open.ts";
import type { Signer } from "../keystore/keystore.ts";
import type { PassphraseInput } from "../passphrase/passphrases.ts";
import type { Layout } from "../platform/paths.ts";

/** An opened private key that many signatures use at the same time. */
export class OpenedKey {
  readonly #opened: OpenedIdentity;
  #users = 0;
  #isRetired = false;
  readonly #closed = Promise.withResolvers<void>();

  private constructor(opened: OpenedIdentity) {
    this.#opened = opened;
  }

  /** Opens the key of the identity in force; Argon2id runs in another thread. @throws {AmeshError} as `openIdentity`. */
  static async open(
    layout: Layout,
    warn: (message: string) => void,
    input: PassphraseInput,
  ): Promise<OpenedKey> {
    const opened = await openIdentity(layout, warn, true, input);
    try {
      const { held } = opened.signer;
      // Whether the passphrase is the right one shows when the key is first wanted: now, not with the first signature.
      if (held.in === "memory") wipe(await held.takeScalar());
      // The key may stay open for months, and a program that is asked each time counts on nothing being kept.
      opened.forgetPassphrase();
      return new OpenedKey(opened);
    } catch (error) {
      opened[Symbol.dispose]();
      throw error;
    }
  }

  get deviceId(): string {
    return this.#opened.identity.fields.deviceId;
  }

  /** Whether the key is in hardware, which can be reset under an opened key. */
  get isInHardware(): boolean {
    return this.#opened.signer.held.in === "hardware";
  }

  /** Settled when the key has been closed. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** @returns `null` when the key has been {@linkcode retire}d. */
  async use<T>(use: (signer: Signer) => Promise<T>): Promise<T | null> {
    if (this.#isRetired) return null;
    this.#users++;
    try {
      return await use(this.#opened.signer);
    } finally {
      this.#users--;
      this.#closeIfUnused();
    }
  }

  /** Lets nobody use it any more, and closes it as soon as nobody does. */
  retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    this.#closeIfUnused();
  }

  #closeIfUnused(): void {
    if (!this.#isRetired || this.#users > 0) return;
    this.#opened[Symbol.dispose]();
    this.#closed.resolve();
  }
}
