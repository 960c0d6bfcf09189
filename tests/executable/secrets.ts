/** What nobody may see, and watching every way by which a program could show it. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { open } from "../../src/crypto/aes_gcm.ts";
import { stretchPassphrase } from "../../src/crypto/argon2id.ts";
import { associatedData, parseKeyFile } from "../../src/formats/key_file.ts";
import type { Target } from "../support/executables.ts";
import type { FixtureName } from "../support/fixture.ts";
import { type Run, run } from "./harness.ts";

/** Bytes that nobody may see, and what they are. */
export interface Secret {
  readonly what: string;
  readonly bytes: Buffer;
}

/** In every form that a program could write it in. */
function formsOf({ bytes }: Secret): Buffer[] {
  const hex = bytes.toString("hex");
  const texts = [
    hex,
    hex.toUpperCase(),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
  ];
  return [bytes, ...texts.map((text) => Buffer.from(text))];
}

/** The secrets that are found in some bytes. */
export function findIn(content: Uint8Array, secrets: readonly Secret[]): string[] {
  const buffer = Buffer.from(content);
  return secrets.filter((secret) => formsOf(secret).some((form) => buffer.includes(form)))
    .map(({ what }) => what);
}

export const passphraseSecret = (text: string): Secret => ({
  what: `passphrase "${text}"`,
  bytes: Buffer.from(text),
});

/** As tests/fixtures/generate.ts makes it. */
export function fixtureScalar(name: FixtureName): Secret {
  const digest = createHash("sha256").update(`amesh fixture ${name} private key`).digest();
  const bytes = Buffer.from(digest.map((byte) => byte === 0 || byte === 0x0a ? 1 : byte));
  return { what: `scalar of ${name}`, bytes };
}

/** The scalar of a key file, and the key that it is encrypted with. @throws {Error} it does not open. */
async function keySecrets(path: string, passphrase: string): Promise<Secret[]> {
  const file = parseKeyFile(Uint8Array.from(readFileSync(path)), path);
  const { salt, argon2Params: params } = file;
  const input = { passphrase: new TextEncoder().encode(passphrase), salt, params };
  const aesKey = await stretchPassphrase(input, false);
  const scalar = open(aesKey, file.nonce, file.ciphertext, associatedData(file));
  if (scalar === null) throw new Error(`${path} does not open`);
  return [
    { what: `scalar in ${basename(path)}`, bytes: Buffer.from(scalar) },
    { what: `derived key of ${basename(path)}`, bytes: Buffer.from(aesKey) },
  ];
}

export function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());
}

/** The passphrase or the passphrases that open the keys that are there. */
export async function allKeySecrets(home: string, passphrases: readonly string[]): Promise<Secret[]> {
  const found: Secret[] = [];
  for (const path of filesIn(home).filter((name) => name.endsWith(".key.json"))) {
    for (const passphrase of passphrases) found.push(...await keySecrets(path, passphrase).catch(() => []));
  }
  return found;
}

const WRITING = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg";
/** Would carry bytes past the watch. */
export const UNWATCHED = "sendfile,splice,tee,vmsplice,copy_file_range,io_uring_setup";
export const STARTING = "execve,execveat,fork,vfork,clone,clone3";

/** A call that was made. */
export interface Call {
  readonly name: string;
  readonly text: string;
  /** Path of the first descriptor; empty where there is none. */
  readonly path: string;
  /** All strings that it was given. */
  readonly bytes: Buffer;
}

const fromHex = (text: string) => Buffer.from(text.replaceAll("\\x", ""), "hex");

function parseCall(line: string): Call[] {
  const [, name, rest = ""] = /^\d+ +(\w+)\((.*)$/.exec(line) ?? [];
  if (name === undefined) return [];
  const path = fromHex(/^\d+<((?:\\x[0-9a-f]{2})+)>/.exec(rest)?.[1] ?? "").toString();
  const strings = [...rest.matchAll(/"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?/g)];
  assert.equal(strings.some(([, , more]) => more !== undefined), false, `cut off: ${name}`);
  return [{ name, text: rest, path, bytes: Buffer.concat(strings.map(([, text = ""]) => fromHex(text))) }];
}

export interface WatchedRun extends Run {
  readonly calls: readonly Call[];
}

/** Runs amesh with every write and every start of a process watched. @param descriptor file that is its descriptor 3. */
export function watch(
  { argv, env: needed }: Target,
  args: readonly string[],
  { cwd, env, log, descriptor }: {
    cwd: string;
    env: Readonly<Record<string, string>>;
    log: string;
    descriptor: string | null;
  },
): WatchedRun {
  const variables = Object.entries({ ...env, ...needed }).map(([name, value]) => `--env=${name}=${value}`);
  const strace = [
    ...["strace", "--follow-forks", "--decode-fds=path", "--strings-in-hex=all", "--string-limit=1000000"],
    ...["--quiet=all", `--output=${log}`, `--trace=${WRITING},${UNWATCHED},${STARTING}`, ...variables],
  ];
  const shell = descriptor === null
    ? []
    : ["/bin/sh", "-c", 'exec 3< "$1"; shift; exec "$@"', "sh", descriptor];
  const result = run(["/usr/bin/env", ...shell, ...strace, ...argv, ...args], {
    cwd,
    env: { PATH: "/usr/bin:/bin" },
  });
  return { ...result, calls: readFileSync(log, "utf8").split("\n").flatMap(parseCall) };
}
