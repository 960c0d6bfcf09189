import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { HelperError } from "../../../src/apple/helper_error.ts";
import { type Bytes, encodeBase64, utf8 } from "../../../src/bytes.ts";
import { hashMessage } from "../../../src/crypto/p256.ts";
import { proveKey } from "../../../src/identity/commit.ts";
import { type Identity, newIdentityFields } from "../../../src/formats/identity_file.ts";
import { makeSecureEnclaveTier } from "../../../src/keystore/secure_enclave.ts";
import type { Tier } from "../../../src/keystore/keystore.ts";
import { Passphrases } from "../../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../../src/platform/paths.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { childrenOf, makeFakeHelper, PATIENT, tierOn } from "../../support/fake_helper.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const programs = temporaryDirectory();
after(() => programs[Symbol.dispose]());

const IMPATIENT = { requestMs: 1500, totalMs: Infinity };
let made = 0;
const tierWith = (faults: string, limits = PATIENT) =>
  tierOn(makeFakeHelper(programs.path, faults, `helper-${++made}`), limits);
const sound = tierWith("");

/** An amesh directory, and the context of a command. */
function place() {
  const directory = temporaryDirectory();
  const layout = layoutOf(directory.file("amesh"));
  mkdirSync(layout.directory, { mode: 0o700 });
  return {
    layout,
    context: { layout, passphrases: new Passphrases(layout, undefined, () => {}) },
    keys: () => readdirSync(layout.keys),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}
type Place = ReturnType<typeof place>;

async function makeKey(tier: Tier, { context }: Place): Promise<Identity> {
  const key = await tier.generate(context);
  using signer = key.signer;
  const fields = await newIdentityFields(signer.publicKey, "a", tier.name, new Date(0), key.identityFields);
  return { fields, publicKey: signer.publicKey };
}

const pathOf = ({ layout }: Place, { fields }: Identity) => join(layout.keys, `${fields.deviceId}.se.json`);

async function* messageOf(bytes: Bytes): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

/** For assertions: an error of the helper's of that condition. */
const helperError = (condition: string) => (error: unknown) => {
  assert.ok(error instanceof HelperError, String(error));
  assert.equal(error.condition, condition, error.message);
  return true;
};

function assertNoChildren(): void {
  if (process.platform === "linux") assert.deepEqual(childrenOf(process.pid), []);
}

test("probe() tells which helper there is, and that one is a stand-in", async () => {
  const availability = await sound.probe();
  assert.ok(availability.available);
  assert.equal(availability.details?.["Version"], "0.1.0");
  assert.equal(availability.details?.["System"], "fake 1.0, fake");
  assert.match(availability.details?.["Stand-in for macOS"] ?? "", /helper-1$/);
  assertNoChildren();
});

const TRIALS: [faults: string, cause: RegExp][] = [
  ["probe=no-enclave", /^this Mac has none \(probe\)$/],
  ["probe=old-protocol", /^its helper is of another version than amesh \(probe: it speaks 2, 3\)$/],
  ["probe=wrong-version", /^its helper is of another version/],
  ["probe=exit", /^its helper has ended \(probe: exit code 3\)$/],
  ["generate=missing-entitlement:-34018", /lacks an entitlement \(.*NSOSStatusErrorDomain -34018\)$/],
  ["generate=interaction-not-allowed:-25308", /^macOS does not let it be used now/],
  ["generate=wrong-key", /^its helper uses another key than it was asked to \(sign-begin\)$/],
  ["generate=hang", /^its helper does not answer \(generate\)$/],
  ["sign-begin=access-denied", /^access to the key was denied/],
  ["sign-begin=wrong-key", /^its helper uses another key/],
  ["sign-update=crash", /^its helper has ended \(sign-update: signal 9\)$/],
  ["sign-end=wrong-signature", /^its signature does not verify \(sign-end\)$/],
  ["sign-end=zero-signature", /^its signature does not verify/],
  ["sign-end=order-signature", /^its signature does not verify/],
  ["sign-end=huge-line", /^the answer of its helper is too long/],
  ["sign-end=malformed", /^the answer of its helper makes no sense/],
];
for (const [faults, cause] of TRIALS) {
  test(`probe() makes a key and signs with it, so it meets ${faults}`, async () => {
    const availability = await tierWith(faults, faults.includes("hang") ? IMPATIENT : PATIENT).probe();
    assert.ok(!availability.available);
    assert.match(availability.cause, cause);
    assert.ok(availability.remedy);
    assertNoChildren();
  });
}

test("without a helper nothing works, and each operation that needs one says why", async () => {
  using here = place();
  const missing = { path: null, obstacle: { cause: "no helper", remedy: "get one" } } as const;
  const tier = makeSecureEnclaveTier({ find: () => missing, limits: PATIENT, trialLimits: PATIENT });
  assert.deepEqual(await tier.probe(), { available: false, cause: "no helper", remedy: "get one" });
  const identity = await makeKey(sound, here);
  for (
    const operation of [
      () => tier.generate(here.context),
      () => tier.open(here.context, identity, false),
      () => tier.inspect(here.context, identity),
    ]
  ) {
    await assert.rejects(
      operation,
      ameshError("ERR_TIER_UNAVAILABLE", /^cannot use backend "secure-enclave": no helper$/),
    );
  }
  // A key is a file, which goes without the Secure Enclave.
  await tier.checkDelete(here.context, identity);
  await tier.delete(here.context, identity);
  assert.deepEqual(here.keys(), []);
});

test("a key is a private file that holds the blob, its public key and when it was made", async () => {
  using here = place();
  const before = Date.now();
  const identity = await makeKey(sound, here);
  const path = pathOf(here, identity);
  const fields = JSON.parse(readFileSync(path, "utf8"));
  assert.deepEqual(Object.keys(fields), ["version", "blob", "publicKey", "createdAt"]);
  assert.equal(fields.publicKey, encodeBase64(identity.publicKey));
  const createdAt = Date.parse(fields.createdAt);
  assert.ok(createdAt >= before && createdAt <= Date.now());
  assert.ok(!("se" in identity.fields) && !("blob" in identity.fields));
});

for (
  const faults of [
    "generate=hang",
    "generate=internal",
    "public-key=bad-blob",
    "public-key=wrong-key",
    "public-key=crash",
  ]
) {
  test(`generate() leaves nothing when the helper has the fault ${faults}`, async () => {
    using here = place();
    await assert.rejects(
      tierWith(faults, faults.includes("hang") ? IMPATIENT : PATIENT).generate(here.context),
    );
    assert.deepEqual(
      readdirSync(here.layout.directory).flatMap((name) => readdirSync(join(here.layout.directory, name))),
      [],
    );
    assertNoChildren();
  });
}

test("a new key whose signature does not verify is never put in force", async () => {
  using here = place();
  const key = await tierWith("sign-end=wrong-signature").generate(here.context);
  using _signer = key.signer;
  await assert.rejects(proveKey(key), helperError("wrong-signature"));
});

test("a key of another Secure Enclave is told from one that is damaged as far as that can be", async () => {
  using here = place();
  const identity = await makeKey(sound, here);
  using _environment = setEnvironment({ AMESH_FAKE_ENCLAVE: "of another Mac" });
  await assert.rejects(sound.open(here.context, identity, false), (error) => {
    ameshError("ERR_CORRUPT", /^cannot open the key: the Secure Enclave of this Mac does not accept "/)(
      error,
    );
    return /another Mac/.test((error as { hint: string }).hint);
  });
  assertNoChildren();
});

test("a key file that is damaged, of another key, or open to others is refused before the helper is asked", async () => {
  using here = place();
  const [identity, other] = [await makeKey(sound, here), await makeKey(sound, here)];
  const path = pathOf(here, identity);
  const whole = readFileSync(path);
  const deaf = tierWith("start=deaf", { requestMs: 300, totalMs: Infinity });
  writeFileSync(path, whole.subarray(0, 40));
  await assert.rejects(
    deaf.open(here.context, identity, false),
    ameshError("ERR_CORRUPT", /not valid JSON$/),
  );
  writeFileSync(path, readFileSync(pathOf(here, other)));
  await assert.rejects(
    deaf.open(here.context, identity, false),
    ameshError("ERR_CORRUPT", /another identity$/),
  );
  writeFileSync(path, whole);
  chmodSync(path, 0o644);
  await assert.rejects(deaf.open(here.context, identity, false), ameshError("ERR_UNSAFE_PERMISSIONS"));
  chmodSync(path, 0o600);
  await assert.rejects(deaf.open(here.context, identity, false), helperError("timeout"));
});

test("a signer makes one signature after the other, also after one was refused or its message broke off", async () => {
  using here = place();
  const identity = await makeKey(sound, here);
  const tier = tierWith("sign-end#2=user-canceled,sign-update#4=access-denied");
  using signer = await tier.open(here.context, identity, false);
  const sign = () => signer.sign(messageOf(utf8("a")));
  const results = await Promise.allSettled([sign(), sign(), signer.sign(failing()), sign(), sign()]);
  assert.deepEqual(
    results.map((result) =>
      result.status === "fulfilled" ? 64 : result.reason.condition ?? result.reason.message
    ),
    [64, "user-canceled", "disk on fire", "access-denied", 64],
  );
});

async function* failing(): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(utf8("a"));
  throw new Error("disk on fire");
}

test("a signer whose helper crashed signs no more, and the next one does", async () => {
  using here = place();
  const identity = await makeKey(sound, here);
  using signer = await tierWith("sign-update#2=crash").open(here.context, identity, false);
  await signer.sign(messageOf(utf8("a")));
  await assert.rejects(signer.sign(messageOf(utf8("a"))), helperError("ended"));
  await assert.rejects(signer.sign(messageOf(utf8("a"))), helperError("ended"));
  using next = await sound.open(here.context, identity, false);
  await next.sign(messageOf(utf8("a")));
});

test("a helper that takes another key while it serves is found out", async () => {
  using here = place();
  const identity = await makeKey(sound, here);
  using signer = await tierWith("sign-begin=wrong-key").open(here.context, identity, false);
  await assert.rejects(signer.sign(messageOf(utf8("a"))), helperError("wrong-key"));
});

for (const length of [1, 2_000_000]) {
  for (const fault of ["wrong-signature", "zero-signature", "order-signature"]) {
    test(`no ${fault} of ${length} bytes is let through`, async () => {
      using here = place();
      const identity = await makeKey(sound, here);
      using signer = await tierWith(`sign-end=${fault}`).open(here.context, identity, false);
      const message = new Uint8Array(length) as Bytes;
      await assert.rejects(signer.sign(messageOf(message)), helperError("wrong-signature"));
    });
  }
}

test("an agent gets signatures of messages, and of a digest alone a refusal that says what to do", async () => {
  using here = place();
  const identity = await makeKey(sound, here);
  using signer = await sound.open(here.context, identity, false);
  const { held } = signer;
  assert.ok(held.in === "hardware");
  const hashed = await hashMessage(messageOf(utf8("a")));
  assert.equal((await held.signHashed(hashed)).length, 64);
  await assert.rejects(held.signHashed({ ...hashed, bytes: null }), (error) => {
    ameshError("ERR_TIER_UNAVAILABLE", /signs messages only/)(error);
    return /ssh and git/.test((error as { hint: string }).hint);
  });
});
