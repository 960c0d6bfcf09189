/** This machine's identity, held open by a program that signs with it for as long as it runs. */
import { signByAgent } from "../agent/sign.ts";
import { fileStamp } from "../agent/stamp.ts";
import type { Bytes } from "../bytes.ts";
import { AmeshError } from "../errors.ts";
import { encodeChain } from "../formats/certificate_chain.ts";
import { formatSignature, type SignatureFormat } from "../formats/ecdsa_signature.ts";
import type { Identity, TierName } from "../formats/identity_file.ts";
import { refuseProtocols } from "../formats/protocol_guard.ts";
import { loadCertificate } from "../identity/certificate.ts";
import { loadIdentity, replacedMeanwhile } from "../identity/store.ts";
import { PROTECTION, type Protection } from "../keystore/keystore.ts";
import { absolutePath, ameshLayout, type Layout, layoutOf } from "../platform/paths.ts";
import { type Data, type Readable, readableOf } from "./message.ts";
import { OpenedKey } from "./opened_key.ts";
import { type GivenPassphrase, keepPassphrase, type KeptPassphrase } from "./passphrase.ts";
import { PublicKey } from "./public_key.ts";
import { findStatements, lookEvery, type Rotation } from "./rotation.ts";
import { type TokenOptions, unsignedToken } from "./token.ts";

/** How an identity is opened. */
export interface OpenOptions {
  /** The amesh directory. Default: `AUTH_MESH_DIR`, else `.amesh` in the home directory. */
  readonly directory?: string;
  /**
   * `never` (default): the key is opened in this process. `prefer`: an agent that serves this identity signs, and the key is
   * opened only when there is none; each signature then blocks this thread until the agent answers, which may wait for a
   * person.
   */
  readonly agent?: "never" | "prefer";
  /**
   * Of the encrypted-file tier: the passphrase, in place of every source that amesh knows. Bytes are copied, and the copy is
   * kept until the identity is disposed of, because a rotated key is opened again; a function is asked each time instead.
   */
  readonly passphrase?: GivenPassphrase;
  /** Told what a person should know: a passphrase file that others can read, a passphrase that was migrated. */
  readonly onWarning?: (message: string) => void;
  /**
   * Do to this process what the command line tool does to its own (Linux): no core dumps, no ptrace(2) by others, and
   * `AUTH_MESH_PASSPHRASE` overwritten and unset, so that no child inherits it. Default: nothing of the process is changed.
   */
  readonly hardenProcess?: boolean;
  /** How often {@linkcode MachineIdentity.onRotation} looks, in milliseconds. Default: 1000. */
  readonly rotationIntervalMs?: number;
}

/** How a message is signed. */
export interface SignOptions {
  /** `raw` (default): `r || s`, 64 bytes, IEEE P1363. `der`: ECDSA-Sig-Value, up to 72 bytes. Both low-S. */
  readonly format?: SignatureFormat;
  /**
   * Sign also what means something in a protocol that this key serves: the signing input of a JWS, a certificate request, a
   * login of ssh, a statement of amesh. Set it where your program has built the message itself, never for what others send.
   */
  readonly allowProtocolMessage?: boolean;
}

/** A signature, and whose it is. */
export interface KeyedSignature {
  /** In the format that was asked for. */
  readonly signature: Uint8Array;
  /** The key that made it. */
  readonly publicKey: PublicKey;
}

/** The identity in force, as it was when it was last looked at. */
interface InForce {
  /** Of identity.json. */
  readonly stamp: string;
  readonly identity: Identity;
  readonly publicKey: PublicKey;
}

const DEFAULT_INTERVAL_MS = 1000;
/** How often a signature is made again because the identity was replaced meanwhile. */
const MAX_ATTEMPTS = 10;

/**
 * The identity of this machine. Its properties and its signatures are those of the identity in force: every signature looks
 * whether another one has come into force (one lstat), and is then made with the new key.
 *
 * Any number of signatures may be asked for at the same time. Dispose of it to let go of the key and to wipe what is kept of
 * a passphrase; signatures that are under way are still made.
 */
export class MachineIdentity implements Disposable, AsyncDisposable {
  readonly #layout: Layout;
  readonly #useAgent: boolean;
  readonly #warn: (message: string) => void;
  readonly #passphrase: KeptPassphrase;
  readonly #intervalMs: number;
  readonly #listeners = new Set<(rotation: Rotation) => void>();
  #inForce: InForce;
  #following: Promise<InForce> | null = null;
  #key: Promise<OpenedKey> | null = null;
  /** A key that a chip has forgotten, while it is being closed. */
  #forgotten: Promise<void> = Promise.resolve();
  #watch: Disposable | null = null;
  #lastWarning = "";
  #isDisposed = false;

  private constructor(layout: Layout, inForce: InForce, passphrase: KeptPassphrase, options: OpenOptions) {
    this.#layout = layout;
    this.#inForce = inForce;
    this.#passphrase = passphrase;
    this.#useAgent = options.agent === "prefer";
    this.#warn = options.onWarning ?? (() => {});
    this.#intervalMs = options.rotationIntervalMs ?? DEFAULT_INTERVAL_MS;
  }

  /** See {@linkcode openIdentity}. */
  static async open(options: OpenOptions): Promise<MachineIdentity> {
    const { directory, passphrase: given, hardenProcess = false } = options;
    const layout = directory === undefined ? await ameshLayout() : layoutOf(absolutePath(directory));
    const passphrase = keepPassphrase(given, hardenProcess);
    try {
      const identity = new MachineIdentity(layout, await look(layout), passphrase, options);
      if (!identity.#useAgent) await identity.#openKey();
      return identity;
    } catch (error) {
      passphrase[Symbol.dispose]();
      throw error;
    }
  }

  /** `am_` and 16 characters that follow from the public key. */
  get deviceId(): string {
    return this.#inForce.identity.fields.deviceId;
  }

  /** The name that a person gave to this machine. */
  get name(): string {
    return this.#inForce.identity.fields.friendlyName;
  }

  /** The tier that holds the private key. */
  get backend(): TierName {
    return this.#inForce.identity.fields.storageBackend;
  }

  /** What that tier protects from. */
  get protection(): Protection {
    return PROTECTION[this.backend];
  }

  /** When the key was made. */
  get createdAt(): Date {
    return new Date(this.#inForce.identity.fields.createdAt);
  }

  /** The public key. */
  get publicKey(): PublicKey {
    return this.#inForce.publicKey;
  }

  /** The amesh directory, absolute. */
  get directory(): string {
    return this.#layout.directory;
  }

  /**
   * Signs: ECDSA P-256 with SHA-256, over data of any length in constant memory.
   *
   * @throws {AmeshError} `ERR_USAGE`: the data is a message of another protocol, see `allowProtocolMessage`; `ERR_BUSY`: the
   *   identity was replaced while a stream was being read; `ERR_NO_IDENTITY`: it was deleted; `ERR_TIER_UNAVAILABLE`,
   *   `ERR_UNLOCK_FAILED` and the like: the key cannot be used (any more).
   * @throws {TypeError} the identity has been disposed of, or the data is no data.
   */
  async sign(data: Data, options: SignOptions = {}): Promise<Uint8Array> {
    return (await this.signWithKey(data, options)).signature;
  }

  /** As {@linkcode sign}, and tells whose signature it is, which a rotation may just have changed. */
  async signWithKey(data: Data, options: SignOptions = {}): Promise<KeyedSignature> {
    const { format = "raw", allowProtocolMessage = false } = options;
    const readable = readableOf(data);
    const { raw, publicKey } = await this.#sign(() => allowProtocolMessage ? readable : guarded(readable));
    return { signature: await formatSignature(raw, format), publicKey };
  }

  /**
   * Makes a token (JWT, ES256): `kid` is the key's thumbprint, `iss` and `sub` are the device id.
   *
   * @throws {AmeshError} as {@linkcode sign}; `ERR_USAGE`: a claim, an audience or the lifetime makes no good token.
   */
  async token(options: TokenOptions): Promise<string> {
    const { raw, made } = await this.#sign((key) => {
      const token = unsignedToken(key, options);
      return { ...readableOf(token.signingInput), token };
    });
    return made.token.complete(raw);
  }

  /**
   * The certificate chain that `amesh certificate set` has stored for this key: PEM, the key's own first.
   *
   * @returns `null` when there is none, or it is of another key.
   * @throws {AmeshError} `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`, `ERR_NO_IDENTITY`.
   */
  async certificate(): Promise<string | null> {
    const { identity } = await this.#look();
    const stored = await loadCertificate(this.#layout, identity, this.#warn);
    return stored === null
      ? null
      : new TextDecoder().decode(encodeChain(stored.chain.map((der) => ({ der }))));
  }

  /**
   * Calls the listener each time that another identity has come into force, whichever process did that. Looks at intervals,
   * which works on every file system, and does not keep the process alive.
   *
   * @returns dispose of it to stop listening.
   */
  onRotation(listener: (rotation: Rotation) => void): Disposable {
    this.#requireOpen();
    // Two subscriptions of one function are two.
    const own = (rotation: Rotation) => listener(rotation);
    this.#listeners.add(own);
    this.#watch ??= lookEvery(this.#intervalMs, () => void this.#lookQuietly());
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(own);
        if (this.#listeners.size === 0) this.#stopWatching();
      },
    };
  }

  /** Lets go of the key; signatures that are under way are still made. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#listeners.clear();
    this.#stopWatching();
    this.#closeKey();
    this.#passphrase[Symbol.dispose]();
  }

  /** As {@linkcode MachineIdentity[Symbol.dispose]}. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this[Symbol.dispose]());
  }

  #requireOpen(): void {
    if (this.#isDisposed) throw new TypeError("the identity has been disposed of");
  }

  /** @param make what is to be signed, which may depend on the key. */
  async #sign<T extends Readable>(
    make: (key: PublicKey) => T,
  ): Promise<{ raw: Bytes; publicKey: PublicKey; made: T }> {
    for (let attempts = 1;; attempts++) {
      this.#requireOpen();
      const { publicKey } = await this.#look();
      const made = make(publicKey);
      const raw = await this.#signOnce(publicKey, made, attempts === MAX_ATTEMPTS);
      // What the old key signed after the new one came into force is nobody's signature.
      if (raw !== null && (await this.#look()).publicKey.equals(publicKey)) return { raw, publicKey, made };
      if (made.isSpent() || attempts === MAX_ATTEMPTS) throw replacedMeanwhile();
    }
  }

  /** @returns `null` when it is to be tried again: the identity was replaced meanwhile, or the hardware reset. */
  async #signOnce({ deviceId }: PublicKey, data: Readable, isLast: boolean): Promise<Bytes | null> {
    const made = this.#useAgent ? await signByAgent(this.#layout, data.message()) : null;
    if (made !== null) return made.identity.fields.deviceId === deviceId ? made.signature : null;
    const opening = this.#openKey();
    const key = await opening;
    if (key.deviceId !== deviceId) return null;
    try {
      return await key.use((signer) => signer.sign(data.message()));
    } catch (error) {
      if (!key.isInHardware || isCallersFault(error)) throw error;
      // A chip may have been reset under its connection: whoever signs next opens the key again, unless somebody has.
      if (this.#key === opening) {
        this.#closeKey();
        this.#forgotten = key.closed;
      }
      if (isLast || data.isSpent() || isTimeout(error)) throw error;
      return null;
    }
  }

  /** The key in this process, opened when it is first needed. */
  #openKey(): Promise<OpenedKey> {
    this.#requireOpen();
    if (this.#key !== null) return this.#key;
    const { input } = this.#passphrase;
    // A chip numbers what is loaded: closing the old key late would unload the new one.
    const opening = this.#forgotten.then(() => OpenedKey.open(this.#layout, this.#warn, input));
    this.#key = opening;
    opening.catch(() => {
      if (this.#key === opening) this.#key = null;
    });
    return opening;
  }

  #closeKey(): void {
    this.#key?.then((key) => key.retire(), () => {});
    this.#key = null;
  }

  /** The identity in force, read again when its file is another one than before. */
  async #look(): Promise<InForce> {
    if (fileStamp(this.#layout.identity) === this.#inForce.stamp) return this.#inForce;
    this.#following ??= this.#follow().finally(() => this.#following = null);
    return await this.#following;
  }

  async #follow(): Promise<InForce> {
    const before = this.#inForce;
    try {
      const now = await look(this.#layout);
      this.#inForce = now;
      if (now.publicKey.equals(before.publicKey)) return now;
      this.#closeKey();
      await this.#tell(before.publicKey, now.publicKey);
      return now;
    } catch (error) {
      // The key of a deleted identity is destroyed.
      if (error instanceof AmeshError && error.code === "ERR_NO_IDENTITY") this.#closeKey();
      throw error;
    }
  }

  async #tell(previous: PublicKey, current: PublicKey): Promise<void> {
    if (this.#listeners.size === 0) return;
    const statements = await findStatements(this.#layout, previous, current);
    for (const listener of this.#listeners) {
      // What it throws is its own affair, and no reason for a signature to fail.
      queueMicrotask(() => listener({ previous, current, statements }));
    }
  }

  async #lookQuietly(): Promise<void> {
    try {
      await this.#look();
      this.#lastWarning = "";
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      if (text !== this.#lastWarning) this.#warn(text);
      this.#lastWarning = text;
    }
  }

  #stopWatching(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = null;
  }
}

function guarded({ isSpent, message }: Readable): Readable {
  return { isSpent, message: () => refuseProtocols(message(), "{ allowProtocolMessage: true }") };
}

async function look(layout: Layout): Promise<InForce> {
  // The stamp first: a file that is replaced in between is looked at again.
  const stamp = fileStamp(layout.identity);
  const identity = await loadIdentity(layout);
  return { stamp, identity, publicKey: await PublicKey.ofPoint(identity.publicKey) };
}

/** Whether opening the key again would not help. */
function isCallersFault(error: unknown): boolean {
  return !(error instanceof AmeshError) || error.code === "ERR_USAGE";
}

function isTimeout(error: unknown): boolean {
  return (error as { condition?: unknown } | null)?.condition === "timeout";
}

/**
 * Opens the identity of this machine, and its key in the tier that it was made in.
 *
 * @throws {AmeshError} `ERR_NO_IDENTITY`: make one with `amesh init`; `ERR_UNLOCK_FAILED`: no passphrase, or a wrong one;
 *   `ERR_TIER_UNAVAILABLE`, `ERR_CORRUPT`, `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`. Message and hint are for the operator.
 */
export async function openIdentity(options: OpenOptions = {}): Promise<MachineIdentity> {
  return await MachineIdentity.open(options);
}
