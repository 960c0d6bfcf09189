/** The library on the tiers whose keys are in no file that it could read: a TPM, a keychain. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createIdentity } from "../../../src/identity/create.ts";
import { deleteIdentity } from "../../../src/identity/delete.ts";
import { rotateIdentity } from "../../../src/identity/rotate.ts";
import type { TierName } from "../../../src/formats/identity_file.ts";
import { type MachineIdentity, openIdentity } from "../../../src/mod.ts";
import { type Layout, layoutOf } from "../../../src/platform/paths.ts";
import { ameshError } from "../../support/errors.ts";
import { securityDoubleMissing, startMac } from "../../support/security_double.ts";
import { useTpm } from "../../support/tpm_tier.ts";

async function make(layout: Layout, backend: TierName): Promise<void> {
  await createIdentity({
    layout,
    name: backend,
    backend,
    force: true,
    ifMissing: false,
    now: new Date(),
    warn: () => {},
    onDetected: () => {},
  });
}

async function requireSigns(identity: MachineIdentity): Promise<void> {
  const messages = Array.from({ length: 10 }, (_, i) => `message ${i}`);
  const made = await Promise.all(messages.map((message) => identity.signWithKey(message)));
  for (const [i, { signature, publicKey }] of made.entries()) {
    assert.ok(publicKey.equals(identity.publicKey));
    assert.equal(await publicKey.verify(signature, messages[i]!), true);
  }
  const long = () => new Response(new Uint8Array(3 << 20)).body!;
  assert.equal(await identity.publicKey.verify(await identity.sign(long()), long()), true);
}

/** Signs, follows a rotation, and lets go. */
async function requireUse(layout: Layout, backend: TierName): Promise<void> {
  await make(layout, backend);
  {
    using identity = await openIdentity({ directory: layout.directory });
    assert.equal(identity.backend, backend);
    await requireSigns(identity);
    const rotation = { layout, backend: undefined, now: new Date(), input: {}, warn: () => {} };
    const { identity: next } = await rotateIdentity(rotation);
    await requireSigns(identity);
    assert.equal(identity.deviceId, next.fields.deviceId);
    await deleteIdentity({ layout, confirm: () => Promise.resolve(), warn: () => {} });
    await assert.rejects(identity.sign("x"), ameshError("ERR_NO_IDENTITY"));
  }
}

const tpm = useTpm();

tpm.it("a key in a TPM signs, also after a rotation, and nothing of it is left loaded", async () => {
  await requireUse(tpm.context.layout, "tpm2");
  assert.deepEqual(tpm.loaded(), []);
});

tpm.it("a TPM that is reset under an open identity is opened again", async () => {
  const { layout } = tpm.context;
  await make(layout, "tpm2");
  using identity = await openIdentity({ directory: layout.directory });
  await requireSigns(identity);
  tpm.swtpm.restart();
  await requireSigns(identity);
});

const missing = securityDoubleMissing();
test(
  `a key in a keychain signs, also after a rotation${missing === undefined ? "" : `: ${missing}`}`,
  { skip: missing !== undefined },
  async () => {
    using mac = startMac({ AMESH_DOUBLE_SESSION: "graphic" });
    await requireUse(layoutOf(mac.file("amesh")), "keychain");
  },
);
