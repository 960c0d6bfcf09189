/** What scripts/sign_macos.sh calls, in which order, and what it does not take for success. No Apple program runs here. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { CLI_IDENTIFIER, HELPER_IDENTIFIER, requirementFor } from "../../../src/apple/code_signature.ts";
import { FakeMacOs, type Fault } from "../../support/fake_macos.ts";
import { ROOT } from "../../support/project_files.ts";

const AD_HOC = { AMESH_SIGN_IDENTITY: "-" };
const IDENTITY = "Developer ID Application: Amesh Ltd. (TEAM123456)";
const RELEASE = { AMESH_SIGN_IDENTITY: IDENTITY, AMESH_TEAM_ID: "TEAM123456" };
const NOTARY = { AMESH_NOTARY_KEY: "AuthKey.p8", AMESH_NOTARY_KEY_ID: "KEYID", AMESH_NOTARY_ISSUER: "UUID" };
const ENTITLEMENTS = join(ROOT, "packaging/macos/cli.entitlements.plist");

test("sign_macos.sh signs, checks and tries both programs, and has Apple notarise them", () => {
  using macos = new FakeMacOs();
  const { code, stderr } = macos.sign([macos.cli, macos.helper], { ...RELEASE, ...NOTARY });
  assert.equal(code, 0, stderr);
  assert.match(stderr, /\nsign_macos: signed and checked, notarised: \S+\/amesh \S+\/helper\n$/);
  const { cli, helper } = macos;
  const options = (identifier: string) =>
    [
      "codesign --force --timestamp --options runtime --identifier".split(" "),
      identifier,
    ].flat();
  const verification = (identifier: string, file: string) => [
    [
      "codesign",
      "--verify",
      "--strict",
      "--verbose=2",
      "-R",
      `=${requirementFor("TEAM123456", identifier)}`,
      file,
    ],
    ["codesign", "--display", "--verbose=4", file],
    ["codesign", "--display", "--entitlements", "-", "--xml", file],
  ];
  const ticket = (
    file: string,
  ) => ["codesign", "--verify", "--check-notarization", "--verbose=2", "-R", "=notarized", file];
  const archive = macos.calls.find(([program]) => program === "ditto")!.at(-1)!;
  assert.deepEqual(macos.calls, [
    [...options(HELPER_IDENTIFIER), "--sign", IDENTITY, helper],
    [...options(CLI_IDENTIFIER), "--entitlements", ENTITLEMENTS, "--sign", IDENTITY, cli],
    ...verification(HELPER_IDENTIFIER, helper),
    ...verification(CLI_IDENTIFIER, cli),
    ["ditto", "-c", "-k", "--keepParent", archive.replace(/\.zip$/, ""), archive],
    [
      ...[
        "xcrun",
        "notarytool",
        "submit",
        archive,
        "--key",
        "AuthKey.p8",
        "--key-id",
        "KEYID",
        "--issuer",
        "UUID",
      ],
      ...["--wait", "--timeout", "30m", "--output-format", "json"],
    ],
    ticket(cli),
    ticket(helper),
  ]);
});

test("sign_macos.sh signs ad-hoc without a time server and without a requirement", () => {
  using macos = new FakeMacOs();
  const { code, stderr } = macos.sign([macos.cli], AD_HOC);
  assert.equal(code, 0, stderr);
  const [sign, verify] = macos.calls;
  assert.ok(sign?.includes("--timestamp=none"), sign?.join(" "));
  assert.deepEqual(verify, ["codesign", "--verify", "--strict", "--verbose=2", macos.cli]);
  assert.match(stderr, /\nsign_macos: signed and checked: \S+\/amesh\n$/);
});

test("sign_macos.sh --dry-run prints every command as a shell takes it, and runs none, on every system", () => {
  using macos = new FakeMacOs();
  const args = ["--dry-run", "dist/amesh", "dist/a helper"];
  const { code, stdout, stderr } = macos.sign(args, { ...RELEASE, ...NOTARY }, "not macOS");
  assert.deepEqual([code, stderr, macos.calls], [0, "", []]);
  const lines = stdout.trimEnd().split("\n");
  const programs = lines.map((line) => /^\+ (\S+(?: notarytool)?)/.exec(line)?.[1]);
  assert.deepEqual(programs, [
    ...["codesign", "codesign"],
    ...["codesign", "codesign", "codesign", "dist/a\\"],
    ...["codesign", "codesign", "codesign", "dist/amesh", "env"],
    ...["mkdir", "cp", "ditto", "xcrun notarytool", "codesign", "codesign"],
  ]);
  assert.ok(
    lines[0]?.endsWith(
      "--sign Developer\\ ID\\ Application:\\ Amesh\\ Ltd.\\ \\(TEAM123456\\) dist/a\\ helper",
    ),
  );
});

const refusals:
  readonly (readonly [what: string, args: string[], env: Record<string, string>, message: RegExp])[] = [
    ["no identity", ["amesh"], {}, /AMESH_SIGN_IDENTITY is not set/],
    [
      "another system than macOS",
      ["amesh"],
      AD_HOC,
      /codesign is on macOS only; --dry-run prints what it would do/,
    ],
    ["no file", [], AD_HOC, /name the executable/],
    ["too many files", ["a", "b", "c"], AD_HOC, /name the executable/],
    ["an unknown option", ["--deep", "amesh"], AD_HOC, /unknown option "--deep"/],
    ["no team", ["amesh"], { AMESH_SIGN_IDENTITY: IDENTITY }, /AMESH_TEAM_ID is not a team id/],
    [
      "a team that is none",
      ["amesh"],
      { ...RELEASE, AMESH_TEAM_ID: "team" },
      /AMESH_TEAM_ID is not a team id/,
    ],
    [
      "another team",
      ["amesh"],
      { ...RELEASE, AMESH_TEAM_ID: "OTHER12345" },
      /is no "Developer ID .*OTHER12345/,
    ],
    ["another certificate", ["amesh"], {
      ...RELEASE,
      AMESH_SIGN_IDENTITY: "Apple Development: A B (TEAM123456)",
    }, /is no "Developer ID Application/],
    [
      "a team for an ad-hoc signature",
      ["amesh"],
      { ...AD_HOC, AMESH_TEAM_ID: "TEAM123456" },
      /belongs to no team/,
    ],
    ["half a key of the notary", ["amesh"], { ...RELEASE, AMESH_NOTARY_KEY: "k" }, /go together/],
    ["a notary for an ad-hoc signature", ["amesh"], { ...AD_HOC, ...NOTARY }, /notarises no ad-hoc/],
  ];
for (const [what, args, env, message] of refusals) {
  test(`sign_macos.sh refuses ${what}, and does nothing`, () => {
    using macos = new FakeMacOs();
    const { code, stdout, stderr } = macos.sign(args, env, "not macOS");
    assert.deepEqual([code, stdout, macos.calls], [2, "", []]);
    assert.match(stderr.trimEnd().split("\n").at(-1)!, message);
    assert.match(stderr, /^sign_macos: error: [^\n]+\n$/m);
  });
}

const executables: readonly (readonly [what: string, executable: string, message: RegExp])[] = [
  ["an executable by Bun", "#!/bin/sh\n# __BUN\n# TEAM123456\n", /is made by Bun/],
  // Larger than a pipe, so that whoever looks at its start leaves the rest unread.
  [
    "a large executable by Bun",
    `#!/bin/sh\n# __BUN\n# TEAM123456\n${"#\n".repeat(200_000)}`,
    /is made by Bun/,
  ],
  ["an executable that does not know its team", "#!/bin/sh\n", /does not know its team/],
];
for (const [what, executable, message] of executables) {
  test(`sign_macos.sh signs ${what} for tests only`, () => {
    using macos = new FakeMacOs(executable);
    const refused = macos.sign([macos.cli], RELEASE);
    assert.deepEqual([refused.code, macos.calls], [1, []]);
    assert.match(refused.stderr, message);
    macos.sign([macos.cli], AD_HOC);
    assert.ok(macos.calls.some((call) => call.includes("--sign")));
  });
}

test("sign_macos.sh refuses a file that is not there", () => {
  using macos = new FakeMacOs();
  const { code, stderr } = macos.sign([macos.cli, "/nowhere/helper"], RELEASE);
  assert.deepEqual([code, macos.calls], [1, []]);
  assert.match(stderr, /there is no file "\/nowhere\/helper"/);
});

const faults: readonly (readonly [Fault, RegExp])[] = [
  ["codesign", /errSecInternalComponent/],
  ["verify", /invalid signature/],
  ["identifier", /is not signed as dev\.amesh\.se-helper: /],
  ["runtime", /has no hardened runtime: /],
  ["entitlement", /amesh has other entitlements: .*disable-library-validation/s],
  ["helper entitlement", /helper has other entitlements: .*disable-library-validation/],
  ["dead", /amesh does not start/],
  ["no keychain", /cannot use the keychain: /],
  ["helper", /helper answers: \{.*"ok":false/],
  ["Invalid", /Apple did not accept it .*"status":"Invalid"/],
  ["no ticket", /failed to satisfy/],
];
for (const [fault, message] of faults) {
  test(`sign_macos.sh fails when this is wrong: ${fault}`, () => {
    using macos = new FakeMacOs();
    const { code, stderr } = macos.sign([macos.cli, macos.helper], { ...RELEASE, ...NOTARY }, fault);
    assert.notEqual(code, 0);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /signed and checked/);
  });
}
