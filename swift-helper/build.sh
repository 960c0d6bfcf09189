#!/bin/sh
# Builds the Secure Enclave helper as a universal binary, and signs it. What is released is signed and notarised by
# scripts/sign_macos.sh.
#
# usage: swift-helper/build.sh [OUTPUT]        OUTPUT: a file, default swift-helper/build/amesh-se-helper
#
# AMESH_SIGN_IDENTITY  "Developer ID Application: NAME (TEAMID)"; without it the signature is ad hoc: amesh then
#                      refuses the helper, and uses the keychain
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

mkdir -p "$(dirname -- "$output")"
install -m 755 "$work/amesh-se-helper" "$output"
codesign --verify --strict "$output"
echo "$output"
