/** Releases on loopback, as the install script fetches them: made of small archives, and as bad as a test wants. */
import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { runChild } from "./child_process.ts";

/** The target that `uname` of this machine leads to, where its C library is glibc. */
export const HOST_TARGET = Deno.build.arch === "aarch64" ? "linux-arm64" : "linux-x64";

/** What lies in an archive beside the executable. */
const COMPANIONS = [
  "share/man/man1/amesh.1",
  "share/bash-completion/completions/amesh",
  "share/zsh/site-functions/_amesh",
  "share/fish/vendor_completions.d/amesh.fish",
  "share/doc/amesh/LICENSE",
  "share/doc/amesh/examples/systemd/amesh-agent.service",
];

/** What an archive is made of. */
export interface ArchiveContents {
  /** An executable to copy, or the text of a script. Without either: a script that answers `--version`. */
  readonly executable?: { readonly copy: string } | { readonly script: string };
  /** Further files by their path. */
  readonly files?: readonly string[];
  /** Adds what does not belong there, in the directory that the archive is made in. @param top its one directory. */
  readonly spoil?: (directory: string, top: string) => void;
  /** What `tar` is told to pack; without it, the one directory. */
  readonly members?: (top: string) => readonly string[];
}

/** A release in the making: its files lie in a directory of its own. */
export class Release {
  readonly directory: string;
  readonly top: string;

  constructor(root: string, readonly version: string, readonly target = HOST_TARGET) {
    this.directory = join(root, `v${version}`);
    this.top = `amesh-${version}-${target}`;
    mkdirSync(this.directory, { recursive: true });
  }

  get archive(): string {
    return join(this.directory, `${this.top}.tar.gz`);
  }

  get sums(): string {
    return join(this.directory, "SHA256SUMS");
  }

  /** Makes the archive and the list of digests. */
  pack(contents: ArchiveContents = {}): this {
    const staging = join(this.directory, "staging");
    const executable = join(staging, this.top, "bin/amesh");
    mkdirSync(dirname(executable), { recursive: true });
    const made = contents.executable ?? { script: `echo "amesh ${this.version}"` };
    if ("copy" in made) cpSync(made.copy, executable);
    else writeFileSync(executable, `#!/bin/sh\n${made.script}\n`);
    chmodSync(executable, 0o755);
    for (const path of [...COMPANIONS, ...contents.files ?? []]) {
      const file = join(staging, this.top, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${path} of ${this.version}\n`);
    }
    contents.spoil?.(staging, this.top);
    const members = contents.members?.(this.top) ?? [this.top];
    const { code, stderr } = runChild([
      "tar",
      "-C",
      staging,
      "-P",
      "-I",
      "gzip -1",
      "-cf",
      this.archive,
      ...members,
    ]);
    if (code !== 0) throw new Error(`tar: ${stderr}`);
    rmSync(staging, { recursive: true });
    this.list();
    return this;
  }

  /** Writes the list of digests anew. */
  list(): void {
    const digest = createHash("sha256").update(readFileSync(this.archive)).digest("hex");
    writeFileSync(
      this.sums,
      `${digest}  ${this.top}.tar.gz\n${"0".repeat(64)}  amesh-${this.version}.cdx.json\n`,
    );
  }

  /** Signs the list of digests. @param key a secret key of minisign without a passphrase. */
  sign(key: string): void {
    const { code, stderr } = runChild(["minisign", "-S", "-s", key, "-m", this.sums]);
    if (code !== 0) throw new Error(`minisign: ${stderr}`);
  }
}

/** A link in the archive. */
export function spoilByLink(directory: string, top: string): void {
  symlinkSync("/etc/passwd", join(directory, top, "share/link"));
}

/** Serves releases in the layout that mirrors have. */
export class ReleaseServer implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  /** The version that `latest` is. */
  latest: string;
  /** Of each file whose name ends so, only half is sent before the connection breaks. */
  dropped: string | undefined;
  /** Where everything is said to lie instead: the beginning of an address. */
  redirect: string | undefined;
  /** What was asked for. */
  readonly requests: string[] = [];

  constructor(readonly root: string, latest: string) {
    this.latest = latest;
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request) => this.#answer(new URL(request.url).pathname),
    );
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  #answer(path: string): Response {
    this.requests.push(path);
    if (this.redirect !== undefined) return Response.redirect(this.redirect + path, 302);
    const [, version, name] = /^\/(?:download\/v|latest\/)(.+)\/([^/]+)$/.exec(path) ?? [];
    const directory = version === "download" ? this.latest : version;
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = new Uint8Array(readFileSync(join(this.root, `v${directory}`, name ?? "")));
    } catch {
      return new Response("not here\n", { status: 404 });
    }
    if (this.dropped === undefined || !path.endsWith(this.dropped)) return new Response(bytes);
    // Without a length, as servers send what they make on the way: the client cannot count.
    const half = bytes.subarray(0, bytes.length >> 1);
    return new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(half);
          setTimeout(() => controller.error(new Error("the connection breaks")), 50);
        },
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}
