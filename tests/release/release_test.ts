/** `deno task release` with the real executable for this machine and stand-ins for the others: what is in `dist/`. */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { FORMULA_TARGETS } from "../../scripts/release/formula.ts";
import { VERSION } from "../../src/version.ts";
import { projectFiles } from "../support/project_files.ts";
import { checkScript } from "../support/shellcheck.ts";
import { cannotContain } from "../container/container.ts";
import { BARE_MUSL, IMAGES } from "../container/images.ts";
import { FirstRun } from "./first_run.ts";
import { archive, cannotRelease as skip, release, RELEASES, removeRelease } from "./made_release.ts";
import { COMMIT_TIME, run, succeed } from "./place.ts";
import { complaintsOfSbom } from "./sbom_schema.ts";

after(removeRelease);

test("a release has an archive per target, two packages, and what comes with them", { skip }, () => {
  const { place } = release();
  const archives = [
    "darwin-arm64",
    "darwin-x64",
    "linux-arm64",
    "linux-arm64-musl",
    "linux-x64",
    "linux-x64-musl",
    "windows-x64",
  ].map((target) => `${archive(target)}.tar.gz`);
  const listed = [
    ...archives,
    `amesh-${VERSION}.cdx.json`,
    "amesh.rb",
    `amesh_${VERSION}_amd64.deb`,
    `amesh_${VERSION}_arm64.deb`,
    "install.sh",
  ].sort();
  assert.deepEqual(place.distFiles(), [...listed, "SHA256SUMS", "SHA256SUMS.minisig"].sort());
  const names = release().text("SHA256SUMS").trimEnd().split("\n").map((line) => line.slice(66));
  assert.deepEqual(names, listed);
});

test("sha256sum finds every file as it is listed", { skip }, () => {
  const { dist, output } = release();
  assert.match(
    succeed(["sha256sum", "--check", "--strict", "SHA256SUMS"], { cwd: dist }),
    /^(.*: OK\n){12}$/,
  );
  assert.ok(output.startsWith(release().text("SHA256SUMS")));
});

test("minisign verifies the list, and not one that was changed", { skip }, () => {
  const { place, dist, publicKey } = release();
  const commit = place.git("rev-parse", "HEAD");
  const verify = ["minisign", "-V", "-Q", "-p", publicKey, "-m", "SHA256SUMS"];
  assert.equal(succeed(verify, { cwd: dist }), `amesh ${VERSION}, commit ${commit}\n`);
  const copy = place.directory("changed");
  copyFileSync(join(dist, "SHA256SUMS.minisig"), join(copy, "SHA256SUMS.minisig"));
  writeFileSync(
    join(copy, "SHA256SUMS"),
    release().text("SHA256SUMS").replace(/^./, (digit) => digit === "0" ? "1" : "0"),
  );
  assert.notEqual(run(verify, { cwd: copy }).code, 0);
});

/** `mode size-free owner path` of everything in an archive. */
function archiveLines(target: string): string[] {
  const listing = succeed([
    "tar",
    "--list",
    "--verbose",
    "--utc",
    "--file",
    release().file(`${archive(target)}.tar.gz`),
  ]);
  return listing.trimEnd().split("\n").map((line) => {
    const [mode, owner, , date, time, path] = line.split(/\s+/);
    assert.equal(owner, "0/0", line);
    assert.equal(`${date}T${time}`, COMMIT_TIME.slice(0, 16), line);
    return `${mode} ${path}`;
  });
}

/** What people set up on a system, of this project's files. */
const EXAMPLES: Readonly<Record<string, RegExp>> = {
  linux: /^packaging\/(container|systemd)\//,
  darwin: /^packaging\/launchd\//,
};

/** What is in every archive, `-rw-r--r-- PATH`, without man pages of single commands. */
function expectedLines(target: string, programs: readonly string[]): string[] {
  const top = archive(target);
  const directories = new Set<string>([`${top}/`]);
  const [system = ""] = target.split("-");
  const examples = projectFiles((path) => EXAMPLES[system]?.test(path) ?? false)
    .map((path) => path.replace("packaging/", "share/doc/amesh/examples/"));
  if (system !== "windows") assert.ok(examples.length > 0);
  const files = [
    ...examples,
    "share/bash-completion/completions/amesh",
    "share/doc/amesh/CHANGELOG.md",
    "share/doc/amesh/LICENSE",
    "share/doc/amesh/README.md",
    "share/fish/vendor_completions.d/amesh.fish",
    "share/man/man1/amesh.1",
    "share/zsh/site-functions/_amesh",
  ];
  for (const path of [...files, ...programs]) {
    const parts = path.split("/").slice(0, -1);
    parts.forEach((_, index) => directories.add(`${top}/${parts.slice(0, index + 1).join("/")}/`));
  }
  return [
    ...[...directories].map((path) => `drwxr-xr-x ${path}`),
    ...files.map((path) => `-rw-r--r-- ${top}/${path}`),
    ...programs.map((path) => `-rwxr-xr-x ${top}/${path}`),
  ].sort();
}

for (
  const [target, ...programs] of [
    ["linux-x64", "bin/amesh"],
    ["linux-arm64-musl", "bin/amesh"],
    ["darwin-arm64", "bin/amesh", "libexec/amesh-se-helper"],
    ["windows-x64", "bin/amesh.exe"],
  ] as const
) {
  test(`the archive for ${target} has these files, of root, with these modes`, { skip }, () => {
    const lines = archiveLines(target);
    const pages = lines.filter((line) => /^-rw-r--r-- \S+\/share\/man\/man1\/amesh-[a-z-]+\.1$/.test(line));
    assert.ok(pages.some((line) => line.endsWith("/amesh-init.1")), lines.join("\n"));
    assert.deepEqual(lines.filter((line) => !pages.includes(line)).sort(), expectedLines(target, programs));
  });
}

test("what is in an archive is what was put into it, and it runs", { skip }, () => {
  const directory = release().place.directory("unpacked");
  const helper = `${archive("darwin-x64")}/libexec/amesh-se-helper`;
  succeed(["tar", "-xzf", release().file(`${archive("darwin-x64")}.tar.gz`), "-C", directory, helper]);
  assert.equal(readFileSync(join(directory, helper), "utf8"), "the helper");
  succeed(["tar", "-xzf", release().file(`${archive("linux-x64")}.tar.gz`), "-C", directory]);
  const top = join(directory, archive("linux-x64"));
  assert.equal(succeed([join(top, "bin/amesh"), "--version"]), `amesh ${VERSION}\n`);
  assert.match(readFileSync(join(top, "share/man/man1/amesh.1"), "utf8"), /^\.TH /m);
  for (const path of ["bash-completion/completions/amesh", "zsh/site-functions/_amesh"]) {
    assert.ok(statSync(join(top, "share", path)).size > 0, path);
  }
});

test("dpkg installs the package, the executable in it runs, and dpkg removes it again", { skip }, () => {
  const root = release().place.directory("debian");
  for (const path of ["info", "updates", "triggers"]) {
    mkdirSync(join(root, "var/lib/dpkg", path), { recursive: true });
  }
  for (const path of ["status", "available"]) writeFileSync(join(root, "var/lib/dpkg", path), "");
  const dpkg = [
    "dpkg",
    `--root=${root}`,
    "--force-depends",
    "--force-not-root",
    "--force-bad-path",
    "--log=/dev/null",
  ];
  succeed([...dpkg, "--install", release().file(`amesh_${VERSION}_amd64.deb`)]);
  assert.equal(succeed([join(root, "usr/bin/amesh"), "--version"]), `amesh ${VERSION}\n`);
  const files = succeed([...dpkg, "--listfiles", "amesh"]).trimEnd().split("\n");
  for (
    const path of [
      "/usr/share/doc/amesh/copyright",
      "/usr/share/zsh/vendor-completions/_amesh",
      "/usr/share/bash-completion/completions/amesh",
      "/usr/share/man/man1/amesh-init.1",
      "/usr/share/doc/amesh/examples/systemd/amesh-init.service",
    ]
  ) assert.ok(files.includes(path), path);
  assert.deepEqual(files.filter((path) => !path.startsWith("/usr") && path !== "/."), []);
  succeed([...dpkg, "--remove", "amesh"]);
  assert.throws(() => statSync(join(root, "usr/bin/amesh")));
});

test("the packages say what they are, what they need and what makes them better", { skip }, () => {
  for (const architecture of ["amd64", "arm64"]) {
    const field = (name: string) =>
      succeed(["dpkg-deb", "--field", release().file(`amesh_${VERSION}_${architecture}.deb`), name])
        .trimEnd();
    assert.equal(field("Package"), "amesh");
    assert.equal(field("Version"), VERSION);
    assert.equal(field("Architecture"), architecture);
    assert.equal(field("Depends"), "libc6");
    assert.equal(field("Recommends"), "tpm2-tools");
  }
  const listing = succeed(["dpkg-deb", "--contents", release().file(`amesh_${VERSION}_arm64.deb`)], {
    env: { TZ: "UTC" },
  });
  for (const line of listing.trimEnd().split("\n")) {
    assert.match(line, /^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x) root\/root +\d+ 2026-01-02 03:04 /);
  }
});

test(
  "the bill of materials fits the schema of CycloneDX and lists what is in the executable, not the tests' packages",
  {
    skip,
  },
  () => {
    const text = release().text(`amesh-${VERSION}.cdx.json`);
    const bom = JSON.parse(text);
    assert.equal(complaintsOfSbom(bom), "");
    const purls = bom.components.map(({ purl }: { purl: string }) => purl.replace(/@[^@]*$/, ""));
    const named = [
      "pkg:npm/bun",
      "pkg:npm/%40noble/curves",
      "pkg:npm/%40noble/hashes",
      "pkg:npm/%40stricli/core",
    ];
    for (const purl of [...named, "pkg:npm/hash-wasm", "pkg:npm/asn1js"]) {
      assert.ok(purls.includes(purl), purl);
    }
    for (const purl of ["fast-check", "yaml", "web-tree-sitter"]) {
      assert.ok(
        !purls.includes(`pkg:npm/${purl}`),
        purl,
      );
    }
    assert.equal(bom.metadata.timestamp, new Date(COMMIT_TIME).toISOString());
    assert.equal(bom.metadata.component.version, VERSION);
    const { integrity } =
      JSON.parse(readFileSync(join(release().place.path, "deno.lock"), "utf8")).npm["valibot@1.5.0"];
    const valibot = bom.components.find(({ name }: { name: string }) => name === "valibot");
    assert.equal(valibot.hashes[0].alg, "SHA-512");
    assert.equal(`sha512-${Uint8Array.fromHex(valibot.hashes[0].content).toBase64()}`, integrity);
  },
);

test("the schema refuses a bill of materials that is none", { skip }, () => {
  const bom = JSON.parse(release().text(`amesh-${VERSION}.cdx.json`));
  assert.match(complaintsOfSbom({ ...bom, serialNumber: "urn:uuid:1" }), /serialNumber/);
  bom.components[1].hashes[0].alg = "SHA-511";
  assert.match(complaintsOfSbom(bom), /alg/);
});

test("the install script knows its version, its address and the key, and is a script still", { skip }, () => {
  const script = release().text("install.sh");
  const key = readFileSync(release().publicKey, "utf8").split("\n")[1];
  for (
    const line of [
      `AMESH_VERSION='${VERSION}'`,
      `AMESH_RELEASES='${RELEASES}'`,
      `AMESH_MINISIGN_KEY='${key}'`,
    ]
  ) {
    assert.equal(script.split("\n").filter((found) => found === line).length, 1, line);
  }
  assert.equal(statSync(release().file("install.sh")).mode & 0o777, 0o755);
  assert.equal(checkScript(script, "sh"), "");
});

const DOUBLE = join(import.meta.dirname!, "formula_double.rb");

test("the formula installs the archive as Homebrew would, and its own test passes", { skip }, () => {
  const { place, dist } = release();
  const prefix = place.directory("prefix");
  const from = join(dist, `${archive("linux-x64")}.tar.gz`);
  succeed(["ruby", DOUBLE, join(dist, "amesh.rb"), prefix, "linux", "intel", from]);
  const files = succeed(["find", ".", "-type", "f", "-not", "-name", "amesh-*.1"], { cwd: prefix }).trimEnd()
    .split("\n");
  assert.deepEqual(files.sort(), [
    "./bin/amesh",
    "./etc/bash_completion.d/amesh",
    "./share/fish/vendor_completions.d/amesh.fish",
    "./share/man/man1/amesh.1",
    "./share/zsh/site-functions/_amesh",
  ]);
});

test("the test of the formula fails for a program that is not amesh", { skip }, () => {
  const { place, dist } = release();
  const from = join(dist, `${archive("linux-arm64")}.tar.gz`);
  const { code, stderr } = run([
    "ruby",
    DOUBLE,
    join(dist, "amesh.rb"),
    place.directory("prefix-arm"),
    "linux",
    "arm",
    from,
  ]);
  assert.notEqual(code, 0);
  assert.match(stderr, /Errno::ENOEXEC|Exec format error|expected/);
});

test("the formula has the address and the checksum of each archive", { skip }, () => {
  const { dist } = release();
  const systems = { "darwin-arm64": ["macos", "arm"], "darwin-x64": ["macos", "intel"] } as const;
  const others = { "linux-arm64": ["linux", "arm"], "linux-x64": ["linux", "intel"] } as const;
  for (const target of FORMULA_TARGETS) {
    const [system, arch] = { ...systems, ...others }[target];
    const [url, sum] = succeed(["ruby", DOUBLE, join(dist, "amesh.rb"), "-", system, arch, "-"]).split("\n");
    const name = `${archive(target)}.tar.gz`;
    assert.equal(url, `${RELEASES}/download/v${VERSION}/${name}`);
    assert.ok(release().text("SHA256SUMS").includes(`${sum}  ${name}\n`), name);
  }
});

const cannotInstall = skip || cannotContain();

// Releases carry Bun's executables where nothing says otherwise, for musl always.
for (const image of IMAGES.filter(({ name }) => name.endsWith("bun"))) {
  test(
    `${image.name}: its install script, init, sign, OpenSSL verifies, manual, completions, and away`,
    { skip: cannotInstall || image.missing },
    async () => {
      await using machine = new FirstRun(image, release().dist);
      await machine.check();
    },
  );
}

test(
  "on a bare Alpine its install script says what is missing, and leaves nothing",
  { skip: cannotInstall || BARE_MUSL.missing },
  async () => {
    await using machine = new FirstRun(BARE_MUSL, release().dist);
    const { code, stdout, stderr } = await machine.install();
    assert.equal(code, 1, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, /^install\.sh: error: amesh needs libstdc\+\+, which is not here\n/);
    assert.match(stderr, /^install\.sh: hint: as root: apk add libstdc\+\+$/m);
    assert.ok(!existsSync(machine.home(".local")));
  },
);
