#!/bin/sh
# Builds the Secure Enclave helper as a universal binary, signs it and, with credentials, has it notarised.
#
# usage: swift-helper/build.sh [OUTPUT]        OUTPUT: a file, default swift-helper/build/amesh-se-helper
#
# AMESH_SIGN_IDENTITY  "Developer ID Application: NAME (TEAMID)"; without it the signature is ad hoc: amesh then
#                      refuses the helper, and uses the keychain
# AMESH_NOTARY_KEY, AMESH_NOTARY_KEY_ID, AMESH_NOTARY_ISSUER
#                      App Store Connect API key (.p8 file), its id, its issuer: all three, or no notarisation
set -eu

IDENTIFIER=dev.amesh.se-helper
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
output=${1:-$here/build/amesh-se-helper}
identity=${AMESH_SIGN_IDENTITY:--}

if [ "$(uname -s)" != Darwin ]; then
  echo "build.sh: error: the helper is built on macOS only" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

for arch in arm64 x86_64; do
  build() {
    swift build --package-path "$here" --scratch-path "$work/$arch" --configuration release --arch "$arch" \
      --product amesh-se-helper "$@"
  }
  build >&2
  cp "$(build --show-bin-path)/amesh-se-helper" "$work/helper-$arch"
done
lipo -create -output "$work/amesh-se-helper" "$work/helper-arm64" "$work/helper-x86_64"

# A timestamp is a signature by Apple's server, which signs nothing that is ad hoc.
timestamp=--timestamp
if [ "$identity" = - ]; then timestamp=--timestamp=none; fi
codesign --force "$timestamp" --options runtime --identifier "$IDENTIFIER" \
  --entitlements "$here/entitlements.plist" --sign "$identity" "$work/amesh-se-helper"
codesign --verify --strict --verbose=2 "$work/amesh-se-helper"

if [ -n "${AMESH_NOTARY_KEY:-}" ]; then
  # An executable by itself can be submitted in an archive only, and no ticket can be stapled to it.
  ditto -c -k "$work/amesh-se-helper" "$work/helper.zip"
  xcrun notarytool submit "$work/helper.zip" --key "$AMESH_NOTARY_KEY" \
    --key-id "${AMESH_NOTARY_KEY_ID:?}" --issuer "${AMESH_NOTARY_ISSUER:?}" --wait
fi

mkdir -p "$(dirname -- "$output")"
install -m 755 "$work/amesh-se-helper" "$output"
codesign --verify --strict "$output"
echo "$output"
