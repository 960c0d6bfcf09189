/** Judging a race: each process, what all of them together say of the identities, and what is left. */
import { createHash } from "node:crypto";
import { lstatSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe } from "../kill/checks.ts";
import { listTree } from "../kill/files.ts";
import { INVALID } from "./commands.ts";
import { DOCUMENT, type Finished, type Race } from "./race.ts";

/** An identity that came into force. */
interface Reign {
  readonly deviceId: string;
  /** Base64 of the compressed point. */
  readonly publicKey: string;
  /** The process that put it in force. */
  readonly by: Finished;
  /** What `rotate` has told: the identity that this one replaced, and the statement of both. */
  readonly rotation: Rotation | null;
}

interface Rotation {
  readonly replaced: string;
  readonly statementFile: string;
  readonly continuity: Readonly<Record<string, string>>;
}

/** What only a defect prints, or what is told of one. */
const DEFECT = /\bunexpected\b|ERR_INTERNAL|^\s+at .+:\d+|\bpanic\b|^amesh: warning:/m;

/** What is wrong, a line each; empty when all is well. */
export async function judge(race: Race): Promise<string[]> {
  const problems = [...race.watched];
  const reigns = findReigns(race.finished);
  if (reigns.length === 0) return [...problems, "no identity came into force"];
  // From here on there surely was one.
  const since = Math.min(...reigns.map(({ by }) => by.end));
  for (const finished of race.finished) {
    const { kind, slowed } = finished;
    const title = slowed === null ? kind.name : `${kind.name} (held up: ${slowed})`;
    const found = judgeEnding(finished, since) ?? await judgeMoment(finished, reigns, since);
    if (found !== null) problems.push(`${title}: ${found}`);
  }
  return [...problems, ...await judgeHistory(race, reigns), ...await judgeRest(race, reigns)];
}

function findReigns(finished: readonly Finished[]): Reign[] {
  return finished.filter(({ kind, ended }) => kind.changes === "identity" && ended.code === 0).flatMap(
    (by) => {
      const { created, deviceId, publicKey, replaced, statementFile, continuity } = JSON.parse(
        by.ended.stdout,
      );
      if (created === false) return [];
      const rotation = replaced === undefined
        ? null
        : { replaced: replaced.deviceId, statementFile, continuity };
      return [{ deviceId, publicKey, by, rotation }];
    },
  );
}

function judgeEnding({ kind, start, ended }: Finished, since: number): string | null {
  const { code, stderr } = ended;
  const allowed = start < since ? [...kind.codes, ...kind.early] : kind.codes;
  if (!allowed.includes(code)) return describe(ended);
  if (DEFECT.test(stderr)) return `warns: ${describe(ended)}`;
  return code === 0 && kind.isSilent && stderr !== "" ? `is not silent: ${stderr.trim()}` : null;
}

/**
 * Whether an identity may have been in force at some moment while a process ran. It surely was not when it came later,
 * or when one that surely followed it was in force before.
 */
function mayReign({ deviceId, by }: Reign, { start, end }: Finished, reigns: readonly Reign[]): boolean {
  const follows = (other: Reign) => other.rotation?.replaced === deviceId || other.by.start >= by.end;
  return by.start <= end && !reigns.some((other) => follows(other) && other.by.end <= start);
}

/** What a process says of the identity, against what can have been in force at its moment. */
async function judgeMoment(
  finished: Finished,
  reigns: readonly Reign[],
  since: number,
): Promise<string | null> {
  const { kind, start, signer, ended: { code, stdout } } = finished;
  const possible = reigns.filter((reign) => mayReign(reign, finished, reigns));
  if (kind.name === "verify") {
    const isRefused = code === INVALID;
    if (code === 0 && !possible.some(({ deviceId }) => deviceId === signer)) {
      return `takes a signature of ${signer}, which was not in force then`;
    }
    return isRefused && possible.every(({ deviceId }) => deviceId === signer)
      ? "refuses a signature of the identity in force"
      : null;
  }
  if (code !== 0 || kind.name === "verify --key" || kind.changes === "key") return null;
  const told = JSON.parse(stdout);
  const named = kind.name === "doctor" ? told.identity : told.deviceId ?? deviceIdOf(told.publicKey);
  if (named === null && start < since) return null;
  const reign = possible.find(({ deviceId }) => deviceId === named);
  if (reign === undefined) return `names ${named}, which was not in force then`;
  if (kind.name !== "sign") return null;
  if (told.publicKey !== reign.publicKey) return "gives another public key than its identity has";
  return await isSignature(told.publicKey, told.signature) ? null : "makes a signature that is not valid";
}

function deviceIdOf(publicKey: string): string {
  const digest = createHash("sha256").update(publicKey, "base64").digest("base64url");
  return `am_${digest.slice(0, 16)}`;
}

async function isSignature(publicKey: string, signature: string): Promise<boolean> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const point = Uint8Array.fromBase64(publicKey);
  const key = await crypto.subtle.importKey("raw", point, algorithm, false, ["verify"]);
  const bytes = Uint8Array.fromBase64(signature);
  return await crypto.subtle.verify(algorithm, key, bytes, new TextEncoder().encode(DOCUMENT));
}

/** Every rotation has left its statement and no other is there; each chain of them leads from its first key to its last. */
async function judgeHistory(race: Race, reigns: readonly Reign[]): Promise<string[]> {
  const problems: string[] = [];
  for (const { deviceId, rotation } of reigns) {
    if (rotation === null) continue;
    const { statementFile, continuity } = rotation;
    const kept = readJson(statementFile);
    if (JSON.stringify(kept) !== JSON.stringify(continuity)) {
      problems.push(`the statement of ${deviceId} is not what rotate has told: ${JSON.stringify(kept)}`);
    }
  }
  const replacedBy = new Map(reigns.map((reign) => [reign.rotation?.replaced, reign]));
  for (const first of reigns.filter(({ rotation }) => rotation === null)) {
    const files: string[] = [];
    let last = first;
    for (let next; (next = replacedBy.get(last.deviceId)) !== undefined; last = next) {
      files.push(next.rotation!.statementFile);
    }
    if (files.length === 0) continue;
    const key = join(race.home, "first.pub");
    Deno.writeTextFileSync(key, first.publicKey);
    const ended = await race.amesh("verify-rotation", "--key", key, "--format", "base64", ...files.reverse());
    if (ended.stdout.trim() !== last.publicKey) {
      problems.push(`${files.length} rotations lead elsewhere: ${describe(ended)}`);
    }
  }
  return problems;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    return String(error);
  }
}

/** What is there when all have ended, and whether it works. */
async function judgeRest(race: Race, reigns: readonly Reign[]): Promise<string[]> {
  const problems: string[] = [];
  const told = readJson(join(race.directory, "identity.json")) as { deviceId?: string };
  const statements = reigns.flatMap(({ rotation }) => rotation === null ? [] : [rotation.statementFile]);
  const expected = [
    ...[".lock", ".passphrase", "identity.json", "keys", `keys/${told.deviceId}.key.json`],
    ...statements.length === 0 ? [] : ["history", ...statements.map((path) => `history/${basename(path)}`)],
  ];
  const found = listTree(race.directory);
  const odd = (names: readonly string[], others: readonly string[]) =>
    names.filter((name) => !others.includes(name)).join(", ");
  if (odd(found, expected) !== "") problems.push(`left over: ${odd(found, expected)}`);
  if (odd(expected, found) !== "") problems.push(`missing: ${odd(expected, found)}`);
  for (const name of found) {
    const info = lstatSync(join(race.directory, name));
    const mode = info.isDirectory() ? 0o700 : name === ".passphrase" ? 0o400 : 0o600;
    if ((info.mode & 0o7777) !== mode) problems.push(`${name} has mode ${(info.mode & 0o7777).toString(8)}`);
  }
  const doctor = await race.amesh("doctor", "--json");
  const report = JSON.parse(doctor.stdout);
  if (doctor.code !== 0 || report.problems.length > 0) {
    problems.push(`doctor finds: ${JSON.stringify(report.problems)}`);
  }
  const signed = await race.amesh("sign", "--json", race.document);
  if (signed.code !== 0) return [...problems, `the key does not sign: ${describe(signed)}`];
  const { deviceId, publicKey, signature } = JSON.parse(signed.stdout);
  const isLast = reigns.some((reign) => reign.deviceId === deviceId && reign.publicKey === publicKey);
  if (!isLast || !await isSignature(publicKey, signature)) {
    problems.push("the key at the end is of no identity");
  }
  return problems;
}
