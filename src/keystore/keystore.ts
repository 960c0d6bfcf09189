/**
 * The seam between amesh and the places that can hold a private key. Every tier fits it; one contract suite runs
 * against each (tests/contract/). This file imports no tier.
 */
import type { Bytes } from "../bytes.ts";
import type { HashedMessage, Message } from "../crypto/p256.ts";
import type { Identity, TierName } from "../formats/identity_file.ts";
import type { Argon2Params } from "../formats/key_file.ts";
import type { PassphraseSource } from "../passphrase/sources.ts";
import type { Passphrases } from "../passphrase/passphrases.ts";
import type { Layout } from "../platform/paths.ts";

/** Whether a tier can be used here and now; if not, why, and what would change that. */
export type Availability =
  & (
    | { readonly available: true }
    | {
      readonly available: false;
      readonly cause: string;
      readonly remedy: string | null;
      /** What the user named is wrong: no other tier is taken in its place. */
      readonly code?: "ERR_USAGE";
    }
  )
  & {
    /** What `doctor` shows of it, by label: maker, state … */
    readonly details?: Readonly<Record<string, string>>;
  };

/** What a tier may use of its surroundings. */
export interface TierContext {
  readonly layout: Layout;
  readonly passphrases: Passphrases;
}

/** An opened private key. Disposing of it lets go of the key. */
export interface Signer extends Disposable {
  /** Compressed point, 33 bytes. */
  readonly publicKey: Bytes;
  /**
   * Signs a message of any length in constant memory: ECDSA P-256 with SHA-256.
   *
   * @returns raw `r || s`, 64 bytes, low-S.
   * @throws {AmeshError} `ERR_TIER_UNAVAILABLE`; `ERR_UNLOCK_FAILED` when it was opened with `background`.
   */
  sign(message: Message): Promise<Bytes>;
  /** What an agent holds on to. */
  readonly held: HeldKey;
}

/** A key that stays open, as its tier keeps it. */
export type HeldKey =
  | {
    /** In the memory of this process, where a key of software is whoever uses it. */
    readonly in: "memory";
    /**
     * The scalar, 32 bytes; the receiver wipes it. Waits until the key is unlocked.
     *
     * @throws {AmeshError} as `Signer.sign`.
     */
    takeScalar(): Promise<Bytes>;
  }
  | {
    /** Where no process sees it. */
    readonly in: "hardware";
    /**
     * As `Signer.sign`, for a message that has been read.
     *
     * @throws {AmeshError} as that; `ERR_TIER_UNAVAILABLE` from a tier that signs messages only, when only the digest was kept.
     */
    signHashed(message: HashedMessage): Promise<Bytes>;
  };

/** A key that exists in its tier and that no identity refers to yet. */
export interface NewKey {
  readonly signer: Signer;
  /** What identity.json must remember beside the common fields. */
  readonly identityFields: Readonly<Record<string, unknown>>;
  /** Makes durable what is needed to open the key again; called when it is proven, before it is committed. */
  persistSecrets(): void;
  /** Removes the key again, because it was not committed. */
  discard(): Promise<void>;
  /** Told when it is committed: what is kept in case the command is killed before can go. Never throws. */
  committed?(): void;
}

/** The new form of a key under a passphrase, which is not stored yet. */
export interface ResealedForm {
  /**
   * Puts it in the place of the old one, at once: the commit point.
   *
   * @throws {AmeshError} `ERR_SYSTEM`; see {@linkcode isInPlace}.
   */
  write(): void;
  /** Whether the stored key may have this form, after `write` has failed. */
  isInPlace(): boolean;
}

/** What a key under a passphrase is put under instead. */
export interface Reseal {
  /** 1 to 4096 bytes; `null` keeps the passphrase that opens the key. The caller wipes them. */
  readonly passphrase: Bytes | null;
  /** What is to be other than it is. */
  readonly cost: Partial<Argon2Params>;
  /**
   * Called when the key is open and the new form of it ready.
   *
   * @param source where the passphrase came from that opened the key.
   */
  commit(source: PassphraseSource, form: ResealedForm): void;
}

/** How a key under a passphrase is protected. */
export interface PassphraseProtection {
  /** Version of the key file. */
  readonly version: string;
  readonly cost: Argon2Params;
}

/** What a tier can do whose keys lie under a passphrase. */
export interface PassphraseTier {
  /** Reads it without unlocking the key. @throws {AmeshError} as `Tier.inspect`. */
  describe(context: TierContext, identity: Identity): PassphraseProtection;
  /**
   * Puts the key under another passphrase, another cost, or both, in the newest form of its file.
   *
   * @throws {AmeshError} as `Tier.open`; `ERR_USAGE` for a cost outside the limits; what `commit` throws. The stored key
   *   is then as it was, unless it was `write` that failed.
   */
  reseal(context: TierContext, identity: Identity, reseal: Reseal): Promise<void>;
}

/** One place that can hold a private key. */
export interface Tier {
  readonly name: TierName;
  /** Never throws, changes nothing, shows nothing. */
  probe(): Promise<Availability>;
  /** Of a tier whose keys lie under a passphrase. */
  readonly passphrase?: PassphraseTier;
  /**
   * Makes a new key. When it fails nothing of it is left.
   *
   * @param replaces the identity whose key it takes the place of: protection that was chosen for that one is not
   *   lowered for the new one.
   * @throws {AmeshError} `ERR_TIER_UNAVAILABLE`, `ERR_UNLOCK_FAILED`, `ERR_SYSTEM`.
   */
  generate(context: TierContext, replaces?: Identity | null): Promise<NewKey>;
  /**
   * Opens the key of an identity.
   *
   * @param background may return before the key is unlocked, which then happens while the message is being read.
   * @throws {AmeshError} `ERR_TIER_UNAVAILABLE`, `ERR_UNLOCK_FAILED`, `ERR_CORRUPT` (missing or another key),
   *   `ERR_UNSAFE_PERMISSIONS`, `ERR_SYSTEM`.
   */
  open(context: TierContext, identity: Identity, background: boolean): Promise<Signer>;
  /**
   * Looks whether the key of an identity is there, as far as that shows without unlocking it.
   *
   * @throws {AmeshError} what `open` would, except for passphrases.
   */
  inspect(context: TierContext, identity: Identity): Promise<void>;
  /**
   * Looks whether {@linkcode delete} would work, as far as that shows without deleting.
   *
   * @throws {AmeshError} what `delete` would.
   */
  checkDelete(context: TierContext, identity: Identity): Promise<void>;
  /**
   * Of a tier whose keys have no files: deletes the key that a killed command made and never put into force, which
   * `Layout.uncommitted` names. The caller holds the lock.
   *
   * @param inForce may name that key after all: then it stays.
   */
  removeUncommitted?(context: TierContext, inForce: Identity | null): Promise<void>;
  /** Destroys the key of an identity; none being there is no error. */
  delete(context: TierContext, identity: Identity): Promise<void>;
}

/** What a tier does for the key, in words that users read. */
export interface Protection {
  /** Whether the key is in hardware. */
  readonly hardware: boolean;
  /** Whether it can be taken out of there, and by whom. */
  readonly extractable: string;
  /** One sentence; for a software tier it begins with "Software-only protection". */
  readonly summary: string;
}

/** Protection of every tier, also of those that this machine cannot use. */
export const PROTECTION: Readonly<Record<TierName, Protection>> = {
  "secure-enclave": {
    hardware: true,
    extractable: "no",
    summary:
      "Hardware-backed: the private key was generated inside the Secure Enclave and cannot be extracted.",
  },
  "keychain": {
    hardware: false,
    extractable: "by the OS owner",
    summary:
      "Software-only protection: the login keychain and macOS access controls protect the private key.",
  },
  "tpm2": {
    hardware: true,
    extractable: "no",
    summary: "Hardware-backed: the private key was generated inside the TPM and cannot be extracted.",
  },
  "encrypted-file": {
    hardware: false,
    extractable: "with the passphrase",
    summary:
      "Software-only protection: it guards against a leak of the key file alone, NOT against an attacker " +
      "who can read files on this device, because that attacker can read the passphrase file too. Set " +
      "AUTH_MESH_PASSPHRASE at runtime, or move the passphrase file to a tmpfs or secrets manager, to keep the " +
      "secret off durable disk. For true hardware binding use Secure Enclave (macOS) or TPM 2.0 (Linux).",
  },
};
