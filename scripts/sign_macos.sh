#!/usr/bin/env bash
# Signs amesh and its Secure Enclave helper for macOS, has Apple notarise them, and checks what came of it.
# Written for the bash 3.2 of macOS. See packaging/macos/README.md.
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/sign_macos.sh [--dry-run] EXECUTABLE [HELPER]

  --dry-run   print the commands and run none of them; works on every system

variables:
  AMESH_SIGN_IDENTITY   "Developer ID Application: NAME (TEAMID)"; "-" signs ad-hoc, for tests only
  AMESH_TEAM_ID         the team; the signatures must be its own (not for "-")
  AMESH_NOTARY_KEY      file of an App Store Connect key (AuthKey_….p8), and with it
  AMESH_NOTARY_KEY_ID   its id, and
  AMESH_NOTARY_ISSUER   its issuer; without the three nothing is notarised
END
}

die() {
  printf 'sign_macos: error: %s\n' "$1" >&2
  exit "${2:-1}"
}

root=$(cd "$(dirname "$0")/.." && pwd)
entitlements=$root/packaging/macos/cli.entitlements.plist
cli_identifier=dev.amesh.cli
helper_identifier=dev.amesh.se-helper

dry_run=false
files=()
for argument in "$@"; do
  case $argument in
    --dry-run) dry_run=true ;;
    --help) usage; exit 0 ;;
    -*) usage >&2; die "unknown option \"$argument\"" 2 ;;
    *) files+=("$argument") ;;
  esac
done
case ${#files[@]} in
  1) cli=${files[0]} helper='' ;;
  2) cli=${files[0]} helper=${files[1]} ;;
  *) usage >&2; die 'name the executable, and after it the helper if there is one' 2 ;;
esac

identity=${AMESH_SIGN_IDENTITY:-}
team=${AMESH_TEAM_ID:-}
[ -n "$identity" ] || die 'AMESH_SIGN_IDENTITY is not set: it names the certificate to sign with' 2
if [ "$identity" = - ]; then
  [ -z "$team" ] || die 'an ad-hoc signature belongs to no team: unset AMESH_TEAM_ID' 2
else
  [[ $team =~ ^[A-Z0-9]{10}$ ]] || die 'AMESH_TEAM_ID is not a team id: ten capital letters and digits' 2
  case $identity in
    "Developer ID Application: "*" ($team)") ;;
    *) die "AMESH_SIGN_IDENTITY is no \"Developer ID Application: NAME ($team)\"" 2 ;;
  esac
fi

key=${AMESH_NOTARY_KEY:-} key_id=${AMESH_NOTARY_KEY_ID:-} issuer=${AMESH_NOTARY_ISSUER:-}
case ${key:+k}${key_id:+i}${issuer:+s} in
  '') notarise=false ;;
  kis) notarise=true ;;
  *) die 'AMESH_NOTARY_KEY, AMESH_NOTARY_KEY_ID and AMESH_NOTARY_ISSUER go together' 2 ;;
esac
if $notarise && [ "$identity" = - ]; then die 'Apple notarises no ad-hoc signature' 2; fi

if ! $dry_run; then
  [ "$(uname -s)" = Darwin ] || die 'codesign is on macOS only; --dry-run prints what it would do' 2
  for file in "${files[@]}"; do
    [ -f "$file" ] || die "there is no file \"$file\""
  done
  # A Bun executable runs the code that BUN_OPTIONS names: nobody vouches for that. Its code lies in a segment of its own.
  # Not a pipeline: where grep ends at its first match, whoever writes to it dies, and pipefail takes that for no match.
  if [ "$identity" != - ] && LC_ALL=C grep -q __BUN <(head -c 65536 "$cli"); then
    die "\"$cli\" is made by Bun, and a signed amesh is made by Deno only: deno task compile --runtime deno"
  fi
  # An executable that does not know its team never uses the Secure Enclave.
  if [ -n "$team" ] && ! LC_ALL=C grep -q "$team" "$cli"; then
    die "\"$cli\" does not know its team: deno task compile --team-id $team"
  fi
fi

work=''
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
$dry_run || work=$(mktemp -d)
directory=${work:-WORK}

# Commands are shown also where their output is kept; what a dry run shows is its result.
if $dry_run; then exec 3>&1; else exec 3>&2; fi

# Shows a command, and runs it unless this is a dry run.
run() {
  printf '+' >&3
  printf ' %q' "$@" >&3
  printf '\n' >&3
  $dry_run || "$@"
}

# says PATTERN TEXT: a line of the text matches; of a dry run there is no text.
says() { $dry_run || grep -Eq -e "$1" <<<"$2"; }

# sign IDENTIFIER FILE [OPTION…]
sign() {
  local identifier=$1 file=$2 timestamp=--timestamp
  shift 2
  # Apple's time server is for certificates.
  [ "$identity" != - ] || timestamp=--timestamp=none
  run codesign --force "$timestamp" --options runtime --identifier "$identifier" "$@" --sign "$identity" "$file"
}

# What amesh itself asks of a signature before it uses the Secure Enclave.
requirement() {
  printf '%s' "=anchor apple generic and certificate 1[field.1.2.840.113635.100.6.2.6] exists" \
    " and certificate leaf[field.1.2.840.113635.100.6.1.13] exists" \
    " and certificate leaf[subject.OU] = \"$team\" and identifier \"$1\""
}

# verify IDENTIFIER FILE: the signature fits the file, is ours, and has the hardened runtime.
verify() {
  local identifier=$1 file=$2 shown
  if [ "$identity" = - ]; then
    run codesign --verify --strict --verbose=2 "$file"
  else
    run codesign --verify --strict --verbose=2 -R "$(requirement "$identifier")" "$file"
  fi
  shown=$(run codesign --display --verbose=4 "$file" 2>&1) || die "$file cannot be shown: $shown"
  says "^Identifier=$identifier\$" "$shown" || die "$file is not signed as $identifier: $shown"
  says '^CodeDirectory .*flags=0x[0-9a-f]+\(([a-z-]+,)*runtime' "$shown" ||
    die "$file has no hardened runtime: $shown"
}

# What a plist in XML switches on or off, a line each.
switches() { tr -d '[:space:]' | grep -o '<key>[^<]*</key><[a-z]*/>' | sort; }

# The entitlements of a file are those of a plist; without a plist there are none.
verify_entitlements() {
  local file=$1 plist=${2:-/dev/null} found wanted
  found=$(run codesign --display --entitlements - --xml "$file")
  if $dry_run; then return; fi
  found=$(switches <<<"$found" || true)
  wanted=$(switches <"$plist" || true)
  [ "$found" = "$wanted" ] || die "$file has other entitlements: ${found:-none}"
}

# A signature can be right and the program dead at its first call into a library: notarisation does not try. doctor asks
# every tier.
try_cli() {
  local said
  said=$(run "$cli" --version) || die "$cli does not start"
  says '^amesh [0-9]' "$said" || die "$cli --version says: $said"
  said=$(run env AUTH_MESH_DIR="$directory/none" "$cli" doctor 2>&1) || die "$cli doctor fails: $said"
  says '^ *keychain: available' "$said" || die "$cli cannot use the keychain: $said"
}

try_helper() {
  local said
  said=$(run "$helper" <<<'{"v":1,"id":1,"action":"probe"}') || die "$helper does not run"
  says '"ok" *: *true' "$said" || die "$helper answers: $said"
}

# Exit code 0 of notarytool means that there is a verdict, whatever it is.
notarise() {
  local archive=$directory/amesh.zip verdict
  run mkdir "$directory/amesh"
  run cp "${files[@]}" "$directory/amesh/"
  run ditto -c -k --keepParent "$directory/amesh" "$archive"
  verdict=$(run xcrun notarytool submit "$archive" --key "$key" --key-id "$key_id" --issuer "$issuer" \
    --wait --timeout 30m --output-format json)
  says '"status" *: *"Accepted"' "$verdict" ||
    die "Apple did not accept it (xcrun notarytool log ID tells why): $verdict"
  # A ticket cannot be stapled to a bare executable: macOS asks Apple for it.
  for file in "${files[@]}"; do
    run codesign --verify --check-notarization --verbose=2 -R =notarized "$file"
  done
}

if [ -n "$helper" ]; then sign "$helper_identifier" "$helper"; fi
sign "$cli_identifier" "$cli" --entitlements "$entitlements"

if [ -n "$helper" ]; then
  verify "$helper_identifier" "$helper"
  verify_entitlements "$helper"
  try_helper
fi
verify "$cli_identifier" "$cli"
verify_entitlements "$cli" "$entitlements"
try_cli

if $notarise; then notarise; fi
if ! $dry_run; then
  done='signed and checked'
  if $notarise; then done="$done, notarised"; fi
  printf 'sign_macos: %s: %s\n' "$done" "${files[*]}" >&2
fi
