/** An executable needs nothing but itself and HOME, and leaves nothing but its own directory. */
import assert from "node:assert/strict";
import { copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { VERSION } from "../../src/version.ts";
import { absentTargets, targets } from "../support/executables.ts";
import { amesh, everyCommand, Scratch } from "./harness.ts";

for (const target of targets().filter(({ name }) => name !== "source")) {
  test(`${target.name}: works alone in an empty directory with an empty environment but HOME`, () => {
    using scratch = new Scratch();
    const cwd = scratch.directory();
    copyFileSync(target.argv[0]!, join(cwd, "amesh"));
    const alone = { ...target, argv: [join(cwd, "amesh")] };
    const setting = { cwd, env: { HOME: scratch.directory() } };
    for (const [args, expected] of everyCommand(scratch.path)) {
      const { code, stderr } = amesh(alone, args, setting);
      assert.equal(code, expected, `${args.join(" ")}: ${stderr}`);
    }
    assert.equal(amesh(alone, ["--version"], setting).stdout, `amesh ${VERSION}\n`);
    assert.deepEqual(readdirSync(cwd), ["amesh"]);
  });
}

for (const target of targets()) {
  test(`${target.name}: leaves nothing but its own directory`, () => {
    using scratch = new Scratch();
    const [cwd, home, temporary] = [scratch.directory(), scratch.directory(), scratch.directory()];
    const setting = { cwd, env: { HOME: home, TMPDIR: temporary } };
    for (const [args, expected] of everyCommand(scratch.path)) {
      const { code, stderr } = amesh(target, args, setting);
      assert.equal(code, expected, `${args.join(" ")}: ${stderr}`);
    }
    assert.deepEqual([cwd, home, temporary].map((path) => readdirSync(path)), [[], [".amesh"], []]);
  });
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: works alone in an empty directory (${reason})`, { skip: reason }, () => {});
  test(`${name}: leaves nothing but its own directory (${reason})`, { skip: reason }, () => {});
}
