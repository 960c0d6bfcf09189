/** `amesh agent stop`: ends the agent. */
import { defaultSocket } from "../../agent/socket_file.ts";
import { AmeshError } from "../../errors.ts";
import { absolutePath, ameshLayout } from "../../platform/paths.ts";
import { printJson, tell } from "../output.ts";
import { requireAgent } from "./agent.ts";

/** Options of `agent stop`. */
export type AgentStopFlags = {
  readonly socket?: string;
  readonly json: boolean;
};

/** @throws {AmeshError} `ERR_NO_AGENT`, `ERR_SYSTEM`. */
export async function agentStop({ socket, json }: AgentStopFlags): Promise<void> {
  using running = requireAgent(
    socket === undefined ? defaultSocket(await ameshLayout()) : absolutePath(socket),
  );
  const { pid } = running.status;
  if (!running.client.stop()) {
    throw new AmeshError("ERR_SYSTEM", `cannot stop the agent: process ${pid} does not end`, {
      hint: `end it with: kill ${pid}`,
    });
  }
  if (json) await printJson({ stopped: true, pid });
  else tell(`Stopped the agent, process ${pid}.`);
}
