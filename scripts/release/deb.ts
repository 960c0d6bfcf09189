/** Debian packages, from the same files as the archives. */
import { join } from "node:path";
import { pack } from "./archive.ts";
import type { Entry } from "./tree.ts";

/** Targets that have a package, and what Debian calls them; there is no Debian with musl. */
const ARCHITECTURES: Readonly<Record<string, string>> = { "linux-x64": "amd64", "linux-arm64": "arm64" };

/** Debian's name of a target's architecture; `undefined` for a target without a package. */
export function debArchitecture(target: string): string | undefined {
  return ARCHITECTURES[target];
}

/** File name of a package. */
export function debName(version: string, architecture: string): string {
  return `amesh_${version}_${architecture}.deb`;
}

/** Where Debian wants what an archive has elsewhere (Debian Policy §12.5; zsh of Debian searches `vendor-completions`). */
const MOVED: Readonly<Record<string, string>> = {
  "share/doc/amesh/LICENSE": "share/doc/amesh/copyright",
  "share/zsh/site-functions/_amesh": "share/zsh/vendor-completions/_amesh",
};

/** The files of a package, relative to its root. @param entries of the archive. */
export function debEntries(entries: readonly Entry[]): readonly Entry[] {
  return entries.map((entry) => ({ ...entry, path: `usr/${MOVED[entry.path] ?? entry.path}` }));
}

/** What is packed. */
export interface DebOptions {
  /** Directory that holds the files; the control file is added to it. */
  readonly root: string;
  readonly architecture: string;
  readonly version: string;
}

/**
 * Writes a package by dpkg-deb.
 *
 * @param time of everything in it, in seconds since 1970.
 * @throws {CompileError}
 */
export async function buildDeb({ root, architecture, version }: DebOptions, output: string, time: number) {
  const size = await sizeOf(root);
  const control = [
    "Package: amesh",
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    "Maintainer: The amesh authors <noreply@amesh.dev>",
    `Installed-Size: ${Math.ceil(size / 1024)}`,
    "Depends: libc6",
    // Its libraries are what amesh opens for a TPM.
    "Recommends: tpm2-tools",
    "Section: utils",
    "Priority: optional",
    "Homepage: https://amesh.dev",
    "Description: identity for a machine",
    " amesh gives a machine a P-256 key pair whose private half lives in the best storage that the machine has:",
    " a TPM 2.0, or a file that is encrypted. It signs files, and serves the key to ssh and git.",
  ];
  const directory = join(root, "DEBIAN");
  await Deno.mkdir(directory);
  await Deno.writeTextFile(join(directory, "control"), control.join("\n") + "\n");
  await Deno.chmod(directory, 0o755);
  await Deno.chmod(join(directory, "control"), 0o644);
  // The control directory changed the time of its parent; dpkg-deb lowers every later time to this one.
  const env = { SOURCE_DATE_EPOCH: `${time}` };
  // With xz it would be a quarter smaller and take a minute and a half.
  await pack(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z6", "--build", root, output], output, env);
}

/** Bytes of all files below. */
async function sizeOf(directory: string): Promise<number> {
  let size = 0;
  for await (const entry of Deno.readDir(directory)) {
    const path = join(directory, entry.name);
    size += entry.isDirectory ? await sizeOf(path) : (await Deno.stat(path)).size;
  }
  return size;
}
