/** `amesh agent`: an ssh agent that holds this machine's key. */
import { agentAt, agentSockets, type FoundAgent } from "../../agent/find.ts";
import { type Readiness, runAgent } from "../../agent/agent.ts";
import { reportFromBackground, startInBackground } from "../../agent/background.ts";
import { refusalOf } from "../../agent/refusal.ts";
import { defaultSocket } from "../../agent/socket_file.ts";
import { AmeshError, Interrupted } from "../../errors.ts";
import { loadIdentity } from "../../identity/store.ts";
import { loadTier } from "../../keystore/select.ts";
import { findSources } from "../../passphrase/sources.ts";
import { findInput } from "../../platform/input.ts";
import { host } from "../../platform/host.ts";
import { forbidInspection, setEnvironmentVariable } from "../../platform/libc.ts";
import { absolutePath, ameshLayout, baseName, type Layout, shellQuote } from "../../platform/paths.ts";
import { isWritable } from "../../platform/poll.ts";
import { notifyReady } from "../../platform/socket.ts";
import { print, printable, printJson, tell, warn } from "../output.ts";
import { askPassphrase } from "../terminal.ts";

/** Options of `agent`. */
export type AgentFlags = {
  readonly socket?: string;
  readonly idleTimeout: number;
  readonly confirm: boolean;
  readonly foreground: boolean;
  readonly printEnv: boolean;
  readonly passphraseFd?: number;
  readonly reportFd?: number;
  readonly json: boolean;
};

/** signal(7) */
const SIGINT = 2;
const STDERR = 2;
const ANY_EXECUTE = 0o111;

/** What Debian and others install as the dialog that asks. */
const USUAL_ASKPASS = "/usr/bin/ssh-askpass";

/** @throws {AmeshError} as `runAgent`; `ERR_NO_AGENT`, `ERR_USAGE`, `ERR_BUSY`. */
export async function agent(flags: AgentFlags): Promise<void> {
  if (host.os === "windows") throw new AmeshError("ERR_USAGE", "there is no agent on Windows");
  const layout = await ameshLayout();
  const socket = flags.socket === undefined ? defaultSocket(layout) : absolutePath(flags.socket);
  if (flags.printEnv) return await printRunning(layout, flags);
  forbidInspection();
  const askpass = flags.confirm ? findAskpass() : null;
  if (flags.foreground) return await serve(flags, layout, socket, askpass);
  if (await printOwn(layout, socket, flags)) return;
  // Here and not in the background: who is asked sits at the terminal of this process.
  const typed = flags.passphraseFd === undefined && await needsPerson(layout) ? await askPassphrase() : null;
  const ready = startInBackground(flags.passphraseFd, typed, warn);
  if (ready !== null) await announce(ready, flags.json);
  else if (!(await printOwn(layout, socket, flags))) throw taken(socket);
}

/** Whether the passphrase of the key is nowhere to be read. */
async function needsPerson(layout: Layout): Promise<boolean> {
  const { fields } = await loadIdentity(layout);
  const { passphrase } = await loadTier(fields.storageBackend);
  return passphrase !== undefined && findSources(layout, Boolean(fields.passphrase)).length === 0;
}

async function serve(
  flags: AgentFlags,
  layout: Layout,
  socket: string,
  askpass: string | null,
): Promise<void> {
  const { reportFd, idleTimeout, json } = flags;
  // The dialogs know by it that yes and no are asked for, not a passphrase.
  if (askpass !== null) setEnvironmentVariable("SSH_ASKPASS_PROMPT", "confirm");
  const warnings: string[] = [];
  let isReady = false;
  const ready = async (readiness: Readiness) => {
    isReady = true;
    if (reportFd !== undefined) reportFromBackground(reportFd, { ready: readiness, warnings });
    else await announce(readiness, json);
    const supervisor = host.env("NOTIFY_SOCKET");
    if (supervisor) notifyReady(supervisor, "READY=1\nSTATUS=Serving the key of this machine");
  };
  const isTaken = async () => {
    isReady = true;
    if (reportFd !== undefined) reportFromBackground(reportFd, { taken: true, warnings });
    else if (!(await printOwn(layout, socket, flags))) throw taken(socket);
  };
  try {
    const signal = await runAgent(
      {
        layout,
        socket,
        askpass,
        idleTimeoutSeconds: idleTimeout,
        input: {
          descriptor: flags.passphraseFd,
          ...reportFd === undefined ? { ask: askPassphrase } : {},
        },
        warn: reportFd === undefined ? warn : (message) => void (isReady || warnings.push(message)),
        log: reportFd === undefined ? logLine : null,
      },
      ready,
      isTaken,
    );
    if (signal === "SIGINT") throw new Interrupted(SIGINT);
  } catch (error) {
    if (reportFd === undefined || isReady || error instanceof Interrupted) throw error;
    reportFromBackground(reportFd, { refused: refusalOf(error), warnings });
  }
}

/** A line for whoever watches; who does not read it must not hold up the agent. */
function logLine(line: string): void {
  if (isWritable(STDERR)) tell(printable(`amesh: agent: ${line}`));
}

/** @throws {AmeshError} `ERR_USAGE`: there is none. */
function findAskpass(): string {
  const path = host.env("SSH_ASKPASS") || USUAL_ASKPASS;
  const info = path.startsWith("/") ? findInput(path) : null;
  if (info?.kind === "file" && ((info.mode ?? 0) & ANY_EXECUTE) !== 0) return path;
  throw new AmeshError("ERR_USAGE", `cannot ask for confirmation: there is no program "${path}"`, {
    hint: "set SSH_ASKPASS to the full path of one, such as ssh-askpass or ksshaskpass",
  });
}

/**
 * Prints the lines of an agent that serves this identity there already.
 *
 * @returns whether it did.
 * @throws {AmeshError} `ERR_BUSY`: it is another's, or not as it is asked for.
 */
async function printOwn(layout: Layout, socket: string, flags: AgentFlags): Promise<boolean> {
  using running = agentAt(socket);
  if (running === null) return false;
  if (running.status.deviceId !== (await loadIdentity(layout)).fields.deviceId) throw taken(socket);
  requireAsked(running, flags);
  tell(`The agent is running already, as process ${running.status.pid}.`);
  await announce(readinessOf(running), flags.json);
  return true;
}

/** Nobody shall believe that it asks before each use, or closes the key, when it does not. */
function requireAsked({ status }: FoundAgent, { confirm, idleTimeout }: AgentFlags): void {
  const isClosing = status.idleTimeoutSeconds > 0 && status.idleTimeoutSeconds <= idleTimeout;
  const missing = confirm && !status.confirm
    ? "does not ask before each use"
    : idleTimeout > 0 && !isClosing
    ? "does not close the key so soon"
    : null;
  if (missing === null) return;
  throw new AmeshError("ERR_BUSY", `the agent that runs already, process ${status.pid}, ${missing}`, {
    hint: "end it first: amesh agent stop",
  });
}

async function printRunning(layout: Layout, { socket, json }: AgentFlags): Promise<void> {
  using running = requireAgent(layout, socket);
  await announce(readinessOf(running), json);
}

function readinessOf({ socket, status: { pid, deviceId } }: FoundAgent): Readiness {
  return { socket, pid, deviceId: deviceId ?? "" };
}

/**
 * The agent at a socket; without one, at the usual place or at SSH_AUTH_SOCK.
 *
 * @throws {AmeshError} `ERR_NO_AGENT`.
 */
export function requireAgent(layout: Layout, socket: string | undefined): FoundAgent {
  const paths = socket === undefined ? agentSockets(layout) : [absolutePath(socket)];
  for (const path of paths) {
    const running = agentAt(path);
    if (running !== null) return running;
  }
  throw new AmeshError("ERR_NO_AGENT", `cannot find an agent of amesh at "${paths.join('" or "')}"`, {
    hint: "start it with: amesh agent",
  });
}

function taken(socket: string): AmeshError {
  return new AmeshError("ERR_BUSY", `cannot listen on "${socket}": another program does`, {
    hint: "choose another path with --socket; an agent of another identity ends with: amesh agent stop",
  });
}

/** What a shell shall evaluate, as ssh-agent(1) prints it. */
async function announce(ready: Readiness, json: boolean): Promise<void> {
  if (json) return await printJson(ready);
  const [socket, pid] = [shellQuote(ready.socket), ready.pid];
  const isC = baseName(host.env("SHELL") ?? "").endsWith("csh");
  const set = (name: string, value: string | number) =>
    isC ? `setenv ${name} ${value};\n` : `${name}=${value}; export ${name};\n`;
  await print(`${set("SSH_AUTH_SOCK", socket)}${set("SSH_AGENT_PID", pid)}echo Agent pid ${pid};\n`);
}
