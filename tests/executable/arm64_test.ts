/**
 * The executable for Linux on arm64, on an emulated processor (qemu-user) with Debian's C library for it: the first
 * life of an identity, whose signatures the openssl and the ssh of this machine check.
 *
 * What an emulated processor cannot show: an agent in the background (the kernel of this machine does not start programs
 * for another one), and how long anything takes.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { buildExecutable } from "../../scripts/build.ts";
import { permissionFlags, TARGETS } from "../../scripts/compile.ts";
import { hasProgram } from "../../scripts/debian_packages.ts";
import { NO_TPM } from "../support/environment.ts";
import { copyFixture } from "../support/fixture.ts";
import { type Run, run, Scratch } from "./harness.ts";

const ROOT = resolve(import.meta.dirname!, "..", "..");
const LIBRARIES = "/usr/aarch64-linux-gnu/lib";
const skip = process.platform !== "linux"
  ? "the emulator is for Linux"
  : !hasProgram("qemu-aarch64-static") || !existsSync(join(LIBRARIES, "libc.so.6"))
  ? "qemu-user-static or libc6-arm64-cross is not installed"
  : false;

/** One machine with its HOME, on which `amesh` is the executable for arm64. */
class Arm64Machine implements Disposable {
  readonly #scratch = new Scratch();
  readonly home: string = this.#scratch.directory();
  readonly #root: string = this.#scratch.directory();
  readonly #executable: string = join(this.#scratch.path, "amesh");

  async install(): Promise<void> {
    const target = TARGETS.find(({ name }) => name === "linux-arm64")!;
    const build = { permissions: permissionFlags(), teamId: "", verbose: false, runtime: "bun" } as const;
    await buildExecutable({ ...target, ...build, output: this.#executable }, false);
    // As Debian on arm64 has it; the emulator looks here for each absolute path first.
    mkdirSync(join(this.#root, "lib"));
    symlinkSync(LIBRARIES, join(this.#root, "lib", "aarch64-linux-gnu"));
    symlinkSync(join(LIBRARIES, "ld-linux-aarch64.so.1"), join(this.#root, "lib", "ld-linux-aarch64.so.1"));
  }

  file(name: string): string {
    return join(this.home, name);
  }

  command(args: readonly string[], emulator: readonly string[] = []): string[] {
    return ["/usr/bin/qemu-aarch64-static", "-L", this.#root, ...emulator, this.#executable, ...args];
  }

  environment(): Record<string, string> {
    return { HOME: this.home, AMESH_TPM_TCTI: NO_TPM };
  }

  /** Runs a command of amesh. @param emulator options of qemu. */
  amesh(args: readonly string[], emulator?: readonly string[]): Run {
    return run(this.command(args, emulator), { cwd: this.home, env: this.environment() });
  }

  /** What a command of amesh prints, which must succeed. */
  output(...args: string[]): string {
    const { code, stdout, stderr } = this.amesh(args);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** What a program of this machine prints, which must succeed. */
  local(argv: readonly string[], env: Readonly<Record<string, string>> = {}): string {
    const setting = { cwd: this.home, env: { PATH: "/usr/bin:/bin", ...env } };
    const { code, stdout, stderr } = run(["/usr/bin/env", ...argv], setting);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }
}

const machine = new Arm64Machine();
after(() => machine[Symbol.dispose]());
if (skip === false) await machine.install();

test("arm64: init finds the C library where Debian has it, locks, and commits an identity", { skip }, () => {
  const { code, stdout, stderr } = machine.amesh(["init", "--name", "arm"], ["-strace"]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^Backend: +encrypted-file$/m);
  // LOCK_EX | LOCK_NB; only a libc that was found can be asked for it.
  assert.match(stderr, / flock\(\d+,6,.* = 0$/m);
  const calls = stderr.split("\n").filter((line) => line.includes('/libc.so.6"') && !line.endsWith(")"));
  assert.ok(calls.every((line) => line.includes('"/lib/aarch64-linux-gnu/libc.so.6"')), calls.join("\n"));
  const files = machine.local(["find", ".amesh", "-type", "f", "-printf", "%m\n"]).trimEnd().split("\n");
  assert.deepEqual(files.sort(), ["400", "600", "600", "600"]);
});

/** Tests of what talks to the kernel by numbers and structures; they start no program for arm64. */
const SOURCE_TESTS = ["device", "linux_files", "poll", "socket_peer"];

test(
  "arm64: the runtime in the executable passes the tests of descriptors, files and links",
  { skip },
  () => {
    const unit = (name: string) => `./tests/unit/platform/${name}_test.ts`;
    const bunTest = (args: readonly string[]) => {
      const argv = machine.command(["test", "--timeout=120000", ...args]);
      const env = { ...machine.environment(), BUN_BE_BUN: "1", PATH: "/usr/bin:/bin", NO_COLOR: "1" };
      const { code, stderr } = run(argv, { cwd: ROOT, env });
      assert.equal(code, 0, stderr);
      return Number(/^ *(\d+) pass$/m.exec(stderr)?.[1]);
    };
    assert.ok(bunTest(SOURCE_TESTS.map(unit)) >= 50);
    assert.equal(bunTest(["--test-name-pattern=follows no link", unit("libc")]), 1);
  },
);

test("arm64: openssl verifies what sign wrote, and verify what openssl wrote", { skip }, () => {
  const [document, signature, key] = ["document", "signature", "key.pem"].map((name) => machine.file(name));
  writeFileSync(document!, "a document\n");
  machine.output("sign", "--format", "der", "--encoding", "binary", "--out", signature!, document!);
  writeFileSync(key!, machine.output("public-key"));
  machine.local(["openssl", "dgst", "-sha256", "-verify", key!, "-signature", signature!, document!]);

  const [theirs, theirKey] = [machine.file("theirs.pem"), machine.file("their-key.pem")];
  machine.local(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", theirs]);
  machine.local(["openssl", "ec", "-in", theirs, "-pubout", "-out", theirKey]);
  machine.local(["openssl", "dgst", "-sha256", "-sign", theirs, "-out", signature!, document!]);
  const verify = ["verify", "--key", theirKey, "--signature", `@${signature}`, document!];
  assert.equal(machine.output(...verify), "valid\n");
  writeFileSync(document!, "another document\n");
  assert.equal(machine.amesh(verify).code, 7);
});

test("arm64: status and doctor see the files as they are", { skip }, () => {
  assert.equal(JSON.parse(machine.output("status", "--json")).backend, "encrypted-file");
  const doctor = JSON.parse(machine.output("doctor", "--json"));
  assert.equal(doctor.system, "linux arm64");
  assert.deepEqual(doctor.problems, []);
  machine.local(["chmod", "640", ".amesh/identity.json"]);
  assert.equal(machine.amesh(["status"]).code, 8);
  machine.local(["chmod", "600", ".amesh/identity.json"]);
});

test("arm64: an agent serves ssh and sign", { skip }, async () => {
  copyFixture("floor", machine.file("floor"));
  const socket = machine.file("agent.sock");
  const [program, ...args] = machine.command(["agent", "--foreground", "--socket", socket]);
  const agent = new Deno.Command(program!, {
    args,
    clearEnv: true,
    env: { ...machine.environment(), AUTH_MESH_DIR: machine.file("floor") },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    for (let tries = 0; !existsSync(socket) && tries < 600; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const ours = { SSH_AUTH_SOCK: socket };
    const keys = machine.file("keys.pub");
    writeFileSync(keys, machine.local(["ssh-add", "-L"], ours));
    machine.local(["ssh-add", "-T", keys], ours);
    const status = JSON.parse(machine.output("agent", "status", "--socket", socket, "--json"));
    assert.equal(status.signatures, 1);
    machine.output("agent", "stop", "--socket", socket);
    const { code, stderr } = await agent.output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    assert.equal(existsSync(socket), false);
  } catch (error) {
    agent.kill("SIGKILL");
    await agent.output();
    throw error;
  }
});
