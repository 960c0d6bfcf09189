/** What the agent does to its surroundings: sockets of this machine only, and no secret where anybody could see it. */
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { NO_TPM } from "../support/environment.ts";
import { absentTargets, targets } from "../support/executables.ts";
import { copyFixture } from "../support/fixture.ts";
import { cannotTrace, Scratch, trace } from "./harness.ts";
import {
  allKeySecrets,
  filesIn,
  findIn,
  fixtureScalar,
  passphraseSecret,
  STARTING,
  UNWATCHED,
  watch,
} from "./secrets.ts";

const skip = cannotTrace();
const PASSPHRASE = "the lowest cost";

/** An agent that starts, signs and ends. As a shell runs it; `$@` is amesh. */
const LIFE = [
  'eval "$("$@" agent)" > /dev/null',
  'tr "\\0" "\\n" < /proc/$SSH_AGENT_PID/environ > environ',
  'tr "\\0" "\\n" < /proc/$SSH_AGENT_PID/cmdline > cmdline',
  '"$@" sign --out signature document',
  '"$@" agent status --json > status',
  '"$@" agent stop',
].join(" && ");

function prepare(scratch: Scratch): string {
  const home = scratch.directory();
  writeFileSync(join(home, "document"), "a document\n");
  copyFixture("floor", join(home, ".amesh"));
  return home;
}

for (const target of targets()) {
  const shell = ["/bin/sh", "-ec", LIFE, "sh", ...target.argv];

  test(`${target.name}: the agent and its clients open sockets of this machine only`, { skip }, () => {
    using scratch = new Scratch();
    const home = prepare(scratch);
    const env = { HOME: home, PATH: "/usr/bin:/bin", AMESH_TPM_TCTI: NO_TPM, ...target.env };
    const { code, stderr, calls } = trace("network", shell, { cwd: home, env });
    assert.equal(code, 0, stderr);
    const opened = calls.filter((call) => /\bsocket\(/.test(call));
    assert.ok(opened.length >= 3, "an agent, a signature, a status and a stop without sockets");
    assert.deepEqual(opened.filter((call) => !/\bsocket\(AF_UNIX, SOCK_STREAM/.test(call)), []);
    const named = calls.filter((call) => /\b(bind|connect)\(/.test(call));
    const socket = join(home, ".amesh", "run", "agent.sock");
    assert.deepEqual(named.filter((call) => !call.includes(`sun_path="${socket}"`)), []);
  });

  // Only root can look at a process that lets nobody look at it.
  const cannotLook = skip || (process.getuid?.() === 0 ? false : "only root can look at such a process");
  test(
    `${target.name}: the agent tells nobody its passphrase and its key`,
    { skip: cannotLook },
    async () => {
      using scratch = new Scratch();
      const home = prepare(scratch);
      rmSync(join(home, ".amesh", ".passphrase"));
      const secrets = [passphraseSecret(PASSPHRASE), fixtureScalar("floor")];
      secrets.push(...await allKeySecrets(home, [PASSPHRASE]));
      const { code, stdout, stderr, calls } = watch({ ...target, argv: shell }, [], {
        cwd: home,
        env: { HOME: home, PATH: "/usr/bin:/bin", AMESH_TPM_TCTI: NO_TPM, AUTH_MESH_PASSPHRASE: PASSPHRASE },
        log: join(scratch.path, "calls"),
        descriptor: null,
      });
      assert.equal(code, 0, stderr);
      assert.deepEqual(findIn(new TextEncoder().encode(stdout + stderr), secrets), []);
      assert.equal(JSON.parse(readFileSync(join(home, "status"), "utf8")).signatures, 1);
      const telling = calls.filter(({ bytes }) => findIn(bytes, secrets).length > 0);
      // The process in the background gets the passphrase by a pipe, which send(2) does not take first.
      assert.deepEqual(telling.map(({ name, path }) => `${name} ${path.replace(/\d+/, "N")}`), [
        "sendto pipe:[N]",
        "write pipe:[N]",
      ]);
      const started = calls.filter(({ name }) => STARTING.split(",").includes(name));
      assert.ok(started.some(({ bytes }) => bytes.includes("--report-fd")), "nothing was watched");
      assert.deepEqual(calls.filter(({ name }) => UNWATCHED.split(",").includes(name)), []);
      for (const path of filesIn(home)) assert.deepEqual(findIn(readFileSync(path), secrets), [], path);
    },
  );
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: the agent keeps to this machine (${reason})`, { skip: reason }, () => {});
}
