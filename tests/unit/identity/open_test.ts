import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { verify } from "../../../src/crypto/p256.ts";
import { openIdentity } from "../../../src/identity/open.ts";
import { host } from "../../../src/platform/host.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import { layoutOf } from "../../../src/platform/paths.ts";
import { openDescriptor } from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import {
  addKey,
  ameshPlace,
  FLOOR_PASSPHRASE,
  OTHER_PASSPHRASE,
  writeAs,
} from "../../support/amesh_place.ts";
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

/** Puts `floor-other` in the place of `floor`, as `rotate` and `init --force` do. */
function replace({ layout }: ReturnType<typeof ameshPlace>): void {
  addKey(layout, "floor-other");
  writeAs(layout.identity, JSON.stringify(fixtureIdentity("floor-other")), 0o600);
  rmSync(`${layout.keys}/${fixtureIdentity("floor")["deviceId"]}.key.json`);
}

for (const background of [false, true]) {
  test(`openIdentity() with background ${background} of an identity that is replaced while it opens gives the new one`, async () => {
    using here = ameshPlace("floor");
    rmSync(here.layout.passphrase);
    let asked = 0;
    // Between reading the key file and opening it: the wrong answer is for the old key.
    const ask = () => {
      if (asked++ > 0) return Promise.reject(new Error("asked twice"));
      replace(here);
      return Promise.resolve(utf8(OTHER_PASSPHRASE));
    };
    if (background) {
      // In the background it is too late: the failure is told when the key is asked for.
      const opened = await openIdentity(here.layout, silent, true, { ask });
      await assert.rejects(
        async () => await opened.signer.sign(message()),
        ameshError("ERR_CORRUPT", /is missing$/),
      );
      opened[Symbol.dispose]();
      return;
    }
    using opened = await openIdentity(here.layout, silent, false, { ask });
    assert.deepEqual(opened.identity.fields, fixtureIdentity("floor-other"));
    const signature = await opened.signer.sign(message());
    assert.ok(await verify(opened.identity.publicKey, [signature], message()));
  });
}

test("openIdentity() of an identity that was replaced before its key was read gives the new one", async () => {
  for (const background of [false, true]) {
    using here = ameshPlace("floor");
    writeAs(here.layout.passphrase, OTHER_PASSPHRASE, 0o400);
    const { lstat } = host;
    // The folder of keys is looked at first.
    host.lstat = (path) => {
      if (path === here.layout.keys) {
        host.lstat = lstat;
        replace(here);
      }
      return lstat(path);
    };
    try {
      using opened = await openIdentity(here.layout, silent, background);
      assert.deepEqual(opened.identity.fields, fixtureIdentity("floor-other"));
      await opened.signer.sign(message());
    } finally {
      host.lstat = lstat;
    }
  }
});

test("openIdentity() with a descriptor reads no other source, and with the next file needs no lock", async () => {
  using here = ameshPlace("floor");
  const passed = writeAs(here.file("passed"), FLOOR_PASSPHRASE, 0o400);
  writeAs(here.layout.passphrase, "outdated", 0o400);
  {
    using descriptor = openDescriptor(passed);
    using _opened = await openIdentity(here.layout, silent, false, { descriptor: descriptor.fd });
  }
  writeAs(`${here.layout.passphrase}.next`, FLOOR_PASSPHRASE, 0o400);
  using _lock = acquireLock(here.layout.lock);
  const before = here.names();
  using _opened = await openIdentity(here.layout, silent, false);
  assert.deepEqual(here.names(), before);
});
