/**
 * Signatures a second of amesh's agent beside OpenSSH's, which holds a key on the same curve. One client
 * (agent_client.c) asks both, in turn.
 */
import { join } from "node:path";
import { end, hasEnded, startTied } from "../../tests/support/swtpm.ts";
import { runProgram } from "../build.ts";
import { hasProgram } from "../debian_packages.ts";
import { findProgram } from "./figures.ts";
import { measure } from "./process.ts";
import type { Programs } from "./programs.ts";
import { spreadOf } from "./statistics.ts";
import { type Entry, formatRow, formatSpread, formatTableHead, type Group, verdict } from "./table.ts";
import type { MakeCommand } from "./tpm.ts";

/** How the agents are asked; the two numbers are arguments of agent_client.c. */
const SHAPES = [
  { title: "`agent`, one connection, one at a time", connections: 1, inFlight: 1 },
  { title: "`agent`, one connection, 32 in flight", connections: 1, inFlight: 32 },
  { title: "`agent`, 32 connections", connections: 32, inFlight: 1 },
] as const;
type Shape = typeof SHAPES[number];

const MEMORY_TITLE = "`agent`, memory";
const SIGN_TITLE = "`sign` of a small file through the agent";
const REQUEST_TITLE = "`csr` and `jwt`";
/** After so many signatures it is looked at: one, when all that is opened late is open; when it is warm; later. */
const MEMORY_SIGNATURES = [1, 20_000, 100_000];
/** Signatures before a shape is measured; their speed says how many a round takes. */
const WARM_UP_SIGNATURES = 2_000;
const ROUND_SECONDS = 0.5;
/** `_SC_CLK_TCK`, which is this on every Linux: the unit of /proc/PID/stat. */
const TICKS_PER_SECOND = 100;
const START_LIMIT_MS = 60_000;
const POLL_MS = 5;
const PEER = "OpenSSH's ssh-agent";
const KEY_ARGUMENTS = ["-q", "-t", "ecdsa", "-b", "256", "-N", "", "-f"];

/** An agent that runs. */
interface Agent extends Disposable {
  readonly name: string;
  readonly socket: string;
  readonly pid: number;
  /** Signatures a second, as a multiple of the peer's, that are wanted at least; `null` for the peer. */
  readonly goal: number | null;
}

/** What one run of the client tells. */
interface Run {
  /** Signatures a second. */
  readonly rate: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** CPU time of the agent for a signature, all its threads, in microseconds. */
  readonly cpu: number;
}

/** What measuring needs. */
export interface AgentMeans {
  /** A directory of ours. */
  readonly work: string;
  readonly runs: number;
  /** Which figures are wanted. */
  readonly only: RegExp;
  readonly command: MakeCommand;
  readonly note: (text: string) => void;
}

/** What was found out about the agents. */
export interface AgentBench extends Disposable {
  /** Lines of Markdown: tables of speed and of memory. */
  readonly lines: readonly string[];
  /** Whole processes that sign through an agent, which runs until this is disposed of. */
  readonly groups: readonly Group[];
}

/** Measures the agents. @returns `null` where a program is missing, which `note` is told. */
export async function measureAgents(
  programs: readonly Programs[],
  means: AgentMeans,
): Promise<AgentBench | null> {
  const { work, only, note } = means;
  const missing = ["gcc", "openssl", "ssh-agent", "ssh-add", "ssh-keygen"].filter((program) =>
    !hasProgram(program)
  );
  if (missing.length > 0) {
    note(
      `the agent is left out: there is no ${
        missing.join(", ")
      } (Debian packages gcc, openssl, openssh-client)`,
    );
    return null;
  }
  const client = await compileClient(work);
  const agents: Agent[] = [];
  const dispose = () => agents.forEach((agent) => agent[Symbol.dispose]());
  try {
    agents.push(await startOpenssh(work));
    initIdentity(programs, means);
    const groups: Group[] = [];
    for (const program of programs) {
      const agent = await startAmesh(program, means);
      agents.push(agent);
      groups.push(signGroup(program, agent, means), await requestGroup(program, agent, means));
    }
    const lines = [];
    if (only.test(MEMORY_TITLE)) lines.push(...await measureMemory(client, agents, note));
    const shapes = SHAPES.filter(({ title }) => only.test(title));
    if (shapes.length > 0) lines.push(...SPEED_HEAD);
    for (const shape of shapes) lines.push(...await measureShape(client, shape, agents, means));
    return { lines, groups: groups.filter(({ title }) => only.test(title)), [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

async function compileClient(work: string): Promise<string> {
  const output = join(work, "agent_client");
  const source = join(import.meta.dirname!, "agent_client.c");
  await must(["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-o", output, source]);
  return output;
}

/** @returns stdout. @throws {Error} with what the program said. */
async function must(argv: readonly string[], env?: Record<string, string>): Promise<string> {
  const { success, text } = await runProgram(argv, env === undefined ? {} : { env });
  if (!success) throw new Error(`${argv.join(" ")}:\n${text}`);
  return text;
}

async function startOpenssh(work: string): Promise<Agent> {
  const key = join(work, "ssh_key");
  await must(["ssh-keygen", ...KEY_ARGUMENTS, key]);
  const socket = join(work, "openssh.sock");
  const agent = await start(
    PEER,
    ["ssh-agent", "-D", "-a", socket],
    {},
    socket,
    join(work, "openssh.log"),
    null,
  );
  await must(["ssh-add", "-q", key], { PATH: "/usr/bin:/bin", SSH_AUTH_SOCK: socket });
  return agent;
}

/** One identity for all, of the default cost: what it cost to open shall not count, and does not. */
function initIdentity([first]: readonly Programs[], { work, command }: AgentMeans): void {
  if (first === undefined) return;
  const { argv, ...rest } = command(
    [...first.amesh, "init", "--name=bench", "--backend=encrypted-file"],
    "agent",
  );
  measure({ argv, ...rest }, join(work, "errors"));
}

/** The runtime directory for the agent of a form: each has its socket at the place where `sign` looks. */
const runtimeDirectory = (work: string, { form }: Programs) => join(work, `run-${form}`);

async function startAmesh(program: Programs, { work, command }: AgentMeans): Promise<Agent> {
  const runtime = runtimeDirectory(work, program);
  for (const directory of [runtime, join(runtime, "amesh")]) await Deno.mkdir(directory, { mode: 0o700 });
  const socket = join(runtime, "amesh", "agent.sock");
  const { argv, env } = command([...program.amesh, "agent", "--foreground", "--socket", socket], "agent");
  const log = join(work, `agent-${program.form}.log`);
  const goal = program.form === "bun" ? 5 : 0.6;
  return await start(
    `amesh agent, ${program.title}`,
    argv,
    { ...env, XDG_RUNTIME_DIR: runtime },
    socket,
    log,
    goal,
  );
}

/** Starts an agent, which ends with us at the latest, and waits until it takes connections. */
async function start(
  name: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  socket: string,
  log: string,
  goal: number | null,
): Promise<Agent> {
  const variables = Object.entries({ PATH: "/usr/bin:/bin", ...env }).map(([key, value]) =>
    `${key}=${value}`
  );
  const pid = startTied(["env", "-i", ...variables, ...argv], log);
  const limit = performance.now() + START_LIMIT_MS;
  while (!await accepts(socket)) {
    if (!hasEnded(pid) && performance.now() < limit) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      continue;
    }
    end(pid, socket);
    throw new Error(`${name} does not start:\n${await Deno.readTextFile(log)}`);
  }
  return { name, socket, pid, goal, [Symbol.dispose]: () => end(pid, socket) };
}

async function accepts(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}

/** @throws {Error} an answer was no signature. */
async function ask(
  client: string,
  { connections, inFlight }: Pick<Shape, "connections" | "inFlight">,
  { socket, pid }: Agent,
  signatures: number,
): Promise<Run> {
  const before = cpuSeconds(pid);
  const text = await must([client, socket, ...[connections, inFlight, signatures].map(String)]);
  const cpu = (cpuSeconds(pid) - before) * 1e6 / signatures;
  const [, seconds = NaN, p50 = NaN, p99 = NaN] = text.trim().split(" ").map(Number);
  return { rate: signatures / seconds, p50, p99, cpu };
}

/** CPU time of a process and all its threads. */
function cpuSeconds(pid: number): number {
  // The second field, a name in brackets, can hold anything.
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ").at(-1)!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Resident memory of a process in bytes. */
function residentBytes(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
}

const SPEED_HEAD = [
  "",
  ...formatTableHead([
    "figure",
    "agent",
    "signatures/s",
    "p50, µs",
    "p99, µs",
    "CPU per signature, µs",
    "ratio of medians",
    "median of ratios",
    "goal",
  ]),
];

/** Rounds of all agents in turn. @returns a row per agent; one that fails is noted and has none. */
async function measureShape(
  client: string,
  shape: Shape,
  agents: readonly Agent[],
  { runs, note }: AgentMeans,
): Promise<string[]> {
  note(`${shape.title.replaceAll("`", "")}: ${runs} rounds of ${agents.length} agents`);
  const sizes = new Map<Agent, number>();
  const samples = new Map<Agent, Run[]>();
  for (let round = -1; round < runs; round++) {
    for (const agent of agents) {
      if (round >= 0 && !samples.has(agent)) continue;
      try {
        const run = await ask(client, shape, agent, sizes.get(agent) ?? WARM_UP_SIGNATURES);
        if (round >= 0) samples.get(agent)!.push(run);
        else {
          sizes.set(agent, Math.ceil(run.rate * ROUND_SECONDS));
          samples.set(agent, []);
        }
      } catch (error) {
        note(`left out: ${(error as Error).message}`);
        samples.delete(agent);
      }
    }
  }
  const peer = samples.get(agents[0]!);
  return agents.filter((agent) => samples.has(agent)).map((agent) => {
    const measured = samples.get(agent)!;
    const spreads = (["rate", "p50", "p99", "cpu"] as const).map((key) =>
      formatSpread(measured.map((run) => run[key]))
    );
    return formatRow([shape.title, agent.name, ...spreads, ...formatRatios(measured, peer, agent.goal)]);
  });
}

function formatRatios(runs: readonly Run[], peer: readonly Run[] | undefined, goal: number | null): string[] {
  if (goal === null || peer === undefined) return ["", "", ""];
  const median = (all: readonly Run[]) => spreadOf(all.map(({ rate }) => rate)).median;
  const ofMedians = median(runs) / median(peer);
  const ofPairs = spreadOf(runs.map(({ rate }, i) => rate / peer[i]!.rate)).median;
  return [ofMedians.toFixed(2), ofPairs.toFixed(2), `≥ ${goal}: ${verdict(ofMedians >= goal)}`];
}

async function measureMemory(
  client: string,
  agents: readonly Agent[],
  note: (text: string) => void,
): Promise<string[]> {
  const counts = MEMORY_SIGNATURES.map((count) => `after ${count.toLocaleString("en")}, MB`);
  const lines = ["", ...formatTableHead(["figure", "agent", ...counts])];
  for (const agent of agents) {
    note(`memory: ${MEMORY_SIGNATURES.at(-1)} signatures of ${agent.name}`);
    const sizes = [];
    let done = 0;
    for (const count of MEMORY_SIGNATURES) {
      // As many connections as in any figure: what they hold is part of it.
      await ask(client, { connections: 32, inFlight: 1 }, agent, count - done);
      done = count;
      sizes.push((residentBytes(agent.pid) / 1e6).toFixed(1));
    }
    lines.push(formatRow([MEMORY_TITLE, agent.name, ...sizes]));
  }
  return lines;
}

/** Signing through an agent beside a program that does nothing. */
function signGroup(program: Programs, agent: Agent, { work, runs, command }: AgentMeans): Group {
  const file = join(work, "signed-through-agent");
  Deno.writeTextFileSync(file, "a small file\n");
  const sign = command([...program.amesh, "sign", file], "agent");
  const peer = { name: `empty program, ${program.title}`, command: command(program.empty) };
  const entry: Entry = {
    ...throughAgent(program, agent, work, sign),
    name: `amesh sign, ${program.title}`,
    peer: { name: peer.name, goal: 2 },
  };
  return { title: SIGN_TITLE, rounds: runs, entries: [peer, entry] };
}

/** A command that fails where the agent does not do it: no figure of something else can stand here. */
function throughAgent(
  program: Programs,
  agent: Agent,
  work: string,
  { env, ...rest }: ReturnType<MakeCommand>,
): Pick<Entry, "command" | "prepare"> {
  const variables = {
    XDG_RUNTIME_DIR: runtimeDirectory(work, program),
    AMESH_PASSPHRASE_FILE: join(work, "no-such-file"),
  };
  return {
    command: { ...rest, env: { ...env, ...variables } },
    prepare: () => {
      if (hasEnded(agent.pid)) throw new Error(`${agent.name} has ended`);
    },
  };
}

/** A request and a token, beside a request by OpenSSL, whose key lies in a file, open to everybody who reads it. */
async function requestGroup(
  program: Programs,
  agent: Agent,
  { work, runs, command, note }: AgentMeans,
): Promise<Group> {
  const key = join(work, "request-key.pem");
  const openssl = findProgram("openssl", "csr is left out", note) as string;
  await must([openssl, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]);
  const names = ["-subj", "/CN=web-1", "-addext", "subjectAltName=DNS:web-1.example.org"];
  const peer = {
    name: "openssl req -new",
    command: command([openssl, "req", "-new", "-key", key, ...names]),
  };
  const token = [...program.amesh, "jwt", "--audience", "https://api.example.com"];
  const request = [...program.amesh, "csr", "--subject", "CN=web-1", "--dns", "web-1.example.org"];
  return {
    title: REQUEST_TITLE,
    rounds: runs,
    entries: [
      peer,
      {
        ...throughAgent(program, agent, work, command(request, "agent")),
        name: `amesh csr through the agent, ${program.title}`,
        peer: { name: peer.name, goal: null },
      },
      {
        name: `amesh csr without, ${program.title}`,
        command: command([...request, "--no-agent"], "agent"),
        peer: { name: peer.name, goal: null },
      },
      {
        ...throughAgent(program, agent, work, command(token, "agent")),
        name: `amesh jwt through the agent, ${program.title}`,
        peer: { name: peer.name, goal: null },
      },
    ],
  };
}
