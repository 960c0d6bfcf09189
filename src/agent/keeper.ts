/**
 * The main thread's part of an agent: opens the key as every command does, keeps a chip's connection, and knows the
 * passphrase of a lock. A key in software goes to the socket thread and is let go of here.
 */
import { type Bytes, encodeBase64, wipe } from "../bytes.ts";
import * as aesGcm from "../crypto/aes_gcm.ts";
import { stretchPassphrase } from "../crypto/argon2id.ts";
import { expandPoint, type HashedMessage } from "../crypto/p256.ts";
import { AmeshError } from "../errors.ts";
import type { Refusal } from "../formats/agent_message.ts";
import type { Identity } from "../formats/identity_file.ts";
import { DEFAULT_ARGON2_PARAMS, NONCE_BYTES, SALT_BYTES } from "../formats/key_file.ts";
import { printable } from "../formats/printable.ts";
import { encodeSshKey } from "../formats/public_key.ts";
import { type OpenedIdentity, openIdentity } from "../identity/open.ts";
import { loadIdentity } from "../identity/store.ts";
import type { PassphraseInput } from "../passphrase/passphrases.ts";
import type { Layout } from "../platform/paths.ts";
import type { KeyFacts, KeyState } from "./messages.ts";
import { refusalOf } from "./refusal.ts";
import { fileStamp } from "./stamp.ts";

/** What a locked agent keeps: a key in software, or nothing, under the passphrase of the lock. */
interface Sealed {
  readonly salt: Bytes;
  readonly nonce: Bytes;
  readonly ciphertext: Bytes;
  /** Whose key it is. */
  readonly deviceId: string | null;
}

/** Opens, keeps and closes the key of one directory. */
export class Keeper implements Disposable {
  /** Of a key in hardware. */
  #opened: OpenedIdentity | null = null;
  #sealed: Sealed | null = null;
  #deviceId: string | null = null;
  #input: PassphraseInput;

  /** @param input where a passphrase may come from when the key is opened for the first time. */
  constructor(readonly layout: Layout, readonly warn: (message: string) => void, input: PassphraseInput) {
    this.#input = input;
  }

  /** Opens the key of the identity in force. @throws {AmeshError} as `openIdentity`. */
  async open(): Promise<KeyState> {
    this.close();
    const input = this.#input;
    // A descriptor was read to its end, and nobody sits at the terminal of a process in the background.
    this.#input = {};
    const opened = await openIdentity(this.layout, this.warn, false, input);
    let isKept = false;
    try {
      const { held } = opened.signer;
      isKept = held.in === "hardware";
      const open = held.in === "memory"
        ? { in: "memory" as const, scalar: await held.takeScalar() }
        : { in: "hardware" as const };
      if (isKept) this.#opened = opened;
      // Opening can have written identity.json again; that file must still be this identity's.
      const stamp = fileStamp(this.layout.identity);
      const { fields } = await loadIdentity(this.layout);
      const isSame = fields.deviceId === opened.identity.fields.deviceId;
      return { stamp: isSame ? stamp : "", facts: await this.#factsOf(opened.identity), open, problem: null };
    } finally {
      if (!isKept) opened[Symbol.dispose]();
    }
  }

  /** As {@linkcode open}; what prevents it becomes part of the answer. */
  async tryOpen(): Promise<KeyState> {
    const state = await this.#look();
    if (state.problem !== null || this.#sealed !== null) return state;
    try {
      return await this.open();
    } catch (error) {
      return { ...state, problem: refusalOf(error) };
    }
  }

  /**
   * Looks at an identity.json that is another file than before.
   *
   * @param isOpen whether the key was open: then that of another identity is opened.
   * @returns the stamp, when it names the same key.
   */
  async follow(isOpen: boolean): Promise<KeyState | string> {
    const before = this.#deviceId;
    const state = await this.#look();
    if (state.facts !== null && state.facts.deviceId === before) return state.stamp;
    this.close();
    return isOpen ? await this.tryOpen() : state;
  }

  async #look(): Promise<KeyState> {
    const stamp = fileStamp(this.layout.identity);
    try {
      const identity = await loadIdentity(this.layout);
      return { stamp, facts: await this.#factsOf(identity), open: null, problem: null };
    } catch (error) {
      this.#deviceId = null;
      return { stamp, facts: null, open: null, problem: refusalOf(error) };
    }
  }

  async #factsOf({ fields, publicKey }: Identity): Promise<KeyFacts> {
    this.#deviceId = fields.deviceId;
    return {
      deviceId: fields.deviceId,
      backend: fields.storageBackend,
      name: printable(fields.friendlyName),
      publicKey: encodeBase64(publicKey),
      blob: encodeSshKey(await expandPoint(publicKey)),
    };
  }

  /** Lets the chip sign. After a failure the key is opened again, once: the chip may have been reset. */
  async sign(message: HashedMessage): Promise<Bytes | Refusal> {
    try {
      return await this.#signOnce(message);
    } catch (error) {
      // A chip that does not answer would only be waited for once more.
      if (isTimeout(error)) {
        this.close();
        return refusalOf(error);
      }
    }
    try {
      await this.open();
      return await this.#signOnce(message);
    } catch (error) {
      this.close();
      return refusalOf(error);
    }
  }

  async #signOnce(message: HashedMessage): Promise<Bytes> {
    if (this.#sealed !== null) throw new AmeshError("ERR_UNLOCK_FAILED", "cannot sign: the agent is locked");
    if (this.#opened === null) await this.open();
    const held = this.#opened?.signer.held;
    if (held?.in === "hardware") return await held.signHashed(message);
    throw new AmeshError("ERR_TIER_UNAVAILABLE", "cannot sign: the key has moved to another storage");
  }

  /** Locks: the key is closed, what was in memory of it lies under the passphrase. Wipes both. @returns whether it did. */
  async lock(passphrase: Bytes, scalar: Bytes | null): Promise<boolean> {
    try {
      if (passphrase.length === 0) return false;
      const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES));
      const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
      const ciphertext = await withStretched(
        passphrase,
        salt,
        (key) => aesGcm.seal(key, nonce, scalar ?? new Uint8Array(0), ASSOCIATED_DATA),
      );
      this.#sealed = { salt, nonce, ciphertext, deviceId: this.#deviceId };
      this.close();
      return true;
    } catch (error) {
      this.warn(refusalOf(error).message);
      return false;
    } finally {
      wipe(passphrase, scalar ?? undefined);
    }
  }

  /** Unlocks. Wipes the passphrase. @returns what the lock kept; `null` when the passphrase is another one. */
  async unlock(passphrase: Bytes): Promise<{ readonly scalar: Bytes | null } | null> {
    const sealed = this.#sealed;
    if (sealed === null) return null;
    try {
      const scalar = await withStretched(
        passphrase,
        sealed.salt,
        (key) => aesGcm.open(key, sealed.nonce, sealed.ciphertext, ASSOCIATED_DATA),
      );
      if (scalar === null) return null;
      this.#sealed = null;
      if (scalar.length > 0 && sealed.deviceId === this.#deviceId) return { scalar };
      wipe(scalar);
      return { scalar: null };
    } catch (error) {
      this.warn(refusalOf(error).message);
      return null;
    } finally {
      wipe(passphrase);
    }
  }

  /** Lets go of the key. */
  close(): void {
    this.#opened?.[Symbol.dispose]();
    this.#opened = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** The key of a lock serves nothing else: it comes from a salt of its own. */
const ASSOCIATED_DATA = new TextEncoder().encode("amesh agent lock v1\0");

async function withStretched<T>(passphrase: Bytes, salt: Bytes, use: (key: Bytes) => T): Promise<T> {
  const { t, m, p } = DEFAULT_ARGON2_PARAMS;
  const key = await stretchPassphrase({ passphrase, salt, params: { t, m, p } }, false);
  try {
    return use(key);
  } finally {
    wipe(key);
  }
}

function isTimeout(error: unknown): boolean {
  return (error as { condition?: unknown } | null)?.condition === "timeout";
}
