/** `amesh doctor`: what works here, what does not, why, and what to do about it. */
import { agentAt } from "../../agent/find.ts";
import { selfTest, type SelfTestStep } from "../../agent/self_test.ts";
import { defaultSocket } from "../../agent/socket_file.ts";
import { AmeshError, EXIT_CODES } from "../../errors.ts";
import { type Audit, auditDirectory } from "../../identity/audit.ts";
import { listOrphans } from "../../identity/orphans.ts";
import { repair } from "../../identity/repair.ts";
import { detectTiers } from "../../keystore/select.ts";
import { describeSource, findSources, PASSPHRASE_VARIABLE } from "../../passphrase/sources.ts";
import { findInfo } from "../../platform/files.ts";
import { host } from "../../platform/host.ts";
import { forbidInspection, hasEnvironmentVariable } from "../../platform/libc.ts";
import { ameshLayout, type Layout } from "../../platform/paths.ts";
import { VERSION } from "../../version.ts";
import { print, printable, printJson, tell, warn } from "../output.ts";

/** Options of `doctor`. */
export type DoctorFlags = {
  readonly fix: boolean;
  readonly deleteOrphans: boolean;
  readonly ssh: boolean;
  readonly json: boolean;
};

/**
 * Ends with the exit code of the worst problem that remains and that keeps commands from working.
 *
 * @throws {AmeshError} `ERR_BUSY` with `--fix`; `ERR_SYSTEM`; `ERR_USAGE`.
 */
export async function doctor({ fix, deleteOrphans, ssh, json }: DoctorFlags): Promise<void> {
  if (deleteOrphans && !fix) {
    throw new AmeshError("ERR_USAGE", "--delete-orphans needs --fix", {
      hint: "see what would be destroyed with: amesh doctor",
    });
  }
  const layout = await ameshLayout();
  forbidInspection();
  const hadVariable = hasEnvironmentVariable(PASSPHRASE_VARIABLE);
  const onPlan = (plan: string) => tell(printable(`amesh: will ${plan}`));
  const repairs = fix ? await repair(layout, { deleteOrphans, onPlan, warn }) : { done: [], failed: [] };
  // What opened the key while repairing has been taken out of the environment.
  const isUsedUp = hadVariable && !hasEnvironmentVariable(PASSPHRASE_VARIABLE);
  const audit = await auditDirectory(layout, warn, isUsedUp);
  const report = {
    version: VERSION,
    system: `${host.os} ${host.arch}`,
    runtime: host.runtime,
    directory: layout.directory,
    identity: audit.identity?.fields.deviceId ?? null,
    backend: audit.identity?.fields.storageBackend ?? null,
    tiers: (await detectTiers()).map(({ name, availability }) => ({ backend: name, ...availability })),
    passphraseSources: isUsedUp ? [PASSPHRASE_VARIABLE] : passphraseSources(layout, audit),
    agent: describeAgent(layout),
    certificate: await describeCertificate(layout, audit),
    ssh: ssh ? await selfTest(layout) : null,
    notes: notes(layout, audit),
    repaired: repairs.done,
    notRepaired: repairs.failed,
    problems: audit.problems.map(({ path, problem, remedy, fix }) => ({
      path,
      problem,
      remedy,
      plan: fix?.plan ?? null,
    })),
  };
  const codes = [...audit.problems, ...report.ssh ?? []].map(({ code }) =>
    code === null ? 0 : EXIT_CODES[code]
  );
  // Before printing: a reader that goes away must not make it well.
  host.setExitCode(Math.max(repairs.failed.length > 0 ? EXIT_CODES.ERR_SYSTEM : 0, ...codes));
  if (json) await printJson(report);
  else await print(formatReport(report));
}

function describeAgent(layout: Layout): string | null {
  using agent = agentAt(defaultSocket(layout));
  return agent === null ? null : `process ${agent.status.pid} at ${agent.status.socket}`;
}

/** Its state in a line; `null` when there is none. What keeps it from being read is among the problems. */
async function describeCertificate(layout: Layout, { identity, problems }: Audit): Promise<string | null> {
  const isUnreadable = problems.some(({ path }) => path === layout.certificate || path === layout.directory);
  if (identity === null || isUnreadable || findInfo(layout.certificate) === null) return null;
  const { describeState } = await import("./certificate_status.ts");
  return describeState(layout, identity);
}

function passphraseSources(layout: Layout, { identity }: Audit): string[] {
  try {
    return findSources(layout, Boolean(identity?.fields.passphrase)).map(describeSource);
  } catch (error) {
    if (error instanceof AmeshError) return [error.message];
    throw error;
  }
}

function notes(layout: Layout, { named }: Audit): string[] {
  const found: string[] = [];
  const orphans = named === null ? 0 : listOrphans(layout, named).length;
  if (orphans > 0) {
    found.push(
      `${layout.orphans} holds ${orphans === 1 ? "a key" : `${orphans} keys`} that nothing refers to; ` +
        "amesh doctor --fix --delete-orphans destroys what is in it",
    );
  }
  const sudoUser = host.env("SUDO_USER");
  if (sudoUser && host.euid() === 0) {
    found.push(
      `running under sudo for ${sudoUser}: the directory is the one that HOME names, whoever owns it`,
    );
  }
  if (host.os === "linux" && !forbidInspection()) {
    found.push("no libc was found: core dumps are not forbidden, and the lock is weaker than flock(2)");
  }
  if (host.env("AMESH_ALLOW_GROUP_READ") === "1") {
    found.push("AMESH_ALLOW_GROUP_READ=1: files that their group can access are accepted");
  }
  if (host.os === "windows") {
    found.push("file modes are not enforced on Windows; this build has never been run");
  }
  return found;
}

interface Report {
  readonly version: string;
  readonly system: string;
  readonly runtime: string;
  readonly directory: string;
  readonly identity: string | null;
  readonly backend: string | null;
  readonly tiers: readonly {
    readonly backend: string;
    readonly available: boolean;
    readonly cause?: string;
    readonly remedy?: string | null;
    readonly details?: Readonly<Record<string, string>>;
  }[];
  readonly passphraseSources: readonly string[];
  readonly agent: string | null;
  readonly certificate: string | null;
  readonly ssh: readonly SelfTestStep[] | null;
  readonly notes: readonly string[];
  readonly repaired: readonly string[];
  readonly notRepaired: readonly string[];
  readonly problems: readonly { path: string; problem: string; remedy: string; plan: string | null }[];
}

function formatReport(report: Report): string {
  const identity = report.identity === null
    ? "none that can be read"
    : `${report.identity} (${report.backend})`;
  const lines = [
    `amesh ${report.version}, ${report.system}, ${report.runtime}`,
    `Directory: ${report.directory}`,
    `Identity: ${identity}`,
    "Key storage, in the order in which it is tried:",
    ...report.tiers.flatMap(({ backend, available, cause, remedy, details = {} }) => [
      `  ${backend}: ${available ? "available" : `not available: ${cause}`}`,
      ...(remedy ? [`    remedy: ${remedy}`] : []),
      ...Object.entries(details).map(([label, value]) => `    ${label}: ${value}`),
    ]),
    `Passphrase source in force: ${report.passphraseSources.join(", then ") || "none"}`,
    `Agent: ${report.agent ?? "not running"}`,
    ...report.certificate === null ? [] : [`Certificate: ${report.certificate}`],
    ...report.ssh === null ? [] : ["ssh and git:", ...report.ssh.flatMap(formatStep)],
    ...report.notes.map((note) => `Note: ${note}`),
    ...report.repaired.map((done) => `Repaired: ${done}`),
    ...report.notRepaired.map((failed) => `Not repaired: ${failed}`),
    report.problems.length === 0 ? "Files: no problem found" : "Files:",
    ...report.problems.flatMap(({ path, problem, remedy, plan }) => [
      `  ${path} ${problem}`,
      `    remedy: ${remedy}`,
      ...plan === null ? [] : [`    --fix will ${plan}`],
    ]),
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function formatStep({ step, result, isOk, remedy }: SelfTestStep): string[] {
  return [
    `  ${step}: ${isOk ? "" : "not ok: "}${result}`,
    ...remedy === null ? [] : [`    remedy: ${remedy}`],
  ];
}
