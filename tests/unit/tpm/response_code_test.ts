import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  conditionOf,
  isFatal,
  isRetry,
  isTryAgain,
  type TpmCondition,
  TpmError,
} from "../../../src/tpm/response_code.ts";

const codes: [number, string, TpmCondition][] = [
  [0x000a000a, "TPM2_Sign", "connection"],
  [0x000a0015, "Tss2_TctiLdr_Initialize", "noTcti"],
  [0x000a000b, "Tss2_TctiLdr_Initialize", "badTcti"],
  [0x00070007, "TPM2_Sign", "malformedAnswer"],
  [0x00080007, "TPM2_Sign", "malformedAnswer"],
  [0x00080008, "TPM2_Sign", "connection"],
  [0x000a000c, "TPM2_Sign", "connection"],
  [0x00080010, "TPM2_Sign", "malformedAnswer"],
  [0x00080013, "TPM2_Sign", "malformedAnswer"],
  [0x00080011, "TPM2_Sign", "malformedAnswer"],
  [0x00080012, "TPM2_Sign", "malformedAnswer"],
  [0x00090006, "TPM2_Sign", "malformedAnswer"],
  [0x0007001b, "TPM2_Sign", "tamperedAnswer"],
  [0xa5a5a5a5, "TPM2_Sign", "malformedAnswer"],
  [0xff000000, "TPM2_Sign", "malformedAnswer"],
  [0x00000100, "TPM2_GetCapability", "notStarted"],
  [0x00000101, "TPM2_Sign", "failure"],
  [0x0000018b, "TPM2_ReadPublic", "noHandle"],
  [0x000001cb, "TPM2_FlushContext", "noHandle"],
  [0x000001df, "TPM2_Load", "integrity"],
  [0x000002e1, "TPM2_Load", "malformedKey"],
  [0x000001d5, "TPM2_Load", "malformedKey"],
  [0x000002c2, "TPM2_Load", "malformedKey"],
  [0x000001d5, "TPM2_Sign", "refused"],
  [0x000009a2, "TPM2_CreatePrimary", "badAuth"],
  [0x0000098e, "TPM2_Sign", "badAuth"],
  [0x00000185, "TPM2_CreatePrimary", "hierarchyDisabled"],
  [0x000002d6, "TPM2_StartAuthSession", "unsupported"],
  [0x000001c9, "TPM2_TestParms", "unsupported"],
  [0x00000143, "TPM2_TestParms", "unsupported"],
  [0x00000902, "TPM2_Load", "outOfMemory"],
  [0x00000903, "TPM2_StartAuthSession", "outOfMemory"],
  [0x00000910, "TPM2_Sign", "reset"],
  [0x00000918, "TPM2_Sign", "reset"],
  [0x00000921, "TPM2_Load", "lockout"],
  [0x00000922, "TPM2_Load", "busy"],
  [0x00000923, "TPM2_EvictControl", "nvBusy"],
  [0x0000012d, "TPM2_Sign", "restartNeeded"],
  [0x00000130, "TPM2_Sign", "restartNeeded"],
  [0x00000153, "TPM2_Sign", "failure"],
  [0x00000901, "TPM2_Sign", "outOfMemory"],
  [0x00000904, "TPM2_Load", "outOfMemory"],
  [0x00000905, "TPM2_StartAuthSession", "outOfMemory"],
  [0x00000906, "TPM2_Load", "outOfMemory"],
  [0x00000908, "TPM2_Sign", "busy"],
  [0x00000909, "TPM2_Sign", "busy"],
  [0x0000090a, "TPM2_Sign", "busy"],
  [0x0000091e, "TPM2_Sign", "reset"],
  [0x0000091f, "TPM2_Sign", "refused"],
  [0x00000920, "TPM2_EvictControl", "nvBusy"],
  [0x000002d6, "TPM2_Create", "unsupported"],
  [0x000002d6, "TPM2_CreatePrimary", "unsupported"],
  [0x0000019c, "TPM2_Sign", "refused"],
  [0x00000184, "TPM2_ReadPublic", "refused"],
  [0x000001c4, "TPM2_FlushContext", "refused"],
  [0x000001cd, "TPM2_EvictControl", "refused"],
  [0x0000001e, "TPM2_GetCapability", "refused"],
  [0x0000014c, "TPM2_EvictControl", "refused"],
];
for (const [rc, command, want] of codes) {
  test(`conditionOf() 0x${rc.toString(16)} of ${command} is ${want}`, () => {
    assert.equal(conditionOf(rc, command), want);
  });
  if (rc >>> 16 === 0) {
    test(`conditionOf() 0x${rc.toString(16)} of ${command} is the same behind a resource manager`, () => {
      for (const layer of [11, 12]) assert.equal(conditionOf((layer << 16) | rc, command), want);
    });
  }
}

test("conditionOf() is the same whichever handle, session or parameter is meant", () => {
  const errors: [number, TpmCondition][] = [
    [0x05, "hierarchyDisabled"],
    [0x0b, "noHandle"],
    [0x0e, "badAuth"],
    [0x1f, "integrity"],
    [0x22, "badAuth"],
  ];
  const parameter = fc.nat(15).map((number) => 0x40 | (number << 8));
  const [handle, session] = [0, 0x800].map((kind) => fc.nat(7).map((number) => kind | (number << 8)));
  const subject = fc.oneof(parameter, handle!, session!);
  fc.assert(fc.property(fc.constantFrom(...errors), subject, ([number, want], meant) => {
    for (const command of ["TPM2_Load", "TPM2_Sign"]) {
      assert.equal(conditionOf(0x80 | number | meant, command), want);
    }
  }));
});

test("isRetry(), isTryAgain() and isFatal() tell the TPM from the libraries", () => {
  assert.deepEqual([0x922, 0x908, 0x90a, 0x000b0922].map(isRetry), [true, true, true, true]);
  assert.deepEqual([0x921, 0x00070922, 0].map(isRetry), [false, false, false]);
  assert.deepEqual([0x00070009, 0x000a0009].map(isTryAgain), [true, true]);
  assert.deepEqual([0x9, 0x109, 0x0007000a, 0x00070109].map(isTryAgain), [false, false, false, false]);
  assert.deepEqual([0x000a000a, 0x00070007].map(isFatal), [true, true]);
  assert.deepEqual([0x902, 0x000c0902].map(isFatal), [false, false]);
});

/** A condition that is not listed here is a type error. */
const conditions: Record<TpmCondition, 4 | 9> = {
  notStarted: 4,
  failure: 4,
  restartNeeded: 4,
  lockout: 4,
  hierarchyDisabled: 4,
  badAuth: 4,
  integrity: 4,
  malformedKey: 9,
  noHandle: 4,
  outOfMemory: 4,
  busy: 4,
  nvBusy: 4,
  unsupported: 4,
  reset: 4,
  connection: 4,
  noTcti: 4,
  badTcti: 4,
  malformedAnswer: 4,
  tamperedAnswer: 4,
  timeout: 4,
  refused: 4,
};
for (const [condition, exitCode] of Object.entries(conditions) as [TpmCondition, number][]) {
  test(`TpmError of ${condition} ends with ${exitCode}, text and hint in the form of all messages`, () => {
    const error = new TpmError(condition, "TPM2_Load", 0x1df);
    assert.equal(error.exitCode, exitCode);
    assert.match(error.message, /^cannot use the TPM: [a-z].* \(TPM2_Load: 0x000001df\)$/);
    assert.match(error.hint!, /^[a-z].*[^.]$/);
  });
}

test("TpmError quotes the library where amesh has no words of its own", () => {
  const message = (condition: TpmCondition, decoded?: string) =>
    new TpmError(condition, "TPM2_Sign", 0x19c, decoded).message;
  assert.match(message("refused", "not compatible"), /\(TPM2_Sign: 0x0000019c, not compatible\)$/);
  assert.match(message("refused"), /\(TPM2_Sign: 0x0000019c\)$/);
  assert.match(message("lockout", "in lockout"), /\(TPM2_Sign: 0x0000019c\)$/);
});

test("every code has a condition, a message in the form of all messages, and a hint", () => {
  const commands = fc.constantFrom("TPM2_Load", "TPM2_Sign", "TPM2_CreatePrimary", "Esys_Initialize");
  fc.assert(fc.property(fc.integer({ min: 1, max: 0xffffffff }), commands, (rc, command) => {
    const error = new TpmError(conditionOf(rc, command), command, rc, "what the library says");
    assert.match(error.message, /^cannot use the TPM: [a-z].*\(.*0x[0-9a-f]{8}.*\)$/);
    assert.ok(error.hint!.length > 3 && !error.hint!.endsWith("."));
    assert.ok([4, 9].includes(error.exitCode));
  }));
});

test("a timeout has no code and ends the connection", () => {
  const error = new TpmError("timeout", "TPM2_Sign", null);
  assert.equal(error.message, "cannot use the TPM: it does not answer (TPM2_Sign)");
  assert.ok(error.isFatal);
  assert.ok(!new TpmError("lockout", "TPM2_Sign", 0x921).isFatal);
});
