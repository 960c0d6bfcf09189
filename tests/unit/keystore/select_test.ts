import assert from "node:assert/strict";
import { test } from "node:test";
import { TIER_NAMES, type TierName } from "../../../src/formats/identity_file.ts";
import { type Availability, PROTECTION } from "../../../src/keystore/keystore.ts";
import { type Detection, detectTiers, loadTier, selectTier } from "../../../src/keystore/select.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";

const yes: Availability = { available: true };
const no: Availability = { available: false, cause: "no chip", remedy: "buy one" };
const detect = (...available: TierName[]): Detection[] =>
  TIER_NAMES.map((name) => ({ name, availability: available.includes(name) ? yes : no }));

for (const name of TIER_NAMES) {
  test(`loadTier() gives the tier ${name}`, async () => assert.equal((await loadTier(name)).name, name));
}

test("detectTiers() probes all four in their order", async () => {
  using _environment = setEnvironment();
  const detections = await detectTiers();
  assert.deepEqual(detections.map(({ name }) => name), [
    "secure-enclave",
    "keychain",
    "tpm2",
    "encrypted-file",
  ]);
  assert.deepEqual(detections.map(({ availability }) => availability.available), [false, false, false, true]);
  for (const { availability } of detections) {
    if (!availability.available) assert.ok(availability.cause.length > 0);
  }
});

const selections: [available: TierName[], backend: TierName | "auto", want: TierName][] = [
  [["secure-enclave", "keychain", "encrypted-file"], "auto", "secure-enclave"],
  [["keychain", "encrypted-file"], "auto", "keychain"],
  [["tpm2", "encrypted-file"], "auto", "tpm2"],
  [["encrypted-file"], "auto", "encrypted-file"],
  [["tpm2", "encrypted-file"], "encrypted-file", "encrypted-file"],
  [["secure-enclave", "keychain"], "keychain", "keychain"],
];
for (const [available, backend, want] of selections) {
  test(`selectTier() of ${available.join(", ")} takes ${want} for ${backend}`, () => {
    assert.equal(selectTier(detect(...available), backend), want);
  });
}

test("selectTier() never takes another tier than the one that was named", () => {
  for (const backend of TIER_NAMES) {
    const others = TIER_NAMES.filter((name) => name !== backend);
    assert.throws(() => selectTier(detect(...others), backend), (error) => {
      ameshError("ERR_TIER_UNAVAILABLE", new RegExp(`^cannot use backend "${backend}": no chip$`))(error);
      assert.equal((error as { hint: string }).hint, "buy one");
      return true;
    });
  }
});

test("selectTier() has no hint where there is no remedy", () => {
  const detections: Detection[] = [{
    name: "tpm2",
    availability: { available: false, cause: "x", remedy: null },
  }];
  assert.throws(() => selectTier(detections, "tpm2"), (error) => {
    assert.equal((error as { hint?: string }).hint, undefined);
    return ameshError("ERR_TIER_UNAVAILABLE")(error);
  });
});

test("selectTier() takes no other tier when the user misnamed what one needs, except the one that is named", () => {
  const misnamed: Availability = { available: false, cause: "misnamed", remedy: null, code: "ERR_USAGE" };
  const detections = detect("encrypted-file").map((detection) =>
    detection.name === "tpm2" ? { ...detection, availability: misnamed } : detection
  );
  const refused = ameshError("ERR_USAGE", /^cannot use backend "tpm2": misnamed$/);
  for (const backend of ["auto", "tpm2"] as const) {
    assert.throws(() => selectTier(detections, backend), refused, backend);
  }
  assert.equal(selectTier(detections, "encrypted-file"), "encrypted-file");
  const better = detections.map((detection) =>
    detection.name === "keychain" ? { ...detection, availability: yes } : detection
  );
  assert.equal(selectTier(better, "auto"), "keychain");
});

test("selectTier() says so when nothing is available", () => {
  assert.throws(
    () => selectTier(detect(), "auto"),
    ameshError("ERR_TIER_UNAVAILABLE", /no tier is available$/),
  );
});

test("PROTECTION calls a software tier software-only and says what it does not protect", () => {
  for (const name of TIER_NAMES) {
    const { hardware, summary } = PROTECTION[name];
    assert.equal(summary.startsWith("Software-only protection"), !hardware, name);
  }
  assert.match(PROTECTION["encrypted-file"].summary, /NOT against an attacker/);
  assert.match(PROTECTION["encrypted-file"].summary, /passphrase file too/);
  assert.deepEqual(
    TIER_NAMES.map((name) => PROTECTION[name].extractable),
    ["no", "by the OS owner", "no", "with the passphrase"],
  );
});
