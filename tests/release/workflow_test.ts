/** `.github/workflows/release.yml`, which no test can run: what must be so in it all the same. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { TARGETS } from "../../scripts/compile.ts";
import { checkScript } from "../support/shellcheck.ts";
import { ROOT } from "../support/project_files.ts";
import { run } from "./place.ts";

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}
interface Job {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly steps: readonly Step[];
  readonly needs?: string | readonly string[];
}

const text = readFileSync(join(ROOT, ".github", "workflows", "release.yml"), "utf8");
const workflow: { on: unknown; permissions: unknown; jobs: Record<string, Job> } = parse(text);
const jobs = Object.entries(workflow.jobs);
const steps = jobs.flatMap(([, job]) => job.steps);
const scripts = steps.flatMap((step) => step.run ?? []);

test("the release workflow runs for a tag of a version and for nothing else", () => {
  assert.deepEqual(workflow.on, { push: { tags: ["v*"] } });
});

test("every action is pinned by its commit, with its version beside it", () => {
  const uses = text.split("\n").filter((line) => line.includes("uses:"));
  assert.equal(uses.length, steps.filter((step) => step.uses !== undefined).length);
  assert.ok(uses.length > 5);
  for (const line of uses) assert.match(line, /uses: actions\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
});

test("only the job that publishes may write, and only what publishing needs", () => {
  assert.deepEqual(workflow.permissions, { contents: "read" });
  const permissions = jobs.flatMap(([name, job]) =>
    job.permissions === undefined ? [] : [[name, job.permissions]]
  );
  assert.deepEqual(permissions, [
    ["publish", { contents: "write", "id-token": "write", attestations: "write" }],
    ["tap", {}],
  ]);
  for (const { uses, with: options } of steps) {
    if (uses?.startsWith("actions/checkout@")) assert.equal(options?.["persist-credentials"], false);
  }
});

test("secrets come by the environment of the one step that needs them, and nothing is pasted into a script", () => {
  for (const script of scripts) assert.doesNotMatch(script, /\$\{\{/);
  const inEnvironment = steps.flatMap((step) => Object.values(step.env ?? {}))
    .filter((value) => value.includes("secrets."));
  assert.ok(inEnvironment.length >= 5);
  assert.equal(text.match(/secrets\./g)?.length, inEnvironment.length);
});

// The shell of a step ends at the first command that fails.
test("shellcheck finds nothing in the steps, which are bash", () => {
  assert.ok(scripts.length > 5);
  for (const script of scripts) assert.equal(checkScript(`set -eo pipefail\n${script}`, "bash"), "");
});

test("every target is compiled once, those for macOS on a Mac with the team that signs them", () => {
  const compiled = (job: string) => {
    const script = workflow.jobs[job]!.steps.map((step) => step.run ?? "").join("\n");
    return TARGETS.filter(({ name }) =>
      new RegExp(`(?<![\\w-])${name}(?![\\w-])`).test(script.replaceAll("dist/amesh-", ""))
    ).map(
      ({ name }) => name,
    );
  };
  const [mac, others] = [compiled("macos"), compiled("executables")];
  assert.deepEqual(mac, ["darwin-x64", "darwin-arm64"]);
  assert.deepEqual([...mac, ...others].sort(), TARGETS.map(({ name }) => name).sort());
  for (const target of mac) assert.ok(text.includes(`--target ${target} --team-id "$AMESH_TEAM_ID"`), target);
});

test("what the workflow tells the release task is what it takes", () => {
  const script = scripts.find((found) => found.includes("deno task release"))!;
  const named = [...script.matchAll(/ (--[a-z-]+)/g)].map(([, name]) => name!);
  const { stdout } = run([
    Deno.execPath(),
    "run",
    "--allow-all",
    join(ROOT, "scripts", "release.ts"),
    "--help",
  ]);
  assert.deepEqual(named, ["--version", "--executables", "--helper", "--minisign-key", "--releases"]);
  for (const name of named) assert.ok(stdout.includes(name), name);
});
