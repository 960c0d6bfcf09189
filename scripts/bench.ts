/**
 * `deno task bench`: whole processes of amesh beside programs that everybody has, as a Markdown table on stdout.
 *
 * Nothing is judged by its exit code: figures of a machine that does other things are no test. Linux only.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findProgram, planGroups } from "./bench/figures.ts";
import { type Form, FORMS, makePrograms, type Programs } from "./bench/programs.ts";
import { formatHeader, measureGroup } from "./bench/table.ts";

const USAGE = `usage: deno task bench [options]

  --runs N      rounds of every group (default 20; a third of them for the file of 1 GiB)
  --only REGEX  figures whose title matches (default all)
  --form NAME   what is measured: ${FORMS.join(", ")}; may be repeated
                (default: bun and deno, and deno-run where deno is made by a stand-in or not at all)

Compared are the programs of Debian's packages argon2, openssl, tpm2-tools and tpm2-openssl, the TPM is that of
swtpm; peak memory needs the package time.`;

interface Request {
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
    const { values: { runs, form, only } } = parseArgs({ args: [...args], options });
    const forms = (form ?? []).map((name) => FORMS.find((known) => known === name));
    if (!/^[1-9]\d*$/.test(runs) || forms.includes(undefined)) return null;
    return {
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
    const programs = await makeForms(request.forms, join(work, "programs"));
    using plan = await planGroups(programs, work, request.runs, note);
    const time = findProgram("time", "peak memory is not measured", note);
    console.log(formatHeader(request.runs));
    for (const group of plan.groups.filter(({ title }) => request.only.test(title))) {
      const rows = await measureGroup(group, { time, errors: join(work, "errors"), note });
      for (const row of rows) console.log(row);
    }
    return 0;
  } finally {
    clean();
  }
}

Deno.exitCode = await main(Deno.args);
