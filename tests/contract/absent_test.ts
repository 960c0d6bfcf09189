import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bytes } from "../../src/bytes.ts";
import type { Identity, TierName } from "../../src/formats/identity_file.ts";
import { loadTier } from "../../src/keystore/select.ts";
import { Passphrases } from "../../src/passphrase/passphrases.ts";
import { layoutOf } from "../../src/platform/paths.ts";
import { ameshError } from "../support/errors.ts";
import { fixtureIdentity } from "../support/fixture.ts";

const layout = layoutOf("/nonexistent");
const identity: Identity = {
  fields: fixtureIdentity("floor") as Identity["fields"],
  publicKey: new Uint8Array(33) as Bytes,
};

for (const name of ["secure-enclave", "keychain"] satisfies TierName[]) {
  test(`${name}: probe() says that it is not part of this version, with a remedy`, async () => {
    const tier = await loadTier(name);
    assert.equal(tier.name, name);
    const availability = await tier.probe();
    assert.ok(!availability.available);
    assert.match(availability.cause, /^not part of this version yet$/);
    assert.match(availability.remedy ?? "", /--backend encrypted-file/);
  });

  test(`${name}: every operation but probe() ends with ERR_TIER_UNAVAILABLE`, async () => {
    const tier = await loadTier(name);
    using passphrases = new Passphrases(layout, undefined, () => {});
    const context = { layout, passphrases };
    const operations: [string, () => unknown][] = [
      ["generate", () => tier.generate(context)],
      ["open", () => tier.open(context, identity, false)],
      ["inspect", () => tier.inspect(context, identity)],
      ["checkDelete", () => tier.checkDelete(context, identity)],
      ["delete", () => tier.delete(context, identity)],
    ];
    for (const [operation, run] of operations) {
      await assert.rejects(
        async () => await run(),
        ameshError("ERR_TIER_UNAVAILABLE", new RegExp(`^cannot use backend "${name}": not part of`)),
        operation,
      );
    }
  });
}
