#!/usr/bin/env bash
# What only a Mac can tell, one fact at a time: docs/macos.md says why each matters. A fact is reported, on stdout and in
# the summary of the workflow, and never fails the run. Written for the bash 3.2 of macOS.
#
# usage: tests/macos/facts.sh FACT     FACT: a function below whose name begins with fact_, with hyphens
#
# AMESH      the executable that made the identity in the directory IDENTITY, in the keychain
# HELPER     the Secure Enclave helper
# KEYCHAIN   file of the default keychain, which KEYCHAIN_PASSWORD unlocks
set -uo pipefail

LIMIT=30
root=$(cd "$(dirname "$0")/../.." && pwd)
entitlements=$root/packaging/macos/cli.entitlements.plist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die() {
  echo "facts.sh: error: $1" >&2
  exit 2
}

# limited COMMAND…: killed after LIMIT seconds, which is exit code 142. macOS has no timeout(1).
limited() { perl -e 'alarm shift; exec @ARGV or die "$ARGV[0]: $!\n"' "$LIMIT" "$@"; }

# report TEXT: the finding; the output of the commands follows it.
report() {
  printf 'FACT %s: %s\n' "$fact" "$1"
  sed 's/^/    /' "$work/said"
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then printf -- '- **%s**: %s\n' "$fact" "$1" >>"$GITHUB_STEP_SUMMARY"; fi
}

# try COMMAND…: runs it and keeps its output, exit code and time in seconds.
try() {
  local start=$SECONDS
  limited "$@" >"$work/said" 2>&1 </dev/null
  code=$?
  took=$((SECONDS - start))
}

# How a command ended, in words.
ending() { if [ "$code" = 142 ]; then echo "hung, killed after $LIMIT s"; else echo "exit $code after $took s"; fi; }

# resign FILE IDENTIFIER ENTITLEMENTS: a fact about another signature is none without it.
resign() {
  try codesign --force --options runtime --identifier "$2" --entitlements "$3" --sign - "$1"
  [ "$code" = 0 ] || report "cannot be told, codesign: $(ending)"
  [ "$code" = 0 ]
}

# A copy of amesh with another signature, which is what an upgrade of an unsigned executable is to macOS.
upgrade() {
  cp "$AMESH" "$work/upgraded"
  resign "$work/upgraded" dev.amesh.upgraded "$entitlements"
}

# remote COMMAND…: over ssh from this machine to itself.
remote() {
  if [ ! -f "$HOME/.ssh/amesh-facts" ]; then
    mkdir -p "$HOME/.ssh"
    chmod 700 "$HOME/.ssh"
    ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/amesh-facts"
    cat "$HOME/.ssh/amesh-facts.pub" >>"$HOME/.ssh/authorized_keys"
    sudo systemsetup -setremotelogin on
  fi
  try ssh -i "$HOME/.ssh/amesh-facts" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    localhost "AUTH_MESH_DIR=$(printf %q "$AUTH_MESH_DIR") $(printf '%q ' "$@")"
}

# A request for a key, as PROTOCOL.md of the helper has it, and what its answer says.
printf '%s\n' '{"v":1,"id":1,"action":"probe"}' '{"v":1,"id":2,"action":"generate"}' \
  >"$work/requests"
enclave() {
  local answer='no key'
  if grep -q '"blob"' "$1"; then answer='a key was made'; fi
  cp "$1" "$work/said"
  report "$answer"
}

fact_first_sign() {
  try "$AMESH" sign --no-agent /etc/hosts
  report "the executable that made the key signs: $(ending)"
}

fact_extractable() {
  try security export -k "$KEYCHAIN" -t privKeys -f pkcs12 -P password -o "$work/exported"
  if [ -s "$work/exported" ]; then report 'the private key CAN be exported'; else report "no export: $(ending)"; fi
}

fact_changed_binary() {
  upgrade || return
  try "$work/upgraded" sign --no-agent /etc/hosts
  report "another signature, no terminal, dialogs forbidden: $(ending)"
}

fact_changed_binary_over_ssh() {
  upgrade || return
  remote "$work/upgraded" sign --no-agent /etc/hosts
  report "another signature, over ssh: $(ending)"
}

fact_locked_keychain() {
  security lock-keychain "$KEYCHAIN"
  try "$AMESH" sign --no-agent /etc/hosts
  report "a locked keychain, no terminal: $(ending)"
  security unlock-keychain -p "$KEYCHAIN_PASSWORD" "$KEYCHAIN"
}

fact_enclave_here() {
  limited "$HELPER" <"$work/requests" >"$work/answers" 2>&1
  enclave "$work/answers"
}

fact_enclave_over_ssh() {
  remote sh -c "'$HELPER' <'$work/requests'"
  cp "$work/said" "$work/answers"
  enclave "$work/answers"
}

# As root, in the session of the system: no user has unlocked anything there.
fact_enclave_under_launchd() {
  local label=dev.amesh.facts plist=$work/dev.amesh.facts.plist
  : >"$work/answers"
  cat >"$plist" <<END
<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
<key>Label</key><string>$label</string>
<key>ProgramArguments</key><array><string>$HELPER</string></array>
<key>StandardInPath</key><string>$work/requests</string>
<key>StandardOutPath</key><string>$work/answers</string>
<key>RunAtLoad</key><true/>
</dict></plist>
END
  sudo chown root:wheel "$plist"
  sudo launchctl bootstrap system "$plist"
  sleep 10
  sudo launchctl bootout "system/$label"
  enclave "$work/answers"
}

# The hardened runtime with the two entitlements, with one of them, and with none: doctor calls into the frameworks.
fact_entitlements() {
  local keys found=''
  for keys in 'allow-jit allow-unsigned-executable-memory' allow-jit allow-unsigned-executable-memory ''; do
    {
      echo '<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>'
      for key in $keys; do echo "<key>com.apple.security.cs.$key</key><true/>"; done
      echo '</dict></plist>'
    } >"$work/entitlements.plist"
    cp "$AMESH" "$work/amesh"
    resign "$work/amesh" dev.amesh.cli "$work/entitlements.plist" || return
    try "$work/amesh" doctor
    found="$found [${keys:-none}: $(ending)$(grep -q 'keychain: available' "$work/said" && echo ', calls work')]"
  done
  report "hardened runtime:$found"
}

# The source, with the permissions of a release: does Deno permit a library that is in no file?
fact_ffi_path() {
  # shellcheck disable=SC2046 # one word per flag
  try deno run --node-modules-dir=manual $(deno run "$root/scripts/compile.ts" --print-permissions) \
    "$root/main.ts" doctor
  report "--allow-ffi for the directories of the frameworks: $(grep 'keychain: ' "$work/said" || ending)"
}

# The executable for x64, whose signature neither compiler makes anew.
fact_x64_signature() {
  local verdict
  (cd "$root" && deno task compile --runtime deno --target darwin-x64 --output "$work/x64") >"$work/said" 2>&1
  try codesign --verify --strict --verbose=2 "$work/x64"
  verdict="as it was compiled: $(ending)"
  try "$work/x64" --version
  verdict="$verdict; it starts: $(ending)"
  try codesign --force --options runtime --identifier dev.amesh.cli --entitlements "$entitlements" --sign - "$work/x64"
  verdict="$verdict; codesign --force: $(ending)"
  try "$work/x64" --version
  report "$verdict; it starts then: $(ending)"
}

# Does Homebrew leave the signatures of executables alone that it did not build?
fact_homebrew() {
  local formula prefix tap=amesh/facts
  mkdir "$work/bottle"
  cp "$AMESH" "$work/bottle/amesh"
  cp "$HELPER" "$work/bottle/amesh-se-helper"
  tar -czf "$work/amesh-1.0.tar.gz" -C "$work" bottle
  {
    brew tap-new --no-git "$tap"
    formula=$(brew --repository "$tap")/Formula/amesh-facts.rb
    cat >"$formula" <<END
class AmeshFacts < Formula
  desc "Executables as they are"
  homepage "https://example.invalid"
  url "file://$work/amesh-1.0.tar.gz"
  sha256 "$(shasum -a 256 "$work/amesh-1.0.tar.gz" | cut -d ' ' -f 1)"
  def install
    bin.install "amesh"
    libexec.install "amesh-se-helper"
  end
end
END
    brew install --formula "$tap/amesh-facts"
  } >"$work/said" 2>&1
  prefix=$(brew --prefix amesh-facts)
  if ! [ -f "$prefix/bin/amesh" ] || ! [ -f "$prefix/libexec/amesh-se-helper" ]; then
    report 'cannot be told, brew installs nothing'
  elif cmp "$AMESH" "$prefix/bin/amesh" && cmp "$HELPER" "$prefix/libexec/amesh-se-helper"; then
    report 'both executables are unchanged'
  else
    report 'Homebrew CHANGED them'
  fi
  brew uninstall amesh-facts
  brew untap "$tap"
}

fact=${1:-}
function=fact_$(printf %s "$fact" | tr - _)
if ! [[ $fact =~ ^[a-z0-9-]+$ ]] || ! declare -F "$function" >"$work/said"; then die "there is no fact \"$fact\""; fi
[ "$(uname -s)" = Darwin ] || die 'only a Mac can tell'
: "${AMESH:?}" "${IDENTITY:?}" "${HELPER:?}" "${KEYCHAIN:?}" "${KEYCHAIN_PASSWORD:?}"
export AUTH_MESH_DIR=$IDENTITY
: >"$work/said"
"$function"
