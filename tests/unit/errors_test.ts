import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AmeshError,
  type AmeshErrorCode,
  errnoOf,
  errorText,
  EXIT_CODES,
  systemError,
} from "../../src/errors.ts";

// docs and scripts of users rely on these numbers.
const exitCodes: Record<AmeshErrorCode, number> = {
  ERR_INTERNAL: 1,
  ERR_SYSTEM: 1,
  ERR_NOT_CONFIRMED: 1,
  ERR_USAGE: 2,
  ERR_NO_IDENTITY: 3,
  ERR_TIER_UNAVAILABLE: 4,
  ERR_UNLOCK_FAILED: 5,
  ERR_IDENTITY_EXISTS: 6,
  ERR_SIGNATURE_INVALID: 7,
  ERR_UNSAFE_PERMISSIONS: 8,
  ERR_CORRUPT: 9,
  ERR_BUSY: 10,
  ERR_CERTIFICATE_DUE: 11,
  ERR_NO_AGENT: 12,
};

test("EXIT_CODES has these codes and no other", () => assert.deepEqual({ ...EXIT_CODES }, exitCodes));

for (const [code, exitCode] of Object.entries(exitCodes)) {
  test(`AmeshError of ${code} ends the process with ${exitCode}`, () => {
    assert.equal(new AmeshError(code as AmeshErrorCode, "x").exitCode, exitCode);
  });
}

test("AmeshError keeps its message, hint and cause", () => {
  const cause = new Error("cause");
  const error = new AmeshError("ERR_BUSY", "message", { hint: "hint", cause });
  assert.deepEqual(
    [error.name, error.message, error.hint, error.cause],
    ["AmeshError", "message", "hint", cause],
  );
  assert.equal(new AmeshError("ERR_BUSY", "message").hint, undefined);
});

const errnos: [name: string, error: unknown, want: string | undefined][] = [
  ["an errno name", Object.assign(new Error(), { code: "ENOENT" }), "ENOENT"],
  ["one with digits", { code: "E2BIG" }, "E2BIG"],
  ["a Node.js code", { code: "ERR_INVALID_ARG_TYPE" }, undefined],
  ["a DOMException's number", { code: 8 }, undefined],
  ["an error without a code", new Error("ENOENT"), undefined],
  ["null", null, undefined],
  ["a string", "ENOENT", undefined],
  ["nothing", undefined, undefined],
];
for (const [name, error, want] of errnos) {
  test(`errnoOf() of ${name} is ${want}`, () => assert.equal(errnoOf(error), want));
}

const messages: [error: unknown, want: string][] = [
  [{ code: "ENOENT" }, "no such file or directory"],
  [{ code: "EACCES" }, "permission denied"],
  [{ code: "ENOSPC" }, "no space left on device"],
  [{ code: "EROFS" }, "read-only file system"],
  [{ code: "EISDIR" }, "is a directory"],
  [{ code: "EUCLEAN" }, "operating system error EUCLEAN"],
  [new TypeError("odd"), "odd"],
  ["text", "text"],
];
for (const [error, want] of messages) {
  test(`systemError() explains ${JSON.stringify(error)} as ${JSON.stringify(want)}`, () => {
    const explained = systemError('read "x"', error, "hint");
    assert.deepEqual(
      [explained.code, explained.message, explained.hint, explained.cause],
      ["ERR_SYSTEM", `cannot read "x": ${want}`, "hint", error],
    );
    assert.equal(errorText(error), want);
  });
}

test("errorText() does not pass on Deno's advice to give up all permissions", () => {
  const denied = Object.assign(new Error("Requires all access, run again with --allow-all"), {
    name: "NotCapable",
  });
  assert.match(errorText(denied), /^Deno keeps programs out of/);
});

test("systemError() hands an AmeshError through", () => {
  const error = new AmeshError("ERR_CORRUPT", "x");
  assert.equal(systemError("read", error), error);
});
