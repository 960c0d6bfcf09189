/**
 * An agent in the background: this process starts the same command anew with `--foreground` and two descriptors, waits until
 * it is ready, and ends. A runtime with threads cannot fork(2).
 */
import { type Bytes, utf8, wipe } from "../bytes.ts";
import { AmeshError, systemError } from "../errors.ts";
import type { Refusal } from "../formats/agent_message.ts";
import { namedPassphraseFile, PASSPHRASE_FILE_VARIABLE, PASSPHRASE_VARIABLE } from "../passphrase/sources.ts";
import { setEnvironmentVariable, takeEnvironmentSecret } from "../platform/libc.ts";
import { PollSet } from "../platform/poll.ts";
import { closeFd, type Fd, makePipe, receive, send } from "../platform/socket.ts";
import { detach, ownCommandLine, ownExecutable, spawn, waitExit } from "../platform/spawn.ts";
import type { Readiness } from "./agent.ts";
import { errorOf } from "./refusal.ts";

/** What an agent in the background tells the process that has started it, once. */
export type BackgroundReport =
  & (
    | { readonly ready: Readiness }
    | { readonly taken: true }
    | { readonly refused: Refusal }
  )
  & {
    /** For the user. It has no standard error of its own: a runtime that keeps a copy would keep it open for ever. */
    readonly warnings: readonly string[];
  };

const FIRST_DESCRIPTOR = 3;
const MAX_REPORT_BYTES = 65_536;

/**
 * Starts an agent in the background.
 *
 * A passphrase in the environment, or one that was typed, reaches it through a pipe: no environment block but the first one
 * ever holds it.
 *
 * @param passphraseFd what `--passphrase-fd` names.
 * @param typed the passphrase as a person typed it; wiped.
 * @param warn shows what it warns of.
 * @returns `null` when somebody listens on its socket already.
 * @throws {AmeshError} what it reports instead of being ready; `ERR_SYSTEM`.
 */
export function startInBackground(
  passphraseFd: number | undefined,
  typed: Bytes | null,
  warn: (message: string) => void,
): Readiness | null {
  const secret = typed ??
    (passphraseFd === undefined ? takeEnvironmentSecret(PASSPHRASE_VARIABLE) : new Uint8Array(0));
  // It leaves this directory.
  const named = namedPassphraseFile();
  if (named !== null) setEnvironmentVariable(PASSPHRASE_FILE_VARIABLE, named);
  const report = makePipe();
  const passphrase = secret.length > 0 ? makePipe() : null;
  let pid: number;
  try {
    if (passphrase !== null) writeSecret(passphrase.write, secret);
    const reportFd = passphraseFd === FIRST_DESCRIPTOR ? FIRST_DESCRIPTOR + 1 : FIRST_DESCRIPTOR;
    const secretFd = passphrase === null ? passphraseFd : reportFd + 1;
    pid = spawn({
      path: ownExecutable(),
      argv: [
        ...ownCommandLine(),
        ...["--foreground", "--report-fd", `${reportFd}`],
        ...passphrase === null ? [] : ["--passphrase-fd", `${secretFd}`],
      ],
      descriptors: {
        [reportFd]: report.write,
        ...secretFd === undefined ? {} : { [secretFd]: passphrase?.read ?? secretFd },
      },
    });
  } catch (error) {
    closeFd(report.read);
    throw systemError("start the agent in the background", error, "start it with --foreground");
  } finally {
    wipe(secret);
    closeFd(report.write);
    if (passphrase !== null) [passphrase.read, passphrase.write].forEach(closeFd);
  }
  try {
    return understand(readToEnd(report.read), pid, warn);
  } finally {
    closeFd(report.read);
  }
}

/** A pipe takes a passphrase as a whole: it holds 16 pages, and a passphrase has one at most. */
function writeSecret(fd: Fd, secret: Bytes): void {
  const count = send(fd, secret);
  if (count !== secret.length) {
    throw new AmeshError("ERR_UNLOCK_FAILED", "cannot use the passphrase: it is too long");
  }
}

function readToEnd(fd: Fd): string {
  const poll = new PollSet();
  poll.set(fd, { read: true, write: false });
  const buffer = new Uint8Array(MAX_REPORT_BYTES);
  for (let length = 0; length < buffer.length;) {
    poll.wait(-1);
    const count = receive(fd, buffer.subarray(length));
    if (count === "later") continue;
    if (count === 0) return new TextDecoder().decode(buffer.subarray(0, length));
    length += count;
  }
  return "";
}

function understand(text: string, pid: number, warn: (message: string) => void): Readiness | null {
  if (text === "") {
    const exit = waitExit(pid);
    throw new AmeshError(
      "ERR_INTERNAL",
      `the agent ended before it was ready (exit code ${exit?.code ?? "unknown"})`,
      {
        hint: "see what it says with --foreground",
      },
    );
  }
  const report = JSON.parse(text) as BackgroundReport;
  report.warnings.forEach(warn);
  if (!("refused" in report)) return "ready" in report ? report.ready : null;
  throw errorOf(report.refused);
}

/** In the process in the background: leaves the terminal and tells. @param fd what `--report-fd` names. */
export function reportFromBackground(fd: Fd, report: BackgroundReport): void {
  detach();
  send(fd, utf8(JSON.stringify(report)));
  closeFd(fd);
}
