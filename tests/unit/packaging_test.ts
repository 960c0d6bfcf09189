/** What packaging/ hands to the system's service managers fits the command line and the exit codes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { AmeshError, type AmeshErrorCode } from "../../src/errors.ts";
import { runChild } from "../support/child_process.ts";
import { complaintOf } from "../support/command_line.ts";

const PACKAGING = join(import.meta.dirname!, "..", "..", "packaging");
const UNIT = join(PACKAGING, "systemd", "amesh-agent.service");
const PLIST = join(PACKAGING, "launchd", "dev.amesh.agent.plist");
const hasPython = runChild(["python3", "-c", ""]).code === 0;

/** The values of a unit's keys in one section, in their order; a key can stand there often. */
function sectionOf(unit: string, section: string): Map<string, string[]> {
  const body = unit.split(/^\[(\w+)\]$/m);
  const lines = body[body.indexOf(section) + 1]!.split("\n").filter((line) => /^[^#;]/.test(line));
  const values = new Map<string, string[]>();
  for (const line of lines) {
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    assert.ok(key !== undefined && value !== undefined, `no assignment: ${line}`);
    values.set(key, [...values.get(key) ?? [], value]);
  }
  return values;
}

const service = sectionOf(readFileSync(UNIT, "utf8"), "Service");
const one = (key: string) => {
  const values = service.get(key) ?? [];
  assert.equal(values.length, 1, key);
  return values[0]!;
};

test("the parser tells an option that it knows from one that it does not know", async () => {
  assert.match(await complaintOf(["sign", "--out", "x"]), /one-too-many/);
  assert.doesNotMatch(await complaintOf(["sign", "--socket", "x"]), /one-too-many/);
});

test("the systemd unit starts the agent as the command line wants it", async () => {
  const [program, ...args] = one("ExecStart").split(" ");
  assert.equal(program, "amesh");
  assert.match(await complaintOf(args), /one-too-many/);
  assert.deepEqual(
    args.slice(0, 2),
    ["agent", "--foreground"],
    "systemd waits for the process it has started",
  );
  assert.equal(one("Type"), "notify");
});

test("the socket of the systemd unit is where the unit makes a private directory", () => {
  assert.ok(one("ExecStart").endsWith(` --socket %t/${one("RuntimeDirectory")}/agent.sock`));
  assert.equal(one("RuntimeDirectoryMode"), "0700");
});

test("the systemd unit starts no agent again that a person must look at", () => {
  const codes: AmeshErrorCode[] = [
    "ERR_USAGE",
    "ERR_NO_IDENTITY",
    "ERR_UNLOCK_FAILED",
    "ERR_UNSAFE_PERMISSIONS",
    "ERR_CORRUPT",
  ];
  const numbers = codes.map((code) => new AmeshError(code, "").exitCode);
  assert.equal(one("RestartPreventExitStatus"), numbers.join(" "));
  assert.equal(one("Restart"), "on-failure");
});

test("the systemd unit shuts the agent in and leaves it what it needs", () => {
  const wanted = {
    // Without it, systemd before 253 sets up none of the next five in a user's service manager.
    PrivateUsers: "yes",
    PrivateTmp: "yes",
    PrivateNetwork: "yes",
    ProtectSystem: "strict",
    ProtectHome: "read-only",
    ReadWritePaths: "-%h/.amesh",
    NoNewPrivileges: "yes",
    RestrictAddressFamilies: "AF_UNIX",
    LimitCORE: "0",
  };
  for (const [key, value] of Object.entries(wanted)) assert.equal(one(key), value, key);
  for (const key of ["MemoryDenyWriteExecute", "PrivateDevices", "LoadCredential", "Environment"]) {
    assert.equal(service.has(key), false, key);
  }
});

test("the launchd job starts the agent as the command line wants it, and again when it fails", {
  skip: hasPython ? false : "python3 is not installed",
}, async () => {
  const code = "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
  const { stdout, stderr } = runChild(["python3", "-c", code, PLIST]);
  assert.equal(stderr, "");
  const job = JSON.parse(stdout);
  assert.equal(`${job.Label}.plist`, PLIST.split("/").at(-1));
  const [program, ...args] = job.ProgramArguments;
  assert.match(program, /^\/.*\/amesh$/);
  assert.match(await complaintOf(args), /one-too-many/);
  assert.deepEqual(args, ["agent", "--foreground"]);
  assert.equal(job.RunAtLoad, true);
  assert.deepEqual(job.KeepAlive, { SuccessfulExit: false });
  assert.equal(job.HardResourceLimits.Core, 0);
  assert.equal(job.Umask, 0o077);
});
