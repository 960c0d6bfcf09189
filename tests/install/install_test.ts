/** scripts/install.sh against releases on loopback, in each shell that people pipe it into: in, up, back and away. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Release, ReleaseServer } from "../support/release_server.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { assertInstalled, assertRefused, inEachShell, Machine, run, SHELLS, TEXT } from "./machine.ts";

inEachShell("the latest version into HOME, the same again, and away", async (machine) => {
  mkdirSync(join(machine.home, ".amesh"));
  writeFileSync(join(machine.home, ".amesh/identity.json"), "mine");
  const first = await machine.install();
  assertInstalled(first, machine, "1.0.0");
  assert.match(first.stdout, /is not in PATH.*\n {2}export PATH=/);
  assert.match(first.stderr, /not signed/);
  assert.equal(statSync(join(machine.prefix, "bin/amesh")).mode & 0o7777, 0o755);
  assert.equal(statSync(join(machine.prefix, "share/man/man1/amesh.1")).mode & 0o7777, 0o644);
  assert.equal(statSync(join(machine.prefix, "share/man/man1")).mode & 0o777, 0o755);
  const before = machine.tree();
  assertInstalled(await machine.install(), machine, "1.0.0");
  assert.deepEqual(machine.tree(), before);

  const removed = await machine.install("--uninstall");
  assert.equal(removed.code, 0, removed.stderr);
  assert.match(removed.stdout, /Identities stay/);
  assert.deepEqual(machine.tree(), new Map());
  assert.ok(!existsSync(join(machine.prefix, "share/doc/amesh")));
  assert.equal(readFileSync(join(machine.home, ".amesh/identity.json"), "utf8"), "mine");
  assertRefused(await machine.install("--uninstall"), /has installed nothing in /);
});

inEachShell("upgrade while the old one runs, and back; what the new one lacks goes", async (machine) => {
  new Release(machine.server.root, "0.9.0").pack({
    executable: { script: '[ "$1" = wait ] && sleep 20\necho "amesh 0.9.0"' },
    files: ["share/man/man1/amesh-old.1", "share/man/man1/amesh-mine.1"],
  });
  assertInstalled(await machine.install("--version", "0.9.0"), machine, "0.9.0");
  const old = join(machine.prefix, "share/man/man1/amesh-old.1");
  assert.ok(existsSync(old));
  const mine = join(machine.prefix, "share/man/man1/amesh-mine.1");
  writeFileSync(mine, "changed");
  const running = new Deno.Command(join(machine.prefix, "bin/amesh"), { args: ["wait"], stdout: "null" })
    .spawn();
  const upgraded = await machine.install();
  assertInstalled(upgraded, machine, "1.0.0");
  assert.match(upgraded.stdout, /\(it was 0\.9\.0\)/);
  assert.ok(!existsSync(old));
  assert.equal(readFileSync(mine, "utf8"), "changed");
  running.kill();
  await running.status;
  assertInstalled(await machine.install("--version=v0.9.0"), machine, "0.9.0");
  assert.ok(existsSync(old));
});

inEachShell("a program that is being executed is replaced", async (machine) => {
  assertInstalled(await machine.install(), machine, "1.0.0");
  const executable = join(machine.prefix, "bin/amesh");
  const inode = statSync(executable).ino;
  assertInstalled(await machine.install(), machine, "1.0.0");
  assert.notEqual(statSync(executable).ino, inode);
});

inEachShell("a prefix with blanks and quotes, any umask", async (machine) => {
  const prefix = join(machine.root, `it's \\ "here" $HOME`);
  machine.script = `umask 077\n${TEXT}`;
  const ran = await machine.install("--prefix", prefix);
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(statSync(join(prefix, "share")).mode & 0o777, 0o755);
  assert.equal(statSync(join(prefix, "bin/amesh")).mode & 0o777, 0o755);
  const removed = await machine.install("--uninstall", "--prefix", prefix);
  assert.equal(removed.code, 0, removed.stderr);
  assert.deepEqual(machine.tree(prefix), new Map());
});

inEachShell("a prefix that the shell has left with its ~", async (machine) => {
  const ran = await machine.install("--prefix=~/tools");
  assert.equal(ran.code, 0, ran.stderr);
  assert.ok(existsSync(join(machine.home, "tools/bin/amesh")));
  assert.ok(!existsSync(join(machine.root, "~")));
});

inEachShell("says when PATH finds it, and when it finds another", async (machine) => {
  machine.env = { PATH: `${join(machine.prefix, "bin")}:${machine.path}` };
  const found = await machine.install();
  assert.doesNotMatch(found.stdout + found.stderr, /PATH/);
  machine.program("amesh", "echo other");
  machine.env = { PATH: `${machine.path}:${join(machine.prefix, "bin")}` };
  assert.match((await machine.install()).stderr, /another amesh comes earlier in PATH: .*programs\/amesh/);
});

inEachShell("the environment stands in for options, which win over it", async (machine) => {
  new Release(machine.server.root, "0.9.0").pack();
  const prefix = join(machine.root, "elsewhere");
  machine.env = { AMESH_INSTALL_VERSION: "v0.9.0", AMESH_INSTALL_PREFIX: prefix };
  assert.match((await machine.install()).stdout, /^amesh 0\.9\.0 installed in .*\/elsewhere$/m);
  assertInstalled(
    await machine.install("--version", "1.0.0", "--prefix", machine.prefix),
    machine,
    "1.0.0",
  );
});

inEachShell("uninstall removes what is ours and as it was", async (machine) => {
  await machine.install();
  const page = join(machine.prefix, "share/man/man1/amesh.1");
  writeFileSync(page, "changed");
  Deno.removeSync(join(machine.prefix, "share/zsh/site-functions/_amesh"));
  writeFileSync(join(machine.prefix, "bin/other"), "mine");
  const receipt = join(machine.prefix, "share/amesh/installed");
  const victim = join(machine.root, "victim");
  writeFileSync(victim, "");
  const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  const text = readFileSync(receipt, "utf8");
  writeFileSync(receipt, `${text}${digest}  share/../../../victim\n${digest}  ${victim}\n`);
  const removed = await machine.install("--uninstall");
  assert.equal(removed.code, 0, removed.stderr);
  assert.match(removed.stderr, /amesh\.1 was changed after it was installed, and stays/);
  assert.deepEqual([...machine.tree().keys()].sort(), ["bin/other", "share/man/man1/amesh.1"]);
  assert.ok(existsSync(victim));
});

const executable = Deno.env.get("AMESH_TEST_BUN");

const noExecutable = executable === undefined ? "no executable was built" : false;

test("a real release: install, init, sign, OpenSSL verifies, uninstall", { skip: noExecutable }, async () => {
  using directory = temporaryDirectory();
  const releases = directory.file("releases");
  const answer = new TextDecoder().decode(run(executable!, "--version"));
  const version = answer.trim().replace("amesh ", "");
  new Release(releases, version).pack({ executable: { copy: executable! } });
  await using server = new ReleaseServer(releases, version);
  const machine = new Machine(directory.path, SHELLS[0]!, server);
  assertInstalled(await machine.install(), machine, version);
  const amesh = (...args: string[]) => {
    const { success, stdout, stderr } = new Deno.Command(join(machine.prefix, "bin/amesh"), {
      args,
      cwd: machine.root,
      clearEnv: true,
      env: { HOME: machine.home, AMESH_TPM_TCTI: "device:/dev/amesh-no-tpm" },
    }).outputSync();
    assert.ok(success, new TextDecoder().decode(stderr));
    return stdout;
  };
  writeFileSync(directory.file("document"), "signed on a new machine\n");
  amesh("init", "--name", "new");
  writeFileSync(directory.file("key.pem"), amesh("public-key"));
  amesh("sign", "--format", "der", "--encoding", "binary", "--out", "signature", "document");
  const files = ["-verify", directory.file("key.pem"), "-signature", directory.file("signature")];
  run("openssl", "dgst", "-sha256", ...files, directory.file("document"));
  const identity = machine.tree(join(machine.home, ".amesh"));
  assert.equal((await machine.install("--uninstall")).code, 0);
  assert.deepEqual(machine.tree(), new Map());
  assert.deepEqual(machine.tree(join(machine.home, ".amesh")), identity);
});
