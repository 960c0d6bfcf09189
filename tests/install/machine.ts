/** A machine on which scripts/install.sh runs: shells, a HOME, programs, and releases on loopback. */
import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Release, ReleaseServer } from "../support/release_server.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";

/** The script under test. */
export const SCRIPT = join(import.meta.dirname!, "..", "..", "scripts", "install.sh");
/** Its text. */
export const TEXT = readFileSync(SCRIPT, "utf8");
/** Whether the tests are run by root. */
export const isRoot = Deno.uid() === 0;

/** A shell, and the programs that it finds. */
interface Shell {
  readonly name: string;
  readonly argv: readonly string[];
  /** Whether every program is one of busybox's. */
  readonly busybox?: boolean;
}

/** The shells that the script is piped into. */
export const SHELLS: readonly Shell[] = [
  { name: "dash", argv: ["dash"] },
  { name: "bash", argv: ["bash", "--posix"] },
  { name: "busybox", argv: ["busybox", "sh"], busybox: true },
];

/** A machine of a test's own: HOME, a place for releases, and programs that come first in PATH. */
export class Machine {
  readonly root: string;
  readonly home: string;
  readonly programs: string;
  readonly temporary: string;
  script = TEXT;
  env: Record<string, string> = {};

  constructor(root: string, readonly shell: Shell, readonly server: ReleaseServer) {
    this.root = root;
    this.home = join(root, "home");
    this.programs = join(root, "programs");
    this.temporary = join(root, "temporary");
    for (const directory of [this.home, this.programs, this.temporary]) mkdirSync(directory);
    // Of a machine with musl's loader beside glibc, this tells which is the system's.
    this.program("ldd", 'echo "ldd (GNU libc) 2.36"');
    this.program("id", "echo 1000");
    if (!shell.busybox) return;
    for (const applet of new TextDecoder().decode(run("busybox", "--list")).trim().split("\n")) {
      if (!existsSync(join(this.programs, applet))) symlinkSync("/bin/busybox", join(this.programs, applet));
    }
  }

  /** A program that comes before all others. */
  program(name: string, script: string): void {
    // It may be a link to a program of the system.
    rmSync(join(this.programs, name), { force: true });
    writeFileSync(join(this.programs, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(this.programs, name), 0o755);
  }

  get path(): string {
    return this.shell.busybox ? this.programs : `${this.programs}:/usr/bin:/bin`;
  }

  /** Runs the script as `curl … | sh -s -- ARGUMENTS` does. */
  async install(...args: string[]): Promise<Ran> {
    return await this.start(args);
  }

  async start(args: readonly string[], onStart?: (child: Deno.ChildProcess) => void): Promise<Ran> {
    const [program, ...rest] = this.shell.argv;
    const named = args.includes("--help") || args.includes("--uninstall")
      ? args
      : ["--releases", this.server.url, ...args];
    const child = new Deno.Command(`/bin/${program}`, {
      args: [...rest, "-s", "--", ...named],
      clearEnv: true,
      env: { HOME: this.home, PATH: this.path, TMPDIR: this.temporary, ...this.env },
      cwd: this.root,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    onStart?.(child);
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(this.script)).catch(() => {});
    await writer.close().catch(() => {});
    const { code, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr) };
  }

  get prefix(): string {
    return join(this.home, ".local");
  }

  /** All files below a directory, with their content. */
  tree(directory = this.prefix): Map<string, string> {
    const files = new Map<string, string>();
    if (!existsSync(directory)) return files;
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (!entry.isDirectory()) files.set(path.slice(directory.length + 1), readFileSync(path, "latin1"));
    }
    return files;
  }

  /** Nothing was installed, or what was there is as it was, and no temporary file is left. */
  assertUnchanged(before: Map<string, string>): void {
    assert.deepEqual(this.tree(), before);
    assert.deepEqual(readdirSync(this.temporary), []);
  }
}

/** What a run left. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program, which must end with 0. @returns its stdout. */
export function run(program: string, ...args: string[]): Uint8Array {
  const { success, stdout, stderr } = new Deno.Command(program, { args }).outputSync();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  return stdout;
}

/** Fails with a sentence and a hint, on stderr alone. */
export function assertRefused(ran: Ran, message: RegExp, code = 1): void {
  assert.equal(ran.code, code, `${ran.stdout}${ran.stderr}`);
  assert.match(ran.stderr, message);
  assert.match(ran.stderr, /^install\.sh: error: /m);
  assert.equal(ran.stdout, "");
}

/** Says so, runs, and has left no temporary file. */
export function assertInstalled(ran: Ran, machine: Machine, version: string): void {
  assert.equal(ran.code, 0, ran.stderr);
  assert.match(ran.stdout, new RegExp(`^amesh ${version} installed in ${machine.prefix}`));
  assert.equal(
    new TextDecoder().decode(run(join(machine.prefix, "bin/amesh"), "--version")),
    `amesh ${version}\n`,
  );
  assert.deepEqual(readdirSync(machine.temporary), []);
}

/** A test in each shell, with a release 1.0.0 that is the latest. */
export function inEachShell(
  name: string,
  body: (machine: Machine, release: Release) => Promise<void>,
  skip: string | false = false,
): void {
  for (const shell of SHELLS) {
    test(`${shell.name}: ${name}`, { skip }, async () => {
      using directory = temporaryDirectory();
      const releases = directory.file("releases");
      const release = new Release(releases, "1.0.0").pack();
      await using server = new ReleaseServer(releases, "1.0.0");
      await body(new Machine(directory.path, shell, server), release);
    });
  }
}

/** A key of minisign: the script knows its public half. */
export function signingKey(machine: Machine, name: string): { secret: string; public: string } {
  const secret = join(machine.root, `${name}.key`);
  run("minisign", "-G", "-W", "-f", "-s", secret, "-p", join(machine.root, `${name}.pub`));
  return {
    secret,
    public: readFileSync(join(machine.root, `${name}.pub`), "utf8").trim().split("\n").at(-1)!,
  };
}

/** Gives the machine minisign, and its script the public half of a key. */
export function trust(machine: Machine, key: string): void {
  machine.script = TEXT.replace("AMESH_MINISIGN_KEY=''", `AMESH_MINISIGN_KEY='${key}'`);
  assert.notEqual(machine.script, TEXT);
  const minisign = join(machine.programs, "minisign");
  if (!existsSync(minisign)) symlinkSync("/usr/bin/minisign", minisign);
}
