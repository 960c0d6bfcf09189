import assert from "node:assert/strict";
import { chmodSync, existsSync, readdirSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { encodeHex, utf8 } from "../../../src/bytes.ts";
import { errnoOf } from "../../../src/errors.ts";
import { findInput } from "../../../src/platform/input.ts";
import {
  hasEnvironmentVariable,
  libcPaths,
  lockFile,
  processExists,
  readPointer,
  takeEnvironmentSecret,
  variableAddress,
} from "../../../src/platform/libc.ts";
import { isTerminal, openDescriptor, openSystemFile } from "../../../src/platform/system_file.ts";
import { evaluation, isDeno, projectUrl, runChild } from "../../support/child_process.ts";
import * as descriptors from "../../support/descriptors.ts";
import { setEnvironment } from "../../support/environment.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const VARIABLE = "AUTH_MESH_PASSPHRASE";
const LIBC = JSON.stringify(projectUrl("src/platform/libc.ts"));
const linux = process.platform === "linux";
const linuxOnly = { skip: !linux };
const onLinux = linux ? "" : ": Linux only";

const values: [name: string, value: string | undefined, want: boolean][] = [
  ["set", "secret", true],
  ["set to a space", " ", true],
  ["empty", "", false],
  ["not set", undefined, false],
];
for (const [name, value, want] of values) {
  test(`hasEnvironmentVariable() is ${want} for a variable that is ${name}, takeEnvironmentSecret() takes it`, () => {
    using _environment = setEnvironment(value === undefined ? {} : { [VARIABLE]: value });
    assert.equal(hasEnvironmentVariable(VARIABLE), want);
    assert.deepEqual(takeEnvironmentSecret(VARIABLE), utf8(value ?? ""));
    assert.equal(hasEnvironmentVariable(VARIABLE), false);
    assert.equal(process.env[VARIABLE], undefined);
    assert.deepEqual(takeEnvironmentSecret(VARIABLE), new Uint8Array(0));
  });
}

test("takeEnvironmentSecret() leaves other variables alone", () => {
  using _environment = setEnvironment({ [VARIABLE]: "secret", AMESH_PASSPHRASE_FILE: "/file" });
  takeEnvironmentSecret(VARIABLE);
  assert.equal(process.env["AMESH_PASSPHRASE_FILE"], "/file");
});

const SECRET = "s3cret-\u00fc\u20ac in the environment";

test(`takeEnvironmentSecret() leaves nothing in /proc/self/environ${onLinux}`, linuxOnly, () => {
  const code = `
    import { takeEnvironmentSecret } from ${LIBC};
    import { readFileSync } from "node:fs";
    const block = () => readFileSync("/proc/self/environ").toString("utf8");
    const before = block().includes(${JSON.stringify(SECRET)});
    const taken = new TextDecoder().decode(takeEnvironmentSecret(${JSON.stringify(VARIABLE)}));
    const { execFileSync } = await import("node:child_process");
    const child = execFileSync("env").toString().includes(${JSON.stringify(VARIABLE)});
    console.log(JSON.stringify([before, taken, block().includes("s3cret"), block().includes("PATH="), child]));`;
  const { stdout, stderr } = runChild(evaluation(code), { env: { [VARIABLE]: SECRET } });
  assert.deepEqual(JSON.parse(stdout || stderr), [true, SECRET, false, true, false]);
});

test("takeEnvironmentSecret() gives bytes that are no UTF-8 as they stand", () => {
  const code = `
    import { takeEnvironmentSecret } from ${LIBC};
    console.log(takeEnvironmentSecret(${JSON.stringify(VARIABLE)}).toHex());`;
  const command = evaluation(code).map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const script = `${VARIABLE}="$(printf 'a\\377\\303(b')" exec ${command}`;
  const { stdout, stderr } = runChild(["sh", "-c", script]);
  assert.equal(stdout, `${encodeHex(Uint8Array.of(0x61, 0xff, 0xc3, 0x28, 0x62))}\n`, stderr);
});

test(
  `without libc the variable is seen, taken and unset all the same${
    isDeno ? "" : ": Bun cannot be denied it"
  }`,
  { skip: !isDeno },
  () => {
    const code = `
    import { forbidInspection, hasEnvironmentVariable, takeEnvironmentSecret } from ${LIBC};
    const name = ${JSON.stringify(VARIABLE)};
    const had = hasEnvironmentVariable(name);
    const taken = new TextDecoder().decode(takeEnvironmentSecret(name));
    console.log(JSON.stringify([had, taken, hasEnvironmentVariable(name), forbidInspection()]));`;
    const { stdout, stderr } = runChild(evaluation(code, ["--allow-env"]), { env: { [VARIABLE]: SECRET } });
    assert.deepEqual(JSON.parse(stdout || stderr), [true, SECRET, false, false]);
  },
);

test("lockFile() lets one in, and the next when that one has left", () => {
  using directory = temporaryDirectory();
  const path = directory.file("lock");
  writeFileSync(path, "", { mode: 0o600 });
  const first = lockFile(path);
  assert.notEqual(first, "busy");
  assert.equal(lockFile(path), "busy");
  (first as Disposable)[Symbol.dispose]();
  const second = lockFile(path);
  assert.notEqual(second, "busy");
  (second as Disposable)[Symbol.dispose]();
});

test("lockFile() throws what open(2) says, and follows no link", () => {
  using directory = temporaryDirectory();
  const fails = (path: string, errno: string) =>
    assert.throws(() => lockFile(path), (error) => {
      assert.equal(errnoOf(error), errno);
      return true;
    });
  fails(directory.file("none"), "ENOENT");
  assert.equal(existsSync(directory.file("none")), false);
  writeFileSync(directory.file("real"), "");
  symlinkSync("real", directory.file("link"));
  fails(directory.file("link"), "ELOOP");
  fails(directory.path, "EISDIR");
});

const asUser = linux && process.geteuid?.() === 0;
test(`lockFile() throws EACCES for a file that may not be opened${asUser ? "" : ": needs root"}`, {
  skip: !asUser,
}, () => {
  using directory = temporaryDirectory();
  const path = directory.file("lock");
  writeFileSync(path, "");
  chmodSync(path, 0o000);
  chmodSync(directory.path, 0o755);
  const code = `
    import { lockFile } from ${LIBC};
    globalThis.process.seteuid(65534);
    try { lockFile(${JSON.stringify(path)}); } catch (error) { console.log(error.code); }`;
  const { stdout, stderr } = runChild(evaluation(code));
  assert.equal(stdout, "EACCES\n", stderr);
});

test("processExists() knows this process, one of another user and none", () => {
  assert.equal(processExists(process.pid), true);
  assert.equal(processExists(1), true);
  // Above the largest number that Linux and macOS give to a process.
  assert.equal(processExists(0x7fffffff), false);
});

test(`forbidInspection() makes the process not dumpable${onLinux}`, linuxOnly, () => {
  const code = `
    import { forbidInspection } from ${LIBC};
    import { library } from ${JSON.stringify(projectUrl("src/ffi/ffi.ts"))};
    const arch = globalThis.process.arch === "arm64" ? "aarch64" : "x86_64";
    const { prctl } = library(() => ["/lib/" + arch + "-linux-gnu/libc.so.6"], {
      prctl: { parameters: ["i32", "size", "size", "size", "size"], result: "i32" },
    });
    const PR_GET_DUMPABLE = 3;
    const dumpable = () => prctl(PR_GET_DUMPABLE, 0n, 0n, 0n, 0n);
    console.log(JSON.stringify([dumpable(), forbidInspection(), dumpable()]));`;
  const { stdout, stderr } = runChild(evaluation(code));
  assert.deepEqual(JSON.parse(stdout || stderr), [1, true, 0]);
});

test(`openSystemFile() reads below /proc and /sys${onLinux}`, linuxOnly, () => {
  using file = openSystemFile("/proc/self/stat");
  const buffer = new Uint8Array(4096);
  const text = new TextDecoder().decode(buffer.subarray(0, file.read(buffer)));
  assert.equal(text.split(" ")[0], `${process.pid}`);
  assert.equal(file.read(buffer), 0);
  assert.equal(file.info().kind, "file");
  assert.throws(() => file.write(buffer), { code: "EBADF" });
});

test(`openSystemFile() tells of a file what stat(2) tells${onLinux}`, linuxOnly, () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "12345");
  chmodSync(directory.file("f"), 0o640);
  for (const path of [directory.file("f"), directory.path, "/dev/null", "/proc/self/status"]) {
    using file = openSystemFile(path);
    assert.deepEqual(file.info(), findInput(path), path);
  }
});

test("openSystemFile() throws what open(2) and read(2) say", () => {
  assert.throws(() => openSystemFile("/proc/nothing"), (error) => errnoOf(error) === "ENOENT");
  using directory = openSystemFile("/dev");
  assert.throws(() => directory.read(new Uint8Array(1)), (error) => errnoOf(error) === "EISDIR");
});

test("openDescriptor() reads what this process was given, and closing the handle leaves it open", () => {
  using directory = temporaryDirectory();
  writeFileSync(directory.file("f"), "1234567");
  using descriptor = descriptors.openDescriptor(directory.file("f"));
  const buffer = new Uint8Array(4);
  const texts = ["1234", "567", ""].map((want) => {
    const handle = openDescriptor(descriptor.fd);
    const count = handle.read(buffer);
    handle.close();
    handle[Symbol.dispose]();
    return [new TextDecoder().decode(buffer.subarray(0, count)), want];
  });
  for (const [got, want] of texts) assert.equal(got, want);
  assert.equal(isTerminal(descriptor.fd), false);
});

test("openDescriptor() throws EBADF for a number that is not open", () => {
  for (const fd of [-1, 4_000, 0x7fffffff]) {
    assert.throws(() => openDescriptor(fd), (error) => errnoOf(error) === "EBADF", `${fd}`);
    assert.equal(isTerminal(fd), false);
  }
});

test(
  `openDescriptor() keeps its hands off what the runtime has opened for itself${onLinux}`,
  linuxOnly,
  () => {
    const targetOf = (fd: string) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return "";
      }
    };
    const own = readdirSync("/proc/self/fd").filter((fd) => targetOf(fd).startsWith("anon_inode:"));
    assert.ok(own.length > 0);
    for (const fd of own) {
      assert.throws(
        () => openDescriptor(Number(fd)),
        (error) => errnoOf(error) === "EBADF",
      );
    }
  },
);

test(
  `variableAddress() gives the same place every time, and readPointer() what lies there${onLinux}`,
  linuxOnly,
  () => {
    const path = libcPaths().find(existsSync)!;
    const stdout = variableAddress(path, "stdout");
    assert.equal(variableAddress(path, "stdout"), stdout);
    // `stdout` is a variable that holds a FILE *; `_IO_2_1_stdout_` is that FILE.
    assert.equal(readPointer(stdout), variableAddress(path, "_IO_2_1_stdout_"));
    assert.throws(
      () => variableAddress(path, "no_such_variable"),
      /^FfiLoadError: cannot load no_such_variable from /,
    );
    assert.throws(() => variableAddress("/nonexistent.so", "stdout"), /^FfiLoadError: /);
  },
);
