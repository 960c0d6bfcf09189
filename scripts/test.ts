/**
 * `deno task test`: everything that must hold, ending in one line `N passed, N failed, N skipped`.
 *
 * Two lanes run at the same time: one builds the executables and runs the command line scripts on them, the other
 * does the rest. What cannot run here is named and counted as skipped.
 */
import { join, resolve } from "node:path";
import { bunCommand, bundleForDeno, installPackages, runProgram } from "./build.ts";
import { hostTarget, permissionFlags } from "./compile.ts";
import { installMissing } from "./debian_packages.ts";
import { countTests, type TestCounts } from "./junit.ts";

const ROOT = resolve(import.meta.dirname!, "..");
const DENO = Deno.execPath();
/** Tests of the source in process, the same files on both runtimes. */
const SOURCE_TESTS = [
  "tests/unit",
  "tests/contract",
  "tests/tpm",
  "tests/fuzz",
  "tests/architecture_test.ts",
];
/** Where a stand-in for `deno compile` may lie, when AMESH_DENO_COMPILE names none. */
const STAND_IN = "../shared/tools/deno-compile-check";
/** For one program, in milliseconds. */
const TIME_LIMIT = 1_800_000;

/** Variables that change what amesh does: a developer's own identity takes no part in the tests. */
const UNWANTED = /^((AUTH_MESH|AMESH)_.*|CREDENTIALS_DIRECTORY|BUN_OPTIONS|BUN_BE_BUN)$/;
const environment = Object.fromEntries(
  Object.entries(Deno.env.toObject()).filter(([name]) => !UNWANTED.test(name)),
);

/** What one part of the run found; `text` is what its programs said. */
type Result = TestCounts & { readonly text: string };

const passed: Result = { passed: 1, failed: 0, skipped: [], text: "" };
const failed = (text: string): Result => ({ passed: 0, failed: 1, skipped: [], text });
const skipped = (reasons: readonly string[]): Result => ({
  passed: 0,
  failed: 0,
  skipped: reasons,
  text: "",
});

/** The lines that `bun test` and `deno test` print of tests that passed: among thousands they hide the others. */
const PASSED_TEST = /^(?:\(pass\) .*|.* \.\.\. ok \(.*\))\n/gm;

const results: Result[] = [];

/** Runs a part and reports it in one piece, so that the lanes do not mix their lines. */
async function part(name: string, run: () => Promise<Result>): Promise<void> {
  console.log(`....  ${name}`);
  const start = performance.now();
  let result: Result;
  try {
    result = await run();
  } catch (error) {
    result = failed(`${error}`);
  }
  results.push(result);
  const lines = result.skipped.map((reason) => `      skipped: ${reason}`);
  if (result.failed > 0) lines.push(result.text.replaceAll(PASSED_TEST, ""));
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const counts = `${result.passed} passed, ${result.failed} failed, ${result.skipped.length} skipped`;
  console.log(
    [`${result.failed > 0 ? "FAIL" : "ok  "}  ${name}: ${counts} (${seconds} s)`, ...lines].join("\n"),
  );
}

async function program(argv: readonly string[]): Promise<Result> {
  const { success, text } = await runProgram(argv, { env: environment, timeLimit: TIME_LIMIT });
  return success ? passed : failed(text);
}

/** Runs a test runner that writes a JUnit report; one that ends badly, or without a test, has failed. */
async function runner(
  argv: readonly string[],
  report: string,
  env: Record<string, string> = {},
): Promise<Result> {
  const options = { env: { ...environment, NO_COLOR: "1", ...env }, timeLimit: TIME_LIMIT };
  const { success, text } = await runProgram(argv, options);
  const counts = countTests(await Deno.readTextFile(report).catch(() => ""));
  const complete = success && counts.passed + counts.skipped.length > 0;
  return { ...counts, failed: complete ? counts.failed : Math.max(1, counts.failed), text };
}

function denoTests(paths: readonly string[], report: string, env?: Record<string, string>): Promise<Result> {
  requireSome(paths);
  const argv = [DENO, "test", "--allow-all", "--no-check", `--junit-path=${report}`, ...paths];
  return runner(argv, report, env);
}

function bunTests(paths: readonly string[], report: string): Promise<Result> {
  requireSome(paths);
  const files = paths.map((path) => `./${path}`);
  const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
  return runner([...bunCommand(), "test", "--timeout=120000", ...reporter, ...files], report);
}

/** Without a path a test runner takes every file that looks like a test, this one too. */
function requireSome(paths: readonly string[]): void {
  if (paths.length === 0) throw new Error("there are no tests");
}

/** @param target this machine's when not given. */
function compile(runtime: "deno" | "bun", output: string, target?: string): Promise<Result> {
  const script = join(ROOT, "scripts", "compile.ts");
  const options = [`--runtime=${runtime}`, `--output=${output}`];
  if (target !== undefined) options.push(`--target=${target}`);
  return program([DENO, "run", "--allow-all", script, ...options]);
}

/** The Bun executable for musl, where that is Linux too. */
function compileMusl(output: string): Promise<Result> | Result {
  const host = hostTarget()?.name;
  if (!host?.startsWith("linux-")) return skipped(["it and every test of it: it is for Linux"]);
  return compile("bun", output, `${host}-musl`);
}

/** A sample of what `deno task test:kill` tries in full. */
async function killSample(executables: Readonly<Record<string, string>>): Promise<Result> {
  const script = join(ROOT, "scripts", "test_kill.ts");
  const argv = [DENO, "run", "--allow-all", script, "--sample=2", "--seed=1"];
  const { text } = await runProgram(argv, {
    env: { ...environment, ...executables },
    timeLimit: TIME_LIMIT,
  });
  const [, passed, failed] = /^(\d+) passed, (\d+) failed, \d+ skipped$/m.exec(text) ?? [];
  const skipped = [...text.matchAll(/^skip {2}(.*)$/gm)].map(([, reason]) => reason as string);
  return { passed: Number(passed ?? 0), failed: Number(failed ?? 1), skipped, text };
}

/** A sample of what `deno task test:race` does for longer. */
async function raceSample(executables: Readonly<Record<string, string>>): Promise<Result> {
  const script = join(ROOT, "scripts", "test_race.ts");
  const argv = [DENO, "run", "--allow-all", script, "--seconds=5", "--processes=16"];
  const { success, text } = await runProgram(argv, {
    env: { ...environment, ...executables },
    timeLimit: TIME_LIMIT,
  });
  return success ? passed : failed(text);
}

/** The Deno executable by our own compiler, or where its base runtime cannot be had, by a stand-in. */
async function compileDeno(output: string, bundleDirectory: string): Promise<Result> {
  const result = await compile("deno", output);
  if (!result.text.includes("cannot get Deno's base runtime")) return result;
  const standIn = Deno.env.get("AMESH_DENO_COMPILE") ?? (exists(STAND_IN) ? resolve(ROOT, STAND_IN) : "");
  if (standIn === "") {
    return skipped(["it and every test of it: neither its base runtime nor a stand-in can be had"]);
  }
  console.log(`      Deno's base runtime cannot be had: ${standIn} stands in`);
  const bundle = await bundleForDeno(bundleDirectory);
  return await program([standIn, output, ...bundle.flags, ...permissionFlags(), bundle.entry]);
}

function exists(path: string): boolean {
  try {
    Deno.statSync(join(ROOT, path));
    return true;
  } catch {
    return false;
  }
}

/** Missing programs fail the run where nobody reads what was skipped. */
async function programs(): Promise<Result> {
  const missing = (await installMissing()).map(({ program, why }) => `${program}, which ${why}`);
  if (missing.length === 0) return passed;
  return Deno.env.get("CI") === "true" ? failed(`missing: ${missing.join("; ")}`) : skipped(missing);
}

async function run(work: string): Promise<void> {
  await part("programs that the tests call", programs);
  await part("npm packages", () => installPackages().then(() => passed));

  const executables: Record<string, string> = {};
  const build = async (variable: string, path: string, make: () => Promise<Result> | Result) => {
    const result = await make();
    if (result.passed > 0) executables[variable] = path;
    return result;
  };
  const bun = join(work, "bun", "amesh");
  const deno = join(work, "deno", "amesh");
  const musl = join(work, "musl", "amesh");
  await Deno.mkdir(join(work, "deno"));
  const sourceTests = SOURCE_TESTS.filter(exists);

  const builds = async () => {
    await part("Bun executable", () => build("AMESH_TEST_BUN", bun, () => compile("bun", bun)));
    await part(
      "Deno executable",
      () => build("AMESH_TEST_DENO", deno, () => compileDeno(deno, join(work, "bundle"))),
    );
    await part("Bun executable for musl", () => build("AMESH_TEST_MUSL", musl, () => compileMusl(musl)));
  };
  const built = builds();
  const firstLane = async () => {
    await built;
    await part("command line scripts", () => denoTests(["tests/cli"], join(work, "cli.xml"), executables));
  };
  const secondLane = async () => {
    await part("format, lint, types", () => program([DENO, "task", "check"]));
    await part("tests on Deno", () => denoTests(sourceTests, join(work, "deno.xml")));
    await part("tests on Bun", () => bunTests(sourceTests, join(work, "bun.xml")));
    await part(
      "examples of the documentation",
      () => denoTests(["tests/examples"], join(work, "examples.xml")),
    );
    await built;
    await part(
      "executables",
      () => denoTests(["tests/executable"], join(work, "executable.xml"), executables),
    );
    await part(
      "the install script",
      () => denoTests(["tests/install"], join(work, "install.xml"), executables),
    );
    await part(
      "containers",
      () => denoTests(["tests/container"], join(work, "container.xml"), executables),
    );
    await part("release", () => denoTests(["tests/release"], join(work, "release.xml"), executables));
    await part("commands that are killed (a sample)", () => killSample(executables));
    await part("commands at the same time (a sample)", () => raceSample(executables));
  };
  await Promise.all([firstLane(), secondLane()]);
}

async function main(): Promise<number> {
  const work = await Deno.makeTempDir({ prefix: "amesh-test-" });
  // The programs that run are told by runProgram; this comes after.
  Deno.addSignalListener("SIGINT", () =>
    setTimeout(() => {
      Deno.removeSync(work, { recursive: true });
      Deno.exit(130);
    }, 200));
  try {
    await run(work);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  const sum = (count: (result: Result) => number) =>
    results.reduce((total, result) => total + count(result), 0);
  const failures = sum((result) => result.failed);
  const skips = sum((result) => result.skipped.length);
  console.log(`${sum((result) => result.passed)} passed, ${failures} failed, ${skips} skipped`);
  return failures === 0 ? 0 : 1;
}

// A bare `deno test` takes this file for a test by its name.
if (import.meta.main) Deno.exitCode = await main();
