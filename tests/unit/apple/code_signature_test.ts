import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import {
  checkHelperSignature,
  checkOwnSignature,
  requirementFor,
  type SignatureVerdict,
} from "../../../src/apple/code_signature.ts";
import { TEAM_ID } from "../../../src/apple/team.ts";
import { securityDoubleMissing, startMac } from "../../support/security_double.ts";
import { setEnvironment } from "../../support/environment.ts";

const missing = securityDoubleMissing();
const it = (name: string, run: () => void) =>
  test(missing === undefined ? name : `${name}: ${missing}`, { skip: missing !== undefined }, run);

const TEAM = "ABCDE12345";
const cause = (verdict: SignatureVerdict) => verdict.ok ? "ok" : verdict.cause;

test("a build that nobody signs has no team", () => assert.equal(TEAM_ID, ""));

test("the requirement names Apple's root, the certificates of Developer ID, the team and the program", () => {
  assert.equal(
    requirementFor(TEAM, "dev.amesh.cli"),
    "anchor apple generic and certificate 1[field.1.2.840.113635.100.6.2.6] exists and certificate " +
      'leaf[field.1.2.840.113635.100.6.1.13] exists and certificate leaf[subject.OU] = "ABCDE12345" and ' +
      'identifier "dev.amesh.cli"',
  );
});

test("off macOS there is nothing to check", () => {
  using _environment = setEnvironment();
  if (process.platform === "darwin") return;
  for (const verdict of [checkOwnSignature(TEAM), checkHelperSignature("/bin/sh", TEAM)]) {
    assert.deepEqual(verdict, { ok: false, cause: "not macOS", remedy: null });
  }
});

it("without a team in the build, or with one of another form, no signature is good", () => {
  using mac = startMac({ AMESH_DOUBLE_SIGNED: `${TEAM} dev.amesh.cli` });
  writeFileSync(mac.file("helper"), "");
  for (const team of ["", "ABCDE1234", 'A" or true or "']) {
    for (const verdict of [checkOwnSignature(team), checkHelperSignature(mac.file("helper"), team)]) {
      assert.equal(cause(verdict), "this executable is not code-signed by a release");
    }
  }
});

const signatures: readonly (readonly [signature: string | null, RegExp])[] = [
  [null, /: it is not code-signed \(-67062\)$/],
  ["ad-hoc", /: it is not code-signed by the makers of this build \(-67050\)$/],
  ["broken", /: its code signature is broken \(-67061\)$/],
  ["2H4KBF436B deno", /by the makers of this build/],
  ["2H4KBF436B IDENTIFIER", /by the makers of this build/],
  [`${TEAM} dev.amesh.another`, /by the makers of this build/],
  [`${TEAM} IDENTIFIER`, /^ok$/],
];
for (const [signature, expected] of signatures) {
  it(`the signature "${signature}" is ${expected.source}, on this process and on a file`, () => {
    const of = (identifier: string) => signature?.replace("IDENTIFIER", identifier);
    using mac = startMac(signature === null ? {} : { AMESH_DOUBLE_SIGNED: of("dev.amesh.cli")! });
    assert.match(cause(checkOwnSignature(TEAM)), expected);
    const helper = mac.file("a helper");
    writeFileSync(helper, "");
    if (signature !== null) writeFileSync(`${helper}.signature`, `${of("dev.amesh.se-helper")}\n`);
    const verdict = checkHelperSignature(helper, TEAM);
    assert.match(cause(verdict), expected);
    if (!verdict.ok) {
      assert.ok(verdict.cause.startsWith(`"${helper}": `));
      assert.match(verdict.remedy ?? "", /install a release/);
    }
  });
}

it("the signature of the one program is none of the other", () => {
  using mac = startMac({ AMESH_DOUBLE_SIGNED: `${TEAM} dev.amesh.se-helper` });
  assert.match(cause(checkOwnSignature(TEAM)), /-67050/);
  const helper = mac.file("helper");
  writeFileSync(helper, "");
  writeFileSync(`${helper}.signature`, `${TEAM} dev.amesh.cli\n`);
  assert.match(cause(checkHelperSignature(helper, TEAM)), /-67050/);
});

it("a helper that is not there is none that is signed", () => {
  using mac = startMac();
  assert.match(cause(checkHelperSignature(mac.file("absent"), TEAM)), /cannot be checked \(100002\)$/);
});

const CALLS = [
  "SecRequirementCreateWithString",
  "SecCodeCopySelf",
  "SecCodeCheckValidity",
  "SecStaticCodeCreateWithPath",
  "SecStaticCodeCheckValidity",
];
for (const name of CALLS) {
  it(`${name} that fails makes no signature good, and nothing is leaked`, () => {
    using mac = startMac({
      AMESH_DOUBLE_SIGNED: `${TEAM} dev.amesh.cli`,
      AMESH_DOUBLE_SCRIPT: `${name}=-67068`,
    });
    const helper = mac.file("helper");
    writeFileSync(helper, "");
    writeFileSync(`${helper}.signature`, `${TEAM} dev.amesh.se-helper\n`);
    const causes = [checkOwnSignature(TEAM), checkHelperSignature(helper, TEAM)].map(cause);
    assert.equal(
      causes.filter((text) => text.endsWith("it cannot be read (-67068)")).length,
      name === CALLS[0] ? 2 : 1,
    );
  });
}
