/** The way from ssh and git to the key, tried step by step: `doctor --ssh`. */
import { type Bytes, concatBytes, equalBytes, utf8 } from "../bytes.ts";
import { expandPoint, hashMessage, verifyHashed } from "../crypto/p256.ts";
import { AmeshError, type AmeshErrorCode } from "../errors.ts";
import {
  encodeListRequest,
  encodeSignRequest,
  parseIdentities,
  parseSignResponse,
} from "../formats/agent_message.ts";
import type { Identity } from "../formats/identity_file.ts";
import { encodeSshKey } from "../formats/public_key.ts";
import { sshString, WireError } from "../formats/ssh_wire.ts";
import { loadIdentity } from "../identity/store.ts";
import { host } from "../platform/host.ts";
import { absolutePath, type Layout, shellQuote } from "../platform/paths.ts";
import { AgentClient } from "./client.ts";
import { agentAt, agentSockets } from "./find.ts";

/** One step. */
export interface SelfTestStep {
  readonly step: string;
  /** What was found; where it failed, why. */
  readonly result: string;
  readonly isOk: boolean;
  readonly remedy: string | null;
  /** The error that the command ends with because of it. */
  readonly code: AmeshErrorCode | null;
}

const ok = (step: string, result: string): SelfTestStep => ({
  ...{ step, result },
  ...{ isOk: true, remedy: null, code: null },
});
const failed = (step: string, result: string, remedy: string, code: AmeshErrorCode): SelfTestStep => ({
  ...{ step, result, remedy, code },
  isOk: false,
});

const START = 'run: eval "$(amesh agent)"';
const SELF_TEST_NAMESPACE = "self-test@amesh.dev";

/** Goes the way until a step fails. Asks the agent for one signature. */
export async function selfTest(layout: Layout): Promise<readonly SelfTestStep[]> {
  const steps: SelfTestStep[] = [];
  let identity: Identity;
  try {
    identity = await loadIdentity(layout);
    steps.push(ok("identity", identity.fields.deviceId));
  } catch (error) {
    if (!(error instanceof AmeshError)) throw error;
    return [failed("identity", error.message, error.hint ?? "see: amesh doctor", error.code)];
  }
  const agent = findAgent(layout, identity);
  steps.push(agent);
  if (!agent.isOk) return steps;
  const variable = checkVariable(agent.result);
  steps.push(variable);
  steps.push(...await tryKey(agent.result, identity));
  return steps;
}

function findAgent(layout: Layout, { fields }: Identity): SelfTestStep {
  const step = "agent";
  let other: string | null = null;
  for (const path of agentSockets(layout)) {
    using agent = agentAt(path);
    if (agent === null) continue;
    if (agent.status.deviceId !== fields.deviceId) other = path;
    else if (!agent.status.locked) return ok(step, path);
    else return failed(step, `${path} is locked`, "unlock it with: ssh-add -X", "ERR_UNLOCK_FAILED");
  }
  return other === null ? failed(step, "no agent of amesh answers", START, "ERR_NO_AGENT") : failed(
    step,
    `${other} serves another identity`,
    `run: amesh agent stop; then ${START}`,
    "ERR_NO_AGENT",
  );
}

/** ssh and git look nowhere else, unless their configuration names the socket. */
function checkVariable(socket: string): SelfTestStep {
  const step = "SSH_AUTH_SOCK";
  const named = host.env("SSH_AUTH_SOCK");
  if (named && absolutePath(named) === socket) return ok(step, named);
  const remedy = `run: export SSH_AUTH_SOCK=${
    shellQuote(socket)
  }, or put into ~/.ssh/config: IdentityAgent "${socket}"`;
  return {
    ...failed(step, named ? `names another agent: ${named}` : "is not set", remedy, "ERR_NO_AGENT"),
    code: null,
  };
}

async function tryKey(socket: string, { publicKey }: Identity): Promise<readonly SelfTestStep[]> {
  const steps: SelfTestStep[] = [];
  const blob = encodeSshKey(await expandPoint(publicKey));
  using client = AgentClient.connect(socket);
  try {
    const keys = client === null ? [] : parseIdentities(client.request(encodeListRequest()));
    const listed = keys.find((key) => equalBytes(key.blob, blob));
    if (client === null || listed === undefined) {
      return [failed("key", "the agent does not list it", "run: amesh agent status", "ERR_INTERNAL")];
    }
    steps.push(ok("key", `listed as ${listed.comment}`));
    const data = sshsigData(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8("amesh"))));
    const signature = parseSignResponse(client.request(encodeSignRequest(blob, data)));
    if (signature === null) {
      steps.push(failed("signature", "the agent refuses", "run: amesh agent status", "ERR_UNLOCK_FAILED"));
    } else if (await verifyHashed(publicKey, signature, await hashMessage(pieces(data)))) {
      steps.push(ok("signature", "made by the agent, and verified"));
    } else steps.push(failed("signature", "it does not verify", "run: amesh doctor", "ERR_INTERNAL"));
  } catch (error) {
    if (!(error instanceof WireError) && !(error instanceof AmeshError)) throw error;
    steps.push(failed("signature", error.message, "run: amesh agent status", "ERR_SYSTEM"));
  }
  return steps;
}

async function* pieces(data: Bytes): AsyncGenerator<Bytes> {
  yield await Promise.resolve(data);
}

/** What ssh-keygen -Y sign would have signed (OpenSSH PROTOCOL.sshsig), for a purpose that nobody trusts. */
function sshsigData(hash: Bytes): Bytes {
  return concatBytes(
    utf8("SSHSIG"),
    sshString(SELF_TEST_NAMESPACE),
    sshString(""),
    sshString("sha256"),
    sshString(hash),
  );
}
