/**
 * An identity in containers: images that hold nothing but amesh and what it is linked with, an ordinary user, a root that
 * cannot be written. No container engine is used; `container.ts` does what one does.
 */
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathsOf, trace } from "../executable/harness.ts";
import { runChild } from "../support/child_process.ts";
import { ROOT } from "../support/project_files.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { cannotContain, Container, type Outcome, type Setting } from "./container.ts";
import { BARE_MUSL, type Image, IMAGES, NONROOT } from "./images.ts";

const closed = cannotContain();
const INIT = ["init", "--if-missing", "--name", "web-1"];
const MESSAGE = "a message\n";
const PASSPHRASE = "a secret of 22 letters\n";
const FS_GROUP = 2000;

/** A test of every image. */
function inEachImage(what: string, check: (container: Container) => void | Promise<void>): void {
  for (const image of IMAGES) inImage(image, what, check);
}

function inImage(image: Image, what: string, check: (container: Container) => void | Promise<void>): void {
  test(`${image.name}: ${what}`, { skip: closed || image.missing }, async () => {
    using container = new Container(image);
    await check(container);
  });
}

/** Runs amesh, which must succeed. */
function succeed(container: Container, args: readonly string[], setting: Setting = {}): Outcome {
  const outcome = container.run(args, setting);
  assert.equal(outcome.code, 0, `${args.join(" ")}: ${outcome.stderr}`);
  return outcome;
}

/** Runs amesh where all is well: it has nothing to say to people. */
function quietly(container: Container, args: readonly string[], setting: Setting = {}): string {
  const { stdout, stderr } = succeed(container, args, setting);
  assert.equal(stderr, "", args.join(" "));
  return stdout;
}

/** Signs and verifies, in the container and by OpenSSL outside. */
function assertSigns(container: Container, setting: Setting = {}): void {
  const signature = quietly(container, ["sign", "--format", "der"], { ...setting, input: MESSAGE }).trim();
  quietly(container, ["verify", "--signature", signature], { ...setting, input: MESSAGE });
  assert.equal(container.run(["verify", "--signature", signature], { ...setting, input: "another" }).code, 7);
  using outside = temporaryDirectory();
  const [key, raw] = [outside.file("key.pem"), outside.file("signature")];
  writeFileSync(key, quietly(container, ["public-key"], setting));
  writeFileSync(raw, Uint8Array.from(atob(signature), (letter) => letter.charCodeAt(0)));
  const openssl = ["openssl", "dgst", "-sha256", "-verify", key, "-signature", raw];
  assert.equal(runChild(openssl, { input: MESSAGE }).stdout, "Verified OK\n");
}

/** Every path below a directory. */
const listing = (directory: string) => readdirSync(directory, { recursive: true }).map(String).sort();

inEachImage("an identity at the first start, with a secret, that every command then uses", (container) => {
  const secret = container.secret("amesh-passphrase", PASSPHRASE, 0o400, [NONROOT, NONROOT]);
  const setting = { env: { AMESH_PASSPHRASE_FILE: secret } };
  const before = listing(container.root);
  const first = succeed(container, [...INIT, "--json"], setting);
  assert.equal(JSON.parse(first.stdout).backend, "encrypted-file");
  const second = succeed(container, [...INIT, "--json"], setting);
  assert.equal(JSON.parse(second.stdout).deviceId, JSON.parse(first.stdout).deviceId);
  assertSigns(container, setting);
  quietly(container, ["status"], setting);
  assert.match(quietly(container, ["doctor"], setting), /^Files: no problem found$/m);
  assert.match(quietly(container, ["passphrase", "status"], setting), /^Place: +in memory: /m);
  const { deviceId } = JSON.parse(first.stdout);
  assert.deepEqual(listing(container.identity), [
    ".lock",
    "identity.json",
    "keys",
    `keys/${deviceId}.key.json`,
  ]);
  assert.deepEqual(listing(container.root), before);
});

inEachImage("the passphrase in the environment, or made by init; another one; another key", (container) => {
  const env = { AUTH_MESH_PASSPHRASE: "in the environment" };
  succeed(container, INIT, { env });
  assertSigns(container, { env });
  assert.equal(container.run(["sign"], { input: MESSAGE }).code, 5);
  succeed(container, ["delete", "--yes"], { env });
  succeed(container, INIT);
  assertSigns(container);
  const passphrase = readFileSync(join(container.identity, ".passphrase"), "utf8");
  succeed(container, ["passphrase", "change", "--generate"]);
  assert.notEqual(readFileSync(join(container.identity, ".passphrase"), "utf8"), passphrase);
  succeed(container, ["rotate"]);
  assertSigns(container);
});

inEachImage(
  "the agent as the first process, used by others, and stopped as an engine does",
  async (container) => {
    succeed(container, INIT);
    using agent = container.start(["agent", "--foreground"]);
    await agent.ready;
    const signed = agent.exec(["sign"], { input: MESSAGE });
    assert.deepEqual([signed.code, signed.stderr], [0, ""]);
    const status = JSON.parse(agent.exec(["agent", "status", "--json"]).stdout);
    assert.equal(status.signatures, 1);
    assert.equal(status.pid, 1);
    quietly(container, ["verify", "--signature", signed.stdout.trim()], { input: MESSAGE });
    agent.terminate();
    assert.equal(await agent.ended, 0);
    assert.equal(listing(join(container.identity, "run")).includes("agent.sock"), false);
  },
);

inEachImage("the places that it does not need: /tmp, devices, a volume to write on", (container) => {
  succeed(container, INIT, { tmp: null, devices: [] });
  assertSigns(container, { tmp: null, devices: [], volume: "ro" });
});

inEachImage("a user without an entry in /etc/passwd", (container) => {
  const setting = { uid: 1_000_650_000, gid: 0 };
  chownSync(container.volume, setting.uid, 0);
  succeed(container, INIT, setting);
  assertSigns(container, setting);
  const homeless = container.run(["status"], { ...setting, env: { AUTH_MESH_DIR: "" } });
  assert.equal(homeless.code, 1);
  assert.match(homeless.stderr, /^amesh: error: cannot find the home directory: HOME is not set$/m);
});

inEachImage("the home of the passwd entry, when neither HOME nor AUTH_MESH_DIR is set", (container) => {
  const { code, stderr } = container.run(["status"], { env: { AUTH_MESH_DIR: "" } });
  assert.equal(code, 3);
  assert.match(stderr, /"\/home\/nonroot\/\.amesh"/);
});

inEachImage("a volume and a secret of Kubernetes: fsGroup, links, wider modes", (container) => {
  // The kubelet gives the volume to the group and lets it write; others may still read.
  chownSync(container.volume, 0, FS_GROUP);
  chmodSync(container.volume, 0o2775);
  mkdirSync(`${container.secrets}/..2026`);
  const data = container.secret("..2026/passphrase", PASSPHRASE, 0o440, [0, FS_GROUP]);
  symlinkSync("..2026", `${container.secrets}/..data`);
  symlinkSync("..data/passphrase", `${container.secrets}/passphrase`);
  assert.ok(data.endsWith("/..2026/passphrase"));
  const variables = { AMESH_PASSPHRASE_FILE: "/run/secrets/passphrase" };
  const strict = { env: variables, fsGroup: FS_GROUP };
  const setting = { env: { ...variables, AMESH_ALLOW_GROUP_READ: "1" }, fsGroup: FS_GROUP };

  const open = container.run(INIT, { ...setting, env: { ...setting.env, AUTH_MESH_DIR: "/var/lib/amesh" } });
  assert.equal(open.code, 8, open.stderr);
  succeed(container, INIT, setting);
  assertSigns(container, setting);
  const warned = container.run(["sign"], { ...strict, input: MESSAGE });
  assert.equal(warned.code, 0);
  assert.match(
    warned.stderr,
    /^amesh: warning: .* is readable by its group \(mode 0440\); whoever provides it should /,
  );

  // With fsGroupChangePolicy Always, the next pod finds this.
  for (const name of ["", ...listing(container.identity)]) {
    const path = join(container.identity, name);
    const isDirectory = name === "" || name === "keys";
    chownSync(path, NONROOT, FS_GROUP);
    chmodSync(path, isDirectory ? 0o2770 : 0o660);
  }
  assert.equal(container.run(["sign"], { ...strict, input: MESSAGE }).code, 8);
  assertSigns(container, setting);
});

inEachImage(
  "a secret that everybody in the container can read: a warning, and the signature",
  (container) => {
    const setting = { env: { AMESH_PASSPHRASE_FILE: container.secret("amesh", PASSPHRASE, 0o444) } };
    succeed(container, INIT, setting);
    const { code, stdout, stderr } = container.run(["sign"], { ...setting, input: MESSAGE });
    assert.equal(code, 0);
    assert.match(stdout, /^[A-Za-z0-9+/]{86}==\n$/);
    assert.match(
      stderr,
      /mode 0444\); whoever provides it should give it mode 0400 and user 65532 as its owner\n$/,
    );
  },
);

inEachImage(
  "nothing is unpacked when it starts, and nothing is opened for writing but its own files",
  (container) => {
    const written = (args: readonly string[]) => {
      const watched =
        "execve,open,openat,creat,mkdir,mkdirat,memfd_create,link,linkat,symlink,symlinkat,rename,renameat,renameat2";
      const { code, stderr, calls } = trace(watched, container.command(args), {
        cwd: "/",
        env: { PATH: Deno.env.get("PATH")! },
      });
      assert.equal(code, 0, stderr);
      const start = calls.findIndex((call) => /execve\("\/usr\/bin\/amesh"/.test(call));
      assert.ok(start >= 0);
      const changing = calls.slice(start + 1).filter((call) =>
        !/\bopen(at)?\(/.test(call) || /O_WRONLY|O_RDWR|O_CREAT/.test(call)
      );
      return pathsOf(changing, "/").filter((path) => !/^\/(dev|proc)\//.test(path));
    };
    const ofInit = written(INIT);
    assert.ok(ofInit.includes("/var/lib/amesh/identity/identity.json"), ofInit.join(" "));
    const foreign = ofInit.filter((path) => !/^\/var\/lib\/amesh(\/|$)/.test(path));
    assert.deepEqual(foreign, []);
    assert.deepEqual(written(["sign", "--", "/etc/passwd"]), []);
  },
);

for (const image of IMAGES.filter(({ name }) => name.startsWith("glibc"))) {
  inImage(image, "a container is what these tests say: a shell in it tells", (container) => {
    installShell(container.root);
    const script = 'echo $$; while read -r line; do echo "$line"; done < /proc/self/status; : > /usr/bin/new';
    const { code, stdout, stderr } = container.run(["-c", script], { program: "/usr/bin/sh" });
    assert.notEqual(code, 0);
    assert.match(stderr, /Read-only file system/);
    const id = `(\\s+${NONROOT}){4}`;
    for (
      const line of [
        `^1$`,
        `^Uid:${id}$`,
        `^Gid:${id}$`,
        "^Groups:\\s*$",
        "^CapEff:\\s+0+$",
        "^NoNewPrivs:\\s+1$",
      ]
    ) {
      assert.match(stdout, new RegExp(line, "m"));
    }
  });

  inImage(image, "the entrypoint makes the identity once, and becomes its program", (container) => {
    installShell(container.root);
    const script = join(container.root, "usr/bin/amesh-entrypoint");
    copyFileSync(join(ROOT, "packaging/container/entrypoint.sh"), script);
    chmodSync(script, 0o755);
    const setting = { program: "/usr/bin/amesh-entrypoint", env: { PATH: "/usr/bin" } };
    const status = () => JSON.parse(succeed(container, ["amesh", "status", "--json"], setting).stdout);
    const first = status();
    assert.equal(first.friendlyName, hostname());
    assert.deepEqual(status(), first);
  });
}

/** Debian's own shell and uname, which need no library that is not there. */
function installShell(root: string): void {
  for (const name of ["sh", "uname"]) copyFileSync(`/usr/bin/${name}`, join(root, "usr/bin", name));
  symlinkSync("usr/bin", join(root, "bin"));
}

inImage(BARE_MUSL, "says what is missing before it does anything", (container) => {
  const { code, stdout, stderr } = container.run(INIT);
  assert.equal(code, 127);
  assert.equal(stdout, "");
  assert.match(stderr, /^Error loading shared library libstdc\+\+\.so\.6: No such file or directory/);
  assert.deepEqual(listing(container.volume), []);
});
