/** A release with the real executables for this machine and stand-ins for the others. */
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { VERSION } from "../../src/version.ts";
import { ReleasePlace, run, succeed, writeStandIns } from "./place.ts";

const BUN = process.env["AMESH_TEST_BUN"];
const MUSL = process.env["AMESH_TEST_MUSL"];

/** Why no release can be made; `false` when it can. */
export const cannotRelease = BUN === undefined ? "AMESH_TEST_BUN names no executable" : false;

/** Where its scripts say that it lies. */
export const RELEASES = "https://releases.example/amesh";

/** Name of an archive without `.tar.gz`. */
export const archive = (target: string) => `amesh-${VERSION}-${target}`;

let place: ReleasePlace | undefined;

/** One release, of which every test looks at a part. */
export class MadeRelease {
  readonly place: ReleasePlace = place = new ReleasePlace("amesh");
  readonly dist: string = this.place.dist;
  readonly key: string;
  readonly output: string;

  constructor() {
    const executables = this.place.directory("executables");
    writeStandIns(executables);
    for (const [path, name] of [[BUN!, "amesh-linux-x64"], [MUSL, "amesh-linux-x64-musl"]] as const) {
      if (path === undefined) continue;
      copyFileSync(path, join(executables, name));
      // As artifacts arrive that another job has made.
      chmodSync(join(executables, name), 0o644);
    }
    writeFileSync(join(executables, "amesh-se-helper"), "the helper");
    this.key = join(this.place.directory("key"), "release.key");
    succeed(["minisign", "-G", "-W", "-s", this.key, "-p", this.publicKey]);
    const args = [
      "--version",
      VERSION,
      "--runtime",
      "bun",
      "--releases",
      RELEASES,
      "--minisign-key",
      this.key,
    ];
    const ready = ["--executables", executables, "--helper", join(executables, "amesh-se-helper")];
    // A umask, and options of tar and gzip, that would show in the archives.
    const env = { TAR_OPTIONS: "--format=gnu --mode=a-r", GZIP: "-1" };
    const { code, stdout, stderr } = run(
      [
        "sh",
        "-c",
        'umask 077; exec "$@"',
        "sh",
        Deno.execPath(),
        "run",
        "-A",
        "scripts/release.ts",
        ...args,
        ...ready,
      ],
      { cwd: this.place.path, env },
    );
    assert.equal(code, 0, stderr);
    this.output = stdout;
  }

  get publicKey(): string {
    return this.key.replace(/key$/, "pub");
  }

  file(name: string): string {
    return join(this.dist, name);
  }

  text(name: string): string {
    return readFileSync(this.file(name), "utf8");
  }
}

let made: { readonly release: MadeRelease } | { readonly failure: unknown } | undefined;
/** Made once, by the first test that needs it: it takes as long as packing 112 MB three times. */
export function release(): MadeRelease {
  made ??= make();
  if ("failure" in made) throw made.failure;
  return made.release;
}

function make(): NonNullable<typeof made> {
  try {
    return { release: new MadeRelease() };
  } catch (failure) {
    place?.[Symbol.dispose]();
    return { failure };
  }
}

/** Removes it. */
export function removeRelease(): void {
  if (made !== undefined && "release" in made) place?.[Symbol.dispose]();
}
