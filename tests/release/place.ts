/** A copy of this project as a repository of a test's own, in which `deno task release` runs. */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { TARGETS } from "../../scripts/compile.ts";
import { machOFile } from "../support/macho_file.ts";
import { projectFiles, ROOT } from "../support/project_files.ts";

/** What a program left. */
export interface Run {
  /** -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a program is run. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

/** Runs a program to its end. @throws {Error} when it cannot be started. */
export function run(argv: readonly string[], { cwd, env = {}, input = "" }: RunOptions = {}): Run {
  const { status, stdout, stderr, error } = spawnSync(argv[0]!, argv.slice(1), {
    cwd,
    input,
    encoding: "utf8",
    env: { ...Deno.env.toObject(), NO_COLOR: "1", ...env },
  });
  if (error !== undefined) throw error;
  return { code: status ?? -1, stdout, stderr };
}

/** The same, for a program that must not fail. @returns its stdout. @throws {Error} */
export function succeed(argv: readonly string[], options?: RunOptions): string {
  const { code, stdout, stderr } = run(argv, options);
  if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}

/** When the commit was made: another time than that of any file. */
export const COMMIT_TIME = "2026-01-02T03:04:05Z";

/** The repository; disposing of it removes it. */
export class ReleasePlace implements Disposable {
  readonly #root: string = realpathSync(mkdtempSync(join(tmpdir(), "amesh-release-")));
  /** The repository. */
  readonly path: string;
  readonly dist: string;

  /** @param name of the repository's directory; places with another one are otherwise the same. */
  constructor(name: string) {
    this.path = join(this.#root, name);
    this.dist = join(this.path, "dist");
    for (const path of projectFiles(() => true)) {
      mkdirSync(dirname(join(this.path, path)), { recursive: true });
      copyFileSync(join(ROOT, path), join(this.path, path));
    }
    succeed(["cp", "-a", join(ROOT, "node_modules"), this.path]);
    this.git("init", "--quiet");
    this.git("add", "--all");
    this.git("commit", "--quiet", "--message", "everything");
  }

  /** Runs git, as nobody whom this machine knows. @returns its stdout without the last line break. */
  git(...args: string[]): string {
    const who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"];
    const env = {
      GIT_AUTHOR_DATE: COMMIT_TIME,
      GIT_COMMITTER_DATE: COMMIT_TIME,
      GIT_CONFIG_GLOBAL: "/dev/null",
    };
    return succeed(["git", ...who, ...args], { cwd: this.path, env }).trimEnd();
  }

  /** Runs minisign. */
  minisign(...args: string[]): void {
    succeed(["minisign", ...args]);
  }

  /** Runs the release. */
  release(args: readonly string[], options: RunOptions = {}): Run {
    return run([Deno.execPath(), "run", "--allow-all", "scripts/release.ts", ...args], {
      ...options,
      cwd: this.path,
    });
  }

  /** What lies in `dist/`, sorted; nothing when it is not there. */
  distFiles(): string[] {
    try {
      return readdirSync(this.dist).sort();
    } catch {
      return [];
    }
  }

  /** A new directory beside the repository. */
  directory(name: string): string {
    const path = join(this.#root, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.#root, { recursive: true });
  }
}

/** Files that have the head of an executable for each target and nothing else. */
export function writeStandIns(directory: string): void {
  for (const { name, output } of TARGETS) writeFileSync(join(directory, output), standIn(name));
}

function standIn(target: string): Uint8Array {
  if (target.startsWith("darwin-")) {
    return machOFile({ cpuType: target === "darwin-x64" ? 0x01000007 : 0x0100000c });
  }
  const head = new DataView(new ArrayBuffer(256));
  if (target.startsWith("windows-")) {
    head.setUint16(0, 0x4d5a);
    head.setUint32(0x3c, 0x80, true);
    head.setUint32(0x80, 0x50450000);
    head.setUint16(0x84, 0x8664, true);
  } else {
    head.setUint32(0, 0x7f454c46);
    head.setUint16(18, target.startsWith("linux-arm64") ? 183 : 62, true);
  }
  return new Uint8Array(head.buffer);
}
