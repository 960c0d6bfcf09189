/** The flags of open(2) as the headers of each processor have them, which the preprocessor of any machine can read. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { LINUX_FLAGS, openFlags } from "../../../src/platform/open_flags.ts";
import { runChild } from "../../support/child_process.ts";

const NAMES = {
  writeOnly: "O_WRONLY",
  readWrite: "O_RDWR",
  create: "O_CREAT",
  exclusive: "O_EXCL",
  truncate: "O_TRUNC",
  nonBlocking: "O_NONBLOCK",
  closeOnExec: "O_CLOEXEC",
  noFollow: "O_NOFOLLOW",
} as const;

/** Debian's headers for arm64 on other machines (libc6-dev-arm64-cross and linux-libc-dev-arm64-cross). */
const ARM64_HEADERS = "/usr/aarch64-linux-gnu/include";
const own = process.arch === "arm64" ? "arm64" : "x64";
const canPreprocess = process.platform === "linux" && runChild(["gcc", "--version"]).code === 0;

/** What the preprocessor makes of the names with a processor's headers. */
function flagsInHeaders(arch: "x64" | "arm64"): Record<string, number> {
  const foreign = ["-isystem", ARM64_HEADERS, "-U__x86_64__", "-D__aarch64__"];
  const input = ["#define _GNU_SOURCE", "#include <fcntl.h>"];
  for (const [field, name] of Object.entries(NAMES)) input.push(`amesh ${field} ${name}`);
  const { code, stdout, stderr } = runChild(
    ["gcc", "-E", "-P", ...(arch === own ? [] : foreign), "-x", "c", "-"],
    { input: `${input.join("\n")}\n` },
  );
  assert.equal(code, 0, stderr);
  const found = [...stdout.matchAll(/^amesh (\w+) (\d+)$/gm)];
  return Object.fromEntries(found.map(([, field, octal]) => [field, Number.parseInt(octal!, 8)]));
}

for (const arch of ["x64", "arm64"] as const) {
  const readable = canPreprocess && (arch === own || (arch === "arm64" && existsSync(ARM64_HEADERS)));
  test(`openFlags() of Linux on ${arch} are those of its headers`, {
    skip: readable ? false : "there are no such headers, or no preprocessor, on this machine",
  }, () => {
    const flags = flagsInHeaders(arch);
    assert.deepEqual(Object.keys(flags).sort(), Object.keys(NAMES).sort());
    assert.deepEqual({ ...LINUX_FLAGS, ...openFlags({ os: "linux", arch }) }, flags);
  });
}

test("openFlags() knows that processors differ", () => {
  assert.equal(openFlags({ os: "linux", arch: "x64" }).noFollow, 0x20000);
  assert.equal(openFlags({ os: "linux", arch: "arm64" }).noFollow, 0x8000);
});

test("openFlags() of macOS are the same on both processors", () => {
  // sys/fcntl.h of the macOS SDK.
  const wanted = { readWrite: 0x2, nonBlocking: 0x4, closeOnExec: 0x1000000, noFollow: 0x100 };
  for (const arch of ["x64", "arm64"] as const) assert.deepEqual(openFlags({ os: "darwin", arch }), wanted);
});
