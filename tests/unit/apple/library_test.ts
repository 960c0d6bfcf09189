import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import {
  appleAvailable,
  DOUBLE_VARIABLE,
  doublePath,
  type Framework,
  frameworkPath,
  frameworkPaths,
} from "../../../src/apple/library.ts";
import { host, type OsName } from "../../../src/platform/host.ts";
import { evaluation, isDeno, projectUrl, runChild } from "../../support/child_process.ts";
import { setEnvironment } from "../../support/environment.ts";

/** Lets this process believe that it runs on another system. */
function pretend(os: OsName): Disposable {
  const before = Object.getOwnPropertyDescriptor(host, "os")!;
  Object.defineProperty(host, "os", { value: os, configurable: true });
  return { [Symbol.dispose]: () => void Object.defineProperty(host, "os", before) };
}

const BOTH: Framework[] = ["CoreFoundation", "Security"];

test("on macOS the frameworks have their own paths, whatever the variable says, which is not even read", () => {
  using _environment = setEnvironment({ [DOUBLE_VARIABLE]: "/tmp/evil.so" });
  using _macOS = pretend("darwin");
  const { env } = host;
  const read: string[] = [];
  host.env = (name) => (read.push(name), env(name));
  try {
    assert.deepEqual(BOTH.map(frameworkPath), [
      "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation",
      "/System/Library/Frameworks/Security.framework/Security",
    ]);
    assert.deepEqual([doublePath(), appleAvailable()], [null, true]);
  } finally {
    host.env = env;
  }
  assert.deepEqual(read, []);
});

for (const os of ["linux", "windows"] as const) {
  test(`on ${os} there are no frameworks but the one that the variable names by an absolute path`, () => {
    using _system = pretend(os);
    for (const value of [undefined, "", "double.so", "./double.so"]) {
      using _environment = setEnvironment(value === undefined ? {} : { [DOUBLE_VARIABLE]: value });
      assert.deepEqual(BOTH.flatMap(frameworkPaths), [], value);
      assert.equal(appleAvailable(), false, value);
    }
    using _environment = setEnvironment({ [DOUBLE_VARIABLE]: "/tmp/double.so" });
    assert.deepEqual(BOTH.map(frameworkPath), ["/tmp/double.so", "/tmp/double.so"]);
    assert.deepEqual([doublePath(), appleAvailable()], ["/tmp/double.so", true]);
  });
}

test(
  `with the permissions of a release the variable counts for nothing${
    isDeno ? "" : ": Deno has permissions"
  }`,
  { skip: !isDeno },
  () => {
    const code = `
      import { appleAvailable } from ${JSON.stringify(projectUrl("src/apple/library.ts"))};
      console.log(appleAvailable());`;
    const { stdout, stderr } = runChild(
      evaluation(code, ["--no-prompt", "--allow-read", "--allow-env=HOME"]),
      {
        env: { [DOUBLE_VARIABLE]: "/tmp/double.so" },
      },
    );
    assert.equal(stdout, `${process.platform === "darwin"}\n`, stderr);
  },
);
