/** What every tier must do, whatever it is made of. A tier's own test file calls {@linkcode keystoreContract}. */
import assert from "node:assert/strict";
import { createECDH } from "node:crypto";
import { after, test } from "node:test";
import { type Bytes, encodeBase64, utf8 } from "../../src/bytes.ts";
import { expandPoint, generateKeyPair } from "../../src/crypto/p256.ts";
import {
  type Identity,
  newIdentityFields,
  TIER_NAMES,
  type TierName,
} from "../../src/formats/identity_file.ts";
import type { Signer, Tier, TierContext } from "../../src/keystore/keystore.ts";
import { ameshError } from "../support/errors.ts";

/** A place of its own for the keys of one tier: a directory, a simulator … */
export interface Surroundings extends Disposable {
  /** The context of one command: what a former one has read of secrets is gone. */
  context(): TierContext;
  /** Names of all that the tier has stored, in any order. */
  stored(): readonly string[];
}

/** Limits of a tier. */
export interface ContractOptions {
  /** Why none of this can run here; the tests are then skipped and bear this in their names. */
  readonly skip?: string;
  /** How many signatures show that short r and s are no trouble: one in 128 has a zero byte in front. */
  readonly signatures?: number;
}

/** Tiers that cannot sign a digest alone. */
const MESSAGES_ONLY: readonly TierName[] = ["secure-enclave"];

const HALF_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n / 2n;
const ONE_MIB = 1 << 20;

/** A key of the tier and the identity that names it. */
export interface Made {
  readonly identity: Identity;
  readonly surroundings: Surroundings;
}

/** One message, as a signer takes it; the buffer is used again for every piece, which the contract of messages allows. */
export async function* pieces(message: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(size);
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
  }
}

/** Whether WebCrypto, which knows nothing of amesh, accepts a signature; it must have the one form that is promised. */
export async function accepts(publicKey: Bytes, signature: Bytes, message: Bytes): Promise<boolean> {
  assert.equal(signature.length, 64);
  assert.ok(BigInt(`0x${signature.subarray(32).toHex()}`) <= HALF_ORDER, "s is low");
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const key = await crypto.subtle.importKey("raw", await expandPoint(publicKey), algorithm, false, [
    "verify",
  ]);
  return await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, signature, message);
}

/** The compressed point of a scalar, by other code than amesh's. */
function publicKeyOf(scalar: Bytes): Bytes {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(scalar);
  const point = Uint8Array.from(ecdh.getPublicKey());
  return Uint8Array.of(2 + (point[64]! & 1), ...point.subarray(1, 33));
}

async function identityOf(
  tier: Tier,
  publicKey: Bytes,
  extra: Readonly<Record<string, unknown>>,
): Promise<Identity> {
  const fields = await newIdentityFields(publicKey, "contract", tier.name, new Date(0), extra);
  return { fields, publicKey };
}

/** Makes a key as `init` does: proven, its secrets persisted, its identity known, committed. */
export async function make(tier: Tier, surroundings: Surroundings): Promise<Made> {
  const key = await tier.generate(surroundings.context());
  using signer = key.signer;
  key.persistSecrets();
  const identity = await identityOf(tier, signer.publicKey, key.identityFields);
  key.committed?.();
  return { identity, surroundings };
}

/** That there is no key for this identity. */
async function missing(tier: Tier, surroundings: Surroundings, identity: Identity): Promise<void> {
  const attempts = [
    () => tier.open(surroundings.context(), identity, false),
    () => tier.inspect(surroundings.context(), identity),
  ];
  for (const attempt of attempts) {
    await assert.rejects(async () => await attempt(), ameshError("ERR_CORRUPT"));
  }
}

/**
 * Registers the tests of one tier.
 *
 * @param makeSurroundings gives an empty place every time.
 */
export function keystoreContract(
  tier: Tier,
  makeSurroundings: () => Surroundings,
  { skip, signatures = 200 }: ContractOptions = {},
): void {
  const it = (name: string, run: () => Promise<void>) =>
    test(`${tier.name}: ${name}${skip === undefined ? "" : `: ${skip}`}`, { skip: skip !== undefined }, run);

  // One key and one signer serve all tests that leave them as they are: in some tiers both take seconds.
  let shared: Promise<Made> | undefined;
  let sharedSigner: Promise<Signer> | undefined;
  const made = () => shared ??= make(tier, makeSurroundings());
  const open = async (background: boolean): Promise<Signer> => {
    const { identity, surroundings } = await made();
    return await tier.open(surroundings.context(), identity, background);
  };
  const opened = () => sharedSigner ??= open(false);
  after(async () => {
    (await sharedSigner)?.[Symbol.dispose]();
    (await shared)?.surroundings[Symbol.dispose]();
  });
  const signs = async (signer: Signer, message: Bytes): Promise<void> =>
    assert.ok(await accepts(signer.publicKey, await signer.sign(pieces(message)), message));

  it("probe() never throws and says the same twice", async () => {
    const first = await tier.probe();
    assert.deepEqual(await tier.probe(), first);
    assert.equal(first.available, true);
  });

  it("generate() gives a signer that signs, and discard() leaves nothing of it", async () => {
    using surroundings = makeSurroundings();
    const before = [...surroundings.stored()];
    const key = await tier.generate(surroundings.context());
    using signer = key.signer;
    assert.equal(signer.publicKey.length, 33);
    await signs(signer, utf8("proof"));
    assert.notDeepEqual([...surroundings.stored()], before);
    await key.discard();
    assert.deepEqual([...surroundings.stored()], before);
    const identity = await identityOf(tier, signer.publicKey, key.identityFields);
    await missing(tier, surroundings, identity);
  });

  it("generate() in the place of another key makes one of its own and leaves that one as it is", async () => {
    using surroundings = makeSurroundings();
    const old = await make(tier, surroundings);
    const before = [...surroundings.stored()];
    const key = await tier.generate(surroundings.context(), old.identity);
    {
      using signer = key.signer;
      assert.notDeepEqual(signer.publicKey, old.identity.publicKey);
      await signs(signer, utf8("proof"));
    }
    using signer = await tier.open(surroundings.context(), old.identity, false);
    await signs(signer, utf8("of the old key"));
    await key.discard();
    assert.deepEqual([...surroundings.stored()], before);
  });

  it("generate() in the place of a key that is lost, of another tier's and of none makes one", async () => {
    using surroundings = makeSurroundings();
    const lost = await make(tier, surroundings);
    await tier.delete(surroundings.context(), lost.identity);
    const name = TIER_NAMES.find((name) => name !== tier.name) as TierName;
    const elsewhere = { ...lost.identity, fields: { ...lost.identity.fields, storageBackend: name } };
    for (const replaces of [lost.identity, elsewhere, null]) {
      const key = await tier.generate(surroundings.context(), replaces);
      {
        using signer = key.signer;
        await signs(signer, utf8("proof"));
      }
      await key.discard();
    }
  });

  it("open() gives a signer that knows the public key", async () => {
    assert.deepEqual((await opened()).publicKey, (await made()).identity.publicKey);
  });

  for (const length of [0, 1, 100, ONE_MIB, ONE_MIB + 1, 2 * ONE_MIB + 12_345]) {
    it(`a signer signs ${length} bytes`, async () => {
      await signs(await opened(), Uint8Array.from({ length }, (_, i) => i * 7));
    });
  }

  for (const length of [1, ONE_MIB + 1]) {
    it(`open() in the background gives a signer that signs ${length} bytes`, async () => {
      using signer = await open(true);
      await signs(signer, Uint8Array.from({ length }, (_, i) => i * 7));
    });
  }

  it("a signer signs two messages at once, each as what it is", async () => {
    const signer = await opened();
    const messages = ["a", "b"].map(utf8);
    const made = await Promise.all(messages.map((message) => signer.sign(pieces(message))));
    for (const [i, message] of messages.entries()) {
      assert.ok(await accepts(signer.publicKey, made[i] as Bytes, message));
      assert.equal(await accepts(signer.publicKey, made[1 - i] as Bytes, message), false);
    }
  });

  it(`a signer makes ${signatures} signatures of 64 bytes that verify`, async () => {
    const signer = await opened();
    for (let i = 0; i < signatures; i++) await signs(signer, Uint8Array.of(i, i >> 8));
  });

  it("what an agent holds is the key: its scalar, or a way to sign with it where it lies", async () => {
    const { held, publicKey } = await opened();
    const message = utf8("of an agent");
    if (held.in === "memory") {
      for (let i = 0; i < 2; i++) {
        const scalar: Bytes = await held.takeScalar();
        assert.equal(scalar.length, 32);
        assert.deepEqual(publicKeyOf(scalar), publicKey);
        // The receiver wipes it, which takes nothing from the signer.
        scalar.fill(0);
      }
      await signs(await opened(), message);
      return;
    }
    for (const text of [message, new Uint8Array(0), new Uint8Array(ONE_MIB + 1)]) {
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
      assert.ok(await accepts(publicKey, await held.signHashed({ digest, bytes: text }), text));
      const ofDigest = () => held.signHashed({ digest, bytes: null });
      if (!MESSAGES_ONLY.includes(tier.name)) assert.ok(await accepts(publicKey, await ofDigest(), text));
      else await assert.rejects(ofDigest, ameshError("ERR_TIER_UNAVAILABLE"));
    }
  });

  it("what an agent holds waits for a key that is unlocked in the background", async () => {
    using signer = await open(true);
    const { held } = signer;
    if (held.in === "memory") return assert.deepEqual(publicKeyOf(await held.takeScalar()), signer.publicKey);
    const text = utf8("of an agent");
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
    assert.ok(await accepts(signer.publicKey, await held.signHashed({ digest, bytes: text }), text));
  });

  it("what an agent holds, of a new key too, is of no use when its signer is disposed of", async () => {
    using surroundings = makeSurroundings();
    const key = await tier.generate(surroundings.context());
    const { held, publicKey } = key.signer;
    const bytes = utf8("of an agent");
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const use = async () =>
      held.in === "memory" ? publicKeyOf(await held.takeScalar()) : await held.signHashed({ digest, bytes });
    const before = await use();
    if (held.in === "memory") assert.deepEqual(before, publicKey);
    key.signer[Symbol.dispose]();
    await assert.rejects(use);
    await key.discard();
  });

  it("a message that cannot be read fails the signature with its own error", async () => {
    const signer = await opened();
    const failing = async function* (): AsyncGenerator<Uint8Array> {
      yield Uint8Array.of(1);
      throw new Error("disk on fire");
    };
    await assert.rejects(signer.sign(failing()), /disk on fire/);
  });

  it("a signer that is disposed of, twice without harm, signs no more and disturbs no other", async () => {
    const [first, second] = [await open(false), await opened()];
    await signs(first, utf8("before"));
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    await assert.rejects(async () => await first.sign(pieces(utf8("after"))));
    await signs(second, utf8("after"));
  });

  it("inspect() accepts a key that is there", async () => {
    const { identity, surroundings } = await made();
    await tier.inspect(surroundings.context(), identity);
  });

  it("open() and inspect() refuse an identity of another key as corrupt", async () => {
    const { identity, surroundings } = await made();
    const { publicKey } = await generateKeyPair();
    await missing(tier, surroundings, {
      publicKey,
      fields: { ...identity.fields, publicKey: encodeBase64(publicKey) },
    });
  });

  it("checkDelete() is content with a key that is there, one that is lost, and changes nothing", async () => {
    using surroundings = makeSurroundings();
    const { identity } = await make(tier, surroundings);
    const stored = [...surroundings.stored()];
    await tier.checkDelete(surroundings.context(), identity);
    assert.deepEqual([...surroundings.stored()], stored);
    await tier.delete(surroundings.context(), identity);
    await tier.checkDelete(surroundings.context(), identity);
  });

  it("delete() removes this key and no other; again it is no error", async () => {
    using surroundings = makeSurroundings();
    const first = await make(tier, surroundings);
    const storedForOne = [...surroundings.stored()];
    const second = await make(tier, surroundings);
    await tier.delete(surroundings.context(), second.identity);
    assert.deepEqual([...surroundings.stored()], storedForOne);
    await missing(tier, surroundings, second.identity);
    await tier.delete(surroundings.context(), second.identity);
    using signer = await tier.open(surroundings.context(), first.identity, false);
    await signs(signer, utf8("the other"));
  });
}
