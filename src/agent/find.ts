/** Finding the agent that serves an identity. */
import type { AgentStatus } from "../formats/agent_status.ts";
import { host } from "../platform/host.ts";
import { absolutePath, type Layout } from "../platform/paths.ts";
import { AgentClient } from "./client.ts";
import { defaultSocket } from "./socket_file.ts";

/** An agent of amesh. */
export interface FoundAgent extends Disposable {
  /** Where it was found. */
  readonly socket: string;
  readonly client: AgentClient;
  readonly status: AgentStatus;
}

/** @returns `null` when no agent of amesh answers there. */
export function agentAt(path: string): FoundAgent | null {
  const client = AgentClient.connect(path);
  const status = client?.status() ?? null;
  if (client !== null && status !== null) {
    return { socket: path, client, status, [Symbol.dispose]: () => client[Symbol.dispose]() };
  }
  client?.[Symbol.dispose]();
  return null;
}

/**
 * The agent at the usual place, else at SSH_AUTH_SOCK, if it serves this identity.
 *
 * @returns `null` when there is none, or it serves another one.
 */
export function findAgentOf(layout: Layout, deviceId: string): FoundAgent | null {
  for (const path of agentSockets(layout)) {
    const agent = agentAt(path);
    if (agent?.status.deviceId === deviceId) return agent;
    agent?.[Symbol.dispose]();
  }
  return null;
}

/** Where the agent of a directory may listen. */
export function agentSockets(layout: Layout): string[] {
  const named = host.env("SSH_AUTH_SOCK");
  const paths = [defaultSocket(layout), ...named ? [absolutePath(named)] : []];
  return [...new Set(paths)];
}
