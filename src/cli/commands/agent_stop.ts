/** `amesh agent stop`: ends the agent. */
import { AmeshError } from "../../errors.ts";
import { processExists } from "../../platform/libc.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { pause } from "../../platform/ready.ts";
import { readSystemFile } from "../../platform/system_file.ts";
import { printJson, tell } from "../output.ts";
import { requireAgent } from "./agent.ts";

/** Options of `agent stop`. */
export type AgentStopFlags = {
  readonly socket?: string;
  readonly json: boolean;
};

/** How long an agent may take to end, and before it is looked again, in milliseconds. */
const PATIENCE_MS = 5_000;
const PAUSE_MS = 10;

/** Waits until a process is gone. @returns whether it is. */
function hasEnded(pid: number): boolean {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; pause(PAUSE_MS)) {
    if (!processExists(pid) || isZombie(pid)) return true;
  }
  return false;
}

/** Whether a process has ended and nobody has taken notice, as where the first process of a container is no init. */
function isZombie(pid: number): boolean {
  return /^\d+ \(.*\) [ZX] /s.test(readSystemFile(`/proc/${pid}/stat`) ?? "");
}

/** @throws {AmeshError} `ERR_NO_AGENT`, `ERR_SYSTEM`. */
export async function agentStop({ socket, json }: AgentStopFlags): Promise<void> {
  using running = requireAgent(await ameshLayout(), socket);
  const { pid } = running.status;
  // In another PID namespace its number means nothing here: then its word is enough.
  const isHere = running.client.pid === pid;
  if (!running.client.stop() || (isHere && !hasEnded(pid))) {
    throw new AmeshError("ERR_SYSTEM", `cannot stop the agent: process ${pid} does not end`, {
      hint: `end it with: kill ${pid}`,
    });
  }
  if (json) await printJson({ stopped: true, pid });
  else tell(`Stopped the agent, process ${pid}.`);
}
