/** An executable runs from its one file: it unpacks nothing, on no disk and in no file in memory. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { NO_TPM } from "../support/environment.ts";
import { absentTargets, targets } from "../support/executables.ts";
import { copyFixture } from "../support/fixture.ts";
import { cannotTrace, pathsOf, Scratch, trace } from "./harness.ts";

const skip = cannotTrace();
/** All calls by which a file comes into being; open(2) is one with the right flags. */
const MAKING = "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat," +
  "rename,renameat,renameat2,memfd_create";
const makes = (call: string) => !/\b(open|openat|openat2)\(/.test(call) || /O_CREAT|O_TMPFILE/.test(call);

/** A life, as a shell runs it; `$@` is amesh. */
const LIFE = [
  '"$@" --version',
  '"$@" init --name a --backend encrypted-file',
  'AUTH_MESH_DIR=$HOME/.amesh-floor "$@" sign --out signature document',
  '"$@" doctor',
].join(" && ");

for (const target of targets().filter(({ name }) => name !== "source")) {
  test(`${target.name}: makes no files but the identity's`, { skip }, () => {
    using scratch = new Scratch();
    const home = scratch.directory();
    copyFixture("floor", join(home, ".amesh-floor"));
    writeFileSync(join(home, "document"), "a document\n");
    const env = { HOME: home, AMESH_TPM_TCTI: NO_TPM };
    const argv = ["/bin/sh", "-ec", LIFE, "sh", ...target.argv];
    const { code, stderr, calls } = trace(MAKING, argv, { cwd: home, env });
    assert.equal(code, 0, stderr);
    const made = calls.filter((call) => call.includes("(") && !/\) = -1 |^\d+ (\+\+\+|---)/.test(call))
      .filter(makes);
    assert.deepEqual(made.filter((call) => call.includes("memfd_create(")), []);
    const paths = new Set(pathsOf(made, home));
    assert.ok(paths.has(join(home, ".amesh", "identity.json")), "nothing was watched");
    const ours = (path: string) =>
      /^\/(\.amesh(-floor)?(\/.*)?|signature|\.signature\..*)$/.test(path.slice(home.length));
    assert.deepEqual([...paths].filter((path) => !path.startsWith(home) || !ours(path)), []);
  });
}

for (const { name, reason } of absentTargets()) {
  test(`${name}: makes no files but the identity's (${reason})`, { skip: reason }, () => {});
}
