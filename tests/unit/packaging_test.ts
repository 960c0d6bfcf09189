/** What packaging/ hands to the system's service managers fits the command line and the exit codes. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { AmeshError, type AmeshErrorCode } from "../../src/errors.ts";
import { PASSPHRASE_CREDENTIAL } from "../../src/passphrase/sources.ts";
import { runChild } from "../support/child_process.ts";
import { complaintOf } from "../support/command_line.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";

const PACKAGING = join(import.meta.dirname!, "..", "..", "packaging");
const SYSTEMD = join(PACKAGING, "systemd");
const UNIT = join(SYSTEMD, "amesh-agent.service");
const DROP_INS = "amesh-.service.d";
/** Units of the system's manager; what is in the directory besides is the agent's, of a user's. */
const SYSTEM_UNITS = ["amesh-init.service", "amesh-boot-report.service"] as const;
const PLIST = join(PACKAGING, "launchd", "dev.amesh.agent.plist");
const hasSystemd = runChild(["systemd-analyze", "--version"]).code === 0;
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

const sectionsOf = (name: string) => {
  const text = readFileSync(join(SYSTEMD, name), "utf8");
  return { service: sectionOf(text, "Service"), unit: sectionOf(text, "Unit") };
};
const [init, report] = SYSTEM_UNITS.map(sectionsOf) as [
  ReturnType<typeof sectionsOf>,
  ReturnType<typeof sectionsOf>,
];

test("the units of the system call amesh as the command line wants it", async () => {
  const ours = [init, report].flatMap(({ service }) => service.get("ExecStart")!)
    .filter((line) => line.startsWith("amesh "));
  assert.deepEqual(ours.map((line) => line.split(" ")[1]), ["init", "sign"]);
  for (const line of ours) assert.match(await complaintOf(line.split(" ").slice(1)), /one-too-many/);
  assert.match(ours[0]!, / --if-missing /);
  assert.deepEqual(report.unit.get("Requires"), [SYSTEM_UNITS[0]]);
  assert.deepEqual(report.unit.get("After"), [SYSTEM_UNITS[0]]);
});

test("the units of the system are shut in alike, and only init can write where the key is", () => {
  const ofOne = new Set([
    "ExecStart",
    "UMask",
    "StateDirectory",
    "StateDirectoryMode",
    "RuntimeDirectory",
  ]);
  const common = ({ service }: typeof init) => [...service].filter(([key]) => !ofOne.has(key)).sort();
  assert.deepEqual(common(report), common(init));
  assert.deepEqual(init.service.get("StateDirectoryMode"), ["0700"]);
  assert.deepEqual(init.service.get("UMask"), ["0077"]);
  for (const key of ["StateDirectory", "ReadWritePaths"]) assert.equal(report.service.has(key), false, key);
  for (const { service } of [init, report]) assert.equal(service.has("MemoryDenyWriteExecute"), false);
});

test("the drop-ins name the credential that amesh reads, from absolute paths that must exist", () => {
  const settings = readdirSync(join(SYSTEMD, DROP_INS)).flatMap((name) => {
    const service = sectionOf(readFileSync(join(SYSTEMD, DROP_INS, name), "utf8"), "Service");
    return [...service].filter(([key]) => key.startsWith("LoadCredential")).map(([key, values]) => [
      name,
      key,
      ...values,
    ]);
  });
  assert.deepEqual(settings.sort(), [
    ["credential.conf", "LoadCredential", `${PASSPHRASE_CREDENTIAL}:/etc/amesh/passphrase`],
    [
      "encrypted-credential.conf",
      "LoadCredentialEncrypted",
      `${PASSPHRASE_CREDENTIAL}:/etc/credstore.encrypted/${PASSPHRASE_CREDENTIAL}`,
    ],
  ]);
});

/** The units of a manager in a directory of their own, with a program that is on every machine in place of amesh. */
function placeUnits(directory: string, names: readonly string[], dropIn: string | null): string[] {
  mkdirSync(join(directory, DROP_INS));
  if (dropIn !== null) cpSync(join(SYSTEMD, DROP_INS, dropIn), join(directory, DROP_INS, dropIn));
  return names.map((name) => {
    const text = readFileSync(join(SYSTEMD, name), "utf8").replaceAll(
      "ExecStart=amesh ",
      "ExecStart=/bin/true ",
    );
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  });
}

/** Exposure of a service as `systemd-analyze security` counts it, times ten: below 20 is "safe". */
const MOST_EXPOSED = 12;
const skipWithoutSystemd = { skip: hasSystemd ? false : "systemd-analyze is not installed" };

for (const dropIn of [null, ...readdirSync(join(SYSTEMD, DROP_INS)).sort()]) {
  test(
    `systemd takes the units of the system with ${dropIn ?? "no drop-in"} and calls them safe`,
    skipWithoutSystemd,
    () => {
      using directory = temporaryDirectory();
      const units = placeUnits(directory.path, SYSTEM_UNITS, dropIn);
      assert.deepEqual(runChild(["systemd-analyze", "verify", "--man=no", ...units]), {
        code: 0,
        stdout: "",
        stderr: "",
      });
      const security = [
        "systemd-analyze",
        "security",
        "--no-pager",
        "--offline=true",
        `--threshold=${MOST_EXPOSED}`,
      ];
      for (const unit of units) {
        const { code, stdout, stderr } = runChild([...security, unit]);
        assert.equal(code, 0, stdout + stderr);
      }
    },
  );
}

test("systemd takes the agent's unit", skipWithoutSystemd, () => {
  using directory = temporaryDirectory();
  const [unit] = placeUnits(directory.path, ["amesh-agent.service"], null);
  const env = { XDG_RUNTIME_DIR: directory.path };
  assert.deepEqual(runChild(["systemd-analyze", "verify", "--user", "--man=no", unit!], { env }), {
    code: 0,
    stdout: "",
    stderr: "",
  });
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
