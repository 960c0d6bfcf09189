import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { requirePassphraseKey, underLock } from "../../../src/identity/passphrase_key.ts";
import { loadIdentity } from "../../../src/identity/store.ts";
import { acquireLock } from "../../../src/platform/lock.ts";
import { ameshPlace, FLOOR_PASSPHRASE, identityOf, textOf, writeAs } from "../../support/amesh_place.ts";
import { ameshError } from "../../support/errors.ts";
import { copyFixture, fixtureIdentity } from "../../support/fixture.ts";

test("requirePassphraseKey() gives the identity and a tier that has passphrases", async () => {
  using here = ameshPlace("floor");
  const floor = await identityOf("floor");
  const { identity, tier } = await requirePassphraseKey(floor);
  assert.deepEqual([identity, tier.name], [floor, "encrypted-file"]);
  assert.equal(tier.passphrase.describe(here.context(), identity).version, "3.0.0");
});

for (const storageBackend of ["tpm2", "keychain", "secure-enclave"] as const) {
  test(`requirePassphraseKey() and underLock() refuse a key of ${storageBackend}, which has none`, async () => {
    using here = ameshPlace("floor");
    const { layout, warn } = here;
    const refused = ameshError(
      "ERR_USAGE",
      new RegExp(`^a key of backend "${storageBackend}" has no passphrase$`),
    );
    writeFileSync(layout.identity, JSON.stringify({ ...fixtureIdentity("floor"), storageBackend }));
    await assert.rejects(requirePassphraseKey(await loadIdentity(layout)), refused);
    const ask = () => Promise.reject(new Error("asked"));
    await assert.rejects(underLock({ layout, warn, input: { ask } }, ask, ask), refused);
  });
}

test("underLock() says that there is no identity", async () => {
  using here = ameshPlace(null);
  const { layout, warn } = here;
  const never = () => Promise.reject(new Error("asked"));
  await assert.rejects(underLock({ layout, warn, input: {} }, never, never), ameshError("ERR_NO_IDENTITY"));
});

test("underLock() asks for the passphrase in force, then what else is to be asked, and only then takes the lock", async () => {
  using here = ameshPlace("floor");
  const { layout, warn } = here;
  rmSync(layout.passphrase);
  const events: string[] = [];
  const isLocked = () => {
    try {
      acquireLock(layout.lock)[Symbol.dispose]();
      return "free";
    } catch (error) {
      ameshError("ERR_BUSY")(error);
      return "locked";
    }
  };
  const ask = () => {
    events.push(`passphrase: ${isLocked()}`);
    return Promise.resolve(utf8(FLOOR_PASSPHRASE));
  };
  const given = await underLock(
    { layout, warn, input: { ask } },
    () => Promise.resolve(void events.push(`more: ${isLocked()}`)),
    async ({ context, tier, identity }) => {
      events.push(`change: ${isLocked()}`);
      (await tier.open(context, identity, false))[Symbol.dispose]();
      return "given";
    },
  );
  assert.deepEqual(events, ["passphrase: free", "more: free", "change: locked"]);
  assert.deepEqual([given, isLocked()], ["given", "free"]);
});

test("underLock() settles what is unfinished before the change", async () => {
  using here = ameshPlace("floor");
  const { layout, warn } = here;
  writeAs(`${layout.passphrase}.next`, "never in force\n", 0o400);
  const seen = await underLock(
    { layout, warn, input: {} },
    () => Promise.resolve(),
    () => Promise.resolve(textOf(`${layout.passphrase}.next`)),
  );
  assert.equal(seen, null);
});

test("underLock() moves the passphrase out of identity.json before the change", async () => {
  using here = ameshPlace(null);
  const layout = copyFixture("amesh-0.7-floor", here.layout.directory);
  const secret = fixtureIdentity("amesh-0.7-floor")["passphrase"];
  await underLock(
    { layout, warn: here.warn, input: {} },
    () => Promise.resolve(),
    async ({ identity, context: { passphrases } }) => {
      assert.equal(identity.fields.passphrase, undefined);
      assert.equal((await loadIdentity(layout)).fields.passphrase, undefined);
      assert.deepEqual(passphrases.current, { kind: "default-file", path: layout.passphrase });
      assert.equal(textOf(layout.passphrase), `${secret}\n`);
    },
  );
});

test("underLock() looks at the identity again under the lock", async () => {
  using here = ameshPlace("floor");
  const { layout, warn } = here;
  const meanwhile = () =>
    Promise.resolve(
      writeFileSync(layout.identity, JSON.stringify({ ...fixtureIdentity("floor"), storageBackend: "tpm2" })),
    );
  const change = () => Promise.reject(new Error("changed"));
  await assert.rejects(underLock({ layout, warn, input: {} }, meanwhile, change), ameshError("ERR_USAGE"));
});

test("underLock() is busy while another amesh changes the directory, and lets go of the lock when the change fails", async () => {
  using here = ameshPlace("floor");
  const { layout, warn } = here;
  const run = () =>
    underLock(
      { layout, warn, input: {} },
      () => Promise.resolve(),
      () => Promise.reject(new Error("failed")),
    );
  {
    using _lock = acquireLock(layout.lock);
    await assert.rejects(run(), ameshError("ERR_BUSY"));
  }
  await assert.rejects(run(), /^Error: failed$/);
  acquireLock(layout.lock)[Symbol.dispose]();
});
