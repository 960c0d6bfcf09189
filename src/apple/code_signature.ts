/**
 * Whether this executable and its helper are signed by the team that made this build. Every executable on Apple silicon
 * has some signature, ad hoc at least, and runtimes bear those of their makers; so the signature must satisfy a
 * requirement that names Apple's root, the certificates of Developer ID, our team and the identifier of the program.
 */
import { Scope } from "./core_foundation.ts";
import { appleAvailable } from "./library.ts";
import { security } from "./security.ts";
import { TEAM_ID, TEAM_ID_FORM } from "./team.ts";

/** What was found out about a signature. */
export type SignatureVerdict =
  | { readonly ok: true }
  | { readonly ok: false; readonly cause: string; readonly remedy: string | null };

/** Identifiers that the programs are signed with (scripts/sign_macos.sh, swift-helper/build.sh). */
export const CLI_IDENTIFIER = "dev.amesh.cli";
export const HELPER_IDENTIFIER = "dev.amesh.se-helper";

const REINSTALL = "install a release of amesh again, as it was downloaded";
/** SecStaticCode.h: kSecCSCheckAllArchitectures and kSecCSStrictValidate. */
const EVERY_PART = 1 << 0 | 1 << 4;

/** Status codes of CSCommon.h. */
const CAUSES: Readonly<Record<number, string>> = {
  [-67062]: "it is not code-signed",
  [-67061]: "its code signature is broken",
  [-67050]: "it is not code-signed by the makers of this build",
  [-67054]: "its code signature is broken",
  [-67058]: "its code signature is broken",
  [-67068]: "it cannot be read",
};

/**
 * What a signature must satisfy, in Apple's requirement language: Developer ID certificates of a team (the marker
 * extensions of Apple Root CA) and an identifier.
 */
export function requirementFor(teamId: string, identifier: string): string {
  return [
    "anchor apple generic",
    "certificate 1[field.1.2.840.113635.100.6.2.6] exists",
    "certificate leaf[field.1.2.840.113635.100.6.1.13] exists",
    `certificate leaf[subject.OU] = "${teamId}"`,
    `identifier "${identifier}"`,
  ].join(" and ");
}

/** Whether this process runs code that our team signed. @param teamId only tests give another. */
export function checkOwnSignature(teamId = TEAM_ID): SignatureVerdict {
  return check("this executable", teamId, CLI_IDENTIFIER, (scope, requirement) => {
    const code = new BigUint64Array(1);
    const status = security.SecCodeCopySelf(0, code);
    return status !== 0 ? status : security.SecCodeCheckValidity(scope.own(code[0] ?? 0n), 0, requirement);
  });
}

/** Whether a helper on disk is one that our team signed. @param path absolute. @param teamId only tests give another. */
export function checkHelperSignature(path: string, teamId = TEAM_ID): SignatureVerdict {
  return check(`"${path}"`, teamId, HELPER_IDENTIFIER, (scope, requirement) => {
    const code = new BigUint64Array(1);
    const status = security.SecStaticCodeCreateWithPath(scope.fileUrl(path), 0, code);
    if (status !== 0) return status;
    return security.SecStaticCodeCheckValidity(scope.own(code[0] ?? 0n), EVERY_PART, requirement);
  });
}

function check(
  subject: string,
  teamId: string,
  identifier: string,
  validate: (scope: Scope, requirement: bigint) => number,
): SignatureVerdict {
  if (!appleAvailable()) return { ok: false, cause: "not macOS", remedy: null };
  if (!TEAM_ID_FORM.test(teamId)) {
    return {
      ok: false,
      cause: "this executable is not code-signed by a release",
      remedy: "install a release of amesh for macOS",
    };
  }
  using scope = new Scope();
  const requirement = new BigUint64Array(1);
  const text = scope.string(requirementFor(teamId, identifier));
  const parsed = security.SecRequirementCreateWithString(text, 0, requirement);
  const status = parsed !== 0 ? parsed : validate(scope, scope.own(requirement[0] ?? 0n));
  if (status === 0) return { ok: true };
  const cause = CAUSES[status] ?? "its code signature cannot be checked";
  return { ok: false, cause: `${subject}: ${cause} (${status})`, remedy: REINSTALL };
}
