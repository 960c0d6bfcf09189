import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { concatBytes, u32be, utf8 } from "../../../src/bytes.ts";
import { EsysConnection } from "../../../src/tpm/connection.ts";
import { describeProperties, readProperties, type TpmProperties } from "../../../src/tpm/properties.ts";
import { findTcti } from "../../../src/tpm/tcti.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { startSwtpm, type Swtpm, swtpmMissing } from "../../support/swtpm.ts";

/** A connection that gives these TPMS_CAPABILITY_DATA, one for each command. */
function answering(...answers: readonly Uint8Array[]): EsysConnection {
  const left = [...answers];
  return { run: () => {}, take: () => left.shift() } as unknown as EsysConnection;
}

function capability(values: Readonly<Record<number, number>>): Uint8Array {
  const pairs = Object.entries(values).flatMap((
    [property, value],
  ) => [u32be(Number(property)), u32be(value)]);
  return concatBytes(u32be(6), u32be(pairs.length / 2), ...pairs);
}

/** Four characters as the value of a property. */
const word = (text: string) => new DataView(Uint8Array.from(utf8(text)).buffer).getUint32(0);

const FIXED = {
  0x100: word("2.0\0"),
  0x105: word("IFX\0"),
  0x106: word("SLB9"),
  0x107: word("672 "),
  0x108: word("fTPM"),
  0x109: word("v2\0\0"),
  0x10b: 0x00070055,
  0x10c: 0x0011cb00,
};
const VARIABLE = { 0x200: 0, 0x201: 0, 0x20e: 1, 0x20f: 32, 0x210: 7200, 0x211: 86400 };
const PROPERTIES: TpmProperties = {
  family: "2.0",
  manufacturer: "IFX",
  vendor: "SLB9672 fTPMv2",
  firmware: "7.85.17.51968",
  ownerAuthSet: false,
  ownerEnabled: false,
  lockout: { inLockout: false, failures: 1, limit: 32, intervalSeconds: 7200, recoverySeconds: 86400 },
};

test("readProperties() says who made a TPM, which firmware it runs and how its lockout is set", () => {
  assert.deepEqual(readProperties(answering(capability(FIXED), capability(VARIABLE))), PROPERTIES);
});

const bits: [name: string, values: Record<number, number>, want: [boolean, boolean, boolean]][] = [
  ["an auth value of the owner", { 0x200: 1 << 0 }, [true, false, false]],
  ["an auth value of another hierarchy", { 0x200: (1 << 1) | (1 << 2) }, [false, false, false]],
  ["lockout", { 0x200: 1 << 9 }, [false, false, true]],
  ["TPM2_Clear forbidden", { 0x200: 1 << 8 }, [false, false, false]],
  ["the storage hierarchy enabled", { 0x201: 1 << 1 }, [false, true, false]],
  ["the others enabled", { 0x201: 0x80000005 }, [false, false, false]],
];
for (const [name, values, want] of bits) {
  test(`readProperties() knows ${name}`, () => {
    const found = readProperties(answering(capability(FIXED), capability({ ...VARIABLE, ...values })));
    assert.deepEqual([found.ownerAuthSet, found.ownerEnabled, found.lockout.inLockout], want);
  });
}

test("readProperties() leaves out what is no printable character, and spaces around", () => {
  const fixed = {
    ...FIXED,
    0x105: word("ST \0"),
    0x106: word("  a\x1b"),
    0x107: word("[3\x7f "),
    0x108: 0x00ff0a0d,
    0x109: 0xffffffff,
  };
  const { manufacturer, vendor } = readProperties(answering(capability(fixed), capability(VARIABLE)));
  assert.deepEqual([manufacturer, vendor], ["ST", "a[3"]);
});

test("readProperties() takes what a TPM does not say for nothing", () => {
  assert.deepEqual(readProperties(answering(capability({ 0x100: FIXED[0x100] }), capability({}))), {
    family: "2.0",
    manufacturer: "",
    vendor: "",
    firmware: "0.0.0.0",
    ownerAuthSet: false,
    ownerEnabled: false,
    lockout: { inLockout: false, failures: 0, limit: 0, intervalSeconds: 0, recoverySeconds: 0 },
  });
});

test("readProperties() knows failure mode by what the TPM does not say", () => {
  const { 0x100: _family, ...rest } = FIXED;
  const failure = ameshError(
    "ERR_TIER_UNAVAILABLE",
    /it is in failure mode, because a self test did not pass/,
  );
  for (const fixed of [rest, {}]) {
    assert.throws(() => readProperties(answering(capability(fixed), capability(VARIABLE))), failure);
  }
});

test("readProperties() throws at an answer that makes no sense", () => {
  const good = capability(FIXED);
  for (const bad of [new Uint8Array(0), good.slice(0, -1), capability(FIXED).with(3, 5)]) {
    const senseless = ameshError("ERR_TIER_UNAVAILABLE", /its answer makes no sense \(TPM2_GetCapability\)$/);
    assert.throws(() => readProperties(answering(bad, capability(VARIABLE))), senseless);
    assert.throws(() => readProperties(answering(good, bad)), senseless);
  }
});

test("readProperties() reads the answers that a TPM gave", () => {
  const path = join(import.meta.dirname!, "..", "..", "vectors", "tss2", "structures.json");
  const vectors: Record<string, string> = JSON.parse(readFileSync(path, "utf8"));
  const answers = ["properties_fixed", "properties_variable"].map((name) =>
    Uint8Array.fromHex(vectors[name]!)
  );
  assert.deepEqual(readProperties(answering(...answers)), {
    family: "2.0",
    manufacturer: "IBM",
    vendor: "SW TPM",
    firmware: "8217.4131.22.13878",
    ownerAuthSet: false,
    ownerEnabled: true,
    lockout: { inLockout: false, failures: 0, limit: 3, intervalSeconds: 1000, recoverySeconds: 1000 },
  });
});

test("describeProperties() is two lines for people", () => {
  assert.deepEqual(describeProperties(PROPERTIES), {
    TPM: "IFX SLB9672 fTPMv2, firmware 7.85.17.51968",
    Lockout: "no; 1 of 32 failures; one is forgiven every 7200 s; recovery 86400 s",
  });
  const locked = {
    ...PROPERTIES,
    vendor: "",
    lockout: { ...PROPERTIES.lockout, inLockout: true, failures: 32 },
  };
  assert.deepEqual(describeProperties(locked), {
    TPM: "IFX, firmware 7.85.17.51968",
    Lockout: "in force; 32 of 32 failures; one is forgiven every 7200 s; recovery 86400 s",
  });
});

const missing = swtpmMissing();

function propertiesOf(swtpm: Swtpm): TpmProperties {
  using _environment = setEnvironment({ AMESH_TPM_TCTI: swtpm.tcti });
  using tpm = new EsysConnection(findTcti());
  return readProperties(tpm);
}

test(
  `readProperties() follows what tpm2-tools change${missing === undefined ? "" : `: ${missing}`}`,
  { skip: missing !== undefined },
  () => {
    using swtpm = startSwtpm();
    const before = propertiesOf(swtpm);
    const told = swtpm.tools("getcap", "properties-fixed");
    const halves = [1, 2].flatMap((part) => {
      const value = Number(new RegExp(`FIRMWARE_VERSION_${part}:\\s+raw: (0x\\w+)`).exec(told)?.[1]);
      return [value >>> 16, value & 0xffff];
    });
    assert.equal(before.firmware, halves.join("."));
    assert.deepEqual([before.family, before.manufacturer, before.ownerEnabled], ["2.0", "IBM", true]);

    const lockout = ["--max-tries=2", "--recovery-time=77", "--lockout-recovery-time=88"];
    swtpm.tools("dictionarylockout", "--setup-parameters", ...lockout);
    const { lockout: set } = propertiesOf(swtpm);
    assert.deepEqual([set.limit, set.intervalSeconds, set.recoverySeconds], [2, 77, 88]);
    assert.deepEqual([set.inLockout, set.failures], [false, 0]);

    swtpm.tools("changeauth", "-c", "owner", "secret");
    assert.equal(propertiesOf(swtpm).ownerAuthSet, true);

    const child = ["-u", "public", "-r", "private"];
    swtpm.tools("createprimary", "-Q", "-C", "o", "-P", "secret", "-G", "ecc", "-c", "primary");
    swtpm.tools("create", "-Q", "-C", "primary", "-G", "ecc", "-p", "right", ...child, "-c", "key");
    swtpm.tools("flushcontext", "-t");
    for (const failures of [1, 2]) {
      assert.throws(() =>
        swtpm.tools("sign", "-c", "key", "-p", "wrong", "-g", "sha256", "-o", "s", "public")
      );
      swtpm.tools("flushcontext", "-t");
      assert.equal(propertiesOf(swtpm).lockout.failures, failures);
    }
    assert.equal(propertiesOf(swtpm).lockout.inLockout, true);

    swtpm.tools("hierarchycontrol", "-C", "p", "shEnable", "clear");
    assert.equal(propertiesOf(swtpm).ownerEnabled, false);
    assert.deepEqual([swtpm.transientHandles(), swtpm.loadedSessions()], [[], []]);
  },
);
