/** What is measured beside what, and how good it shall be. */
import { join } from "node:path";
import { runProgram } from "../build.ts";
import { measure } from "./process.ts";
import type { Programs } from "./programs.ts";
import type { Entry, Group } from "./table.ts";
import { type MakeCommand, planTpm } from "./tpm.ts";

const LARGE_BYTES = 1024 ** 3;
const PIECE_BYTES = 1 << 20;
/** Most that one call of the random generator gives. */
const RANDOM_BYTES = 65_536;
const PEAK_GOAL_BYTES = 150e6;
/** What a passphrase that amesh made looks like to `argon2`: 64 characters. */
const PASSPHRASE = "0123456789abcdef".repeat(4);
/** amesh's default cost and lengths, in the words of Debian's `argon2`. */
const ARGON2 = ["sixteen bytes :)", "-id", "-t", "3", "-k", "65536", "-p", "1", "-l", "32", "-r"];

type Note = (text: string) => void;

/** The absolute path of a program; `undefined` when there is none, which `note` is told. */
export function findProgram(name: string, consequence: string, note: Note): string | undefined {
  for (const directory of (Deno.env.get("PATH") || "/usr/bin:/bin").split(":")) {
    const path = join(directory, name);
    try {
      if (Deno.statSync(path).isFile) return path;
    } catch {
      continue;
    }
  }
  note(`there is no program "${name}" (Debian package ${name}): ${consequence}`);
  return undefined;
}

/** Commands whose files are in `work`, each with the same standard input. */
export function commandMaker(work: string, stdin: string): MakeCommand {
  return (argv, identity = "identity") => ({
    argv,
    env: {
      PATH: "/usr/bin:/bin",
      HOME: work,
      AUTH_MESH_DIR: join(work, identity),
      DENO_DIR: join(work, "deno"),
      DENO_NO_UPDATE_CHECK: "1",
    },
    stdin,
  });
}

/** What is measured; disposing of it ends what was started for it. */
export interface Plan extends Disposable {
  readonly groups: readonly Group[];
}

/**
 * The groups that this machine can measure.
 *
 * @param work a directory of ours, in which the programs find an identity and their input.
 */
export async function planGroups(
  programs: readonly Programs[],
  work: string,
  runs: number,
  note: Note,
): Promise<Plan> {
  const stdin = join(work, "stdin");
  await Deno.writeTextFile(stdin, PASSPHRASE);
  const small = join(work, "small");
  await Deno.writeTextFile(small, "a small file\n");
  const command = commandMaker(work, stdin);
  const [first] = programs;
  if (first === undefined) return { groups: [], [Symbol.dispose]: () => {} };
  measure(
    command([...first.amesh, "init", "--name=bench", "--backend=encrypted-file"]),
    join(work, "errors"),
  );

  const groups = programs.map((program) => versionGroup(program, runs, command));
  const argon2 = findProgram("argon2", "sign of a small file and init are left out", note);
  if (argon2 !== undefined) {
    const peer = { name: "argon2", command: command([argon2, ...ARGON2]) };
    groups.push({
      title: "`sign` of a small file",
      rounds: runs,
      entries: [peer, ...programs.flatMap((program) => signEntries(program, small, command))],
    });
    const fresh = join(work, "fresh");
    groups.push({
      title: "`init`",
      rounds: runs,
      entries: [
        peer,
        ...programs.map(({ title, amesh }): Entry => ({
          name: `amesh init, ${title}`,
          command: command([...amesh, "init", "--name=bench", "--backend=encrypted-file"], "fresh"),
          prepare: () => removeDirectory(fresh),
          peer: { name: peer.name, goal: 2.2 },
        })),
      ],
    });
  }
  const large = await largeGroup(programs, work, Math.max(3, Math.round(runs / 3)), command, note);
  if (large !== undefined) groups.push(large);
  const tpm = planTpm(programs, work, small, runs, command, note);
  return { groups: [...groups, ...tpm?.groups ?? []], [Symbol.dispose]: () => tpm?.[Symbol.dispose]() };
}

function versionGroup({ title, amesh, empty }: Programs, rounds: number, command: MakeCommand): Group {
  const peer = { name: `empty program, ${title}`, command: command(empty) };
  return {
    title: "`--version`",
    rounds,
    entries: [peer, {
      name: `amesh --version, ${title}`,
      command: command([...amesh, "--version"]),
      peer: { name: peer.name, goal: 1.5 },
    }],
  };
}

function signEntries({ title, form, amesh, kdf }: Programs, file: string, command: MakeCommand): Entry[] {
  return [{
    name: `bare KDF, ${title}`,
    command: command(kdf),
    peer: { name: "argon2", goal: null },
  }, {
    name: `amesh sign, ${title}`,
    command: command([...amesh, "sign", file]),
    peer: { name: "argon2", goal: form === "bun" ? 1.5 : 1.8 },
  }];
}

async function largeGroup(
  programs: readonly Programs[],
  work: string,
  rounds: number,
  command: MakeCommand,
  note: Note,
): Promise<Group | undefined> {
  const openssl = findProgram("openssl", "sign of 1 GiB is left out", note);
  if (openssl === undefined) return undefined;
  const file = join(work, "large");
  note("writing 1 GiB");
  try {
    await writeLargeFile(file);
  } catch (error) {
    note(`sign of 1 GiB is left out: ${(error as Error).message}`);
    return undefined;
  }
  const key = join(work, "key.pem");
  const curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
  const { success, text } = await runProgram([openssl, "genpkey", ...curve, "-out", key]);
  if (!success) throw new Error(`cannot make a key with openssl:\n${text}`);
  const peer = { name: "openssl dgst", command: command([openssl, "dgst", "-sha256", "-sign", key, file]) };
  return {
    title: "`sign` of 1 GiB",
    rounds,
    entries: [
      peer,
      ...programs.map(({ title, amesh }): Entry => ({
        name: `amesh sign, ${title}`,
        command: command([...amesh, "sign", file]),
        peer: { name: peer.name, goal: 1.2 },
        peakGoal: PEAK_GOAL_BYTES,
      })),
    ],
  };
}

async function writeLargeFile(path: string): Promise<void> {
  const piece = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < PIECE_BYTES; at += RANDOM_BYTES) {
    crypto.getRandomValues(piece.subarray(at, at + RANDOM_BYTES));
  }
  using file = await Deno.open(path, { write: true, createNew: true });
  for (let at = 0; at < LARGE_BYTES;) at += await file.write(piece.subarray(at % PIECE_BYTES));
  // Else the disk would be written to while the first programs are measured.
  await file.sync();
}

function removeDirectory(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
