/** TPM keys of amesh 0.7, which lie at a persistent handle. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { verify } from "../../src/crypto/p256.ts";
import type { Identity } from "../../src/formats/identity_file.ts";
import { newIdentityFields } from "../../src/formats/identity_file.ts";
import { compressPoint } from "../../src/formats/public_key.ts";
import type { TierContext } from "../../src/keystore/keystore.ts";
import { tpm2Tier } from "../../src/keystore/tpm2.ts";
import { persistentHandleOf } from "../../src/keystore/tpm2_handle.ts";
import { Passphrases } from "../../src/passphrase/sources.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { parseEccPublic } from "../../src/tpm/structures.ts";
import { setEnvironment } from "../support/environment.ts";
import { ameshError } from "../support/errors.ts";
import { startSwtpm, type Swtpm, swtpmMissing } from "../support/swtpm.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";

const missing = swtpmMissing();
const it = (name: string, run: () => void | Promise<void>) =>
  test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, run);

let swtpm: Swtpm;
let environment: Disposable;
let directory: ReturnType<typeof temporaryDirectory>;
let context: TierContext;
if (missing === undefined) {
  before(() => {
    swtpm = startSwtpm();
    environment = setEnvironment({ AMESH_TPM_TCTI: swtpm.tcti });
    directory = temporaryDirectory();
    const layout = layoutOf(directory.file("amesh"));
    mkdirSync(layout.directory, { mode: 0o700 });
    context = { layout, passphrases: new Passphrases(layout, undefined, () => {}) };
  });
  after(() => {
    environment[Symbol.dispose]();
    swtpm[Symbol.dispose]();
    directory[Symbol.dispose]();
  });
}

const hex = (handle: number) => `0x${handle.toString(16)}`;

/** The first of many aliases whose handle is in the owner's range, or above it. */
async function findAlias(isInRange: boolean, start: string): Promise<string> {
  for (let i = 0;; i++) {
    const handle = await persistentHandleOf(`${start}-${i}`);
    if ((handle <= 0x817fffff) === isInRange) return `${start}-${i}`;
  }
}

/** Puts a key where amesh 0.7 did. */
async function makeKey(alias: string, attributes: readonly string[]): Promise<Identity> {
  const run = (name: string, ...args: string[]) => {
    swtpm.tools(name, "-Q", ...args);
    swtpm.tools("flushcontext", "-t");
  };
  run("createprimary", "-C", "o", "-G", "ecc256", "-c", "p.ctx");
  run("create", "-C", "p.ctx", "-G", "ecc256", ...attributes, "-u", "k.pub", "-r", "k.priv");
  run("load", "-C", "p.ctx", "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx");
  run("evictcontrol", "-C", "o", "-c", "k.ctx", hex(await persistentHandleOf(alias)));
  const publicKey = compressPoint(parseEccPublic(readFileSync(swtpm.file("k.pub")))!.point);
  const fields = await newIdentityFields(publicKey, "old", "tpm2", new Date(0), {});
  return { publicKey, fields: { ...fields, keyAlias: alias } };
}

async function* message(): AsyncGenerator<Uint8Array> {
  yield Uint8Array.of(7);
}

async function signs(identity: Identity): Promise<void> {
  using signer = await tpm2Tier.open(context, identity, false);
  assert.ok(await verify(identity.publicKey, [await signer.sign(message())], message()));
}

const handles = () => swtpm.tools("getcap", "handles-persistent");
const empty = () => assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [[], []]);

test("persistentHandleOf() takes 24 bits of the alias's digest", async () => {
  for (const alias of ["", "a", "am_AAAAAAAAAAAAAAAA", "ä"]) {
    const digest = createHash("sha256").update(alias).digest("hex");
    assert.equal(hex(await persistentHandleOf(alias)), `0x81${digest.slice(2, 8)}`);
  }
});

it("a key with the attributes that amesh 0.7 gave it signs, and delete() takes it away", async () => {
  const identity = await makeKey(await findAlias(true, "old"), []);
  await signs(identity);
  await tpm2Tier.inspect(context, identity);
  empty();
  const handle = hex(await persistentHandleOf(identity.fields.keyAlias));
  assert.match(handles().toLowerCase(), new RegExp(handle));
  await tpm2Tier.delete(context, identity);
  assert.doesNotMatch(handles().toLowerCase(), new RegExp(handle));
  await tpm2Tier.delete(context, identity);
  await assert.rejects(
    () => tpm2Tier.open(context, identity, false),
    ameshError("ERR_CORRUPT", /there is none at TPM handle 0x81/),
  );
  empty();
});

it("a key that only signs uses a session of the SRK", async () => {
  const attributes = ["-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"];
  const identity = await makeKey(await findAlias(true, "sign-only"), attributes);
  await signs(identity);
  empty();
  await tpm2Tier.delete(context, identity);
});

it("the key of somebody else at the handle is neither used nor taken away", async () => {
  const identity = await makeKey(await findAlias(true, "mine"), []);
  const { keyAlias } = identity.fields;
  swtpm.tools("evictcontrol", "-Q", "-C", "o", "-c", hex(await persistentHandleOf(keyAlias)));
  const other = await makeKey(keyAlias, []);
  const wrong = ameshError("ERR_CORRUPT", /holds another key$/);
  await assert.rejects(() => tpm2Tier.open(context, identity, false), wrong);
  await assert.rejects(() => tpm2Tier.delete(context, identity), wrong);
  await signs(other);
  await tpm2Tier.delete(context, other);
  empty();
});

it("an alias whose handle no owner can use is explained, and there is nothing to delete", async () => {
  const alias = await findAlias(false, "beyond");
  const identity = await makeKey(await findAlias(true, "other"), []);
  const beyond = { ...identity, fields: { ...identity.fields, keyAlias: alias } };
  await assert.rejects(
    () => tpm2Tier.open(context, beyond, false),
    ameshError("ERR_CORRUPT", /no owner's key can lie above 0x817fffff, so it was never stored$/),
  );
  await tpm2Tier.delete(context, beyond);
  await tpm2Tier.delete(context, identity);
});
