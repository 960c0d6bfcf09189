import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { test } from "node:test";
import { acquireLock } from "../../../src/platform/lock.ts";
import { evaluation, isDeno, projectUrl, runChild, startChild } from "../../support/child_process.ts";
import { setEnvironment } from "../../support/environment.ts";
import { ameshError } from "../../support/errors.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const busy = ameshError("ERR_BUSY", /^cannot change ".*": another amesh is changing it$/);

/** JavaScript that takes the lock, says what came of it and then runs `then`. */
function locking(path: string, then: string): string {
  return `
    import { acquireLock } from ${JSON.stringify(projectUrl("src/platform/lock.ts"))};
    try {
      const lock = acquireLock(${JSON.stringify(path)});
      console.log("locked");
      ${then}
    } catch (error) {
      console.log(error.code, error.hint);
    }`;
}
const HOLD = "setInterval(() => {}, 1000);";

test("acquireLock() makes the lock file 0600, lets one in and leaves the file", () => {
  using directory = temporaryDirectory();
  const path = directory.file(".lock");
  {
    using _lock = acquireLock(path);
    assert.equal(lstatSync(path).mode & 0o7777, 0o600);
    assert.throws(() => acquireLock(path), busy);
  }
  assert.deepEqual(readdirSync(directory.path), [".lock"]);
  using _again = acquireLock(path);
});

test("acquireLock() of another directory is another lock", () => {
  using a = temporaryDirectory();
  using b = temporaryDirectory();
  using _a = acquireLock(a.file(".lock"));
  using _b = acquireLock(b.file(".lock"));
});

test("acquireLock() loses at once against another process, and wins when that one is killed", async () => {
  using directory = temporaryDirectory();
  const path = directory.file(".lock");
  const holder = startChild(evaluation(locking(path, HOLD)));
  try {
    assert.equal(await holder.firstLine, "locked");
    assert.throws(() => acquireLock(path), busy);
  } finally {
    await holder.kill();
  }
  using _lock = acquireLock(path);
});

test("acquireLock() refuses a lock file that others can open, and a link", () => {
  using _environment = setEnvironment();
  using directory = temporaryDirectory();
  const path = directory.file(".lock");
  writeFileSync(path, "");
  chmodSync(path, 0o644);
  assert.throws(() => acquireLock(path), ameshError("ERR_UNSAFE_PERMISSIONS", /mode 0644/));
  symlinkSync(path, directory.file("link"));
  assert.throws(
    () => acquireLock(directory.file("link")),
    ameshError("ERR_UNSAFE_PERMISSIONS", /symbolic link$/),
  );
});

test("acquireLock() explains a directory that is not there and a lock that is no file", () => {
  using directory = temporaryDirectory();
  assert.throws(
    () => acquireLock(directory.file("no/.lock")),
    ameshError("ERR_SYSTEM", /no such file or directory$/),
  );
  assert.throws(() => acquireLock(directory.path), ameshError("ERR_SYSTEM", /^cannot lock /));
});

// What stands in where there is no flock: strace answers flock(2) as such a file system does.
const strace = [
  "strace",
  "-f",
  "-qq",
  "-o",
  "/dev/null",
  "-e",
  "trace=flock",
  "-e",
  "inject=flock:error=ENOLCK",
];
const canInject = spawnSync(strace[0]!, [...strace.slice(1), "true"]).status === 0;
const injected = (code: string) => [...strace, ...evaluation(code)];
const withStrace = canInject ? "" : ": there is no strace";

/** The owner file of a process that holds the lock: what it says of itself, word by word. */
async function makeOwner(): Promise<string[]> {
  using directory = temporaryDirectory();
  const path = directory.file(".lock");
  const holder = startChild(injected(locking(path, HOLD)));
  try {
    assert.equal(await holder.firstLine, "locked");
    assert.equal(lstatSync(`${path}.owner`).mode & 0o7777, 0o600);
    const loser = runChild(injected(locking(path, "")));
    assert.match(loser.stdout, /^ERR_BUSY if no other amesh runs, remove .*\.lock\.owner\n$/);
  } finally {
    await holder.kill();
  }
  return readFileSync(`${path}.owner`, "utf8").trimEnd().split(" ");
}
let owner: Promise<string[]> | undefined;

test(
  `acquireLock() without flock holds .lock.owner and removes it${withStrace}`,
  { skip: !canInject },
  () => {
    using directory = temporaryDirectory();
    const code = locking(directory.file(".lock"), "lock[Symbol.dispose](); console.log('released');");
    const { stdout, stderr } = runChild(injected(code));
    assert.equal(stdout, "locked\nreleased\n", stderr);
    assert.deepEqual(readdirSync(directory.path), [".lock"]);
  },
);

// Above the largest number that Linux gives to a process.
const DEAD = "2147483647";
const bootId = canInject ? readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim() : "";
const OTHER_BOOT = "00000000-0000-0000-0000-000000000000";
// Without a machine id another machine's file looks like one of an earlier boot, so it is not touched.
const knowsMachine = existsSync("/etc/machine-id") && readFileSync("/etc/machine-id", "utf8").trim() !== "";

const owners: [name: string, change: (words: string[]) => string, want: "locked" | "ERR_BUSY"][] = [
  ["a dead process", ([, ...rest]) => `${[DEAD, ...rest].join(" ")}\n`, "locked"],
  ["a living process", ([, ...rest]) => `${["1", ...rest].join(" ")}\n`, "ERR_BUSY"],
  [
    "a process of an earlier boot",
    ([, ...rest]) => `${["1", ...rest].map((word) => word === bootId ? OTHER_BOOT : word).join(" ")}\n`,
    knowsMachine ? "locked" : "ERR_BUSY",
  ],
  [
    "a process of another machine",
    (words) => `${words.with(0, DEAD).with(-1, "0123456789abcdef").join(" ")}\n`,
    "ERR_BUSY",
  ],
  ["nobody yet, its line not being written", () => "", "ERR_BUSY"],
  ["a line that is cut off", ([, ...rest]) => [DEAD, ...rest.slice(0, -1)].join(" "), "ERR_BUSY"],
  ["something that is no owner", () => "what is this here anyway\n", "ERR_BUSY"],
];
for (const [name, change, want] of owners) {
  test(
    `acquireLock() without flock finds .lock.owner of ${name}: ${want}${withStrace}`,
    { skip: !canInject },
    async () => {
      using directory = temporaryDirectory();
      const path = directory.file(".lock");
      writeFileSync(`${path}.owner`, change(await (owner ??= makeOwner())), { mode: 0o600 });
      const { stdout, stderr } = runChild(injected(locking(path, "lock[Symbol.dispose]();")));
      assert.ok(stdout.startsWith(want), stdout + stderr);
      const left = want === "locked" ? [".lock"] : [".lock", ".lock.owner"];
      assert.deepEqual(readdirSync(directory.path).sort(), left);
    },
  );
}

test(`acquireLock() without libc holds .lock.owner${isDeno ? "" : ": Bun cannot be denied it"}`, {
  skip: !isDeno,
}, () => {
  using directory = temporaryDirectory();
  const path = directory.file(".lock");
  const code = locking(
    path,
    `
    try { acquireLock(${JSON.stringify(path)}); } catch (error) { console.log(error.code); }
    lock[Symbol.dispose]();`,
  );
  const flags = [
    `--allow-read=${directory.path}`,
    `--allow-write=${directory.path}`,
    "--allow-env",
    "--allow-sys",
  ];
  const { stdout, stderr } = runChild(evaluation(code, flags));
  assert.equal(stdout, "locked\nERR_BUSY\n", stderr);
  assert.deepEqual(readdirSync(directory.path), [".lock"]);
});
