/** Nothing in the working directory takes part: neither what a runtime looks for nor what a library is called. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { absentTargets, targets } from "../support/executables.ts";
import { amesh, cannotTrace, everyCommand, pathsOf, Scratch, trace } from "./harness.ts";

const skip = cannotTrace();

const LIBRARIES = [
  "libc.so.6",
  "libc.so",
  "libpthread.so.0",
  "libdl.so.2",
  "libcrypto.so.3",
  "libtss2-esys.so.0",
  "libSystem.B.dylib",
];

/** Fills a directory with what Bun, Deno, Node.js and a library loader look for. */
function plant(directory: string, elsewhere: string): void {
  const marker = join(directory, "EXECUTED");
  const code = `require("node:fs").writeFileSync(${JSON.stringify(marker)}, "");`;
  const env =
    `AUTH_MESH_DIR=${elsewhere}\nAUTH_MESH_PASSPHRASE=planted\nBUN_OPTIONS=--preload ./planted.cjs\n`;
  const files: Record<string, string> = {
    ".env": env,
    ".env.local": env,
    ".env.production": env,
    ".npmrc": "registry=http://127.0.0.1:9/\n",
    "bunfig.toml": 'preload = ["./planted.cjs"]\n[test]\npreload = ["./planted.cjs"]\n',
    "deno.json": '{ "imports": { "valibot": "./planted.cjs", "@stricli/core": "./planted.cjs" } }',
    "package.json": '{ "type": "commonjs", "main": "planted.cjs", "imports": { "#amesh": "./planted.cjs" } }',
    "tsconfig.json": '{ "compilerOptions": { "baseUrl": ".", "paths": { "*": ["./planted.cjs"] } } }',
    "planted.cjs": code,
    "index.ts": code,
    "main.ts": code,
    "amesh": `#!/bin/sh\n: > ${marker}\n`,
    "node_modules/valibot/index.js": code,
    "node_modules/@stricli/core/index.js": code,
    ...Object.fromEntries(LIBRARIES.map((name) => [name, "not a library"])),
  };
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), content, { mode: 0o755 });
  }
}

for (const target of targets()) {
  test(`${target.name}: obeys no file of a hostile working directory`, () => {
    using scratch = new Scratch();
    const cwd = scratch.directory();
    const elsewhere = join(scratch.path, "elsewhere");
    plant(cwd, elsewhere);
    const home = scratch.directory();
    for (const [args, expected] of everyCommand(scratch.path)) {
      const { code, stdout, stderr } = amesh(target, args, { cwd, env: { HOME: home } });
      assert.equal(code, expected, `${args.join(" ")}: ${stdout}${stderr}`);
    }
    assert.equal(existsSync(elsewhere), false, "AUTH_MESH_DIR of .env");
    assert.equal(existsSync(join(home, ".amesh", ".passphrase")), true, "AUTH_MESH_PASSPHRASE of .env");
    assert.equal(existsSync(join(cwd, "EXECUTED")), false, "code of the directory");
  });

  // `deno run` looks around where it is started, on its own account.
  if (target.name === "source") continue;
  test(`${target.name}: opens no file of a hostile working directory`, { skip }, () => {
    using scratch = new Scratch();
    const cwd = scratch.directory();
    plant(cwd, join(scratch.path, "elsewhere"));
    const setting = { cwd, env: { HOME: scratch.directory(), ...target.env } };
    for (const [args, expected] of everyCommand(scratch.path)) {
      const { code, stderr, calls } = trace("%file", [...target.argv, ...args], setting);
      assert.equal(code, expected, `${args.join(" ")}: ${stderr}`);
      const inside = pathsOf(calls, cwd).filter((path) => path.startsWith(`${cwd}/`));
      assert.deepEqual(inside, [], args.join(" "));
    }
  });
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: obeys no file of a hostile working directory (${reason})`, { skip: reason }, () => {});
  test(`${name}: opens no file of a hostile working directory (${reason})`, { skip: reason }, () => {});
}
