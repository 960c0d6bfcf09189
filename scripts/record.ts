/**
 * `deno task record`: makes docs/first-run.svg, a first session with amesh, by having one: the Bun executable in a shell
 * in a terminal (tmux), in a new HOME. What differs from one recording to the next is the key and the time.
 *
 * Shown is what the terminal showed, with two changes: the HOME is "~", because its name is the recorder's, and long
 * lines are broken at words.
 */
import { join, resolve } from "node:path";
import { buildExecutable } from "./build.ts";
import { hostTarget } from "./compile.ts";
import { renderTerminal, type Step } from "./terminal_svg.ts";

const COLUMNS = 96;
const ROWS = 32;
const OUTPUT = resolve(import.meta.dirname!, "..", "docs", "first-run.svg");
/** More lines than the session has: nothing scrolls away. */
const TALL = 400;
const TIME_LIMIT_MS = 30_000;
const PROMPT = "$ ";

const SESSION = [
  "amesh init --name my-server",
  "amesh status",
  "amesh public-key | tee my-server.pem",
  "amesh sign release.tar.gz --format der --encoding binary --out release.sig",
  "openssl dgst -sha256 -verify my-server.pem -signature release.sig release.tar.gz",
  "amesh doctor",
];

const pause = () => new Promise((resolve) => setTimeout(resolve, 50));

/** A shell in a terminal. */
class Shell implements AsyncDisposable {
  readonly #socket: string;
  readonly #prompts: string;
  #count = 0;

  constructor(readonly home: string, private readonly work: string) {
    this.#socket = join(work, "tmux");
    this.#prompts = join(work, "prompts");
  }

  async #tmux(...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command("tmux", {
      args: ["-S", this.#socket, "-f", "/dev/null", ...args],
      cwd: this.home,
      clearEnv: true,
      env: {
        HOME: this.home,
        PATH: `${join(this.work, "bin")}:/usr/bin:/bin`,
        HISTFILE: "/dev/null",
        LANG: "C.UTF-8",
        TERM: "xterm-256color",
      },
    }).output();
    if (!success) throw new Error(`tmux ${args[0]}: ${new TextDecoder().decode(stderr)}`);
    return new TextDecoder().decode(stdout);
  }

  async start(): Promise<void> {
    const settings = join(this.work, "bashrc");
    // One byte for each prompt: so many commands have ended.
    await Deno.writeTextFile(
      settings,
      `PS1='\\n${PROMPT}'\nPROMPT_COMMAND='printf x >> "${this.#prompts}"'\n`,
    );
    const size = ["-x", `${COLUMNS}`, "-y", `${TALL}`];
    await this.#tmux("new-session", "-d", ...size, `bash --noprofile --rcfile ${settings}`);
    await this.#untilPrompt();
  }

  async run(command: string): Promise<void> {
    await this.#tmux("send-keys", "-l", command);
    await this.#tmux("send-keys", "Enter");
    await this.#untilPrompt();
  }

  async #untilPrompt(): Promise<void> {
    const wanted = ++this.#count;
    for (const start = performance.now(); performance.now() - start < TIME_LIMIT_MS;) {
      const size = await Deno.stat(this.#prompts).then((info) => info.size, () => 0);
      if (size >= wanted) return;
      await pause();
    }
    throw new Error(`no prompt after ${TIME_LIMIT_MS} ms:\n${await this.screen()}`);
  }

  /** All that the terminal shows, lines that it broke put together again. */
  async screen(): Promise<string> {
    return (await this.#tmux("capture-pane", "-p", "-J")).replaceAll(this.home, "~").trimEnd();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux("send-keys", "exit", "Enter");
    // The server ends with its last shell; its socket lies in the directory that is about to go.
    for (
      let tries = 0;
      tries < 100 && await this.#tmux("has-session").then(() => true, () => false);
      tries++
    ) {
      await pause();
    }
  }
}

/** The screen by commands. */
function toSteps(screen: string): Step[] {
  const steps: { command: string; output: string[] }[] = [];
  for (const line of screen.split("\n").map((text) => text.trimEnd())) {
    if (line.startsWith(PROMPT)) steps.push({ command: line.slice(PROMPT.length), output: [] });
    else if (line !== PROMPT.trimEnd()) steps.at(-1)?.output.push(line);
  }
  return steps;
}

async function record(work: string): Promise<string> {
  const home = join(work, "home");
  for (const directory of [home, join(work, "bin")]) await Deno.mkdir(directory);
  const target = hostTarget();
  if (target === undefined) throw new Error("there is no executable for this machine");
  const output = join(work, "bin", "amesh");
  await buildExecutable({ ...target, runtime: "bun", permissions: [], verbose: false, output }, false);
  await Deno.writeTextFile(join(home, "release.tar.gz"), "a release\n");
  await using shell = new Shell(home, work);
  await shell.start();
  for (const command of SESSION) await shell.run(command);
  const steps = toSteps(await shell.screen());
  if (steps.map(({ command }) => command).join("\n") !== SESSION.join("\n")) {
    throw new Error(`the terminal shows another session:\n${await shell.screen()}`);
  }
  return renderTerminal(steps, { columns: COLUMNS, rows: ROWS, title: "A first run of amesh" });
}

async function main(): Promise<void> {
  const work = await Deno.makeTempDir({ prefix: "amesh-record-" });
  try {
    const svg = await record(await Deno.realPath(work));
    await Deno.writeTextFile(OUTPUT, svg);
    console.log(`${OUTPUT}  ${svg.length} bytes`);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

await main();
