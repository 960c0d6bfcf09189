import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, utf8 } from "../../../src/bytes.ts";
import { continuityMessage } from "../../../src/formats/continuity.ts";
import { findProtocol, PROTOCOL_START_BYTES } from "../../../src/formats/protocol_message.ts";

/** The beginning of a message, and whether it is one of amesh itself. */
const starts: [start: string, isAmesh: boolean][] = [
  ["amesh continuity v1\0", true],
  ["amesh proof of a new key v1\0", true],
  ["amesh continuity v1\0and more", true],
  ["amesh x v1\0", true],
  ["amesh x-y 2 v0\0", true],
  ["amesh x v9999\0", true],
  [`amesh ${"x".repeat(40)} v1234\0`, true],
  ["amesh v1 v2\0", true],
  ["", false],
  ["a", false],
  ["amesh", false],
  ["amesh continuity v1", false],
  ["amesh continuity v1 ", false],
  ["amesh continuity v1\n\0", false],
  ["amesh continuity v\0", false],
  ["amesh continuity vx\0", false],
  ["amesh continuity v12345\0", false],
  ["amesh continuity\0", false],
  ["amesh v1\0", false],
  ["amesh  v1\0", false],
  ["amesh Continuity v1\0", false],
  ["Amesh continuity v1\0", false],
  [" amesh continuity v1\0", false],
  ["amesh-continuity v1\0", false],
  ["amesh conti_nuity v1\0", false],
  ["amesh conti\u00e9nuity v1\0", false],
  [`amesh ${"x".repeat(41)} v1\0`, false],
  ["\0amesh continuity v1\0", false],
  ["amesh is a tool, version v1", false],
];
for (const [start, isAmesh] of starts) {
  test(`findProtocol() of ${JSON.stringify(start)} is ${isAmesh ? "a statement of amesh" : "null"}`, () => {
    assert.equal(findProtocol(utf8(start)), isAmesh ? "a statement of amesh itself" : null);
  });
}

test("findProtocol() takes bytes that are no text for what they are", () => {
  assert.equal(findProtocol(concatBytes(utf8("amesh "), Uint8Array.of(0xff), utf8(" v1\0"))), null);
  assert.notEqual(findProtocol(concatBytes(utf8("amesh x v1\0"), Uint8Array.of(0xff, 0xfe))), null);
});

test("findProtocol() has room for the longest label, and knows what rotate signs", () => {
  assert.ok(`amesh ${"x".repeat(40)} v1234\0`.length <= PROTOCOL_START_BYTES);
  const party = { deviceId: "am_AAAAAAAAAAAAAAAA", publicKey: new Uint8Array(33), backend: "tpm2" } as const;
  for (const role of ["old", "new"] as const) {
    const message = continuityMessage(role, {
      old: party,
      new: party,
      createdAt: "2026-03-01T09:00:00.000Z",
    });
    assert.notEqual(findProtocol(message.subarray(0, PROTOCOL_START_BYTES)), null);
  }
});
