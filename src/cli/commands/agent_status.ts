/** `amesh agent status`: whether the agent runs, and how it is. */
import type { AgentStatus } from "../../formats/agent_status.ts";
import { ameshLayout } from "../../platform/paths.ts";
import { print, printJson } from "../output.ts";
import { requireAgent } from "./agent.ts";
import { formatTable } from "./status.ts";

/** Options of `agent status`. */
export type AgentStatusFlags = {
  readonly socket?: string;
  readonly json: boolean;
};

/** @throws {AmeshError} `ERR_NO_AGENT`, `ERR_SYSTEM`. */
export async function agentStatus({ socket, json }: AgentStatusFlags): Promise<void> {
  using running = requireAgent(await ameshLayout(), socket);
  if (json) await printJson(running.status);
  else await print(formatTable(statusRows(running.status)));
}

function statusRows(status: AgentStatus): [string, string][] {
  const { idleTimeoutSeconds: idle, lastProblem } = status;
  const rows: [string, string][] = [
    ["Socket", status.socket],
    ["Process", `${status.pid}, since ${status.startedAt}`],
    ["Device ID", status.deviceId ?? "none: there is no identity"],
    ["Backend", status.backend ?? "none"],
    ["Key", status.locked ? "locked" : status.keyOpen ? "open" : "closed; the next use opens it"],
    ["Closed when unused", idle === 0 ? "never" : `after ${idle} s`],
    ["Asks before use", status.confirm ? "yes" : "no"],
    ["Signatures", `${status.signatures}; ${status.refused} requests refused`],
    ["Connections", `${status.connections}`],
  ];
  if (lastProblem !== null) rows.push(["Last problem", lastProblem]);
  return rows;
}
