/** Every parser of bytes that come from outside. */
import { AGENT_FRAMES_TARGET } from "./agent_frames_target.ts";
import { AGENT_MESSAGE_TARGET } from "./agent_message_target.ts";
import { CERTIFICATE_TARGETS } from "./certificate_targets.ts";
import { ENCLAVE_TARGETS } from "./enclave_targets.ts";
import { JWT_CLAIM_TARGET } from "./jwt_claim_target.ts";
import { JSON_TARGETS } from "./json_targets.ts";
import { PROTOCOL_MESSAGE_TARGET } from "./protocol_message_target.ts";
import { PUBLIC_KEY_TARGET } from "./public_key_target.ts";
import { SIGNATURE_TARGET } from "./signature_target.ts";
import type { Target } from "./target.ts";
import { TSS2_TARGET } from "./tss2_target.ts";

/** The targets in the order in which they run. */
export const TARGETS: readonly Target[] = [
  ...JSON_TARGETS,
  ...ENCLAVE_TARGETS,
  TSS2_TARGET,
  PUBLIC_KEY_TARGET,
  SIGNATURE_TARGET,
  ...CERTIFICATE_TARGETS,
  PROTOCOL_MESSAGE_TARGET,
  AGENT_MESSAGE_TARGET,
  AGENT_FRAMES_TARGET,
  JWT_CLAIM_TARGET,
];
