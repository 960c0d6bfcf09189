/** What scripts/install.sh refuses, and that it leaves nothing half done. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { HOST_TARGET, Release, ReleaseServer, spoilByLink } from "../support/release_server.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import {
  assertInstalled,
  assertRefused,
  inEachShell,
  isRoot,
  Machine,
  run,
  SCRIPT,
  SHELLS,
  signingKey,
  TEXT,
  trust,
} from "./machine.ts";

inEachShell("root refuses a prefix of another user's, and runs nothing that lies there", async (machine) => {
  const prefix = join(machine.root, "theirs");
  mkdirSync(join(prefix, "bin"), { recursive: true });
  const proof = join(machine.root, "has run");
  writeFileSync(join(prefix, "bin/amesh"), `#!/bin/sh\n: > '${proof}'\n`, { mode: 0o755 });
  if (isRoot) Deno.chownSync(prefix, 1000, 1000);
  machine.program("id", "echo 0");
  for (const place of [prefix, join(prefix, "new/place")]) {
    for (const action of [[], ["--uninstall"]]) {
      assertRefused(
        await machine.install(...action, "--prefix", place),
        /root does not write to .*\/theirs, which is another user's\n.*run it as that user/,
      );
    }
  }
  assert.deepEqual(machine.server.requests, []);
  machine.program("id", "echo 1000");
  assert.equal((await machine.install("--prefix", prefix)).code, 0);
  assert.ok(!existsSync(proof));
});

inEachShell("a name that is guessed, and a directory in the place of a file", async (machine) => {
  // Whoever watches the shell start knows its number.
  const victim = join(machine.root, "victim");
  writeFileSync(victim, "mine");
  mkdirSync(join(machine.prefix, "bin"), { recursive: true });
  machine.script = TEXT.replace(
    "set -eu",
    () => `set -eu; ln -s '${victim}' '${machine.prefix}/bin/.amesh-install.'$$`,
  );
  assert.equal((await machine.install()).code, 0);
  assert.equal(readFileSync(victim, "utf8"), "mine");
  rmSync(join(machine.prefix, "bin/amesh"));
  mkdirSync(join(machine.prefix, "bin/amesh"));
  machine.script = TEXT;
  assert.match((await machine.install()).stderr, /error: .*\/bin\/amesh is a directory/);
  assert.deepEqual(readdirSync(join(machine.prefix, "bin/amesh")), []);
});

inEachShell("curl follows no redirect away from TLS, wget does", async (machine) => {
  await using elsewhere = new ReleaseServer(machine.server.root, "1.0.0");
  machine.server.redirect = elsewhere.url;
  if (machine.shell.busybox) return assertInstalled(await machine.install(), machine, "1.0.0");
  assertRefused(await machine.install(), /cannot fetch/);
  assert.deepEqual(elsewhere.requests, []);
  machine.assertUnchanged(new Map());
});

inEachShell("a version that is not there", async (machine) => {
  assertRefused(
    await machine.install("--version", "7.7.7"),
    /cannot fetch http:.*\/download\/v7\.7\.7\/SHA256SUMS/,
  );
  machine.assertUnchanged(new Map());
});

inEachShell(
  "an archive that was changed, or breaks off, leaves the old version",
  async (machine, release) => {
    assertInstalled(await machine.install(), machine, "1.0.0");
    const before = machine.tree();
    machine.server.dropped = ".tar.gz";
    const dropped = await machine.install();
    assertRefused(dropped, /cannot fetch|digest of/);
    machine.assertUnchanged(before);
    machine.server.dropped = "SHA256SUMS";
    assertRefused(await machine.install(), /cannot fetch|has no archive/);
    machine.server.dropped = undefined;
    const bytes = readFileSync(release.archive);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(release.archive, bytes);
    assertRefused(
      await machine.install(),
      /the digest of amesh-1\.0\.0-.*\.tar\.gz is not the one in SHA256SUMS/,
    );
    machine.assertUnchanged(before);
  },
);

inEachShell("a list of digests that names no archive for this machine, or two", async (machine, release) => {
  writeFileSync(release.sums, `${"0".repeat(64)}  amesh-1.0.0-plan9-x64.tar.gz\n`);
  assertRefused(await machine.install(), new RegExp(`no archive for ${HOST_TARGET}`));
  const line = (digit: string) => `${digit.repeat(64)}  ${release.top}.tar.gz\n`;
  writeFileSync(release.sums, line("a") + line("b"));
  assertRefused(await machine.install(), /more than one archive/);
  writeFileSync(release.sums, line("a"));
  new Release(machine.server.root, "2.0.0").pack();
  machine.server.latest = "2.0.0";
  writeFileSync(join(machine.server.root, "v2.0.0/SHA256SUMS"), line("a"));
  assertRefused(
    await machine.install("--version", "2.0.0"),
    /release of version 2\.0\.0 holds version 1\.0\.0/,
  );
  machine.assertUnchanged(new Map());
});

inEachShell("signatures: good, missing, of another key, of another list", async (machine, release) => {
  const ours = signingKey(machine, "ours");
  const theirs = signingKey(machine, "theirs");
  trust(machine, ours.public);
  assertRefused(await machine.install(), /cannot fetch .*SHA256SUMS\.minisig/);
  release.sign(theirs.secret);
  assertRefused(await machine.install(), /no valid signature/);
  release.sign(ours.secret);
  const good = await machine.install();
  assertInstalled(good, machine, "1.0.0");
  assert.equal(good.stderr, "");
  const before = machine.tree();
  writeFileSync(release.sums, readFileSync(release.sums, "utf8").replace("0", "1"));
  assertRefused(await machine.install(), /no valid signature/);
  machine.assertUnchanged(before);
});

inEachShell("without minisign it says what it did not check", async (machine) => {
  trust(machine, "RWQ");
  // Only of what it names can a PATH be free.
  Deno.removeSync(join(machine.programs, "minisign"));
  machine.script = machine.script.replace("have minisign", "have no-such-minisign");
  const ran = await machine.install();
  assertInstalled(ran, machine, "1.0.0");
  assert.match(ran.stderr, /minisign is not installed/);
});

const WRONG_ARCHIVES: Readonly<Record<string, (release: Release) => void>> = {
  "a link": (release) => release.pack({ spoil: spoilByLink }),
  "a hard link": (release) =>
    release.pack({
      spoil: (directory, top) => {
        Deno.linkSync(join(directory, top, "bin/amesh"), join(directory, top, "share/amesh.1"));
      },
    }),
  "a device": (release) =>
    release.pack({ spoil: (directory, top) => void run("mkfifo", join(directory, top, "share/pipe")) }),
  "a name above": (release) =>
    release.pack({
      spoil: (directory) => writeFileSync(join(directory, "evil"), "x"),
      members: (top) => [top, `${top}/../evil`],
    }),
  "an absolute name": (release) => release.pack({ members: (top) => [top, "/etc/hostname"] }),
  "another directory": (release) =>
    release.pack({
      spoil: (directory) => writeFileSync(join(directory, "other"), "x"),
      members: (top) => [top, "other"],
    }),
  "a file of another place": (release) => release.pack({ files: ["etc/profile"] }),
  "another program in bin": (release) => release.pack({ files: ["bin/ls"] }),
  "no executable": (release) => release.pack({ members: (top) => [`${top}/share`] }),
  "no archive at all": (release) => {
    writeFileSync(release.archive, "nothing");
    release.list();
  },
};

for (const [what, spoil] of Object.entries(WRONG_ARCHIVES)) {
  inEachShell(`an archive with ${what}`, async (machine, release) => {
    spoil(release);
    assertRefused(await machine.install(), /the archive (holds|cannot be read)/);
    machine.assertUnchanged(new Map());
  });
}

inEachShell("an executable that does not run here, or is another", async (machine, release) => {
  release.pack({
    executable: { script: "echo 'Error loading shared library libstdc++.so.6: No such file' >&2; exit 127" },
  });
  const missing = await machine.install();
  assertRefused(missing, /needs libstdc\+\+/);
  assert.match(missing.stderr, /hint: as root: apk add libstdc\+\+/);
  release.pack({ executable: { script: "echo 'version `GLIBC_2.40` not found' >&2; exit 1" } });
  assertRefused(await machine.install(), /does not run here: version `GLIBC_2\.40` not found/);
  release.pack({ executable: { script: "echo amesh 6.6.6" } });
  assertRefused(await machine.install(), /does not run here: amesh 6\.6\.6/);
  machine.assertUnchanged(new Map());
});

inEachShell("systems and processors", async (machine) => {
  const uname = (system: string, processor: string) =>
    machine.program("uname", `case $1 in -s) echo ${system} ;; -m) echo ${processor} ;; esac`);
  uname("Plan9", "x86_64");
  assertRefused(await machine.install(), /no amesh for the system "Plan9"/);
  uname("MINGW64_NT-10.0", "x86_64");
  assertRefused(await machine.install(), /does not install on Windows/);
  uname("Linux", "riscv64");
  assertRefused(await machine.install(), /no amesh for the processor "riscv64"/);
  const asked = async (expected: string) => {
    assertRefused(await machine.install(), new RegExp(`no archive for ${expected}$`, "m"));
  };
  Deno.removeSync(join(machine.server.root, "v1.0.0", `amesh-1.0.0-${HOST_TARGET}.tar.gz`));
  writeFileSync(join(machine.server.root, "v1.0.0/SHA256SUMS"), "");
  uname("Linux", "aarch64");
  await asked("linux-arm64");
  uname("Linux", "amd64");
  await asked("linux-x64");
  uname("Darwin", "arm64");
  await asked("darwin-arm64");
  uname("Darwin", "x86_64");
  await asked("darwin-x64");
  // What a shell sees that Rosetta translates.
  machine.program("sysctl", "echo 1");
  await asked("darwin-arm64");
  uname("Linux", "x86_64");
  machine.program("getconf", "exit 1");
  machine.program("ldd", "echo 'musl libc (x86_64)' >&2; exit 1");
  await asked("linux-x64-musl");
  machine.program("ldd", "echo 'ldd (Debian GLIBC 2.36)'");
  await asked("linux-x64");
});

inEachShell("missing programs fail closed", async (machine) => {
  const without = async (...names: string[]) => {
    machine.script = names.reduce(
      (text, name) => text.replaceAll(`have ${name}`, "have no-such-program"),
      TEXT,
    );
    return await machine.install();
  };
  assertRefused(await without("curl", "wget"), /neither curl nor wget/);
  assertRefused(
    await without("sha256sum", "shasum", "openssl"),
    /^install\.sh: error: no program here computes SHA-256\ninstall\.sh: hint: .*\n$/,
  );
  machine.assertUnchanged(new Map());
  if (machine.shell.busybox) return;
  assertInstalled(await without("curl"), machine, "1.0.0");
  assertInstalled(await without("sha256sum"), machine, "1.0.0");
  assertInstalled(await without("sha256sum", "shasum"), machine, "1.0.0");
});

inEachShell("wrong usage", async (machine) => {
  for (
    const args of [["--prefix"], ["--prefix="], ["--fast"], ["--version", "a/b"], ["--version", "$(id)"]]
  ) {
    assertRefused(await machine.install(...args), /error/, 2);
  }
  assertRefused(await machine.install("--releases", "http://example.org"), /does not begin with https/, 2);
  assertRefused(
    await machine.install("--releases", "http://127.0.0.1.example.org"),
    /does not begin with https/,
    2,
  );
  assertRefused(
    await machine.install("--releases", "http://127.0.0.1:80@example.org"),
    /a user's name in the address/,
    2,
  );
  assert.match((await machine.install("--help")).stdout, /^usage: install\.sh[^]*\(default: the latest\)/);
  machine.script = TEXT.replace("AMESH_VERSION=''", "AMESH_VERSION='1.2.3'");
  assert.match((await machine.install("--help")).stdout, /\(default: 1\.2\.3\)/);
  machine.script = TEXT;
  machine.env = { HOME: "" };
  assertRefused(await machine.install(), /HOME is not set/);
  assert.deepEqual(machine.server.requests, []);
});

inEachShell("a place that cannot be written leaves the old version", async (machine) => {
  assertInstalled(await machine.install(), machine, "1.0.0");
  new Release(machine.server.root, "2.0.0").pack();
  machine.server.latest = "2.0.0";
  // Root may write everywhere: a file stands where a directory should.
  const prefix = join(machine.root, "prefix");
  writeFileSync(prefix, "");
  assertRefused(await machine.install("--prefix", prefix), /cannot make the directory/);
  assert.deepEqual(readdirSync(machine.temporary), []);
  assert.equal(readFileSync(prefix, "utf8"), "");
});

inEachShell("a full disk leaves the old version", async (machine) => {
  assertInstalled(await machine.install(), machine, "1.0.0");
  const before = readFileSync(join(machine.prefix, "bin/amesh"));
  new Release(machine.server.root, "2.0.0").pack();
  machine.server.latest = "2.0.0";
  // `cp` as on a disk that fills while the files are being placed.
  machine.program(
    "cp",
    `case $2 in *.amesh-install.*) echo part > "$2"; echo 'No space left on device' >&2; exit 1 ;; esac
exec /bin/cp "$@"`,
  );
  assertRefused(await machine.install(), /cannot write .*\/share\/amesh\/installed/);
  assert.deepEqual(readFileSync(join(machine.prefix, "bin/amesh")), before);
  assert.equal([...machine.tree().keys()].filter((path) => path.includes(".amesh-install")).length, 0);
  assert.deepEqual(readdirSync(machine.temporary), []);
});

inEachShell("interrupted while it installs: nothing is left behind", async (machine, release) => {
  release.pack({ executable: { script: "sleep 1; echo amesh 1.0.0" } });
  const ran = await machine.start([], (child) => {
    const timer = setInterval(() => {
      if (!existsSync(machine.temporary)) return clearInterval(timer);
      if (
        !readdirSync(machine.temporary).some((name) =>
          existsSync(join(machine.temporary, name, release.top, "bin/amesh"))
        )
      ) return;
      clearInterval(timer);
      child.kill("SIGTERM");
    }, 20);
  });
  assert.equal(ran.code, 143);
  machine.assertUnchanged(new Map());
});

test("half of the script does nothing", async () => {
  using directory = temporaryDirectory();
  await using server = new ReleaseServer(directory.file("releases"), "1.0.0");
  const machine = new Machine(directory.path, SHELLS[0]!, server);
  const end = TEXT.lastIndexOf("main");
  for (let length = 0; length < end; length += 199) {
    machine.script = TEXT.slice(0, length);
    await machine.install();
    assert.deepEqual(server.requests, [], `after ${length} bytes`);
  }
  assert.deepEqual(machine.tree(), new Map());
});

test("a disk that is really full", { skip: isRoot ? false : "only root mounts one" }, async () => {
  using directory = temporaryDirectory();
  const releases = directory.file("releases");
  const filler = "x".repeat(400_000);
  new Release(releases, "1.0.0").pack({ executable: { script: `echo amesh 1.0.0\n#${filler}` } });
  await using server = new ReleaseServer(releases, "1.0.0");
  const inside =
    'mount -t tmpfs -o size=200k none "$1" && shift && sh "$@"; code=$?; find "$2" -type f; exit $code';
  const disk = directory.file("disk");
  mkdirSync(disk);
  const { code, stdout, stderr } = await new Deno.Command("unshare", {
    args: ["-m", "sh", "-c", inside, "sh", disk, SCRIPT, "--prefix", disk, "--releases", server.url],
    env: { TMPDIR: directory.path },
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 1, said);
  assert.match(said, /error: cannot write .*\/bin\/amesh/);
  const left = new TextDecoder().decode(stdout);
  assert.doesNotMatch(left, /bin\/amesh$|amesh-install/m);
});
