/** The check of code signatures, on files that are wrong in one place each. What compilers make: compile_test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CS_ADHOC, MachOError, readMachO } from "../../../scripts/macho.ts";
import { problemsOf } from "../../../scripts/check_macho.ts";
import { machOFile, type MachOParts, universalFile } from "../../support/macho_file.ts";

const ENTITLEMENTS = "<dict><key>com.apple.security.cs.allow-jit</key><true/></dict>";
const CERTIFIED = { team: "TEAM123456", flags: 0x10000, certificateSize: 100, entitlements: ENTITLEMENTS };

function problems(changes: Partial<MachOParts>): readonly string[] {
  const [slice, ...others] = readMachO(machOFile(changes));
  assert.deepEqual(others, []);
  return slice!.problems;
}

/** A good file with one byte turned over, counted from the end when negative. */
function damaged(offset: number, changes: Partial<MachOParts> = {}): readonly string[] {
  const file = machOFile(changes);
  file[offset < 0 ? file.length + offset : offset]! ^= 1;
  return readMachO(file)[0]!.problems;
}

test("readMachO() reads an ad-hoc signature", () => {
  const signature = {
    identifier: "dev.amesh.cli",
    team: null,
    flags: CS_ADHOC,
    certified: false,
    entitlements: null,
    pages: 3,
  };
  assert.deepEqual(readMachO(machOFile()), [{ arch: "arm64", signature, problems: [] }]);
});

test("readMachO() reads a signature by a certificate", () => {
  const [slice] = readMachO(machOFile({ ...CERTIFIED, cpuType: 0x01000007, longLimit: true }));
  assert.equal(slice?.arch, "x86_64");
  assert.deepEqual(slice?.problems, []);
  assert.deepEqual(slice?.signature?.entitlements, ["com.apple.security.cs.allow-jit"]);
  assert.equal(slice?.signature?.team, "TEAM123456");
  assert.equal(slice?.signature?.certified, true);
});

test("readMachO() reads every slice of a universal file", () => {
  const file = universalFile(machOFile(), machOFile({ cpuType: 0x01000007, trailing: 8 }));
  const found = readMachO(file).map(({ arch, problems }) => [arch, problems]);
  assert.deepEqual(found, [["arm64", []], ["x86_64", ["8 bytes lie behind the signature"]]]);
});

for (const page of [0, 1, 2]) {
  test(`readMachO() finds a changed byte in page ${page}`, () => {
    // Page 0 begins with the header; byte 200 lies behind the load commands.
    assert.deepEqual(damaged(page * 4096 + 200), [
      `1 of 3 pages do not have their hash, the first is page ${page}`,
    ]);
  });
}

test("readMachO() finds the last byte that the signature covers changed", () => {
  assert.deepEqual(damaged(3 * 4096 - 101), ["1 of 3 pages do not have their hash, the first is page 2"]);
});

test("readMachO() finds changed entitlements", () => {
  assert.deepEqual(damaged(-110, CERTIFIED), ["the blob of slot 5 does not have its hash"]);
});

const broken: readonly (readonly [what: string, changes: Partial<MachOParts>, problem: RegExp])[] = [
  ["no signature", { signed: false }, /^it has no signature$/],
  ["bytes behind the signature", { trailing: 1 }, /^1 bytes lie behind the signature$/],
  [
    "code that is not covered",
    { codeLimit: 2 * 4096, slots: 2 },
    /covers 8192 bytes, and 12188 lie before it/,
  ],
  ["too few hashes", { slots: 2 }, /^the signature is malformed: it has 2 hashes for 12188 bytes$/],
  [
    "a limit behind the end",
    { codeLimit: 1e6, slots: 245 },
    /malformed: 4096 bytes at \d+ are said to be there/,
  ],
  ["hashes of another kind", { hashType: 1 }, /^the signature is malformed: its hashes are not SHA-256$/],
  ["pages of another size", { pageShift: 30 }, /malformed: its pages have 2\^30 bytes/],
  [
    "no hash of the entitlements",
    { entitlements: ENTITLEMENTS, specialSlots: 4 },
    /slot 5 does not have its hash/,
  ],
];
for (const [what, changes, problem] of broken) {
  test(`readMachO() finds ${what}`, () => {
    assert.match(problems(changes)[0] ?? "", problem);
  });
}

test("readMachO() does not count load commands without a size", () => {
  const file = machOFile();
  // Size of the first, and how many there are.
  file.fill(0, 36, 40).fill(0xff, 16, 20);
  assert.throws(() => readMachO(file), new MachOError("a load command has no size"));
});

test("readMachO() refuses what is no Mach-O executable, and what is cut off", () => {
  assert.throws(() => readMachO(new TextEncoder().encode("#!/bin/sh\nexit\n")), MachOError);
  assert.throws(() => readMachO(new Uint8Array()), MachOError);
  const file = machOFile();
  for (let length = 0; length < file.length; length += 7) {
    const cut = file.subarray(0, length);
    try {
      assert.notDeepEqual(readMachO(cut)[0]?.problems, [], `${length} bytes`);
    } catch (error) {
      assert.ok(error instanceof MachOError, `${length} bytes: ${error}`);
    }
  }
});

test("readMachO() ends on any damaged signature, with a problem or without", () => {
  const file = machOFile({ codeSize: 4096, ...CERTIFIED });
  for (let offset = 0; offset < file.length; offset++) {
    const copy = file.slice();
    copy[offset]! ^= 0x80;
    try {
      readMachO(copy);
    } catch (error) {
      assert.ok(error instanceof MachOError, `byte ${offset}: ${error}`);
    }
  }
});

test("problemsOf() compares identifier and team, and takes no team without a certificate", () => {
  const of = (changes: Partial<MachOParts>) => readMachO(machOFile(changes))[0]!;
  assert.deepEqual(problemsOf(of(CERTIFIED), { identifier: "dev.amesh.cli", team: "TEAM123456" }), []);
  assert.deepEqual(problemsOf(of(CERTIFIED), { identifier: "dev.amesh.se-helper" }), [
    'its identifier is "dev.amesh.cli", not "dev.amesh.se-helper"',
  ]);
  const others = [{ ...CERTIFIED, team: "OTHER12345" }, { ...CERTIFIED, certificateSize: 0 }, {}];
  for (const changes of others) {
    assert.deepEqual(problemsOf(of(changes), { team: "TEAM123456" }), [
      "it is not signed by team TEAM123456",
    ]);
  }
});
