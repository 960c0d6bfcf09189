/** What `deno task release` refuses, what it leaves alone, and that the place where it runs does not show. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkChangelog } from "../../scripts/release/checks.ts";
import { platformOf } from "../../scripts/release/executables.ts";
import { fillFormula } from "../../scripts/release/formula.ts";
import { fillInstallScript } from "../../scripts/release/install_script.ts";
import { VERSION } from "../../src/version.ts";
import { ReleasePlace, writeStandIns } from "./place.ts";

const place = new ReleasePlace("one");
after(() => place[Symbol.dispose]());
const executables = place.directory("executables");
writeStandIns(executables);
const ARM = ["--version", VERSION, "--target", "linux-arm64", "--executables", executables];

/** The release fails with this message on one line, and nothing has come into dist. */
function refuses(args: readonly string[], message: RegExp): void {
  const before = place.distFiles();
  const { code, stdout, stderr } = place.release(args);
  assert.match(stderr, message);
  assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  assert.notEqual(code, 0);
  assert.equal(stdout, "");
  assert.deepEqual(place.distFiles(), before);
}

const refusals: readonly (readonly [what: string, args: readonly string[], message: RegExp])[] = [
  ["no version", [], /^release: error: --version is missing$/m],
  [
    "what is no version",
    ["--version", "0.8"],
    /: no version: "0\.8": expected three numbers, as in 1\.2\.3$/m,
  ],
  [
    "another version",
    ["--version", "99.0.0"],
    /: this is not version 99\.0\.0: src\/version\.ts says [\d.]+$/m,
  ],
  ["an unknown target", ["--version", VERSION, "--target", "amiga"], /: unknown target "amiga": expected /],
  ["an unknown option", ["--version", VERSION, "--fast"], /: Unknown option '--fast'/],
  [
    "an address without TLS",
    [...ARM, "--releases", "http://example.com/x"],
    /: no address of releases: "http:\/\/example\.com\/x": expected https:/,
  ],
  ["an address with a quote", [...ARM, "--releases", "https://example.com/'"], /: no address of releases: /],
  [
    "a key that is not there",
    [...ARM, "--minisign-key", "none.key"],
    /: cannot read the key ".*none\.key": /,
  ],
  [
    "an executable that is not there",
    [...ARM, "--executables", place.directory("empty")],
    /: cannot read the executable ".*amesh-linux-arm64": /,
  ],
  [
    "a helper that is not there",
    [...ARM, "--target", "darwin-arm64", "--helper", "none"],
    /: cannot take "none" into the release: /,
  ],
];
for (const [what, args, message] of refusals) {
  test(`a release is refused for ${what}`, () => refuses(args, message));
}

test("a release is refused for an executable of another platform", () => {
  const wrong = place.directory("wrong");
  writeFileSync(join(wrong, "amesh-linux-arm64"), readFileSync(join(executables, "amesh-linux-x64")));
  refuses([...ARM, "--executables", wrong], /: "amesh-linux-arm64" is for linux-x64, not for linux-arm64$/m);
});

test("a release is refused for an executable of this machine that does not say its version", () => {
  const other = place.directory("other");
  writeStandIns(other);
  refuses(
    ["--version", VERSION, "--target", "linux-x64", "--executables", other],
    /: (".*amesh-linux-x64" is not amesh|cannot run ".*amesh-linux-x64")/,
  );
});

test("a release is refused for a public key that belongs to another secret one, and for none", () => {
  const keys = place.directory("keys");
  const make = (name: string) =>
    place.minisign("-G", "-W", "-s", join(keys, `${name}.key`), "-p", join(keys, `${name}.pub`));
  make("a");
  make("b");
  writeFileSync(join(keys, "a.pub"), readFileSync(join(keys, "b.pub")));
  refuses(
    [...ARM, "--minisign-key", join(keys, "a.key")],
    /: the signature does not verify with the public key: /,
  );
  writeFileSync(join(keys, "a.pub"), "nothing\n");
  refuses([...ARM, "--minisign-key", join(keys, "a.key")], /: ".*a\.pub" is no public key of minisign$/m);
});

test("a release is refused while files differ from the commit, unless that is wanted", () => {
  const path = join(place.path, "new.txt");
  writeFileSync(path, "new");
  refuses(ARM, /: the files differ from the commit \(1\): commit them, or give --allow-dirty$/m);
  const { code, stderr } = place.release([...ARM, "--allow-dirty"]);
  assert.equal(code, 0, stderr);
  rmSync(path);
});

test("another directory at another time gives the same bytes", () => {
  using other = new ReleasePlace("another-and-longer-name");
  const sums = [place, other].map((where) => {
    const { code, stderr } = where.release(ARM);
    assert.equal(code, 0, stderr);
    return readFileSync(join(where.dist, "SHA256SUMS"), "utf8");
  });
  assert.equal(sums[0], sums[1]);
  assert.equal(sums[0]!.trimEnd().split("\n").length, 4);
});

test("a release replaces the one before it and leaves what others have put into dist", () => {
  mkdirSync(join(place.dist, "mine"), { recursive: true });
  writeFileSync(join(place.dist, "amesh-linux-x64"), "made by compile");
  writeFileSync(join(place.dist, "notes.txt"), "mine");
  const common = [
    "SHA256SUMS",
    `amesh-${VERSION}.cdx.json`,
    "amesh-linux-x64",
    "install.sh",
    "mine",
    "notes.txt",
  ];
  const files = (...names: string[]) => [...common, ...names].sort();
  assert.equal(place.release(ARM).code, 0);
  assert.deepEqual(
    place.distFiles(),
    files(`amesh-${VERSION}-linux-arm64.tar.gz`, `amesh_${VERSION}_arm64.deb`),
  );
  assert.equal(place.release([...ARM, "--target", "windows-x64"]).code, 0);
  assert.deepEqual(place.distFiles(), files(`amesh-${VERSION}-windows-x64.tar.gz`));
});

test("a tagged commit is a release: its section has a date, and its version is of no other commit", () => {
  const changelog = join(place.path, "CHANGELOG.md");
  const text = readFileSync(changelog, "utf8");
  const heading = new RegExp(`^## ${VERSION}, .*$`, "m");
  const commit = (title: string) => {
    writeFileSync(changelog, text.replace(heading, title));
    place.git("commit", "--quiet", "--allow-empty", "--all", "--message", "another title");
  };
  commit(`## ${VERSION}, unreleased`);
  place.git("tag", `v${VERSION}`);
  refuses(ARM, /: CHANGELOG\.md calls [\d.]+ unreleased, and this commit has its tag: give it a date$/m);
  commit(`## ${VERSION}, 2026-01-03`);
  refuses(ARM, /: v[\d.]+ is released already, from commit [0-9a-f]{40}$/m);
  place.git("tag", "--force", `v${VERSION}`);
  const { code, stdout, stderr } = place.release(ARM);
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stdout, /trial/);
});

test("checkChangelog() wants a section of this very version", () => {
  checkChangelog("# Changes\n\n## 1.2.3, unreleased\n", "1.2.3", true);
  checkChangelog("## 1.2.4, unreleased\n\n## 1.2.3, 2026-01-02\n", "1.2.3", false);
  for (
    const text of ["", "## 1.2.30, unreleased\n", "## 1.2.3\n", "## 1.2.3, soon\n", "### 1.2.3, unreleased\n"]
  ) {
    assert.throws(() => checkChangelog(text, "1.2.3", true), /has no section/, text);
  }
});

const SCRIPT = "#!/bin/sh\nAMESH_VERSION=''\nAMESH_RELEASES='https://a'\nAMESH_MINISIGN_KEY=''\n";
const VALUES = { version: "1.2.3", releases: "https://b/$&", minisignKey: "RWx" };

test("fillInstallScript() fills three assignments, each of which is there once", () => {
  assert.equal(
    fillInstallScript(SCRIPT, VALUES),
    "#!/bin/sh\nAMESH_VERSION='1.2.3'\nAMESH_RELEASES='https://b/$&'\nAMESH_MINISIGN_KEY='RWx'\n",
  );
  for (const line of SCRIPT.split("\n").slice(1, 4)) {
    const name = line.split("=")[0]!;
    const message = (count: number) => new RegExp(`assigns ${name} ${count} times, not once`);
    assert.throws(() => fillInstallScript(SCRIPT.replace(`${line}\n`, ""), VALUES), message(0));
    assert.throws(() => fillInstallScript(SCRIPT + `${line}\n`, VALUES), message(2));
    assert.throws(() => fillInstallScript(SCRIPT.replace(line, `  ${line}`), VALUES), message(0));
  }
});

test("fillFormula() leaves no name unfilled and none out", () => {
  const sums = new Map(
    ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"].map((name, index) =>
      [`amesh-1.2.3-${name}.tar.gz`, `${index}`] as const
    ),
  );
  const values = { version: "1.2.3", releases: "https://a", sums };
  const all =
    "@VERSION@ @RELEASES@ @SHA256_DARWIN_ARM64@ @SHA256_DARWIN_X64@ @SHA256_LINUX_ARM64@ @SHA256_LINUX_X64@";
  assert.equal(fillFormula(all, values), "1.2.3 https://a 0 1 2 3");
  assert.throws(() => fillFormula(`${all} @OTHER@`, values), /unknown @OTHER@/);
  assert.throws(() => fillFormula(all.replace("@SHA256_LINUX_X64@", ""), values), /lacks SHA256_LINUX_X64/);
  assert.throws(() => fillFormula(all, { ...values, sums: new Map() }), /needs the archive for darwin-arm64/);
});

test("platformOf() takes no short, empty or foreign file for an executable", () => {
  const elf = readFileSync(join(executables, "amesh-linux-arm64"));
  assert.equal(platformOf(elf), "linux-arm64");
  for (const size of [0, 3, 4, 18, 19]) assert.equal(platformOf(elf.subarray(0, size)), null, `${size}`);
  const windows = readFileSync(join(executables, "amesh-windows-x64.exe"));
  assert.equal(platformOf(windows), "windows-x64");
  assert.equal(platformOf(windows.subarray(0, 0x84)), null);
  const riscv = Uint8Array.from(elf);
  riscv[18] = 243;
  assert.equal(platformOf(riscv), null);
});
