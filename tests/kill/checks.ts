/** What must hold after a strike: at once, when the command is repeated, and after `doctor --fix`. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { listKeys, listTemporary, listTree, listUnfinished, readIdentity, readTree } from "./files.ts";
import type { Ended, Environment } from "./program.ts";
import { DOCUMENT, OLD_KEY, type Scenario } from "./scenario.ts";
import type { Strike } from "./strike.ts";

/** Where checks are made. */
export interface Bench {
  /** Runs amesh in a HOME. */
  amesh(home: string, args: readonly string[], env: Environment): Promise<Ended>;
  /** A copy of a HOME as the strike left it, with the TPM as that left it. */
  copy(home: string): string;
  /** Whether a key of amesh 0.7 is in the TPM; `null` where there was none. */
  hasHandleKey(): boolean | null;
  /** What came of `sign`, by all that it reads. */
  readonly signed: Map<string, string[]>;
}

/** What a scenario started from. */
export interface Before {
  readonly deviceId: string | null;
  /** Key files, as paths from HOME. */
  readonly keys: readonly string[];
  /** Whether its key is one of amesh 0.7, at a handle of the TPM. */
  readonly isHandleKey: boolean;
}

const SHOWN_CHARACTERS = 400;

/** How a program ended, for a report: its errors and warnings, or the beginning of what it said. */
export function describe({ code, stdout, stderr }: Ended): string {
  const told = stderr.match(/^amesh: (error|warning|hint): .*$/gm)?.join(" | ");
  const text = told ?? `${stderr}${stdout}`.trim().replaceAll(/\n\s*/g, " | ").slice(0, SHOWN_CHARACTERS);
  return `exit ${code}: ${text || "silent"}`;
}

/** What is wrong with the way in which the command itself ended. @param call the one that was struck, if any. */
export async function checkOutcome(
  bench: Bench,
  scenario: Scenario,
  before: Before,
  home: string,
  ended: Ended,
  { fault }: Strike,
  call: string | null,
): Promise<string[]> {
  const problems: string[] = [];
  const { effect, exitCodes = [0, 1], envAfter, passphraseAfter } = scenario;
  const allowed = call === null ? [0] : exitCodes;
  if (!allowed.includes(ended.code)) problems.push(`the command ends with ${describe(ended)}`);
  if (ended.code !== 0) {
    if (ended.stderr + (scenario.isRepair ? ended.stdout : "") === "") {
      problems.push("it fails without a message");
    }
    if (!fault.endsWith("+")) problems.push(...checkRollback(scenario, before, home, call));
    return problems;
  }
  const id = readIdentity(home)?.["deviceId"] ?? null;
  const wanted = { makes: "new", replaces: "new", keeps: "old", deletes: "none", none: "none" }[effect];
  const found = id === null ? "none" : id === before.deviceId ? "old" : "new";
  if (found !== wanted) problems.push(`it ends with 0, but the identity is ${found}: ${describe(ended)}`);
  if (wanted === "new" && id !== null && !ended.stdout.includes(`${id}`)) {
    problems.push("it prints another identity than it made");
  }
  const rest = [...listUnfinished(home), ...effect === "keeps" ? [] : oldKeys(bench, before, home)];
  if (rest.length > 0 && !scenario.isRepair && !/^amesh: warning: /m.test(ended.stderr)) {
    problems.push(`it ends with 0 and does not say that it leaves ${rest.join(", ")}`);
  }
  if (passphraseAfter !== undefined) {
    const files = [
      ".amesh/.passphrase",
      ".amesh/.passphrase.next",
      "secrets/passphrase",
      "secrets/.passphrase.amesh-next",
    ];
    const isThere = files.map((name) => join(home, name)).filter(existsSync)
      .some((path) => readFileSync(path, "utf8") === `${passphraseAfter}\n`);
    if (!isThere) problems.push("it ends with 0, but the new passphrase is nowhere");
  }
  if (envAfter !== undefined) {
    problems.push(
      ...(await checkSign(bench, scenario, bench.copy(home), envAfter)).map((problem) =>
        `it ends with 0, but where the passphrase is now: ${problem}`
      ),
    );
  }
  return problems;
}

/** A command that has failed takes away what it made, unless that is what failed. */
function checkRollback(
  { effect, isRepair }: Scenario,
  before: Before,
  home: string,
  call: string | null,
): string[] {
  if (call === null || isRepair || /^unlink/.test(call)) return [];
  const problems = listTemporary(home, [".amesh", "secrets"]).map((path) => `it fails and leaves ${path}`);
  const id = readIdentity(home)?.["deviceId"] ?? null;
  if (id !== before.deviceId || effect === "deletes") return problems;
  const added = listKeys(home).filter((path) => !before.keys.includes(path));
  return [...problems, ...added.map((path) => `it fails and leaves ${path}`)];
}

/** What there still is of the old key. */
function oldKeys(bench: Bench, before: Before, home: string): string[] {
  const files = listKeys(home).filter((path) =>
    before.deviceId !== null && path.includes(`/${before.deviceId}.`)
  );
  return bench.hasHandleKey() ? [...files, "the key in the TPM"] : files;
}

/** What is wrong with what the strike left, whoever comes next. */
export async function checkState(
  bench: Bench,
  scenario: Scenario,
  before: Before,
  home: string,
): Promise<string[]> {
  const { problems, id, env } = await checkNow(bench, scenario, before, bench.copy(home));
  if (!scenario.isRepair) {
    problems.push(...await checkRepeated(bench, scenario, before, bench.copy(home), id));
  }
  if (scenario.next !== undefined && id === null) {
    problems.push(...await checkNext(bench, scenario, bench.copy(home), scenario.next));
  }
  problems.push(...await checkRepaired(bench, scenario, before, bench.copy(home), id, env));
  return problems;
}

/** What {@linkcode checkNow} found. */
interface Now {
  readonly problems: string[];
  /** Device id; `null` when there is no identity. */
  readonly id: string | null;
  /** Variables with which the key opens. */
  readonly env: Environment;
}

/** The directory as it is. @param home a copy: signing may change it. */
export async function checkNow(
  bench: Bench,
  scenario: Scenario,
  before: Before,
  home: string,
): Promise<Now> {
  const problems: string[] = [];
  const { effect } = scenario;
  const ownEnv = scenario.env ?? {};
  if (scenario.isBroken) return { problems, id: before.deviceId, env: ownEnv };
  const status = await bench.amesh(home, ["status", "--json"], ownEnv);
  const id: string | null = status.code === 0 ? JSON.parse(status.stdout).deviceId : null;
  const isNone = status.code === 3;
  const mayBe = {
    none: effect !== "keeps" && effect !== "replaces",
    old: before.deviceId !== null && effect !== "none",
    new: effect === "makes" || effect === "replaces",
  };
  if (status.code !== 0 && !isNone) problems.push(`at once, status: ${describe(status)}`);
  if (isNone && !mayBe.none) problems.push("at once, there is no identity");
  if (id !== null && !(id === before.deviceId ? mayBe.old : mayBe.new)) {
    problems.push(`at once, there is an identity ${id}, which nobody expects`);
  }
  if (id === null) return { problems, id, env: ownEnv };
  const signed = await checkSignAnyhow(bench, scenario, home);
  problems.push(...signed.problems.map((problem) => `at once, ${problem}`));
  if (scenario.leavesStatement && id !== before.deviceId) {
    const file = join(".amesh", "history", `${before.deviceId}.${id}.json`);
    const verified = await bench.amesh(home, ["verify-rotation", file, "--key", OLD_KEY], {});
    if (verified.code !== 0) problems.push(`at once, verify-rotation: ${describe(verified)}`);
  }
  return { problems, id, env: signed.env };
}

/** Whether the key signs, in silence, and the signature is good. */
async function checkSign(
  bench: Bench,
  { signSays }: Scenario,
  home: string,
  env: Environment,
): Promise<string[]> {
  // Stretching a passphrase is what takes time here, and repeating and repairing mostly leave alone what is read.
  const read = JSON.stringify([env, bench.hasHandleKey(), ...whatSignReads(home)]);
  const known = bench.signed.get(read);
  if (known !== undefined) return known;
  const signed = await bench.amesh(home, ["sign", DOCUMENT], env);
  const problems: string[] = [];
  if (signed.code !== 0) problems.push(`sign: ${describe(signed)}`);
  else {
    const said = signSays === undefined ? signed.stderr : signed.stderr.replaceAll(signSays, "");
    if (said !== "") problems.push(`sign says: ${said.trim()}`);
    const verified = await bench.amesh(home, ["verify", "--signature", signed.stdout.trim(), DOCUMENT], env);
    if (verified.code !== 0) problems.push(`verify: ${describe(verified)}`);
  }
  bench.signed.set(read, problems);
  return problems;
}

/** The same with one of the scenario's environments. @returns the first that will do. */
async function checkSignAnyhow(
  bench: Bench,
  scenario: Scenario,
  home: string,
): Promise<{ env: Environment; problems: string[] }> {
  const { env = {}, otherEnv } = scenario;
  const problems = await checkSign(bench, scenario, home, env);
  if (problems.length === 0 || otherEnv === undefined) return { env, problems };
  const others = await checkSign(bench, scenario, home, otherEnv);
  return others.length === 0 ? { env: otherEnv, problems: [] } : { env, problems: [...problems, ...others] };
}

/** Everything but other keys, temporary files and the lock. */
function whatSignReads(home: string): unknown[] {
  const id = `${readIdentity(home)?.["deviceId"]}`;
  return readTree(home).filter(([name]) =>
    !/\.tmp$|\.lock$|^\.amesh\/orphans\b/.test(name) && (!/\/am_[^/]*$/.test(name) || name.includes(id))
  );
}

/** The same command once more. */
async function checkRepeated(
  bench: Bench,
  scenario: Scenario,
  before: Before,
  home: string,
  id: string | null,
): Promise<string[]> {
  const { effect, command, env = {} } = scenario;
  const isGone = listUnfinished(home).length === 0 && id === null;
  const allowed = effect === "makes" && id !== null ? 6 : effect === "deletes" && isGone ? 3 : 0;
  const ended = await bench.amesh(home, command, env);
  if (ended.code !== allowed) return [`repeated, ${allowed} is expected: ${describe(ended)}`];
  const problems: string[] = [];
  if (effect === "deletes") {
    const rest = [...listUnfinished(home), ...oldKeys(bench, before, home)];
    if (!scenario.leavesPassphrase) {
      rest.push(...listTree(join(home, ".amesh")).filter((n) => n === ".passphrase"));
    }
    return rest.map((path) => `repeated, it leaves ${path}`);
  }
  if (ended.code === 0) problems.push(...listUnfinished(home).map((path) => `repeated, it leaves ${path}`));
  const signed = await checkSignAnyhow(bench, scenario, home);
  problems.push(...signed.problems.map((problem) => `repeated, ${problem}`));
  if (scenario.leavesStatement) problems.push(...await checkHistory(bench, home));
  return problems;
}

/** The statements lead from the old key to the one that there is. */
async function checkHistory(bench: Bench, home: string): Promise<string[]> {
  const history = join(".amesh", "history");
  const names = listTree(join(home, history)).filter((name) => name.endsWith(".json"));
  const files = names.map((name) => join(history, name));
  const args = ["verify-rotation", ...files, "--key", OLD_KEY, "--format", "base64"];
  const ended = await bench.amesh(home, args, {});
  if (ended.code !== 0) {
    return [`repeated, verify-rotation of ${files.length} statements: ${describe(ended)}`];
  }
  const isNewest = ended.stdout.trim() === readIdentity(home)?.["publicKey"];
  return isNewest ? [] : ["repeated, the statements do not lead to the present key"];
}

/** What somebody does who has deleted an identity. */
async function checkNext(
  bench: Bench,
  scenario: Scenario,
  home: string,
  command: readonly string[],
): Promise<string[]> {
  const { env = {} } = scenario;
  const ended = await bench.amesh(home, command, env);
  if (ended.code !== 0) return [`afterwards, ${command[0]}: ${describe(ended)}`];
  return (await checkSign(bench, scenario, home, env)).map((problem) => `afterwards, ${problem}`);
}

/** What `doctor --json` did not repair and what it still complains about. */
function doctorsFindings({ stdout }: Ended): string[] {
  if (!stdout.startsWith("{")) return [];
  const { problems = [], notRepaired = [] } = JSON.parse(stdout) as {
    problems?: { path: string; problem: string }[];
    notRepaired?: string[];
  };
  return [...problems.map(({ path, problem }) => `${path} ${problem}`), ...notRepaired];
}

/** After `doctor --fix` nothing is left to be done, and it is still the same identity. */
async function checkRepaired(
  bench: Bench,
  scenario: Scenario,
  before: Before,
  home: string,
  id: string | null,
  env: Environment,
): Promise<string[]> {
  const problems: string[] = [];
  for (const args of [["doctor", "--fix", "--json"], ["doctor", "--json"]]) {
    const ended = await bench.amesh(home, args, env);
    const found = doctorsFindings(ended);
    if (ended.code !== 0 && found.length === 0) found.push(describe(ended));
    problems.push(...found.map((text) => `repaired by doctor: exit ${ended.code}: ${text}`));
  }
  const named = env["AMESH_PASSPHRASE_FILE"];
  const within = [".amesh", ...named === undefined ? [] : [dirname(named)]];
  for (const path of [...listTemporary(home, within), ...listUnfinished(home)]) {
    problems.push(`repaired, ${path} is still there`);
  }
  const now = readIdentity(home)?.["deviceId"] ?? null;
  if (now !== id) problems.push(`repaired, the identity is ${now}; it was ${id}`);
  if (now !== null) {
    problems.push(...(await checkSign(bench, scenario, home, env)).map((problem) => `repaired, ${problem}`));
  } else if (scenario.effect === "deletes" || scenario.effect === "none") {
    problems.push(...oldKeys(bench, before, home).map((path) => `repaired, ${path} is still there`));
  }
  return problems;
}
