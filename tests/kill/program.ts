/** Running programs, amesh among them, one after the other or many at once. */

/** For one program, in milliseconds; it is there so that a hanging one is reported. */
const TIME_LIMIT_MS = 180_000;

/** How a program ended. */
export interface Ended {
  /** 128 and more: ended by a signal. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Variables, and no others. */
export type Environment = Readonly<Record<string, string>>;

/** Runs a program without stdin, in a directory. @throws {Error} it cannot be started. */
export async function run(argv: readonly string[], cwd: string, env: Environment): Promise<Ended> {
  const [program = "", ...args] = argv;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), TIME_LIMIT_MS);
  try {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args,
      cwd,
      env: { ...env },
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: limit.signal,
    }).output();
    const text = new TextDecoder();
    const late = limit.signal.aborted ? `\nnot ended after ${TIME_LIMIT_MS} ms\n` : "";
    return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) + late };
  } finally {
    clearTimeout(timer);
  }
}
