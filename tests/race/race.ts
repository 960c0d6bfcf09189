/**
 * Many processes of amesh at the same time on one directory. Each is judged when all have ended (judge.ts); here they
 * are started, and the directory is watched.
 *
 * Some of them are held up at one of their calls on a file of the amesh directory, by strace: between a look and the next
 * there is time for the others then, as there is on a machine that is slow.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasProgram } from "../../scripts/debian_packages.ts";
import { type Ended, type Environment, run } from "../kill/program.ts";
import { NO_TPM } from "../support/environment.ts";
import {
  BUSY,
  chooseKind,
  CREATING,
  type Kind,
  type MadeSignature,
  type Material,
  NO_IDENTITY,
} from "./commands.ts";

/** What is raced. */
export interface RaceOptions {
  /** Program and first arguments of amesh. */
  readonly amesh: readonly string[];
  readonly processes: number;
  readonly seconds: number;
  /** Which part of the processes is held up, 0 to 1. */
  readonly slowed: number;
  /** A new directory. */
  readonly home: string;
}

/** One process that has ended; times are milliseconds of `performance.now()`. */
export interface Finished {
  readonly kind: Kind;
  readonly start: number;
  readonly end: number;
  readonly ended: Ended;
  /** Device id of the maker of the signature that it was given, if any. */
  readonly signer: string | null;
  /** Where it was held up; `null` when it was not. */
  readonly slowed: string | null;
}

/** What was seen. */
export interface Race {
  readonly finished: readonly Finished[];
  /** What was wrong with identity.json at some moment, a line each. */
  readonly watched: readonly string[];
  readonly home: string;
  readonly directory: string;
  readonly document: string;
  /** Runs amesh after the race. */
  amesh(...args: readonly string[]): Promise<Ended>;
}

/** Bytes of what is signed. */
export const DOCUMENT = "a document\n";
const WATCH_MS = 5;
const LONGEST_PAUSE_MS = 3000;
const LONGEST_DELAY_MS = 800;
/** A command makes some ten such calls on one of these files. */
const LATEST_CALL = 10;

/** Whether processes can be held up. */
export const canSlow = (): boolean => Deno.build.os === "linux" && hasProgram("strace");

/** Runs a race to its end. */
export async function race(options: RaceOptions): Promise<Race> {
  const { home, processes, seconds } = options;
  const runner = new Runner(options);
  const end = performance.now() + seconds * 1000;
  const isOver = () => performance.now() >= end;
  const watch = runner.watch();
  await Promise.all(Array.from({ length: processes }, () => runner.serve(isOver)));
  runner.isDone = true;
  await watch;
  return {
    finished: runner.finished,
    watched: [...runner.watched],
    home,
    directory: runner.directory,
    document: runner.document,
    amesh: (...args) => runner.amesh(args),
  };
}

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Changing commands get more of the processor, so that much is changed while the others look. */
function hurry({ changes }: Kind): string[] {
  return changes === undefined && hasProgram("nice") ? ["nice", "-n", "10"] : [];
}

class Runner {
  readonly directory: string;
  readonly document: string;
  readonly finished: Finished[] = [];
  readonly watched = new Set<string>();
  readonly #env: Environment;
  readonly #signatures: MadeSignature[] = [];
  #passphrases = 0;
  #deviceId: string | undefined;
  isDone = false;

  constructor(readonly options: RaceOptions) {
    const { home } = options;
    this.directory = join(home, ".amesh");
    this.document = join(home, "document");
    writeFileSync(this.document, DOCUMENT);
    this.#env = { HOME: home, PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin", AMESH_TPM_TCTI: NO_TPM };
  }

  async amesh(args: readonly string[]): Promise<Ended> {
    return await run([...this.options.amesh, ...args], this.options.home, this.#env);
  }

  /** Runs one command after the other; the first makes an identity, or tries to. */
  async serve(isOver: () => boolean): Promise<void> {
    await this.#runOne(chooseKind(Math.random(), CREATING), this.#material());
    while (!isOver()) {
      const code = await this.#runOne(chooseKind(Math.random()), this.#material());
      // Who is told to come back later does so: the processor is for those who work.
      if (code === BUSY || code === NO_IDENTITY) await sleep(Math.random() * LONGEST_PAUSE_MS);
    }
  }

  async #runOne(kind: Kind, material: Material): Promise<number | null> {
    const args = kind.args(material);
    if (args === null) return null;
    const { amesh, home, slowed: part } = this.options;
    const slowed = Math.random() < part ? this.#delay() : null;
    const tracer = slowed === null ? [] : this.#tracer(slowed);
    const start = performance.now();
    const ended = await run([...tracer, ...hurry(kind), ...amesh, ...args], home, this.#env);
    const end = performance.now();
    this.finished.push({ kind, start, end, ended, signer: material.signature?.deviceId ?? null, slowed });
    if (kind.name === "sign" && ended.code === 0) this.#keepSignature(ended.stdout);
    return ended.code;
  }

  #delay(): string {
    const side = Math.random() < 0.5 ? "delay_enter" : "delay_exit";
    // Mostly short: who holds the lock keeps the others from changing anything.
    const microseconds = Math.ceil(Math.random() ** 3 * LONGEST_DELAY_MS * 1000);
    return `${side}=${microseconds}:when=${Math.ceil(Math.random() * LATEST_CALL)}`;
  }

  #tracer(delay: string): string[] {
    const names = ["identity.json", ".passphrase", ".passphrase.next", ".identity.replaced", ".lock"];
    // One of them, or all: a call on each of them is another place to wait at.
    const chosen = Math.random() < 0.5 ? [names[Math.floor(Math.random() * names.length)] as string] : names;
    if (this.#deviceId !== undefined) chosen.push(`keys/${this.#deviceId}.key.json`);
    const calls = "%file,fsync,flock";
    return [
      ...["strace", "--follow-forks", "--seccomp-bpf", "--quiet=all", "--output=/dev/null"],
      ...chosen.map((name) => `--trace-path=${join(this.directory, name)}`),
      ...[`--trace=${calls}`, `--inject=${calls}:${delay}`],
    ];
  }

  #material(): Material {
    const known = this.#signatures;
    const passphraseFile = join(this.options.home, `passphrase${this.#passphrases++}`);
    writeFileSync(passphraseFile, `a passphrase of a person, ${crypto.randomUUID()}\n`, { mode: 0o400 });
    return {
      document: this.document,
      // The latest ones are those of the identity in force.
      signature: known[known.length - 1 - Math.floor(Math.random() * Math.min(known.length, 5))] ?? null,
      passphraseFile,
    };
  }

  #keepSignature(stdout: string): void {
    const { signature, deviceId, publicKey } = JSON.parse(stdout);
    const keyFile = join(this.options.home, `${deviceId}.pub`);
    // Not over one that another process is reading.
    if (!existsSync(keyFile)) writeFileSync(keyFile, `${publicKey}\n`);
    this.#signatures.push({ text: signature, deviceId, keyFile });
  }

  /** Looks at identity.json all the time: once it is there, it is always there and whole. */
  async watch(): Promise<void> {
    const path = join(this.directory, "identity.json");
    while (!this.isDone) {
      try {
        const { deviceId } = JSON.parse(readFileSync(path, "utf8"));
        if (typeof deviceId !== "string") this.watched.add("identity.json names no device");
        this.#deviceId = deviceId;
        if ((statSync(path).mode & 0o777) !== 0o600) this.watched.add("identity.json has another mode");
      } catch (error) {
        if (this.#deviceId !== undefined) this.watched.add(`identity.json cannot be read: ${error}`);
      }
      await sleep(WATCH_MS);
    }
  }
}
