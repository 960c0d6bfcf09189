import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../../src/bytes.ts";
import { EXTENSION, parseExtensionResponse } from "../../../src/formats/agent_message.ts";
import { type AgentStatus, encodeStatus, parseStatus } from "../../../src/formats/agent_status.ts";

const STATUS: AgentStatus = {
  socket: "/run/s",
  pid: 1,
  deviceId: "am_x",
  backend: "tpm2",
  publicKey: "AAAA",
  locked: false,
  keyOpen: true,
  confirm: false,
  idleTimeoutSeconds: 0,
  signatures: 1,
  refused: 2,
  connections: 3,
  startedAt: "2026-07-01T12:00:00.000Z",
  lastProblem: "cannot: é",
};
const NULLABLE = ["deviceId", "backend", "publicKey", "lastProblem"];
const parse = (value: unknown) => parseStatus([utf8(JSON.stringify(value))]);

test("what encodeStatus() writes parseStatus() reads: JSON in one field", () => {
  const nothing = { ...STATUS, deviceId: null, backend: null, publicKey: null, lastProblem: null };
  for (const status of [STATUS, nothing]) {
    const fields = parseExtensionResponse(encodeStatus(status).subarray(4), EXTENSION.STATUS)!;
    assert.equal(fields.length, 1);
    assert.deepEqual(JSON.parse(new TextDecoder().decode(fields[0])), status);
    assert.deepEqual(parseStatus(fields), status);
  }
});

test("parseStatus() passes over what a later version may add", () => {
  assert.deepEqual(parse({ ...STATUS, later: 1 }), STATUS);
});

test("parseStatus() is null without any of the fields, and when one is of another type", () => {
  for (const [name, value] of Object.entries(STATUS)) {
    const { [name as "pid"]: _left, ...rest } = STATUS;
    assert.equal(parse(rest), null, name);
    for (const other of [{}, [], typeof value === "string" ? 1 : "1"]) {
      assert.equal(parse({ ...STATUS, [name]: other }), null, name);
    }
    assert.equal(parse({ ...STATUS, [name]: null }) !== null, NULLABLE.includes(name), name);
    if (typeof value !== "number") continue;
    for (const other of [-1, 0.5]) {
      assert.equal(parse({ ...STATUS, [name]: other }), null, `${name} ${other}`);
    }
  }
});

test("parseStatus() is null for what is no JSON object, and for another number of fields", () => {
  for (const text of ["", "{", "null", "5", '"x"', "[]", "{}", "\xff"]) {
    assert.equal(parseStatus([Uint8Array.from(text, (char) => char.charCodeAt(0))]), null, text);
  }
  assert.equal(parseStatus([]), null);
  const field = utf8(JSON.stringify(STATUS));
  assert.equal(parseStatus([field, field]), null);
});
