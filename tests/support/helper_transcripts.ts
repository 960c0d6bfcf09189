/** The golden transcripts of the Secure Enclave helper, which its own tests replay too (swift-helper/PROTOCOL.md). */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const DIRECTORY = join(import.meta.dirname!, "..", "..", "swift-helper", "Tests", "Fixtures");

/** Names of the transcripts. */
export const TRANSCRIPTS = ["session", "requests", "refusals", "no_enclave"] as const;

/** One request and its answer. */
export interface Exchange {
  /** A text is a line as it stands. */
  readonly request: string | Readonly<Record<string, unknown>>;
  readonly answer: {
    readonly v: number;
    readonly id: number;
    readonly ok: boolean;
    readonly result?: Readonly<Record<string, unknown>>;
    readonly error?: Readonly<Record<string, unknown>>;
  };
}

/** The exchanges of one, in their order. */
export function readTranscript(name: typeof TRANSCRIPTS[number]): Exchange[] {
  const lines = readFileSync(join(DIRECTORY, `${name}.jsonl`), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line));
}
