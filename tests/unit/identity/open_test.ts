import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { verify } from "../../../src/crypto/p256.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import { layoutOf } from "../../../src/platform/paths.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const message = async function* () {
  yield utf8("message");
};
const silent = (warning: string) => assert.fail(`warned: ${warning}`);

for (const background of [false, true]) {
  test(`openIdentity() with background ${background} gives identity and signer, and lets go of both`, async () => {
    using directory = temporaryDirectory();
    using _environment = setEnvironment();
    const layout = copyFixture("floor", directory.file("amesh"));
    const opened = await openIdentity(layout, silent, background);
    assert.deepEqual(opened.identity.fields, fixtureIdentity("floor"));
    const signature = await opened.signer.sign(message());
    assert.ok(await verify(opened.identity.publicKey, [signature], message()));
    opened[Symbol.dispose]();
    await assert.rejects(async () => await opened.signer.sign(message()));
  });
}

test("openIdentity() says that there is no identity", async () => {
  using directory = temporaryDirectory();
  await assert.rejects(
    openIdentity(layoutOf(directory.file("amesh")), silent, false),
    ameshError("ERR_NO_IDENTITY"),
  );
});

const absent = [["secure-enclave", /"secure-enclave"/], ["keychain", /"keychain"/], ["tpm2", /TPM/]] as const;
for (const [tier, message] of absent) {
  test(`openIdentity() of an identity in ${tier} never looks into another tier`, async () => {
    using directory = temporaryDirectory();
    using _environment = setEnvironment();
    const layout = copyFixture("floor", directory.file("amesh"));
    writeFileSync(layout.identity, JSON.stringify({ ...fixtureIdentity("floor"), storageBackend: tier }));
    await assert.rejects(
      openIdentity(layout, silent, false),
      ameshError("ERR_TIER_UNAVAILABLE", message),
    );
  });
}

test("openIdentity() says that a key is missing and changes nothing", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = copyFixture("floor", directory.file("amesh"));
  rmSync(layout.keys, { recursive: true });
  const before = readFileSync(layout.identity, "utf8");
  await assert.rejects(openIdentity(layout, silent, false), ameshError("ERR_CORRUPT", /is missing$/));
  assert.equal(readFileSync(layout.identity, "utf8"), before);
});

test("openIdentity() waits for the key in the background too while a passphrase is to be migrated", async () => {
  using directory = temporaryDirectory();
  using _environment = setEnvironment();
  const layout = copyFixture("amesh-0.7-floor", directory.file("amesh"));
  const warnings: string[] = [];
  using _opened = await openIdentity(layout, (warning) => warnings.push(warning), true);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /migrated/);
});
