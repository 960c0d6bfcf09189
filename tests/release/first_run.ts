/** From a release to a running identity: its install script in a root that holds a shell, an ordinary user, a clean HOME. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VERSION } from "../../src/version.ts";
import { Container, type Outcome, type Setting } from "../container/container.ts";
import { type Image, withShell } from "../container/images.ts";
import { ReleaseServer } from "../support/release_server.ts";
import { temporaryDirectory } from "../support/temporary_directory.ts";
import { succeed } from "./place.ts";

/** The volume is the user's home here, in which programs run. */
const HOME = "/var/lib/amesh";
const SETTING: Setting = {
  env: { HOME, PATH: "/bin:/usr/bin", AUTH_MESH_DIR: `${HOME}/.amesh` },
  volume: "exec",
  tmp: "nosuid,nodev",
};

/** A machine that fetches releases from `dist`. */
export class FirstRun implements AsyncDisposable {
  readonly #container: Container;
  readonly #directory = temporaryDirectory();
  readonly #server: ReleaseServer;
  readonly #script: string;

  constructor(image: Image, dist: string) {
    this.#container = new Container(withShell(image));
    const releases = this.#directory.file("releases");
    mkdirSync(releases);
    symlinkSync(dist, join(releases, `v${VERSION}`));
    this.#server = new ReleaseServer(releases, VERSION);
    this.#script = readFileSync(join(dist, "install.sh"), "utf8");
  }

  /** The path outside of a file in HOME. */
  home(path: string): string {
    return join(this.#container.volume, path);
  }

  /** `curl … | sh -s -- ARGUMENTS`, while the server answers. */
  async install(...args: string[]): Promise<Outcome> {
    const words = ["sh", "-s", "--", ...args, "--releases", this.#server.url];
    const [program, ...rest] = this.#container.command(words, { ...SETTING, program: "/bin/busybox" });
    const child = new Deno.Command(program!, {
      args: rest,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(this.#script));
    await writer.close();
    const { code, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr) };
  }

  /** Runs what was installed, which must succeed. @returns its stdout. */
  amesh(args: readonly string[], input = ""): string {
    const setting = { ...SETTING, input, program: `${HOME}/.local/bin/amesh` };
    const { code, stdout, stderr } = this.#container.run(args, setting);
    assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Everything from the first line of the page on installing to the last. */
  async check(): Promise<void> {
    const installed = await this.install();
    assert.equal(installed.code, 0, installed.stderr);
    assert.equal(installed.stderr, "", "the signature was verified, and there is nothing to warn of");
    assert.match(installed.stdout, new RegExp(`^amesh ${VERSION} installed in ${HOME}/\\.local$`, "m"));

    this.amesh(["init", "--name", "new"]);
    const [message, key, signature] = ["message", "key.pem", "signature"].map((name) =>
      this.#directory.file(name)
    );
    writeFileSync(message!, "signed on a new machine\n");
    writeFileSync(key!, this.amesh(["public-key"]));
    const encoded = this.amesh(["sign", "--format", "der"], readFileSync(message!, "utf8"));
    writeFileSync(signature!, Uint8Array.fromBase64(encoded.trim()));
    succeed(["openssl", "dgst", "-sha256", "-verify", key!, "-signature", signature!, message!]);

    for (const page of ["amesh", "amesh-csr", "amesh-certificate-set", "amesh-jwt", "amesh-jws"]) {
      const path = this.home(`.local/share/man/man1/${page}.1`);
      assert.match(succeed(["man", "--warnings", "--local-file", path]), /NAME\n +amesh/, page);
    }
    for (
      const completion of [
        "bash-completion/completions/amesh",
        "zsh/site-functions/_amesh",
        "fish/vendor_completions.d/amesh.fish",
      ]
    ) {
      const script = readFileSync(this.home(`.local/share/${completion}`), "utf8");
      for (const word of ["csr", "certificate", "jwt", "jws"]) assert.ok(script.includes(word), completion);
    }

    const removed = await this.install("--uninstall");
    assert.equal(removed.code, 0, removed.stderr);
    assert.ok(!existsSync(this.home(".local/bin/amesh")));
    for (const path of [".local/share/amesh", ".local/share/doc/amesh"]) {
      assert.ok(!existsSync(this.home(path)));
    }
    assert.ok(existsSync(this.home(".amesh/identity.json")));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#container[Symbol.dispose]();
    await this.#server[Symbol.asyncDispose]();
    this.#directory[Symbol.dispose]();
  }
}
