/**
 * The process of {@linkcode ./tpm_proxy.ts}: listens like swtpm and hands on what it hears. Its argument is a
 * `ProxyPlace`. Commands and answers begin with tag u16, size u32 (of all) and code u32, big-endian (TPM 2.0 Part 1
 * §18). libtss2's TCTI connects anew for each command, and once to see whether anybody is there.
 */
import { Buffer } from "node:buffer";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { powerOff, powerOn, socketOf } from "./swtpm.ts";
import {
  type Fault,
  GARBAGE_BYTE,
  PROXY_FILES,
  type ProxyPlace,
  type RuleFile,
  type TrafficLine,
} from "./tpm_proxy.ts";

const HEADER_BYTES = 10;
/** TPM_ST_NO_SESSIONS (TPM 2.0 Part 2 §6.9). */
const NO_SESSIONS = 0x8001;

const { directory, swtpm }: ProxyPlace = JSON.parse(process.argv[2]!);
const file = (name: keyof typeof PROXY_FILES) => join(directory, PROXY_FILES[name]);

let ruleText = "";
let rules: RuleFile["rules"] = [];
let counts: number[] = [];

/** Counts a command and finds what befalls it. */
function nextFault(commandCode: number): Fault | undefined {
  const text = readFileSync(file("rules"), "utf8");
  if (text !== ruleText) {
    ruleText = text;
    ({ rules } = JSON.parse(text) as RuleFile);
    counts = rules.map(() => 0);
  }
  const befalling = rules.filter(({ command, nth, times }, index) => {
    if (command !== "any" && command !== commandCode) return false;
    const count = ++counts[index]!;
    return count >= nth && (times === null || count < nth + times);
  });
  return befalling[0]?.do;
}

let commandCount = 0;
const record = (line: TrafficLine) => appendFileSync(file("traffic"), `${JSON.stringify(line)}\n`);

/** The first whole message of what has been received; `null` when it is not all there. */
function wholeMessage(received: Buffer): Buffer | null {
  if (received.length < HEADER_BYTES) return null;
  const size = Math.max(HEADER_BYTES, received.readUInt32BE(2));
  return received.length < size ? null : received.subarray(0, size);
}

/** swtpm serves one connection at a time, and lets few wait. */
let lastTurn: Promise<unknown> = Promise.resolve();

/** The TPM's answer, or `null` when it ended or is not there. */
function forward(command: Buffer): Promise<Buffer | null> {
  const turn = lastTurn.then(() =>
    new Promise<Buffer | null>((resolve) => {
      const upstream = connect(socketOf(swtpm));
      let received = Buffer.alloc(0);
      upstream.on("data", (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        const answer = wholeMessage(received);
        if (answer === null) return;
        resolve(answer);
        upstream.destroy();
      });
      upstream.on("error", () => {/* it closes now */});
      upstream.on("close", () => resolve(null));
      upstream.write(command);
    })
  );
  lastTurn = turn;
  return turn;
}

/** The offset, if there is a byte: a rule that does nothing would make its test pass, so it is a failure. */
function within(message: Buffer, offset: number): number {
  if (offset < message.length) return offset;
  throw new RangeError(`a rule names byte ${offset} of a message of ${message.length}`);
}

function flipped(message: Buffer, { offset, mask = 0xff }: { offset: number; mask?: number }): Buffer {
  const copy = Buffer.from(message);
  copy[within(copy, offset)]! ^= mask;
  return copy;
}

function errorResponse(rc: number): Buffer {
  const response = Buffer.alloc(HEADER_BYTES);
  response.writeUInt16BE(NO_SESSIONS, 0);
  response.writeUInt32BE(HEADER_BYTES, 2);
  response.writeUInt32BE(rc, 6);
  return response;
}

function changed(answer: Buffer, fault: Fault | undefined): Buffer {
  if (fault?.kind === "truncate") return answer.subarray(0, within(answer, fault.bytes));
  if (fault?.kind === "garbage") {
    return Buffer.from(answer).fill(GARBAGE_BYTE, within(answer, fault.from ?? 0));
  }
  if (fault?.kind === "flip") return flipped(answer, fault);
  if (fault?.kind !== "oversize") return answer;
  const longer = Buffer.concat([answer, Buffer.alloc(fault.bytes, GARBAGE_BYTE)]);
  longer.writeUInt32BE(longer.length, 2);
  return longer;
}

/** What the client gets: bytes, or "nothing" for as long as it waits; `null` closes. */
async function answerTo(command: Buffer, fault: Fault | undefined): Promise<Buffer | "nothing" | null> {
  if (fault?.kind === "code") return errorResponse(fault.rc);
  if (fault?.kind === "drop") return "nothing";
  if (fault?.kind === "close") return null;
  if (fault?.kind === "kill" || fault?.kind === "restart") powerOff(swtpm);
  if (fault?.kind === "kill") return null;
  if (fault?.kind === "restart") powerOn(swtpm);
  if (fault?.kind === "delay") await setTimeout(fault.ms);
  const answer = await forward(fault?.kind === "flip-command" ? flipped(command, fault) : command);
  return answer === null ? null : changed(answer, fault);
}

async function serve(client: Socket, command: Buffer): Promise<void> {
  const number = commandCount++;
  record({ number, command: command.toString("hex") });
  const fault = nextFault(command.readUInt32BE(6));
  const answer = await answerTo(command, fault);
  if (answer === "nothing") return;
  if (answer !== null && answer.length > 0) {
    record({ number, response: answer.toString("hex") });
    client.write(answer);
  }
  if (answer === null || fault?.kind === "truncate" && fault.then === "close") client.end();
}

function fail(error: unknown): never {
  writeFileSync(file("failure"), `${error}`);
  process.exit(1);
}

/** Takes commands from a connection, one after the other. */
function accept(client: Socket): void {
  let received = Buffer.alloc(0);
  let served = Promise.resolve();
  client.on("error", () => {/* the client is gone, and needs no answer */});
  client.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    for (let command; (command = wholeMessage(received)) !== null;) {
      const whole = command;
      received = received.subarray(whole.length);
      served = served.then(() => serve(client, whole)).catch(fail);
    }
  });
}

/** The control channel has no faults. */
function passThrough(client: Socket): void {
  const upstream = connect(`${socketOf(swtpm)}.ctrl`);
  for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
    socket.on("error", () => {/* it closes now */});
    socket.on("close", () => other.destroy());
    socket.pipe(other);
  }
}

const listening = (server: Server, path: string) =>
  new Promise<void>((resolve) => server.listen(path, () => resolve()));
await Promise.all([
  listening(createServer(accept), file("socket")),
  listening(createServer(passThrough), `${file("socket")}.ctrl`),
]);
writeFileSync(file("ready"), "");
