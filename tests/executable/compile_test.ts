/** `deno task compile`: its errors, its table, and what it leaves; and that the source runs with the same permissions. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { buildExecutable } from "../../scripts/build.ts";
import { hostTarget, permissionFlags, PERMISSIONS, TARGETS } from "../../scripts/compile.ts";
import { readMachO } from "../../scripts/macho.ts";
import { VERSION } from "../../src/version.ts";
import { type Run, run, Scratch } from "./harness.ts";

const ROOT = resolve(import.meta.dirname!, "..", "..");
const DENO = Deno.execPath();

function deno(args: readonly string[], env: Readonly<Record<string, string>> = {}): Run {
  return run([DENO, ...args], { cwd: ROOT, env: { ...Deno.env.toObject(), NO_COLOR: "1", ...env } });
}

function compile(args: readonly string[], env?: Readonly<Record<string, string>>): Run {
  return deno(["run", "--allow-all", "scripts/compile.ts", ...args], env);
}

const printed = deno(["run", "scripts/compile.ts", "--print-permissions"]);

test("--print-permissions prints the list on one line and needs no permission itself", () => {
  assert.deepEqual(printed, { code: 0, stdout: `${permissionFlags().join(" ")}\n`, stderr: "" });
});

test("the permissions have no network, no subprocess, and no list left open but read and write", () => {
  const names = PERMISSIONS.map(({ flag }) => flag.replace(/=.+$/, "=…"));
  assert.deepEqual(names, [
    "--no-prompt",
    "--allow-read",
    "--allow-write",
    "--allow-env=…",
    "--allow-sys=…",
    "--allow-ffi=…",
  ]);
});

test("the amesh task runs the source with what --print-permissions prints and nothing else", () => {
  const { tasks } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8"));
  // Between them only options that permit nothing.
  const options = "(?: --(?:cached-only|node-modules-dir=manual))*";
  const substitution = "\\$\\(deno run scripts/compile\\.ts --print-permissions\\)";
  assert.match(tasks.amesh.command, new RegExp(`^deno run${options} ${substitution} main\\.ts$`));
});

test("the amesh task passes arguments on as they are", () => {
  using scratch = new Scratch();
  const home = scratch.directory();
  const args = [
    "task",
    "--quiet",
    "amesh",
    "init",
    "--backend",
    "encrypted-file",
    "--name",
    `my "server" $HOME`,
  ];
  const { code, stderr } = deno(args, { AUTH_MESH_DIR: join(home, ".amesh") });
  assert.equal(code, 0, stderr);
  const identity = JSON.parse(readFileSync(join(home, ".amesh", "identity.json"), "utf8"));
  assert.equal(identity.friendlyName, `my "server" $HOME`);
});

const refusals: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [["--target", "amiga"], /unknown target "amiga": expected linux-x64, .* or all$/],
  [["--runtime", "node"], /unknown runtime "node": expected deno or bun$/],
  [
    ["--target", "linux-x64-musl", "--runtime", "deno"],
    /no base runtime for linux-x64-musl: build it with --runtime bun$/,
  ],
  [["--target", "all", "--runtime=deno"], /no base runtime for linux-x64-musl/],
  [["--target", "all", "--output", "amesh"], /--output needs a single --target$/],
  [["--target"], /'--target <value>' argument missing/],
  [["--team-id", "abc"], /no team id: "abc": expected ten capital letters and digits$/],
  [
    ["--team-id=ABCDE12345", "--target=linux-x64"],
    /--team-id is for executables for macOS .*linux-x64 is none$/,
  ],
  [
    ["--team-id=ABCDE12345", "--target=darwin-arm64", "--runtime=bun"],
    /that Deno makes.*darwin-arm64 is none$/,
  ],
  [["--target="], /--target needs a value$/],
  [["--target", "linux-x64", "--target=linux-arm64"], /--target is given twice$/],
  [["--frobnicate"], /Unknown option '--frobnicate'/],
  [["linux-x64"], /Unexpected argument 'linux-x64'/],
];
for (const [args, message] of refusals) {
  test(`compile ${args.join(" ")} is a usage error`, () => {
    const { code, stdout, stderr } = compile(args);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr.trimEnd(), message);
    assert.match(stderr, /^compile: error: [^\n]+\n$/);
  });
}

test("one base runtime does not serve several platforms", () => {
  const { code, stderr } = compile(["--target", "all"], { DENORT_BIN: "/bin/true" });
  assert.equal(code, 2);
  assert.match(stderr, /DENORT_BIN is the base runtime of one platform/);
});

test("without Deno's base runtime one line names DENORT_BIN and --runtime bun, and nothing is left", () => {
  using scratch = new Scratch();
  const output = join(scratch.directory(), "amesh");
  const { code, stdout, stderr } = compile(["--runtime", "deno", "--output", output], {
    DENORT_BIN: join(scratch.path, "absent"),
  });
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(
    stderr,
    /^compile: error: cannot get Deno's base runtime for [^\n]*DENORT_BIN[^\n]*--runtime bun[^\n]*\n$/,
  );
  assert.deepEqual(readdirSync(join(output, "..")), []);
});

/** What an executable says of its platform: format, machine number, and of an ELF the loader that it asks for. */
function platformOf(executable: Uint8Array): string {
  const view = new DataView(executable.buffer, executable.byteOffset, executable.length);
  const hex = (offset: number, length: 2 | 4) =>
    (length === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true)).toString(16);
  const magic = view.getUint32(0);
  if (magic === 0x7f454c46) {
    const start = new TextDecoder("latin1").decode(executable.subarray(0, 4096));
    return `ELF ${hex(18, 2)} ${/\/lib\w*\/ld-[\w.-]+/.exec(start)?.[0]}`;
  }
  if (magic === 0xcffaedfe) return `Mach-O ${hex(4, 4)}`;
  if (magic >>> 16 === 0x4d5a) return `PE ${hex(view.getUint32(0x3c, true) + 4, 2)}`;
  return `unknown ${magic.toString(16)}`;
}

/** One target of each format; `deno task compile --target all --runtime bun` makes all seven. */
const platforms = [
  ["linux-arm64-musl", "ELF b7 /lib/ld-musl-aarch64.so.1"],
  ["darwin-arm64", "Mach-O 100000c"],
  ["windows-x64", "PE 8664"],
] as const;
for (const [name, platform] of platforms) {
  test(`Bun compiles for ${name}`, () => {
    using scratch = new Scratch();
    const output = join(scratch.path, TARGETS.find((row) => row.name === name)!.output);
    const { code, stderr } = compile(["--runtime", "bun", "--target", name, "--output", output]);
    assert.equal(code, 0, stderr);
    assert.equal(platformOf(readFileSync(output)), platform);
    assert.deepEqual(readdirSync(scratch.path), [output.slice(scratch.path.length + 1)]);
  });
}

/**
 * What macOS would find in the signatures that Bun 1.4.5 leaves; another Bun may do better. Deno 2.9.6 is no better:
 * docs/macos.md.
 */
const signatures = [
  ["darwin-arm64", "arm64", "a.out", []],
  [
    "darwin-x64",
    "x86_64",
    "bun",
    [/^the signature covers \d+ bytes, and \d+ lie before it$/, /^\d+ of \d+ pages do not have their hash/],
  ],
] as const;
for (const [name, arch, identifier, expected] of signatures) {
  test(`compile says what is wrong with the signature of ${name}`, () => {
    using scratch = new Scratch();
    const output = join(scratch.path, "amesh");
    const { code, stderr } = compile(["--runtime", "bun", "--target", name, "--output", output]);
    assert.equal(code, 0, stderr);
    const slices = readMachO(readFileSync(output));
    assert.deepEqual(slices.map((slice) => [slice.arch, slice.signature?.identifier]), [[arch, identifier]]);
    const problems = slices.flatMap((slice) => slice.problems);
    assert.equal(problems.length, expected.length, problems.join("\n"));
    expected.forEach((problem, index) => assert.match(problems[index]!, problem));
    const warning = (problem: string) =>
      `compile: warning: ${output}: ${problem}; sign it on a Mac: scripts/sign_macos.sh\n`;
    assert.equal(stderr, problems.map(warning).join(""));

    const check = (...args: string[]) =>
      deno(["run", "--allow-read", "scripts/check_macho.ts", ...args, output]);
    const checked = check();
    assert.equal(checked.code, problems.length === 0 ? 0 : 1);
    assert.deepEqual(checked.stdout.trimEnd().split("\n").slice(1).map((line) => line.trim()), problems);
    assert.equal(check("--identifier", "dev.amesh.cli").code, 1);
  });
}

test("builds at the same time give the same executable, listed once in executables.sha256", async () => {
  using scratch = new Scratch();
  const directory = scratch.directory();
  const build = (file: string) =>
    buildExecutable({
      ...hostTarget()!,
      runtime: "bun",
      permissions: permissionFlags(),
      output: join(directory, file),
      verbose: false,
    }, true);
  const [first, again, other] = await Promise.all([build("amesh-a"), build("amesh-a"), build("amesh-b")]);
  assert.equal(first.sha256, again.sha256);
  assert.equal(first.sha256, other.sha256);
  const list = readFileSync(join(directory, "executables.sha256"), "utf8");
  assert.equal(list, `${first.sha256}  amesh-a\n${first.sha256}  amesh-b\n`);
  assert.deepEqual(readdirSync(directory).sort(), [
    ".executables.sha256.lock",
    "amesh-a",
    "amesh-b",
    "executables.sha256",
  ]);
  assert.equal(statSync(first.path).mode & 0o777, 0o755 & ~process.umask());
  const { stdout } = run([first.path, "--version"], { cwd: directory, env: {} });
  assert.equal(stdout, `amesh ${VERSION}\n`);
});
