import assert from "node:assert/strict";
import { chmodSync, symlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import type { SignatureVerdict } from "../../../src/apple/code_signature.ts";
import {
  findHelper,
  type FoundHelper,
  type HelperView,
  TEST_HELPER_VARIABLE,
} from "../../../src/apple/find_helper.ts";
import { FfiLoadError } from "../../../src/ffi/ffi.ts";
import { setEnvironment } from "../../support/environment.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const BIN = "/opt/amesh/bin/amesh-se-helper";
const LIBEXEC = "/opt/amesh/libexec/amesh-se-helper";

type Info = ReturnType<HelperView["info"]>;
const file: Info = { kind: "file", mode: 0o755, uid: 0 };
const folder: Info = { kind: "directory", mode: 0o755, uid: 0 };
const refused: SignatureVerdict = { ok: false, cause: "signed by others", remedy: "sign it" };

/** A Mac on which amesh is installed in /opt/amesh; what has been asked of it. */
function mac(
  files: Readonly<Record<string, Info>>,
  other: Partial<HelperView> = {},
): HelperView & { asked: string[] } {
  const asked: string[] = [];
  const all = { "/opt/amesh/bin": folder, "/opt/amesh/libexec": folder, ...files };
  return {
    asked,
    os: "darwin",
    euid: 501,
    executable: () => "/opt/amesh/bin/amesh",
    testHelper: () => assert.fail("not even read on macOS"),
    info: (path) => {
      asked.push(path);
      const info = (all as Record<string, Info | undefined>)[path];
      if (info === undefined) throw Object.assign(new Error("nothing"), { code: "ENOENT" });
      return info;
    },
    ownSignature: () => ({ ok: true }),
    helperSignature: (path) => {
      asked.push(`signature of ${path}`);
      return { ok: true };
    },
    ...other,
  };
}

/** For what is not there: its cause and its remedy. */
function obstacle(found: FoundHelper): [string, string | null] {
  assert.ok(found.path === null, `found: ${found.path}`);
  return [found.obstacle.cause, found.obstacle.remedy];
}
const causeOf = (view: HelperView) => obstacle(findHelper(view))[0];

test("the helper is found beside the executable, before ../libexec, and its signature checked", () => {
  const view = mac({ [BIN]: file, [LIBEXEC]: file });
  assert.deepEqual(findHelper(view), { path: BIN, isDouble: false });
  assert.deepEqual(view.asked, [BIN, "/opt/amesh/bin", `signature of ${BIN}`]);
});

test("the helper is found in ../libexec, and nowhere else", () => {
  const view = mac({ [LIBEXEC]: file });
  assert.deepEqual(findHelper(view), { path: LIBEXEC, isDouble: false });
  assert.deepEqual(view.asked, [BIN, LIBEXEC, "/opt/amesh/libexec", `signature of ${LIBEXEC}`]);
  const none = mac({});
  const [cause, remedy] = obstacle(findHelper(none));
  assert.equal(cause, `its helper is missing: there is no "${BIN}" and no "${LIBEXEC}"`);
  assert.match(remedy ?? "", /install amesh again/);
  assert.deepEqual(none.asked, [BIN, LIBEXEC]);
});

test("an executable that our team has not signed asks for no helper", () => {
  const view = mac({ [BIN]: file }, { ownSignature: () => refused });
  assert.deepEqual(obstacle(findHelper(view)), ["signed by others", "sign it"]);
  assert.deepEqual(view.asked, []);
});

test("a helper that our team has not signed is not taken, nor another one in its place", () => {
  const view = mac({ [BIN]: file, [LIBEXEC]: file }, {
    helperSignature: (path) => path === BIN ? refused : { ok: true },
  });
  assert.deepEqual(obstacle(findHelper(view)), ["signed by others", "sign it"]);
});

const UNTRUSTED: [what: string, files: Readonly<Record<string, Info>>, cause: string][] = [
  ["of another user", { [BIN]: { ...file, uid: 502 } }, `"${BIN}" belongs to user 502`],
  ["that its group may write", { [BIN]: { ...file, mode: 0o775 } }, `others may write to "${BIN}"`],
  ["that everybody may write", { [BIN]: { ...file, mode: 0o757 } }, `others may write to "${BIN}"`],
  ["that is a link", { [BIN]: { ...file, kind: "symlink" } }, `"${BIN}" is no file`],
  ["that is a directory", { [BIN]: { ...folder } }, `"${BIN}" is no file`],
  [
    "in a directory of another user",
    { [BIN]: file, "/opt/amesh/bin": { ...folder, uid: 502 } },
    '"/opt/amesh/bin" belongs to user 502',
  ],
  [
    "in a directory that everybody may write",
    { [BIN]: file, "/opt/amesh/bin": { ...folder, mode: 0o1777 } },
    'others may write to "/opt/amesh/bin"',
  ],
];
for (const [what, files, cause] of UNTRUSTED) {
  test(`a helper ${what} is not taken, nor one in ../libexec in its place`, () => {
    const view = mac({ ...files, [LIBEXEC]: file });
    assert.equal(causeOf(view), cause);
    assert.ok(!view.asked.some((asked) => asked.startsWith("signature")));
  });
}

test("a helper of this user, in a directory that administrators may write, is taken", () => {
  const view = mac({ [BIN]: { ...file, uid: 501 }, "/opt/amesh/bin": { ...folder, uid: 501, mode: 0o775 } });
  assert.deepEqual(findHelper(view), { path: BIN, isDouble: false });
});

test("what the system does not let us look at is an obstacle and no crash", () => {
  const denied = () => {
    throw Object.assign(new Error("no"), { code: "EACCES" });
  };
  assert.match(causeOf(mac({}, { info: denied })), /cannot be looked at: permission denied$/);
  assert.match(causeOf(mac({}, { executable: denied })), /cannot be looked at: permission denied$/);
  const unbound = () => {
    throw new FfiLoadError("SecCodeCopySelf", ["/System/x"], {});
  };
  assert.match(
    causeOf(mac({}, { ownSignature: unbound })),
    /^code signatures cannot be checked: cannot load/,
  );
  assert.throws(() => findHelper(mac({}, { ownSignature: () => assert.fail("a defect") })), /a defect/);
});

/** Off macOS. */
const linux = (testHelper: string | undefined, files: Readonly<Record<string, Info>> = {}) =>
  mac({ "/t": folder, ...files }, {
    os: "linux",
    testHelper: () => testHelper,
    executable: () => assert.fail("nothing lies beside it"),
    ownSignature: () => assert.fail("there is nothing to check it with"),
  });

test("off macOS there is no helper but the one that tests name, by an absolute path", () => {
  for (const name of [undefined, "", "amesh-se-helper", "./amesh-se-helper"]) {
    assert.deepEqual(obstacle(findHelper(linux(name, { [BIN]: file }))), ["not macOS", null]);
  }
  assert.deepEqual(findHelper(linux("/t/helper", { "/t/helper": file })), {
    path: "/t/helper",
    isDouble: true,
  });
  assert.equal(causeOf(linux("/t/helper")), 'there is no "/t/helper"');
  assert.equal(causeOf(linux("/t/h", { "/t/h": { ...file, mode: 0o777 } })), 'others may write to "/t/h"');
});

test(
  "this machine is asked through the system itself",
  { skip: process.platform === "darwin" },
  () => {
    using directory = temporaryDirectory();
    const path = directory.file("helper");
    {
      using _environment = setEnvironment();
      assert.equal(obstacle(findHelper())[0], "not macOS");
    }
    using _environment = setEnvironment({ [TEST_HELPER_VARIABLE]: path });
    assert.equal(obstacle(findHelper())[0], `there is no "${path}"`);
    writeFileSync(path, "");
    chmodSync(path, 0o700);
    assert.deepEqual(findHelper(), { path, isDouble: true });
    chmodSync(path, 0o770);
    assert.equal(obstacle(findHelper())[0], `others may write to "${path}"`);
    symlinkSync(path, directory.file("link"));
    using _other = setEnvironment({ [TEST_HELPER_VARIABLE]: directory.file("link") });
    assert.equal(obstacle(findHelper())[0], `"${directory.file("link")}" is no file`);
  },
);
