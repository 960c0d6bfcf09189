import assert from "node:assert/strict";
import { chmodSync, copyFileSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { endProcess, ownCommandLine, ownExecutable, programOf, spawn } from "../../../src/platform/spawn.ts";
import { evaluation, projectUrl, runChild } from "../../support/child_process.ts";
import { withPython } from "../../support/sockets.ts";
import { ended, outputOf, pause } from "../../support/spawned.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const PYTHON = "/usr/bin/python3";
const linux = process.platform === "linux";
const onLinux = linux ? "" : ": Linux only";
const asRoot = { skip: withPython.skip || process.geteuid?.() !== 0 };
const SPAWN = JSON.stringify(projectUrl("src/platform/spawn.ts"));

test("detach() leaves the session and lets go of the standard streams", () => {
  using directory = temporaryDirectory();
  const code = `
    import { detach } from ${SPAWN};
    import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
    const session = () => readFileSync("/proc/self/stat", "utf8").replace(/.*\\) /, "").split(" ")[3];
    const before = session();
    console.log("before");
    detach();
    console.log("after");
    console.error("after");
    // Now it leads a session, and a group.
    detach();
    const streams = [0, 1, 2].map((fd) => readlinkSync("/proc/self/fd/" + fd));
    writeFileSync(${JSON.stringify(directory.file("out"))},
      JSON.stringify([before !== session(), session() === String(globalThis.process.pid), streams]));`;
  const { code: exitCode, stdout, stderr } = runChild(evaluation(code), { input: "" });
  assert.deepEqual([exitCode, stdout, stderr], [0, "before\n", ""]);
  const null_ = "/dev/null";
  assert.deepEqual(JSON.parse(readFileSync(directory.file("out"), "utf8")), [true, true, [
    null_,
    null_,
    null_,
  ]]);
});

test("ownCommandLine() and ownExecutable() are what starts this program again", async () => {
  const code = `
    import { ownCommandLine, ownExecutable } from ${SPAWN};
    console.log(JSON.stringify([ownCommandLine(), ownExecutable()]));`;
  const command = [...evaluation(code), "", "ü b"];
  const { stdout, stderr } = runChild(command);
  const [line, executable] = JSON.parse(stdout || stderr);
  assert.deepEqual(line, command);
  const again = await outputOf(executable, line);
  assert.equal(again, stdout);
  assert.ok(ownCommandLine().length > 1);
  assert.equal(
    await outputOf(ownExecutable(), ["name", "--version"]),
    runChild([process.execPath, "--version"]).stdout,
  );
});

test(`ownExecutable() still starts a program whose file was replaced${onLinux}`, { skip: !linux }, () => {
  using directory = temporaryDirectory();
  const copy = directory.file("runtime");
  copyFileSync(process.execPath, copy);
  const code = `
    import { ownExecutable, programOf, spawn, waitExit } from ${SPAWN};
    import { unlinkSync } from "node:fs";
    unlinkSync(${JSON.stringify(copy)});
    const pid = spawn({ path: ownExecutable(), argv: ["name", "--version"], descriptors: { 1: 1 } });
    while (waitExit(pid) === null) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log(programOf(globalThis.process.pid));`;
  const [, ...args] = evaluation(code);
  const { stdout, stderr } = runChild([copy, ...args]);
  assert.equal(stdout, `${runChild([process.execPath, "--version"]).stdout}runtime\n`, stderr);
});

test("programOf() tells the file that a process runs", async () => {
  assert.equal(programOf(process.pid), basename(process.execPath));
  assert.equal(programOf(0x7fffffff), null);
  const pid = spawn({ path: "/bin/sleep", argv: ["another name", "60"], descriptors: {} });
  assert.match(programOf(pid)!, /^(sleep|coreutils|busybox)$/);
  endProcess(pid, 9);
  await ended(pid);
});

test(`programOf() shows no control characters of a name${onLinux}`, { skip: !linux }, async () => {
  using directory = temporaryDirectory();
  const program = directory.file("a\n\u001b[31m\u202eb");
  copyFileSync("/bin/sleep", program);
  chmodSync(program, 0o700);
  const pid = spawn({ path: program, argv: ["sleep", "60"], descriptors: {} });
  assert.equal(programOf(pid), "a??[31m?b");
  endProcess(pid, 9);
  await ended(pid);
});

test(
  `programOf() tells what another user's process calls itself${asRoot.skip ? ": needs root" : ""}`,
  asRoot,
  async () => {
    const script = String
      .raw`import time; open("/proc/self/comm", "w").write("pinentry\x1bx"); time.sleep(60)`;
    const pid = spawn({ path: PYTHON, argv: ["python3", "-c", script], descriptors: {} });
    const ownName = () => readFileSync(`/proc/${pid}/comm`, "utf8");
    for (let tries = 0; tries < 3_000 && !ownName().startsWith("pinentry"); tries++) await pause(2);
    const code = `
      import { programOf } from ${SPAWN};
      globalThis.process.seteuid(65534);
      console.log(programOf(${pid}));`;
    const { stdout, stderr } = runChild(evaluation(code));
    assert.equal(stdout, "pinentry?x\n", stderr);
    endProcess(pid, 9);
    await ended(pid);
  },
);
