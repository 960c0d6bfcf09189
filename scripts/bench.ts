/**
 * `deno task bench`: whole processes of amesh, and its agent, beside programs that everybody has, as Markdown
 * tables on stdout.
 *
 * Nothing is judged by its exit code: figures of a machine that does other things are no test. Linux only.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measureAgents } from "./bench/agent.ts";
import { measureLibrary } from "./bench/library.ts";
import { commandMaker, findProgram, planGroups } from "./bench/figures.ts";
import { type Form, FORMS, makePrograms, type Programs } from "./bench/programs.ts";
import { formatHeader, formatProcessHead, type Group, measureGroup } from "./bench/table.ts";

const USAGE = `usage: deno task bench [processes|agent|library] [options]

  processes     whole processes of commands
  agent         signatures a second of the agent, its memory, and sign, csr and jwt through it
  library       signatures and tokens a second of the library in one process (default: all)

  --runs N      rounds of every group (default 20; a third of them for the file of 1 GiB, a quarter for the library)
  --only REGEX  figures whose title matches (default all)
  --form NAME   what is measured: ${FORMS.join(", ")}; may be repeated
                (default: bun and deno, and deno-run where deno is made by a stand-in or not at all)

Compared are the programs of Debian's packages argon2, openssl, tpm2-tools and tpm2-openssl, the TPM is that of
swtpm; peak memory needs the package time. The agent is compared with that of the package openssh-client, by a
client that gcc compiles.`;

const PARTS = ["processes", "agent", "library"] as const;
type Part = typeof PARTS[number];

interface Request {
  readonly parts: readonly Part[];
  readonly runs: number;
  readonly forms: readonly Form[];
  readonly only: RegExp;
}

/** @returns `null` when the arguments are not understood. */
function parseRequest(args: readonly string[]): Request | null {
  const options = {
    runs: { type: "string", default: "20" },
    form: { type: "string", multiple: true },
    only: { type: "string", default: "" },
  } as const;
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const { runs, form, only } = values;
    const parts = positionals.map((name) => PARTS.find((known) => known === name));
    const forms = (form ?? []).map((name) => FORMS.find((known) => known === name));
    if (!/^[1-9]\d*$/.test(runs) || forms.includes(undefined) || parts.includes(undefined)) return null;
    return {
      parts: parts.length > 0 ? parts.filter((known) => known !== undefined) : PARTS,
      runs: Number(runs),
      forms: forms.filter((known) => known !== undefined),
      only: new RegExp(only),
    };
  } catch {
    return null;
  }
}

function note(text: string): void {
  console.error(`bench: ${text}`);
}

async function makeForms(forms: readonly Form[], directory: string): Promise<Programs[]> {
  const found: Programs[] = [];
  for (const form of forms.length > 0 ? forms : ["bun", "deno"] as const) {
    const made = await makePrograms(form, directory, note);
    if (made !== null) found.push(made);
  }
  if (forms.length > 0 || found.some(({ form, byStandIn }) => form === "deno" && !byStandIn)) return found;
  note("there is no executable by this Deno, so it runs the source, bundled");
  const run = await makePrograms("deno-run", directory, note);
  return run === null ? found : [...found, run];
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  const request = parseRequest(args);
  if (request === null) {
    console.error(USAGE);
    return 2;
  }
  if (Deno.build.os !== "linux") {
    note("it measures by calls that only Linux has");
    return 1;
  }
  const work = await Deno.makeTempDir({ prefix: "amesh-bench-" });
  const clean = () => Deno.removeSync(work, { recursive: true });
  Deno.addSignalListener("SIGINT", () => {
    clean();
    Deno.exit(130);
  });
  try {
    // The library is no executable.
    const isCompiled = request.parts.some((part) => part !== "library");
    const programs = isCompiled ? await makeForms(request.forms, join(work, "programs")) : [];
    const time = findProgram("time", "peak memory is not measured", note);
    const measureAll = async (groups: readonly Group[]) => {
      for (const line of formatProcessHead()) console.log(line);
      for (const group of groups.filter(({ title }) => request.only.test(title))) {
        const rows = await measureGroup(group, { time, errors: join(work, "errors"), note });
        for (const row of rows) console.log(row);
      }
    };
    console.log(formatHeader(request.runs));
    if (request.parts.includes("processes")) {
      using plan = await planGroups(programs, work, request.runs, note);
      await measureAll(plan.groups);
    }
    if (request.parts.includes("agent")) {
      const command = commandMaker(work, "/dev/null");
      using agents = await measureAgents(programs, { ...request, work, command, note });
      for (const line of agents?.lines ?? []) console.log(line);
      if (agents !== null) await measureAll(agents.groups);
    }
    if (request.parts.includes("library")) {
      const lines = await measureLibrary({
        runs: Math.ceil(request.runs / 4),
        only: request.only,
        work,
        note,
      });
      for (const line of lines) console.log(line);
    }
    return 0;
  } finally {
    clean();
  }
}

Deno.exitCode = await main(Deno.args);
