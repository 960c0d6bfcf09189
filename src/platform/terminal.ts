/**
 * Asking a person at the terminal of this process, whatever its standard streams are. What is typed can be kept from
 * being shown; the terminal is given back as it was found, also when the answer is a Ctrl-C. Unix only.
 *
 * Constants are those of Linux (asm-generic/termbits.h) and macOS (sys/termios.h).
 */
import { type Bytes, utf8, wipe } from "../bytes.ts";
import { errnoOf, Interrupted } from "../errors.ts";
import { FfiLoadError, library } from "../ffi/ffi.ts";
import { type FileHandle, host, type SignalName } from "./host.ts";
import { checked, libcPaths } from "./libc.ts";
import { untilReady } from "./ready.ts";
import { openTerminal } from "./system_file.ts";

const termios = library(libcPaths, {
  tcgetattr: { parameters: ["i32", "buffer"], result: "i32" },
  tcsetattr: { parameters: ["i32", "i32", "buffer"], result: "i32" },
});

/** struct termios has 60 bytes on Linux, 72 on macOS. */
const TERMIOS_BYTES = 128;
/** Where c_lflag and c_cc lie, how many bytes a flag word has, and what no character stands for (_POSIX_VDISABLE). */
const LAYOUT = {
  linux: { flags: 12, characters: 17, wide: false, disabled: 0 },
  darwin: { flags: 24, characters: 32, wide: true, disabled: 0xff },
} as const;
const ECHO = 0x8;
/** Index of Ctrl-Z in c_cc, the same on both: a suspended prompt would leave the terminal without echo. */
const VSUSP = 10;
const TCSANOW = 0;
const TCSAFLUSH = 2;

/** How long what is typed may lie unread, in milliseconds. A blocking read would keep signals from being heard. */
const POLL_MS = 20;
/** A terminal line has at most 4095 bytes on Linux. */
const LINE_BYTES = 8192;

/** Their numbers, the same on Linux and macOS (signal(7)). */
const SIGNALS: Readonly<Record<SignalName, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };

/** What {@linkcode askTerminal} shows and how. */
export interface Question {
  readonly text: string;
  /** Whether what is typed is shown. */
  readonly echo: boolean;
}

/**
 * Asks for one line.
 *
 * @returns its bytes without the newline, which the caller wipes; none when the input ended; `null` when this process
 *   has no terminal.
 * @throws {Interrupted}; {Error} with `code`.
 */
export async function askTerminal(question: Question): Promise<Bytes | null> {
  const terminal = findTerminal();
  if (terminal === null) return null;
  using handle = terminal.handle;
  using signals = watchSignals();
  using _mode = setMode(terminal.fd, question.echo);
  write(handle, question.text);
  try {
    return await readLine(handle, signals);
  } finally {
    if (!question.echo) endLine(handle);
  }
}

/** What was typed ended with a newline that was not shown. A terminal that has gone away needs none. */
function endLine(handle: FileHandle): void {
  try {
    write(handle, "\n");
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

/** Output that a person has stopped (Ctrl-S) is waited for. */
function write(handle: FileHandle, text: string): void {
  for (let rest = utf8(text); rest.length > 0;) rest = rest.subarray(untilReady(() => handle.write(rest)));
}

function findTerminal(): { readonly fd: number; readonly handle: FileHandle } | null {
  if (host.os === "windows") return null;
  try {
    return openTerminal();
  } catch (error) {
    if (error instanceof FfiLoadError || errnoOf(error) !== undefined) return null;
    throw error;
  }
}

/** Signals that came; those that have come are not lost. */
interface SignalWatch extends Disposable {
  /** @throws {Interrupted} one has come. */
  check(): void;
}

function watchSignals(): SignalWatch {
  let came: SignalName | undefined;
  const listeners = (Object.keys(SIGNALS) as SignalName[]).map((signal) =>
    host.onSignal(signal, () => came ??= signal)
  );
  return {
    check: () => {
      if (came !== undefined) throw new Interrupted(SIGNALS[came]);
    },
    [Symbol.dispose]: () => listeners.forEach((listener) => listener[Symbol.dispose]()),
  };
}

/** Sets how the terminal treats what is typed; disposing of it brings back how it did before. */
function setMode(fd: number, echo: boolean): Disposable {
  const layout = LAYOUT[host.os === "darwin" ? "darwin" : "linux"];
  const before = new Uint8Array(TERMIOS_BYTES);
  checked("tcgetattr", () => termios.tcgetattr(fd, before));
  const mode = Uint8Array.from(before);
  mode[layout.characters + VSUSP] = layout.disabled;
  const view = new DataView(mode.buffer);
  if (!echo && layout.wide) {
    view.setBigUint64(layout.flags, view.getBigUint64(layout.flags, true) & ~BigInt(ECHO), true);
  } else if (!echo) {
    view.setUint32(layout.flags, view.getUint32(layout.flags, true) & ~ECHO, true);
  }
  checked("tcsetattr", () => termios.tcsetattr(fd, TCSAFLUSH, mode));
  return { [Symbol.dispose]: () => void termios.tcsetattr(fd, TCSANOW, before) };
}

async function readLine(handle: FileHandle, signals: SignalWatch): Promise<Bytes> {
  const buffer = new Uint8Array(LINE_BYTES);
  try {
    let length = 0;
    while (length < buffer.length) {
      signals.check();
      const count = readSome(handle, buffer.subarray(length));
      if (count === null) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        continue;
      }
      length += count;
      if (count === 0 || buffer[length - 1] === 0x0a) break;
    }
    return buffer.slice(0, buffer[length - 1] === 0x0a ? length - 1 : length);
  } finally {
    wipe(buffer);
  }
}

/** @returns `null` when nothing has been typed yet. */
function readSome(handle: FileHandle, buffer: Uint8Array): number | null {
  try {
    return handle.read(buffer);
  } catch (error) {
    if (errnoOf(error) === "EAGAIN" || errnoOf(error) === "EINTR") return null;
    throw error;
  }
}
