/** The commands of the agent, their options and help texts. */
import { buildRouteMap } from "@stricli/core";
import { command, flag, json, optional, optionalDuration, ownDescriptor, passphraseFd } from "./command.ts";
import type { AgentFlags } from "./commands/agent.ts";
import type { AgentStatusFlags } from "./commands/agent_status.ts";
import type { AgentStopFlags } from "./commands/agent_stop.ts";

const agentSocket = optional("Path of its socket; without it, the usual one", "PATH");

const agentStart = command<AgentFlags, []>({
  brief: "Hold this machine's key for ssh, git and amesh sign",
  description:
    "Starts an ssh agent in the background and prints what a shell shall evaluate. It opens the key once; ssh, git,\n" +
    "ssh-keygen -Y and amesh sign use it without a passphrase. It never adds, removes or loads a key.\n" +
    "`amesh agent` and `amesh agent start` are the same; see also: amesh agent status, amesh agent stop.",
  examples: [
    'eval "$(amesh agent)"',
    "amesh agent --idle-timeout 8h --confirm",
    'eval "$(amesh agent --print-env)"',
    "amesh agent status",
    "amesh agent stop",
  ],
  parameters: {
    flags: {
      socket: optional(
        "Listen here; default: $XDG_RUNTIME_DIR/amesh/agent.sock or ~/.amesh/run/agent.sock",
        "PATH",
      ),
      idleTimeout: optionalDuration(
        "Close the key when it was not used for so long: 90s, 30m, 8h, 1d; 0: never",
        "D",
      ),
      confirm: flag("Ask before each use, by the program that SSH_ASKPASS names"),
      foreground: flag("Stay in the foreground and tell what is refused"),
      printEnv: flag("Start nothing: print the lines of the agent that runs"),
      passphraseFd,
      reportFd: ownDescriptor("Where to tell that it is ready"),
      json,
    },
  },
  load: async () => (await import("./commands/agent.ts")).agent,
});

const agentStatus = command<AgentStatusFlags, []>({
  brief: "Show whether the agent runs and what it holds",
  description: "Ends with 12 when no agent of amesh answers.",
  examples: ["amesh agent status", "amesh agent status --json"],
  parameters: { flags: { socket: agentSocket, json } },
  load: async () => (await import("./commands/agent_status.ts")).agentStatus,
});

const agentStop = command<AgentStopFlags, []>({
  brief: "End the agent",
  description: "Closes the key and removes the socket. Ends with 12 when no agent of amesh answers.",
  examples: ["amesh agent stop"],
  parameters: { flags: { socket: agentSocket, json } },
  load: async () => (await import("./commands/agent_stop.ts")).agentStop,
});

const routes = { start: agentStart, status: agentStatus, stop: agentStop };

/** Whether a word is a command behind `agent`. */
export const isAgentCommand = (word: string): boolean => Object.hasOwn(routes, word);

/** `agent`, which starts one, and `agent status` and `agent stop`. */
export const agent = buildRouteMap({
  routes,
  defaultCommand: "start",
  docs: { brief: "Hold this machine's key for ssh, git and amesh sign" },
});
