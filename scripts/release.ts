/**
 * `deno task release`: makes `dist/` as it is published. What is in it, and how it is made from the same commit twice
 * with the same bytes: docs/release.md. Runs on Linux, because it needs GNU tar.
 *
 * Everything is made in a directory of its own inside `dist/` and moved to its place at the end.
 */
import { join, resolve } from "node:path";
import { CompileError } from "./build.ts";
import { UsageError } from "./compile.ts";
import { packTree } from "./release/archive.ts";
import { checkRelease, type Commit } from "./release/checks.ts";
import { signSums, SUMS, writeSums } from "./release/checksums.ts";
import { buildDeb, debArchitecture, debEntries, debName } from "./release/deb.ts";
import { fillInstallScript } from "./release/install_script.ts";
import { readyExecutables } from "./release/executables.ts";
import { fillFormula, FORMULA_TARGETS } from "./release/formula.ts";
import { publish } from "./release/publish.ts";
import { archiveName, parseRequest, type Request, USAGE } from "./release/request.ts";
import { makeSbom } from "./release/sbom.ts";
import { archiveEntries, makeDocuments, stage } from "./release/tree.ts";

const ROOT = resolve(import.meta.dirname!, "..");
const DIST = join(ROOT, "dist");
const INSTALL_SCRIPT = "scripts/install.sh";
const FORMULA = "packaging/homebrew/amesh.rb.in";

/** Fills `output` with the files of a release; `work` is for what they are made of. */
async function makeFiles(request: Request, commit: Commit, work: string, output: string): Promise<void> {
  const { version, targets, releases } = request;
  const executables = await readyExecutables(request, join(work, "executables"));
  const documents = await makeDocuments(join(work, "documents"), commit.time);

  const pack = async (row: Request["targets"][number]) => {
    const helper = row.name.startsWith("darwin-") ? request.helper : undefined;
    const entries = await archiveEntries(row, executables.get(row.name)!, documents, helper);
    const name = archiveName(version, row.name);
    const tree = join(work, "archive", row.name);
    await stage(entries, join(tree, name), commit.time);
    await packTree(tree, name, join(output, `${name}.tar.gz`), commit.time);

    const architecture = debArchitecture(row.name);
    if (architecture === undefined) return;
    const root = join(work, "deb", row.name);
    await stage(debEntries(entries), root, commit.time);
    await buildDeb(
      { root, architecture, version },
      join(output, debName(version, architecture)),
      commit.time,
    );
  };
  await Promise.all(targets.map(pack));

  const sbom = await makeSbom({ version, commit, runtimes: request.runtimes });
  await Deno.writeTextFile(join(output, `amesh-${version}.cdx.json`), sbom);
  const script = await Deno.readTextFile(join(ROOT, INSTALL_SCRIPT));
  await Deno.writeTextFile(
    join(output, "install.sh"),
    fillInstallScript(script, { version, releases, minisignKey: request.signing?.publicKey ?? "" }),
  );
  await Deno.chmod(join(output, "install.sh"), 0o755);

  const sums = await writeSums(output);
  if (FORMULA_TARGETS.every((name) => targets.some((row) => row.name === name))) {
    const template = await Deno.readTextFile(join(ROOT, FORMULA));
    await Deno.writeTextFile(join(output, "amesh.rb"), fillFormula(template, { version, releases, sums }));
    await writeSums(output);
  }
  if (request.signing !== undefined) {
    const changed = commit.isChanged ? ", changed" : "";
    await signSums(output, request.signing, `amesh ${version}, commit ${commit.id}${changed}`);
  }
}

async function release(request: Request): Promise<void> {
  const commit = await checkRelease(request);
  await Deno.mkdir(DIST, { recursive: true });
  const directory = await Deno.makeTempDir({ dir: DIST, prefix: ".amesh-release-" });
  const interrupted = () => {
    Deno.removeSync(directory, { recursive: true });
    Deno.exit(130);
  };
  Deno.addSignalListener("SIGINT", interrupted);
  try {
    const [work, output] = [join(directory, "work"), join(directory, "output")];
    await Deno.mkdir(work);
    await Deno.mkdir(output);
    await makeFiles(request, commit, work, output);
    await publish(output, DIST);
    console.log((await Deno.readTextFile(join(DIST, SUMS))).trimEnd());
    if (commit.isTrial) console.log(`this is a trial: no tag v${request.version} is on commit ${commit.id}`);
  } finally {
    Deno.removeSignalListener("SIGINT", interrupted);
    await Deno.remove(directory, { recursive: true });
  }
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  try {
    await release(await parseRequest(args));
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof CompileError)) throw error;
    console.error(`release: error: ${error.message}`);
    return error instanceof UsageError ? 2 : 1;
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
