/** Keys of amesh 0.7 at the edges of their range, what their sessions are salted to, and what is none of theirs. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { verify } from "../../src/crypto/p256.ts";
import { type Identity, newIdentityFields } from "../../src/formats/identity_file.ts";
import { compressPoint } from "../../src/formats/public_key.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { persistentHandleOf } from "../../src/keystore/tpm2_handle.ts";
import { parseEccPublic } from "../../src/tpm/structures.ts";
import { setEnvironment } from "../support/environment.ts";
import { ameshError } from "../support/errors.ts";
import { KEPT_SRK, SRK_ATTRIBUTES, useTpm } from "../support/tpm_tier.ts";

/** SHA-256 of the alias begins with the byte before these handles' last three; "abc" is the example of FIPS 180-4. */
const FIRST = ["am-11777140", 0x81000000] as const; // 85000000
const ORDINARY = ["abc", 0x817816bf] as const; // ba7816bf
const LAST = ["am-39780071", 0x817fffff] as const; // c27fffff
const BEYOND = ["am-2413633", 0x81800000] as const; // 5d800000
const OUTSIDE_ASCII = ["Gerät", 0x812db786] as const; // b32db786
const EMPTY = ["", 0x81b0c442] as const; // e3b0c442

const SIGN_ONLY = "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth";
const SIGN_AND_DECRYPT = `decrypt|${SIGN_ONLY}`;

const tpm = useTpm({ withProxy: true });

const hex = (handle: number) => `0x${handle.toString(16)}`;

const persistentHandles = () =>
  [...tpm.swtpm.tools("getcap", "handles-persistent").matchAll(/0x[0-9A-F]+/gi)].map(([handle]) =>
    handle.toLowerCase()
  );

/** A new key of the owner in `k.ctx`. @returns its public key. */
function createKey(algorithm: string, attributes: string): Uint8Array<ArrayBuffer> {
  tpm.tools("createprimary", "-C", "o", "-G", "ecc256", "-c", "p.ctx");
  tpm.tools("create", "-C", "p.ctx", "-G", algorithm, "-a", attributes, "-u", "k.pub", "-r", "k.priv");
  tpm.tools("load", "-C", "p.ctx", "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx");
  return compressPoint(parseEccPublic(readFileSync(tpm.swtpm.file("k.pub")))!.point);
}

async function identityOf(alias: string, publicKey: Uint8Array<ArrayBuffer>): Promise<Identity> {
  const fields = await newIdentityFields(publicKey, "old", "tpm2", new Date(0), {});
  return { publicKey, fields: { ...fields, keyAlias: alias } };
}

/** Takes away what lies at a handle, unless the test itself did. */
function clear(handle: string): Disposable {
  return {
    [Symbol.dispose]: () => {
      if (persistentHandles().includes(handle)) tpm.tools("evictcontrol", "-C", "o", "-c", handle);
    },
  };
}

/** A key that lies at a handle while a test runs. */
async function keyAt(
  [alias, handle]: readonly [string, number],
  attributes: string,
  algorithm = "ecc256",
): Promise<{ identity: Identity } & Disposable> {
  const identity = await identityOf(alias, createKey(algorithm, attributes));
  tpm.tools("evictcontrol", "-C", "o", "-c", "k.ctx", hex(handle));
  return { identity, ...clear(hex(handle)) };
}

async function* message(): AsyncGenerator<Uint8Array> {
  yield Uint8Array.of(7);
}

/** Signs as one command does. @returns names of what was sent to the TPM, and the key that the salt was for. */
async function sign(identity: Identity): Promise<{ names: string[]; saltKeys: string[] }> {
  const seen = tpm.proxy.traffic().length;
  {
    using signer = await tpm2Tier.open(tpm.context, identity, false);
    assert.ok(await verify(identity.publicKey, [await signer.sign(message())], message()));
  }
  assert.deepEqual(tpm.loaded(), []);
  const sent = tpm.proxy.traffic().slice(seen);
  return {
    names: sent.map(({ name }) => name),
    // TPM2_StartAuthSession (Part 3 §11.1): tpmKey comes after the header of 10 bytes.
    saltKeys: sent.filter(({ name }) => name === "StartAuthSession")
      .map(({ command }) => `0x${command.subarray(10, 14).toHex()}`),
  };
}

for (const [alias, handle] of [FIRST, ORDINARY, LAST, BEYOND, OUTSIDE_ASCII, EMPTY]) {
  test(`persistentHandleOf() gives ${hex(handle)} for ${JSON.stringify(alias)}`, async () => {
    assert.equal(hex(await persistentHandleOf(alias)), hex(handle));
  });
}

for (const place of [FIRST, LAST]) {
  tpm.it(
    `a key at ${hex(place[1])}, the edge of what an owner can use, signs and can be deleted`,
    async () => {
      using key = await keyAt(place, SIGN_AND_DECRYPT);
      assert.deepEqual(persistentHandles(), [hex(place[1])]);
      await sign(key.identity);
      await tpm2Tier.delete(tpm.context, key.identity);
      assert.deepEqual(persistentHandles(), []);
    },
  );
}

tpm.it("beyond it the TPM is not even asked", async () => {
  const identity = await identityOf(BEYOND[0], createKey("ecc256", SIGN_AND_DECRYPT));
  using _nobody = setEnvironment({ AMESH_TPM_TCTI: `swtpm:path=${tpm.directory.file("nobody")}` });
  const refused = ameshError(
    "ERR_CORRUPT",
    /^cannot open the key: amesh 0\.7 computed TPM handle 0x81800000 /,
  );
  await assert.rejects(() => tpm2Tier.open(tpm.context, identity, false), refused);
  await assert.rejects(() => tpm2Tier.inspect(tpm.context, identity), refused);
  await tpm2Tier.delete(tpm.context, identity);
  // Whoever is asked is not there.
  const inRange = { ...identity, fields: { ...identity.fields, keyAlias: ORDINARY[0] } };
  await assert.rejects(() => tpm2Tier.delete(tpm.context, inRange), ameshError("ERR_TIER_UNAVAILABLE"));
});

tpm.it("a key that decrypts is what its own session is salted to", async () => {
  using key = await keyAt(ORDINARY, SIGN_AND_DECRYPT);
  const { names, saltKeys } = await sign(key.identity);
  assert.deepEqual(saltKeys, [hex(ORDINARY[1])]);
  assert.deepEqual(names.filter((name) => ["CreatePrimary", "Load", "Create"].includes(name)), []);
  using _root = tpm.keepRoot();
  assert.deepEqual((await sign(key.identity)).saltKeys, [hex(ORDINARY[1])]);
});

tpm.it("the session of a key that only signs is salted to the SRK, made anew or kept", async () => {
  using key = await keyAt(ORDINARY, SIGN_ONLY);
  const anew = await sign(key.identity);
  assert.deepEqual(anew.saltKeys, ["0x80000000"]);
  assert.equal(anew.names.filter((name) => name === "CreatePrimary").length, 1);
  // It gives up its place before the key is used.
  assert.ok(anew.names.indexOf("FlushContext") < anew.names.indexOf("Sign"), `${anew.names}`);
  using _root = tpm.keepRoot();
  const kept = await sign(key.identity);
  assert.deepEqual(kept.saltKeys, [KEPT_SRK]);
  assert.equal(kept.names.includes("CreatePrimary"), false);
});

tpm.it(
  "what cannot sign is no key of amesh, even if identity.json names it, and stays where it is",
  async () => {
    using key = await keyAt(ORDINARY, SRK_ATTRIBUTES, "ecc256:aes128cfb");
    const other = ameshError("ERR_CORRUPT", /TPM handle 0x817816bf holds another key$/);
    await assert.rejects(() => tpm2Tier.open(tpm.context, key.identity, false), other);
    await assert.rejects(() => tpm2Tier.delete(tpm.context, key.identity), other);
    assert.deepEqual(persistentHandles(), [hex(ORDINARY[1])]);
  },
);

tpm.it("an RSA key at the handle is another key, and stays where it is", async () => {
  const identity = await identityOf(ORDINARY[0], createKey("ecc256", SIGN_AND_DECRYPT));
  tpm.tools("createprimary", "-C", "o", "-G", "rsa2048", "-c", "rsa.ctx");
  tpm.tools("evictcontrol", "-C", "o", "-c", "rsa.ctx", hex(ORDINARY[1]));
  using _key = clear(hex(ORDINARY[1]));
  const other = ameshError("ERR_CORRUPT", /TPM handle 0x817816bf holds another key$/);
  await assert.rejects(() => tpm2Tier.open(tpm.context, identity, false), other);
  await assert.rejects(() => tpm2Tier.delete(tpm.context, identity), other);
  assert.deepEqual(persistentHandles(), [hex(ORDINARY[1])]);
});

tpm.it("delete() takes one key away, and neither its neighbours nor the SRK", async () => {
  using _root = tpm.keepRoot();
  using _first = await keyAt(FIRST, SIGN_ONLY);
  using last = await keyAt(LAST, SIGN_AND_DECRYPT);
  using key = await keyAt(ORDINARY, SIGN_AND_DECRYPT);
  // The second time there is nothing any more.
  for (let i = 0; i < 2; i++) {
    await tpm2Tier.delete(tpm.context, key.identity);
    assert.deepEqual(persistentHandles(), [hex(FIRST[1]), KEPT_SRK, hex(LAST[1])]);
  }
  await sign(last.identity);
});

tpm.it("a key that is gone, and somebody else's in its place, are told apart and left alone", async () => {
  let identity: Identity;
  {
    using mine = await keyAt(ORDINARY, SIGN_AND_DECRYPT);
    identity = mine.identity;
    await tpm2Tier.inspect(tpm.context, identity);
  }
  const attempts = [
    () => tpm2Tier.open(tpm.context, identity, false),
    () => tpm2Tier.inspect(tpm.context, identity),
  ];
  const gone = ameshError("ERR_CORRUPT", /there is none at TPM handle 0x817816bf, where amesh 0\.7 kept it$/);
  for (const attempt of attempts) await assert.rejects(attempt, gone);
  using other = await keyAt(ORDINARY, SIGN_AND_DECRYPT);
  const another = ameshError("ERR_CORRUPT", /TPM handle 0x817816bf holds another key$/);
  for (const attempt of attempts) await assert.rejects(attempt, another);
  await assert.rejects(() => tpm2Tier.delete(tpm.context, identity), another);
  await sign(other.identity);
});
