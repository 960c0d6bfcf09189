/**
 * Secrets stay where they belong: whatever amesh writes, shows and starts is watched, and so is what the system shows of
 * a process that holds a key. No passphrase leaves but into its own file; no scalar and no derived key leaves at all.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { NO_TPM } from "../support/environment.ts";
import { absentTargets, type Target, targets } from "../support/executables.ts";
import { copyFixture, type FixtureName } from "../support/fixture.ts";
import { cannotTrace, Scratch } from "./harness.ts";
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
const FLOOR_PASSPHRASE = "the lowest cost";
const LEGACY_PASSPHRASE = "Grüße, 世界 🔑";
const NEW_PASSPHRASE = "what a person chose, 7Kq";
/** What holds a passphrase: amesh's own file and the one that the tests name, with `.next` and temporary names. */
const PASSPHRASE_FILE = /^\.{0,2}(passphrase|moved)(\.next|\.amesh-next)?(\.[0-9a-f]{16}\.tmp)?$/;

/** One run of a command and what it starts from. */
interface Case {
  readonly name: string;
  readonly fixture: FixtureName | null;
  /** Takes the place of `.passphrase`: where the passphrase of the fixture comes from. */
  readonly source?: "variable" | "file" | "descriptor";
  readonly prepare?: (home: string) => void;
  readonly args: readonly string[];
  readonly passphrases: readonly string[];
}

const floor = { fixture: "floor", passphrases: [FLOOR_PASSPHRASE] } as const;
const changed = { fixture: "floor", passphrases: [FLOOR_PASSPHRASE, NEW_PASSPHRASE] } as const;
const init = ["init", "--name", "a", "--backend", "encrypted-file"];
const change = ["passphrase", "change", "--new-passphrase-file", "new"];

const CASES: readonly Case[] = [
  { name: "init, variable", ...floor, fixture: null, source: "variable", args: init },
  { name: "init, descriptor", ...floor, fixture: null, source: "descriptor", args: init },
  { name: "init --force", ...floor, args: [...init, "--force"] },
  { name: "sign", ...floor, args: ["sign", "document"] },
  { name: "sign, variable", ...floor, source: "variable", args: ["sign", "--json", "document"] },
  { name: "sign, file", ...floor, source: "file", args: ["sign", "--out", "signature", "document"] },
  { name: "sign, descriptor", ...floor, source: "descriptor", args: ["sign", "document"] },
  { name: "rotate, variable", ...floor, source: "variable", args: ["rotate", "--json"] },
  { name: "passphrase status", ...floor, args: ["passphrase", "status", "--json"] },
  { name: "passphrase change", ...changed, args: change },
  { name: "passphrase change, file", ...changed, source: "file", args: change },
  { name: "passphrase change, variable", ...changed, source: "variable", args: change },
  { name: "passphrase move", ...floor, args: ["passphrase", "move", "--remove-old", "moved"] },
  {
    name: "sign with a passphrase in identity.json",
    fixture: "amesh-0.7-floor",
    passphrases: [LEGACY_PASSPHRASE],
    args: ["sign", "document"],
  },
  {
    name: "doctor --fix of a passphrase in identity.json and of an interrupted change",
    fixture: "amesh-0.7-floor",
    passphrases: [LEGACY_PASSPHRASE, NEW_PASSPHRASE],
    prepare: (home) => {
      writeFileSync(join(home, ".amesh", ".passphrase.next"), NEW_PASSPHRASE, { mode: 0o400 });
      writeFileSync(join(home, ".amesh", ".passphrase"), LEGACY_PASSPHRASE, { mode: 0o400 });
    },
    args: ["doctor", "--fix"],
  },
  { name: "delete", ...floor, args: ["delete", "--yes"] },
];

async function checkCase(target: Target, one: Case): Promise<void> {
  using scratch = new Scratch();
  const [home, temporary] = [scratch.directory(), scratch.directory()];
  const file = (name: string) => join(home, name);
  writeFileSync(file("document"), "a document\n");
  writeFileSync(file("new"), `${NEW_PASSPHRASE}\n`);
  const secrets = one.passphrases.map(passphraseSecret);
  if (one.fixture !== null) {
    const layout = copyFixture(one.fixture, file(".amesh"));
    if (one.source !== undefined) rmSync(layout.passphrase);
    secrets.push(fixtureScalar(one.fixture));
  }
  one.prepare?.(home);
  secrets.push(...await allKeySecrets(home, one.passphrases));
  const env: Record<string, string> = { HOME: home, TMPDIR: temporary, AMESH_TPM_TCTI: NO_TPM };
  if (one.source === "variable") env["AUTH_MESH_PASSPHRASE"] = FLOOR_PASSPHRASE;
  if (one.source === "file") {
    writeFileSync(file("passphrase"), `${FLOOR_PASSPHRASE}\n`, { mode: 0o400 });
    env["AMESH_PASSPHRASE_FILE"] = file("passphrase");
  }
  const isDescriptor = one.source === "descriptor";
  if (isDescriptor) writeFileSync(file("given"), FLOOR_PASSPHRASE);
  const { code, stdout, stderr, calls } = watch(
    target,
    [...one.args, ...isDescriptor ? ["--passphrase-fd", "3"] : []],
    { cwd: home, env, log: join(scratch.path, "calls"), descriptor: isDescriptor ? file("given") : null },
  );
  assert.equal(code, 0, stderr);
  secrets.push(...await allKeySecrets(home, one.passphrases));

  assert.deepEqual(findIn(Buffer.from(stdout + stderr), secrets), [], "stdout or stderr");
  const isPassphraseFile = (path: string) => PASSPHRASE_FILE.test(basename(path));
  const isPassphrase = (what: string) => what.startsWith("passphrase");
  for (const { name, text, path, bytes } of calls) {
    const isThread = text.includes("CLONE_THREAD");
    if (name.startsWith("clone") && isThread) continue;
    assert.ok(!STARTING.split(",").includes(name) || name === "execve", `starts a process: ${name}(${text}`);
    assert.ok(!UNWATCHED.split(",").includes(name), `${name}(${text}`);
    const found = findIn(bytes, secrets).filter((what) => !(isPassphrase(what) && isPassphraseFile(path)));
    assert.deepEqual(found, [], `${name} ${path}`);
  }
  assert.equal(calls.filter(({ name }) => name === "execve").length, 1, "starts another program");
  assert.ok(calls.some(({ name }) => name === "write" || name === "writev"), "nothing was watched");
  const ours = ["new", "given"].map(file);
  for (const path of [...filesIn(home), ...filesIn(temporary)].filter((name) => !ours.includes(name))) {
    const found = findIn(readFileSync(path), secrets);
    assert.deepEqual(found.filter((what) => !(isPassphrase(what) && isPassphraseFile(path))), [], path);
  }
}

/** Both executables; the source in place of one that is not there. */
const tested = targets().filter(({ name }) =>
  name !== "source" || absentTargets().some((absent) => absent.name === "deno")
);

for (const target of tested) {
  for (const one of CASES) {
    test(`${target.name}: no secret leaves ${one.name}`, { skip }, () => checkCase(target, one));
  }
}

const isRoot = process.getuid?.() === 0;
const noProcess = skip || (isRoot ? false : "only root can look at such a process");
const CORE_SIGNALS = ["SIGQUIT", "SIGABRT", "SIGSEGV"] as const;

/** Starts a program that may dump as much core as it likes, with stdin open. */
function startDumpable(argv: readonly string[], cwd: string, env: Readonly<Record<string, string>>) {
  return new Deno.Command("/bin/sh", {
    args: ["-c", 'ulimit -c unlimited; exec "$@"', "sh", ...argv],
    cwd,
    env: { ...env },
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

const coresIn = (cwd: string) => readdirSync(cwd).filter((name) => name.startsWith("core"));

/** read(2) in /proc/PID/syscall, on x64 and arm64: other calls have a 0 for their first argument too. */
const READING = /^(?:0|63) (0x[0-9a-f]{1,3}) /;

/** Waits until a process waits for its standard input: it is at a call on that, or on a duplicate of it. */
async function untilReading(pid: number): Promise<void> {
  const link = (fd: number) => readlinkSync(`/proc/${pid}/fd/${fd}`);
  for (let tries = 0; tries < 400; tries++) {
    const fd = READING.exec(readFileSync(`/proc/${pid}/syscall`, "latin1"))?.[1];
    try {
      if (fd !== undefined && link(Number(fd)) === link(0)) return;
    } catch { /* that was no descriptor */ }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("it does not read its standard input");
}

/** Why no core file can be expected here, whoever dies; `false` when it can. */
async function noCores(): Promise<string | false> {
  const pattern = readFileSync("/proc/sys/kernel/core_pattern", "utf8").trim();
  using scratch = new Scratch();
  const child = startDumpable(["/bin/cat"], scratch.path, {});
  await untilReading(child.pid);
  child.kill("SIGSEGV");
  await child.stdin.close();
  await child.output();
  return coresIn(scratch.path).length > 0 ? false : `core files go elsewhere (core_pattern is ${pattern})`;
}

const noCore = noProcess || await noCores();

for (const target of tested) {
  test(
    `${target.name}: a process that holds the key shows and dumps nothing of it`,
    { skip: noCore },
    async () => {
      using scratch = new Scratch();
      const layout = copyFixture("floor", join(scratch.path, ".amesh"));
      rmSync(layout.passphrase);
      const secrets = [passphraseSecret(FLOOR_PASSPHRASE), fixtureScalar("floor")];
      const env = { HOME: scratch.path, AUTH_MESH_PASSPHRASE: FLOOR_PASSPHRASE, AMESH_TPM_TCTI: NO_TPM };
      for (const signal of CORE_SIGNALS) {
        const argv = [...target.argv, "sign", "-"];
        const cwd = scratch.directory();
        const child = startDumpable(argv, cwd, { ...env, ...target.env });
        await untilReading(child.pid);
        const content = (name: string) => readFileSync(`/proc/${child.pid}/${name}`);
        assert.deepEqual(findIn(content("environ"), secrets), [], "environ");
        assert.ok(content("cmdline").length > 0);
        assert.deepEqual(findIn(content("cmdline"), secrets), [], "cmdline");
        const said = [child.stdout, child.stderr].map((stream) => new Response(stream).bytes());
        child.kill(signal);
        // V8 takes the first SIGSEGV for a fault of WebAssembly and goes on.
        await new Promise((resolve) => setTimeout(resolve, 200));
        try {
          child.kill(signal);
        } catch { /* the first was enough */ }
        const { success } = await child.status;
        await child.stdin.close().catch(() => {});
        assert.equal(success, false, signal);
        assert.deepEqual(
          findIn(Buffer.concat(await Promise.all(said)), secrets),
          [],
          `what it says at ${signal}`,
        );
        assert.deepEqual(coresIn(cwd), [], signal);
      }
    },
  );
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: no secret leaves (${reason})`, { skip: reason }, () => {});
}
