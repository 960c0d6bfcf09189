/** What every tier must do whose keys lie under a passphrase, besides {@linkcode keystoreContract}. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, utf8 } from "../../src/bytes.ts";
import type { Identity } from "../../src/formats/identity_file.ts";
import type { Argon2Params } from "../../src/formats/key_file.ts";
import type { PassphraseTier, ResealedForm, Tier, TierContext } from "../../src/keystore/keystore.ts";
import type { PassphraseSource } from "../../src/passphrase/sources.ts";
import { ameshError } from "../support/errors.ts";
import { accepts, pieces, type Surroundings } from "./keystore_contract.ts";

/** A key, and what it is under. */
export interface PassphraseKeyMade {
  readonly identity: Identity;
  readonly passphrase: string;
}

/** A place in which a command has the passphrase that the test says. */
export interface PassphraseSurroundings extends Surroundings {
  contextWith(passphrase: string): TierContext;
}

/** What a tier's own test file knows. */
export interface PassphraseContractOptions {
  /** An empty place every time. */
  readonly makeSurroundings: () => PassphraseSurroundings;
  /** A key of the newest form at the lowest cost: two passes, 19456 KiB, one lane. */
  readonly makeKey: (surroundings: PassphraseSurroundings) => Promise<PassphraseKeyMade>;
  /** A key of an older form, at the lowest cost too. */
  readonly makeOldKey: (surroundings: PassphraseSurroundings) => Promise<PassphraseKeyMade>;
}

const LOWEST: Argon2Params = { t: 2, m: 19_456, p: 1 };
const NEWEST = "3.0.0";

/** Registers the tests of one tier. */
export function passphraseContract(
  tier: Tier,
  { makeSurroundings, makeKey, makeOldKey }: PassphraseContractOptions,
): void {
  const it = (name: string, run: (place: PassphraseSurroundings) => Promise<void>) =>
    test(`${tier.name}: ${name}`, async () => {
      using place = makeSurroundings();
      await run(place);
    });
  const own = tier.passphrase as PassphraseTier;

  /** Whether the key opens with a passphrase, and then signs as its identity. */
  const opensWith = async (
    place: PassphraseSurroundings,
    { identity }: PassphraseKeyMade,
    passphrase: string,
  ): Promise<boolean> => {
    try {
      using signer = await tier.open(place.contextWith(passphrase), identity, false);
      const message = utf8("message");
      return await accepts(identity.publicKey, await signer.sign(pieces(message)), message);
    } catch (error) {
      return !ameshError("ERR_UNLOCK_FAILED", /passphrase is wrong/)(error);
    }
  };

  const reseal = async (
    place: PassphraseSurroundings,
    { identity, passphrase }: PassphraseKeyMade,
    next: string | null,
    cost: Partial<Argon2Params> = {},
    commit: (source: PassphraseSource, form: ResealedForm) => void = (_source, form) => form.write(),
  ): Promise<void> => {
    const bytes = next === null ? null : utf8(next);
    await own.reseal(place.contextWith(passphrase), identity, { passphrase: bytes, cost, commit });
    // They are the caller's to wipe.
    assert.deepEqual(bytes, next === null ? null : utf8(next));
  };

  it("describe() tells form and cost without a passphrase, and what inspect() would throw", async (place) => {
    const { identity } = await makeKey(place);
    assert.deepEqual(own.describe(place.contextWith(""), identity), { version: NEWEST, cost: LOWEST });
    await tier.delete(place.context(), identity);
    assert.throws(() => own.describe(place.context(), identity), ameshError("ERR_CORRUPT", /is missing$/));
  });

  it("reseal() puts the key under a new passphrase, at the same cost", async (place) => {
    const key = await makeKey(place);
    const before = place.stored();
    await reseal(place, key, "another");
    assert.notDeepEqual(place.stored(), before);
    assert.equal(place.stored().length, before.length);
    assert.deepEqual(own.describe(place.context(), key.identity), { version: NEWEST, cost: LOWEST });
    assert.equal(await opensWith(place, key, "another"), true);
    assert.equal(await opensWith(place, key, key.passphrase), false);
  });

  it("reseal() that keeps the passphrase makes a new form of the key", async (place) => {
    const key = await makeKey(place);
    const before = place.stored();
    await reseal(place, key, null);
    assert.notDeepEqual(place.stored(), before);
    assert.equal(await opensWith(place, key, key.passphrase), true);
  });

  for (const cost of [{ t: 3 }, { m: 20_000 }, { p: 4 }, { t: 3, m: 19_457, p: 2 }]) {
    it(`reseal() changes what it is told to of the cost, and nothing else: ${JSON.stringify(cost)}`, async (place) => {
      const key = await makeKey(place);
      await reseal(place, key, null, cost);
      assert.deepEqual(own.describe(place.context(), key.identity).cost, { ...LOWEST, ...cost });
      assert.equal(await opensWith(place, key, key.passphrase), true);
    });
  }

  const beyond: Partial<Argon2Params>[] = [
    { t: 1 },
    { t: 17 },
    { m: 19_455 },
    { m: 1_048_577 },
    { p: 0 },
    { p: 5 },
    { t: 2.5 },
    { t: 5, m: 1_048_576 },
  ];
  for (const cost of beyond) {
    it(`reseal() refuses a cost beyond the limits, before anything is made: ${JSON.stringify(cost)}`, async (place) => {
      const key = await makeKey(place);
      const before = place.stored();
      const commit = () => assert.fail("committed");
      await assert.rejects(
        reseal(place, key, "another", cost, commit),
        ameshError("ERR_USAGE", /^cannot use this Argon2id cost: it is outside the limits$/),
      );
      assert.deepEqual(place.stored(), before);
    });
  }

  it("reseal() calls commit() once, with the source that opened the key, before anything is stored", async (place) => {
    const key = await makeKey(place);
    const before = place.stored();
    const sources: string[] = [];
    await reseal(place, key, "another", {}, (source, form) => {
      sources.push(source.kind);
      assert.deepEqual(place.stored(), before);
      assert.equal(form.isInPlace(), false);
      form.write();
      assert.equal(form.isInPlace(), true);
      assert.notDeepEqual(place.stored(), before);
    });
    assert.deepEqual(sources, ["named-file"]);
  });

  it("reseal() whose commit() throws, or does not write, leaves the stored key", async (place) => {
    const key = await makeKey(place);
    const before = place.stored();
    const failing = () => {
      throw new Error("changed my mind");
    };
    await assert.rejects(reseal(place, key, "another", {}, failing), /changed my mind/);
    await reseal(place, key, "another", {}, () => {});
    assert.deepEqual(place.stored(), before);
    assert.equal(await opensWith(place, key, key.passphrase), true);
  });

  it("reseal() with a wrong passphrase, or of a key that is not there, commits nothing", async (place) => {
    const key = await makeKey(place);
    const before = place.stored();
    const commit = () => assert.fail("committed");
    const wrong = { ...key, passphrase: "wrong" };
    await assert.rejects(reseal(place, wrong, "another", {}, commit), ameshError("ERR_UNLOCK_FAILED"));
    assert.deepEqual(place.stored(), before);
    await tier.delete(place.context(), key.identity);
    await assert.rejects(reseal(place, key, "another", {}, commit), ameshError("ERR_CORRUPT", /is missing$/));
  });

  it("reseal() takes any bytes for a passphrase, the longest too", async (place) => {
    const key = await makeKey(place);
    const bytes: Bytes = Uint8Array.from({ length: 4096 }, (_, i) => i & 127);
    await reseal(place, key, new TextDecoder().decode(bytes));
    assert.equal(await opensWith(place, key, new TextDecoder().decode(bytes)), true);
    assert.equal(await opensWith(place, key, new TextDecoder().decode(bytes.subarray(0, 4095))), false);
  });

  it("reseal() of an older form makes the newest, under the passphrase as it is given", async (place) => {
    const key = await makeOldKey(place);
    const { version, cost } = own.describe(place.context(), key.identity);
    assert.notEqual(version, NEWEST);
    // The older form opens with white space around the passphrase; the newest takes it for a part of it.
    const spaced = ` ${key.passphrase}\t`;
    assert.equal(await opensWith(place, key, spaced), true);
    await reseal(place, { ...key, passphrase: spaced }, null);
    assert.deepEqual(own.describe(place.context(), key.identity), { version: NEWEST, cost });
    assert.equal(await opensWith(place, key, spaced), true);
    assert.equal(await opensWith(place, key, key.passphrase), false);
  });
}
