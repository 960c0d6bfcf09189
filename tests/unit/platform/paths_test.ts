import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { userInfo } from "node:os";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import {
  absolutePath,
  ameshLayout,
  baseName,
  joinPath,
  layoutOf,
  parentPath,
  shellQuote,
} from "../../../src/platform/paths.ts";
import { setEnvironment } from "../../support/environment.ts";

test("layoutOf() names the files of a directory", () => {
  assert.deepEqual(layoutOf("/home/a/.amesh"), {
    directory: "/home/a/.amesh",
    identity: "/home/a/.amesh/identity.json",
    certificate: "/home/a/.amesh/certificate.pem",
    keys: "/home/a/.amesh/keys",
    passphrase: "/home/a/.amesh/.passphrase",
    lock: "/home/a/.amesh/.lock",
    history: "/home/a/.amesh/history",
    run: "/home/a/.amesh/run",
    orphans: "/home/a/.amesh/orphans",
    replaced: "/home/a/.amesh/.identity.replaced",
    uncommitted: "/home/a/.amesh/keys/.keychain.new",
    deleted: "/home/a/.amesh/.identity.deleted",
  });
});

const directories: [name: string, environment: Record<string, string>, want: string][] = [
  ["AUTH_MESH_DIR", { AUTH_MESH_DIR: "/srv/amesh", HOME: "/home/a" }, "/srv/amesh"],
  ["AUTH_MESH_DIR with a slash at the end", { AUTH_MESH_DIR: "/srv/amesh/", HOME: "/home/a" }, "/srv/amesh"],
  ["a relative AUTH_MESH_DIR", { AUTH_MESH_DIR: "x/y", HOME: "/home/a" }, `${process.cwd()}/x/y`],
  [".amesh in HOME", { HOME: "/home/a" }, "/home/a/.amesh"],
  [
    ".amesh in HOME, an empty AUTH_MESH_DIR being none",
    { AUTH_MESH_DIR: "", HOME: "/home/a" },
    "/home/a/.amesh",
  ],
  [".amesh in a HOME with a slash at the end", { HOME: "/home/a/" }, "/home/a/.amesh"],
  [".amesh in a HOME that is the root", { HOME: "/" }, "/.amesh"],
  [".amesh in a relative HOME", { HOME: "a" }, `${process.cwd()}/a/.amesh`],
  [".amesh in the account's home when HOME is empty", { HOME: "" }, `${userInfo().homedir}/.amesh`],
];
for (const [name, environment, want] of directories) {
  test(`ameshLayout() is ${name}`, async () => {
    using _environment = setEnvironment(environment);
    assert.equal((await ameshLayout()).directory, want);
  });
}

const absolute: [path: string, want: string][] = [
  ["/a/b", "/a/b"],
  ["/a/b///", "/a/b"],
  ["/", "/"],
  ["///", "/"],
  ["a", `${process.cwd()}/a`],
  ["./a/", `${process.cwd()}/./a`],
];
for (const [path, want] of absolute) {
  test(`absolutePath() of ${path} is ${want.replace(process.cwd(), "CWD")}`, () =>
    assert.equal(absolutePath(path), want));
}

const parts: [path: string, parent: string, base: string][] = [
  ["/a/b", "/a", "b"],
  ["/a", "/", "a"],
  ["a", ".", "a"],
  ["a/b", "a", "b"],
  ["/a/.b.c", "/a", ".b.c"],
];
for (const [path, parent, base] of parts) {
  test(`parentPath() and baseName() take ${path} apart, joinPath() puts it together`, () => {
    assert.equal(parentPath(path), parent);
    assert.equal(baseName(path), base);
    if (parent !== ".") assert.equal(joinPath(parent, base), path);
  });
}

test("shellQuote() leaves plain words alone", () => {
  assert.equal(shellQuote("/home/a-b/.amesh/key_1.json"), "/home/a-b/.amesh/key_1.json");
});

test("shellQuote() makes one word that a POSIX shell reads back", () => {
  const word = fc.string({
    unit: fc.constantFrom(..."ab/'\"$`\\ \n*?;&|<>(){}~!#"),
    minLength: 1,
    maxLength: 12,
  });
  fc.assert(
    fc.property(word, (path) => {
      const script = `printf %s ${shellQuote(path)}`;
      assert.equal(execFileSync("sh", ["-c", script], { encoding: "utf8" }), path);
    }),
    { numRuns: 25 },
  );
});
