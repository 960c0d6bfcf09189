/** What `status@amesh.dev` tells: JSON in one field. It comes from outside, so it is checked. */
import { boolean, integer, minValue, nullable, number, object, pipe, safeParse, string } from "valibot";
import { type Bytes, utf8 } from "../bytes.ts";
import { encodeExtensionResponse, EXTENSION } from "./agent_message.ts";

const count = pipe(number(), integer(), minValue(0));

const AGENT_STATUS = object({
  socket: string(),
  pid: count,
  deviceId: nullable(string()),
  backend: nullable(string()),
  publicKey: nullable(string()),
  locked: boolean(),
  keyOpen: boolean(),
  confirm: boolean(),
  /** 0: never. */
  idleTimeoutSeconds: count,
  signatures: count,
  refused: count,
  connections: count,
  startedAt: string(),
  lastProblem: nullable(string()),
});

/** How an agent is. */
export interface AgentStatus {
  readonly socket: string;
  readonly pid: number;
  readonly deviceId: string | null;
  readonly backend: string | null;
  /** Compressed point in base64. */
  readonly publicKey: string | null;
  readonly locked: boolean;
  readonly keyOpen: boolean;
  readonly confirm: boolean;
  /** 0: never. */
  readonly idleTimeoutSeconds: number;
  readonly signatures: number;
  readonly refused: number;
  readonly connections: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly lastProblem: string | null;
}

/** Answer to status@amesh.dev. */
export function encodeStatus(status: AgentStatus): Bytes {
  return encodeExtensionResponse(EXTENSION.STATUS, utf8(JSON.stringify(status)));
}

/** @param fields of the answer. @returns `null` when it is none. */
export function parseStatus(fields: readonly Uint8Array[]): AgentStatus | null {
  try {
    const parsed = safeParse(AGENT_STATUS, JSON.parse(new TextDecoder().decode(fields[0])));
    return fields.length === 1 && parsed.success ? parsed.output : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
