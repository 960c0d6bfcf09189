/**
 * Runs a program and measures it by the kernel's own account: posix_spawn(3) and wait4(2) through FFI, so that no
 * shell, pipe or helper process is measured with it. Linux with glibc on a 64-bit machine.
 */

/** A program and what it needs. */
export interface Command {
  /** Absolute path of the program, then its arguments. */
  readonly argv: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** File that is its standard input. */
  readonly stdin: string;
}

/** What one run cost. */
export interface Sample {
  /** From the call that starts it to the return of the one that waits for it, in milliseconds. */
  readonly wall: number;
  /** CPU time in user mode, all threads, in milliseconds. */
  readonly user: number;
  /** CPU time in the kernel, all threads, in milliseconds. */
  readonly sys: number;
}

/** A program that could not be started, or did not end with 0. */
export class RunError extends Error {
  override readonly name: string = "RunError";
}

/**
 * Measures one run; what it prints is dropped.
 *
 * @param complaints file that takes its standard error.
 * @throws {RunError} with what it said on standard error.
 */
export function measure(command: Command, complaints: string): Sample {
  const status = new Int32Array(1);
  const usage = new DataView(new ArrayBuffer(RUSAGE_BYTES));
  const { pid, start } = spawn(command, complaints);
  const reaped = libc().wait4(pid, new Uint8Array(status.buffer), 0, new Uint8Array(usage.buffer));
  const wall = performance.now() - start;
  if (reaped !== pid || status[0] !== 0) throw new RunError(explain(command, status[0] ?? 0, complaints));
  const milliseconds = (at: number) =>
    Number(usage.getBigInt64(at, true)) * 1000 + Number(usage.getBigInt64(at + 8, true)) / 1000;
  return { wall, user: milliseconds(RU_UTIME), sys: milliseconds(RU_STIME) };
}

/** `struct rusage` of getrusage(2): two `struct timeval`, then 14 longs. */
const RUSAGE_BYTES = 144;
const RU_UTIME = 0;
const RU_STIME = 16;

/** More than glibc's `posix_spawn_file_actions_t`, 80 bytes. */
const FILE_ACTIONS_BYTES = 256;
/** include/uapi/asm-generic/fcntl.h */
const O_WRONLY = 0o1;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;

function openLibc() {
  return Deno.dlopen("libc.so.6", {
    posix_spawn: {
      parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"],
      result: "i32",
    },
    posix_spawn_file_actions_init: { parameters: ["buffer"], result: "i32" },
    posix_spawn_file_actions_destroy: { parameters: ["buffer"], result: "i32" },
    posix_spawn_file_actions_addopen: {
      parameters: ["buffer", "i32", "buffer", "i32", "u32"],
      result: "i32",
    },
    wait4: { parameters: ["i32", "buffer", "i32", "buffer"], result: "i32" },
  }).symbols;
}

let opened: ReturnType<typeof openLibc> | undefined;
const libc = () => opened ??= openLibc();

function spawn(
  { argv, env, stdin }: Command,
  complaints: string,
): { readonly pid: number; readonly start: number } {
  const program = cString(argv[0] ?? "");
  const args = cStrings(argv);
  const variables = cStrings(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  const actions = new Uint8Array(FILE_ACTIONS_BYTES);
  const { posix_spawn, ...setup } = libc();
  setup.posix_spawn_file_actions_init(actions);
  setup.posix_spawn_file_actions_addopen(actions, 0, cString(stdin), 0, 0);
  setup.posix_spawn_file_actions_addopen(actions, 1, cString("/dev/null"), O_WRONLY, 0);
  setup.posix_spawn_file_actions_addopen(
    actions,
    2,
    cString(complaints),
    O_WRONLY | O_CREAT | O_TRUNC,
    0o600,
  );
  const pid = new Int32Array(1);
  const start = performance.now();
  const errno = posix_spawn(new Uint8Array(pid.buffer), program, actions, null, args, variables);
  setup.posix_spawn_file_actions_destroy(actions);
  if (errno !== 0) throw new RunError(`cannot start ${argv[0]}: errno ${errno}`);
  return { pid: pid[0]!, start };
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

/** A NULL-terminated list of the addresses of the texts, with the texts behind it in the same memory. */
function cStrings(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const parts = texts.map(cString);
  const listBytes = (parts.length + 1) * 8;
  const memory = new Uint8Array(new ArrayBuffer(parts.reduce((sum, part) => sum + part.length, listBytes)));
  const base = Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory));
  const view = new DataView(memory.buffer);
  let at = listBytes;
  parts.forEach((part, i) => {
    view.setBigUint64(i * 8, base + BigInt(at), true);
    memory.set(part, at);
    at += part.length;
  });
  return memory;
}

function explain({ argv }: Command, status: number, complaints: string): string {
  const signal = status & 0x7f;
  const how = signal === 0 ? `exit code ${status >> 8}` : `signal ${signal}`;
  return `${argv.join(" ")}: ${how}\n${Deno.readTextFileSync(complaints)}`.trim();
}

/**
 * Peak memory of a program in bytes, by Debian's `time`: the account that wait4(2) gives to us begins with our own
 * size, because the child is ours until it becomes the program.
 *
 * @param time absolute path of that program.
 */
export function peakMemory(command: Command, time: string, complaints: string): number {
  const report = `${complaints}.time`;
  measure({ ...command, argv: [time, "--format=%M", `--output=${report}`, ...command.argv] }, complaints);
  return Number(Deno.readTextFileSync(report)) * 1024;
}
