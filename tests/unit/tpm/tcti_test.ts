import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { findTcti } from "../../../src/tpm/tcti.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";

function tctiOf(value: string) {
  using _environment = setEnvironment({ AMESH_TPM_TCTI: value });
  return findTcti();
}

test("findTcti() is the kernel's shared device, also where the variable is empty", () => {
  const want = {
    conf: "device:/dev/tpmrm0",
    device: "/dev/tpmrm0",
    peer: null,
    control: null,
    fromEnvironment: false,
  };
  assert.deepEqual(tctiOf(""), want);
  using _environment = setEnvironment();
  delete process.env["AMESH_TPM_TCTI"];
  assert.deepEqual(findTcti(), want);
});

const ways: [string, string, string | null, unknown, unknown][] = [
  ["device:/dev/tpm0", "device:/dev/tpm0", "/dev/tpm0", null, null],
  ["device", "device:/dev/tpmrm0", "/dev/tpmrm0", null, null],
  ["device:", "device:/dev/tpmrm0", "/dev/tpmrm0", null, null],
  ["swtpm:path=/run/s", "swtpm:path=/run/s", null, { path: "/run/s" }, { path: "/run/s.ctrl" }],
  ["swtpm", "swtpm:", null, { port: 2321 }, { port: 2322 }],
  ["swtpm:host=localhost,port=99", "swtpm:host=localhost,port=99", null, { port: 99 }, { port: 100 }],
  ["swtpm:host=127.0.0.1,port=99", "swtpm:host=127.0.0.1,port=99", null, { port: 99 }, { port: 100 }],
  ["swtpm:port=99,path=/s=1", "swtpm:port=99,path=/s=1", null, { path: "/s=1" }, { path: "/s=1.ctrl" }],
  ["swtpm:host=tpm.example,port=99", "swtpm:host=tpm.example,port=99", null, null, null],
  ["mssim:port=99", "mssim:port=99", null, { port: 99 }, null],
  ["tabrmd:bus_type=session", "tabrmd:bus_type=session", null, null, null],
];
for (const [value, conf, device, peer, control] of ways) {
  test(`findTcti() understands ${value}`, () => {
    assert.deepEqual(tctiOf(value), { conf, device, peer, control, fromEnvironment: true });
  });
}

for (
  const value of [
    "/tmp/x.so:conf",
    "./x",
    "cmd:nc host 1",
    "libtss2-tcti-x.so.0",
    "device2",
    "x:",
    ":",
    " device",
    "DEVICE:/dev/tpm0",
    "device:/dev/tpm0\n",
    "pcap:device",
    "swtpm:path=",
    "swtpm:port=",
    "swtpm:port=abc",
    "swtpm:port=0",
    "swtpm:port=65535",
    "swtpm:host=tpm.example,port=99999",
    "mssim:port=-1",
  ]
) {
  test(`findTcti() refuses ${JSON.stringify(value)}`, () => {
    assert.throws(() => tctiOf(value), ameshError("ERR_USAGE", /^cannot use AMESH_TPM_TCTI: /));
  });
}
