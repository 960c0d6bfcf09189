/** The workflows are YAML, and every step of them is something that is there. They run on machines that nobody here has. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { projectFiles, ROOT } from "../../support/project_files.ts";
import { checkScript, shellcheckMissing } from "../../support/shellcheck.ts";

interface Step {
  readonly name?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly if?: string;
  readonly "continue-on-error"?: boolean;
}

interface Workflow {
  readonly on: Readonly<Record<string, unknown>>;
  readonly permissions: Readonly<Record<string, string>>;
  readonly defaults: { readonly run: { readonly shell: string } };
  readonly jobs: Readonly<Record<string, { readonly "runs-on": string; readonly steps: readonly Step[] }>>;
}

const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const paths = projectFiles((path) => /^\.github\/workflows\/.*\.ya?ml$/.test(path));
const workflows = new Map(paths.map((path) => [path, parse(read(path)) as Workflow]));
const stepsOf = ({ jobs }: Workflow) => Object.values(jobs).flatMap(({ steps }) => steps);
const skip = shellcheckMissing();

test("the workflow for macOS is found", () => assert.ok(paths.includes(".github/workflows/macos.yml")));

for (const [path, workflow] of workflows) {
  test(`${path} may only read, and every step does one thing`, () => {
    assert.deepEqual(workflow.permissions, { contents: "read" });
    for (const job of Object.values(workflow.jobs)) assert.equal(typeof job["runs-on"], "string");
    for (const step of stepsOf(workflow)) {
      assert.equal(
        [step.uses, step.run].filter((what) => typeof what === "string").length,
        1,
        JSON.stringify(step),
      );
    }
  });

  test(`${path} uses actions by their commit`, () => {
    for (const { uses } of stepsOf(workflow)) {
      if (uses !== undefined) assert.match(uses, /^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
    }
  });

  test(`${path}: shellcheck reads its steps`, { skip }, () => {
    assert.equal(workflow.defaults.run.shell, "bash");
    for (const { name, run } of stepsOf(workflow)) {
      if (run !== undefined) assert.equal(checkScript(`set -eo pipefail\n${run}`, "bash"), "", name);
    }
  });

  test(`${path} names files, tasks and versions that are there`, () => {
    const { tasks } = JSON.parse(read("deno.json"));
    const text = stepsOf(workflow).map(({ run }) => run ?? "").join("\n");
    const files = [
      ...text.matchAll(/(?:^|[\s./])((?:tests|scripts|swift-helper|packaging)(?:\/[\w.-]+)*)/gm),
    ];
    assert.ok(files.length > 0);
    for (const [, file] of files) assert.ok(existsSync(join(ROOT, file!)), file);
    const named = [...text.matchAll(/deno task ([\w:]+)/g)];
    assert.ok(named.length > 0);
    for (const [, task] of named) assert.ok(task! in tasks, task);
    for (const [, program, version] of text.matchAll(/\b(deno|bun)@([\d.]+)/g)) {
      const source = program === "deno" ? "README.md" : "scripts/build.ts";
      assert.match(
        read(source),
        new RegExp(program === "deno" ? `deno@${version} ` : `"${version}"`),
        program,
      );
    }
  });
}

test("the workflow for macOS reports every fact that docs/macos.md asks for, and fails by none", () => {
  const steps = stepsOf(workflows.get(".github/workflows/macos.yml")!);
  const reported = steps.flatMap((step) => {
    const [, fact] = /^tests\/macos\/facts\.sh (\S+)$/.exec(step.run ?? "") ?? [];
    if (fact === undefined) return [];
    assert.deepEqual([step.if, step["continue-on-error"]], ["always()", true], fact);
    return [fact];
  });
  const written = [...read("tests/macos/facts.sh").matchAll(/^fact_(\w+)\(\)/gm)];
  assert.ok(written.length > 5);
  assert.deepEqual(written.map(([, name]) => name!.replaceAll("_", "-")), reported);
  const documented = [...read("docs/macos.md").matchAll(/^\| `([a-z0-9-]+)` +\|/gm)].map(([, name]) => name);
  assert.deepEqual(documented, reported);
});
