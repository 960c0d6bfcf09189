/** The programs of macOS that scripts/sign_macos.sh calls, as shell scripts: they keep what was signed, and fail on demand. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { type ChildResult, runChild } from "./child_process.ts";
import { temporaryDirectory } from "./temporary_directory.ts";

/** What goes wrong. */
export type Fault =
  | "not macOS"
  | "codesign"
  | "verify"
  | "identifier"
  | "runtime"
  | "entitlement"
  | "helper entitlement"
  | "dead"
  | "no keychain"
  | "helper"
  | "Invalid"
  | "no ticket";

/** Writes what it signs as into FILE.signature beside the file, and shows that. */
const CODESIGN = `
file="\${@: -1}"
case " $* " in
  *" --sign "*)
    [ "$FAULT" != codesign ] || { echo "errSecInternalComponent" >&2; exit 1; }
    printf '%s\\0' "$@" > "$file.signature" ;;
  *" --check-notarization "*)
    [ "$FAULT" != "no ticket" ] || { echo "test-requirement: code failed to satisfy" >&2; exit 3; } ;;
  *" --verify "*)
    [ -f "$file.signature" ] || { echo "code object is not signed at all" >&2; exit 1; }
    [ "$FAULT" != verify ] || { echo "invalid signature" >&2; exit 1; } ;;
  *" --entitlements "*)
    arguments=() plist=
    while IFS= read -r -d '' argument; do arguments+=("$argument"); done < "$file.signature"
    for i in "\${!arguments[@]}"; do
      [ "\${arguments[i]}" != --entitlements ] || plist=\${arguments[i + 1]}
    done
    extra=
    case "$FAULT $file" in
      "entitlement "*/amesh | "helper entitlement "*/helper)
        extra='<key>com.apple.security.cs.disable-library-validation</key><true/>' ;;
    esac
    echo "Executable=$file" >&2
    if [ -n "$plist" ]; then
      tr -d '\\n' < "$plist" | sed "s#</dict>#$extra</dict>#"
    elif [ -n "$extra" ]; then
      printf '<plist><dict>%s</dict></plist>' "$extra"
    fi ;;
  *" --display "*)
    identifier=$(tr '\\0' '\\n' < "$file.signature" | sed -n '/^--identifier$/{n;p;}')
    [ "$FAULT" != identifier ] || identifier=a.out
    flags='0x10000(runtime)'
    [ "$FAULT" != runtime ] || flags='0x0(none)'
    printf 'Executable=%s\\nIdentifier=%s\\nFormat=Mach-O thin (arm64)\\n' "$file" "$identifier" >&2
    printf 'CodeDirectory v=20500 size=1 flags=%s hashes=1+7 location=embedded\\n' "$flags" >&2 ;;
  *) echo "codesign: $*" >&2; exit 2 ;;
esac`;

const PROGRAMS: Readonly<Record<string, string>> = {
  uname: `if [ "$FAULT" = "not macOS" ]; then echo Linux; else echo Darwin; fi`,
  codesign: CODESIGN,
  ditto: `: > "\${@: -1}"`,
  xcrun: `if [ "$FAULT" = Invalid ]; then status=Invalid; else status=Accepted; fi
printf '{"id":"x","status":"%s","message":"Processing complete"}\\n' "$status"`,
};

const EXECUTABLE = `#!/bin/sh
# made for TEAM123456
[ "$FAULT" != dead ] || kill -9 $$
case $1 in
  --version) echo "amesh 0.8.0" ;;
  doctor) if [ "$FAULT" = "no keychain" ]; then echo "  keychain: not available"; else echo "  keychain: available"; fi ;;
  *) exit 2 ;;
esac
`;

const HELPER = `#!/bin/sh
read -r line
[ "$line" = '{"v":1,"id":1,"action":"probe"}' ] || exit 2
if [ "$FAULT" = helper ]; then ok=false; else ok=true; fi
echo '{"v":1,"id":1,"ok":'$ok'}'
`;

/** A directory with an executable and a helper to sign, and the programs in place of those of macOS. */
export class FakeMacOs implements Disposable {
  readonly #place = temporaryDirectory();
  readonly cli: string;
  readonly helper: string;

  constructor(executable: string = EXECUTABLE) {
    this.cli = this.#program("amesh", executable);
    this.helper = this.#program("helper", HELPER);
    mkdirSync(join(this.#place.path, "bin"));
    for (const [name, body] of Object.entries(PROGRAMS)) {
      const record = `printf '%s\\0' ${name} "$@" >> "${this.#log}"; printf '\\n' >> "${this.#log}"`;
      this.#program(join("bin", name), `#!/usr/bin/env bash\n${record}\n${body}\n`);
    }
  }

  /** Runs the script. @param env its variables. */
  sign(args: readonly string[], env: Readonly<Record<string, string>>, fault: Fault | "" = ""): ChildResult {
    const unset = Object.fromEntries(VARIABLES.map((name) => [name, ""]));
    const path = `${join(this.#place.path, "bin")}:${process.env.PATH}`;
    return runChild(["scripts/sign_macos.sh", ...args], {
      env: { ...unset, ...env, PATH: path, FAULT: fault },
    });
  }

  /** The programs of macOS that were called, with their arguments. */
  get calls(): readonly (readonly string[])[] {
    if (!existsSync(this.#log)) return [];
    const lines = readFileSync(this.#log, "utf8").split("\0\n").slice(0, -1);
    return lines.map((line) => line.split("\0")).filter(([program]) => program !== "uname");
  }

  [Symbol.dispose](): void {
    this.#place[Symbol.dispose]();
  }

  get #log(): string {
    return join(this.#place.path, "calls");
  }

  #program(name: string, text: string): string {
    const path = join(this.#place.path, name);
    writeFileSync(path, text);
    chmodSync(path, 0o755);
    return path;
  }
}

/** What the script reads. */
export const VARIABLES = [
  "AMESH_SIGN_IDENTITY",
  "AMESH_TEAM_ID",
  "AMESH_NOTARY_KEY",
  "AMESH_NOTARY_KEY_ID",
  "AMESH_NOTARY_ISSUER",
] as const;
