/**
 * What stands between libtss2 and a TPM, keeps a record of both and does to them what a test tells it.
 *
 * The proxy is a process (tpm_proxy_process.ts), because libtss2 blocks the thread of the test. Test and proxy speak
 * through files: rules are read anew at each command, and the record is written before an answer is sent.
 */
import { Buffer } from "node:buffer";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { isDeno } from "./child_process.ts";
import {
  end,
  hasEnded,
  startTied,
  type Swtpm,
  type SwtpmPlace,
  type TpmClient,
  tpmClient,
  waitUntil,
} from "./swtpm.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

/** TPM_CC: command codes (TPM 2.0 Part 2 §6.5.2). */
export const TPM_CC = {
  EvictControl: 0x120,
  HierarchyControl: 0x121,
  Clear: 0x126,
  CreatePrimary: 0x131,
  DictionaryAttackLockReset: 0x139,
  Startup: 0x144,
  Shutdown: 0x145,
  StirRandom: 0x146,
  Create: 0x153,
  Load: 0x157,
  Sign: 0x15d,
  Unseal: 0x15e,
  ContextLoad: 0x161,
  ContextSave: 0x162,
  FlushContext: 0x165,
  LoadExternal: 0x167,
  ReadPublic: 0x173,
  StartAuthSession: 0x176,
  VerifySignature: 0x177,
  GetCapability: 0x17a,
  GetRandom: 0x17b,
  PCR_Read: 0x17e,
  TestParms: 0x18a,
} as const;
const NAMES = new Map<number, string>(Object.entries(TPM_CC).map(([name, code]) => [code, name]));

/** What happens to a command. It reaches the TPM unless "not forwarded" is said. */
export type Fault =
  /** Answered with this response code alone; not forwarded. */
  | { readonly kind: "code"; readonly rc: number }
  /** Only so many bytes of the answer are sent. With 0, the TPM has done what nobody hears of. */
  | { readonly kind: "truncate"; readonly bytes: number; readonly then: "close" | "hold" }
  /** The answer announces and has so many bytes more at its end, each {@linkcode GARBAGE_BYTE}. */
  | { readonly kind: "oversize"; readonly bytes: number }
  /** Every byte of the answer from this offset on (default 0; the parameters begin at 10) is {@linkcode GARBAGE_BYTE}. */
  | { readonly kind: "garbage"; readonly from?: number }
  /** Never answered, and the connection stays; not forwarded. */
  | { readonly kind: "drop" }
  /** Forwarded after this time. */
  | { readonly kind: "delay"; readonly ms: number }
  /** The connection is closed without an answer; not forwarded. */
  | { readonly kind: "close" }
  /** The bits of `mask` (default 0xff) of one byte of the answer are inverted. */
  | { readonly kind: "flip"; readonly offset: number; readonly mask?: number }
  /** The same with the command, before the TPM gets it. */
  | { readonly kind: "flip-command"; readonly offset: number; readonly mask?: number }
  /** The TPM is killed, then the connection closed; not forwarded. */
  | { readonly kind: "kill" }
  /** The TPM is killed and started, then gets the command. What it has started ends with the proxy. */
  | { readonly kind: "restart" };

/** What every byte of garbage is. */
export const GARBAGE_BYTE = 0xa5;

/** Which commands a fault befalls. */
export interface Rule {
  readonly command: number | "any";
  /** The first one, counted from 1 when the rules are set (default 1). */
  readonly nth?: number;
  /** How many from that one on (default 1; `Infinity` for all). */
  readonly times?: number;
  readonly do: Fault;
}

/** A command and its answer, as the client sent and got them. */
export interface Exchange {
  readonly commandCode: number;
  /** As in {@linkcode TPM_CC}; hexadecimal for a command that is not there. */
  readonly name: string;
  readonly command: Uint8Array;
  /** `null` when nothing was sent, or nothing yet. */
  readonly response: Uint8Array | null;
}

/** The rules file; a new serial number begins new counts. `times` is `null` for all. */
export interface RuleFile {
  readonly serial: number;
  readonly rules: readonly {
    readonly command: number | "any";
    readonly nth: number;
    readonly times: number | null;
    readonly do: Fault;
  }[];
}

/** A line of the record: the command with this number, or what was answered to it; bytes in hexadecimal. */
export type TrafficLine = { readonly number: number; readonly command: string } | {
  readonly number: number;
  readonly response: string;
};

/** What the proxy's process is told; the directory holds its sockets `tpm` and `tpm.ctrl`, and its files. */
export interface ProxyPlace {
  readonly directory: string;
  readonly swtpm: SwtpmPlace;
}
/** Names in the directory of a proxy. */
export const PROXY_FILES = {
  socket: "tpm",
  rules: "rules",
  traffic: "traffic",
  ready: "ready",
  failure: "failure",
  log: "log",
} as const;

/**
 * A running proxy; disposing of it ends it and removes its files, and throws when it has ended before: a rule named
 * bytes that a message did not have, so the test did not test what it says.
 */
export interface TpmProxy extends TpmClient, Disposable {
  /** Sets the rules in place of the earlier ones; of several that fit, the first one is obeyed. */
  rules(...rules: readonly Rule[]): void;
  /** All commands since the start, in the order in which they came. */
  traffic(): Exchange[];
}

/** Starts one: `using proxy = startTpmProxy(swtpm)`. @throws {Error} when it does not start. */
export function startTpmProxy({ place }: Swtpm): TpmProxy {
  const directory = temporaryDirectory();
  const { socket, rules, traffic, ready, failure, log } = PROXY_FILES;
  let serial = 0;
  const setRules = (...list: readonly Rule[]) => {
    const content: RuleFile = {
      serial: serial++,
      rules: list.map(({ command, nth = 1, times = 1, do: fault }) => {
        return { command, nth, times: times === Infinity ? null : times, do: fault };
      }),
    };
    writeFileSync(directory.file(`${rules}.new`), JSON.stringify(content));
    renameSync(directory.file(`${rules}.new`), directory.file(rules));
  };
  setRules();
  writeFileSync(directory.file(traffic), "");
  const told: ProxyPlace = { directory: directory.path, swtpm: place };
  const pid = startTied([...runtime(), JSON.stringify(told)], directory.file(log));
  const requireRunning = () => {
    // The process ends a little after it has written down why, and a client may notice in between.
    const failed = existsSync(directory.file(failure));
    if (!failed && !hasEnded(pid)) return;
    throw new Error(`the proxy ended: ${readFileSync(directory.file(failed ? failure : log), "utf8")}`);
  };
  const remove = () => {
    end(pid, directory.path);
    directory[Symbol.dispose]();
  };
  try {
    waitUntil(() => {
      requireRunning();
      return existsSync(directory.file(ready));
    }, "start of the proxy");
  } catch (error) {
    remove();
    throw error;
  }
  return {
    ...tpmClient(place, directory.file(socket)),
    rules: setRules,
    traffic: () => parseTraffic(readFileSync(directory.file(traffic), "utf8")),
    [Symbol.dispose]: () => {
      try {
        requireRunning();
      } finally {
        remove();
      }
    },
  };
}

function runtime(): string[] {
  const file = join(import.meta.dirname!, "tpm_proxy_process.ts");
  if (!isDeno) return [process.execPath, "run", file];
  // Without "manual", many at once would wait for the lock on node_modules.
  const flags = ["--no-check", "--cached-only", "--node-modules-dir=manual"];
  const config = join(import.meta.dirname!, "..", "..", "deno.json");
  return [process.execPath, "run", "--allow-all", ...flags, "--config", config, file];
}

function parseTraffic(text: string): Exchange[] {
  const exchanges: { -readonly [K in keyof Exchange]: Exchange[K] }[] = [];
  // The last piece is empty, or a line that is being written.
  for (const piece of text.split("\n").slice(0, -1)) {
    const line: TrafficLine = JSON.parse(piece);
    if ("response" in line) exchanges[line.number]!.response = bytesOf(line.response);
    else {
      const command = Buffer.from(line.command, "hex");
      const commandCode = command.readUInt32BE(6);
      const name = NAMES.get(commandCode) ?? `0x${commandCode.toString(16)}`;
      exchanges[line.number] = { commandCode, name, command: bytesOf(line.command), response: null };
    }
  }
  return exchanges;
}
const bytesOf = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
