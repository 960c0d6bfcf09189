#!/bin/sh
# Installs amesh, or takes it away again. https://amesh.dev
#
#   curl -fsSL https://amesh.dev/install.sh | sh
#   curl -fsSL https://amesh.dev/install.sh | sh -s -- --prefix /opt/amesh
#
# It fetches one archive and the list of digests of its release, checks the one by the other (and the list by its
# signature, where minisign is installed), tries the executable, and only then puts the files in place, each by a rename. It
# never calls sudo and never touches ~/.amesh. Nothing runs before the last line of this file has arrived.

set -eu

# A release fills in its own version, where it lies, and the public key that signs its list of digests.
AMESH_VERSION=''
AMESH_RELEASES='https://amesh.dev/releases'
AMESH_MINISIGN_KEY=''

usage() {
  cat <<EOF
usage: install.sh [--version X] [--prefix DIR] [--releases URL]
       install.sh --uninstall [--prefix DIR]

  --version X      install this version (default: ${AMESH_VERSION:-the latest})
  --prefix DIR     into DIR/bin and DIR/share (default: ~/.local; /usr/local as root)
  --releases URL   a mirror of the releases: URL/latest/download/FILE and URL/download/vX/FILE
  --uninstall      remove what was installed there; ~/.amesh stays
  --help           this text

environment: AMESH_INSTALL_VERSION, AMESH_INSTALL_PREFIX, AMESH_INSTALL_RELEASES stand in for the options

exit codes: 0 done, 1 it could not be done and the amesh that was there still is, 2 wrong usage
EOF
}

say() {
  printf '%s\n' "$*"
}

warn() {
  printf 'install.sh: %s\n' "$*" >&2
}

# fail MESSAGE [HINT]
fail() {
  printf 'install.sh: error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf 'install.sh: hint: %s\n' "$2" >&2; fi
  exit 1
}

wrong_usage() {
  printf 'install.sh: error: %s\n' "$1" >&2
  printf 'install.sh: hint: install.sh --help lists the options\n' >&2
  exit 2
}

have() {
  command -v "$1" >/dev/null 2>&1
}

# ---- what runs here -------------------------------------------------------------------------------------------

# Prints the name that releases give to this platform.
find_target() {
  system=$(uname -s)
  machine=$(uname -m)
  case $system in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    MINGW* | MSYS* | CYGWIN*)
      fail "this script does not install on Windows" "unpack amesh-VERSION-windows-x64.tar.gz of $releases by hand"
      ;;
    *) fail "there is no amesh for the system \"$system\"" "build it from the source: docs/architecture.md" ;;
  esac
  case $machine in
    x86_64 | amd64) cpu=x64 ;;
    aarch64 | arm64) cpu=arm64 ;;
    *) fail "there is no amesh for the processor \"$machine\"" "there are x64 and arm64 for Linux and macOS" ;;
  esac
  # A shell that Rosetta translates sees an Intel processor on an Apple one.
  if [ "$os-$cpu" = darwin-x64 ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null || :)" = 1 ]; then
    cpu=arm64
  fi
  if [ $os = linux ] && is_musl; then
    say "$os-$cpu-musl"
  else
    say "$os-$cpu"
  fi
}

# Whether the system's own C library is musl: its loader may lie beside glibc, too.
is_musl() {
  if getconf GNU_LIBC_VERSION >/dev/null 2>&1; then return 1; fi
  case $(ldd --version 2>&1 || :) in
    *musl*) return 0 ;;
    *GLIBC* | *"GNU libc"* | *"Free Software Foundation"*) return 1 ;;
  esac
  for loader in /lib/ld-musl-*.so.1; do
    if [ -e "$loader" ]; then return 0; fi
  done
  return 1
}

# ---- fetching and checking ------------------------------------------------------------------------------------

# Only loopback may do without TLS, for mirrors that a machine serves to itself.
check_url() {
  case $1 in
    # What stands before an @ looks like a host and is none.
    *@*) wrong_usage "cannot fetch from \"$1\": a user's name in the address" ;;
    https://*) protocols='=https' ;;
    http://127.0.0.1 | http://127.0.0.1[:/]* | http://localhost | http://localhost[:/]*) protocols='=http,https' ;;
    *) wrong_usage "cannot fetch from \"$1\": it does not begin with https://" ;;
  esac
}

# fetch NAME-BELOW-RELEASES FILE
fetch() {
  url=$releases/$1
  if have curl; then
    curl --fail --silent --show-error --location --proto "$protocols" --proto-redir '=https' --tlsv1.2 \
      --retry 2 --connect-timeout 20 --speed-limit 1000 --speed-time 30 --output "$2" "$url" && return 0
  elif have wget; then
    # No option of wget binds redirects to TLS everywhere; what comes is checked in any case. busybox's crashes when it is
    # given a time limit.
    case $(wget --version 2>&1 || :) in
      *"GNU Wget"*) wget -q --timeout=30 --tries=3 -O "$2" "$url" && return 0 ;;
      *) wget -q -O "$2" "$url" && return 0 ;;
    esac
  else
    fail "neither curl nor wget is installed" "install one of them"
  fi
  fail "cannot fetch $url" "${3:-look whether the version exists and this machine reaches the address}"
}

# digest_of FILE. By standard input, because a name with a backslash changes what sha256sum prints.
digest_of() {
  if have sha256sum; then
    sha256sum <"$1" | cut -d ' ' -f 1
  elif have shasum; then
    shasum -a 256 <"$1" | cut -d ' ' -f 1
  elif have openssl; then
    openssl dgst -sha256 -r <"$1" | cut -d ' ' -f 1
  else
    fail "no program here computes SHA-256" "install sha256sum, shasum or openssl"
  fi
}

check_signature() {
  if [ -z "$AMESH_MINISIGN_KEY" ]; then
    warn "this release is not signed: only digests are checked"
  elif have minisign; then
    fetch "$place/SHA256SUMS.minisig" "$work/SHA256SUMS.minisig" "a signed release without a signature is refused"
    minisign -Vq -P "$AMESH_MINISIGN_KEY" -m "$work/SHA256SUMS" >/dev/null 2>&1 ||
      fail "the list of digests has no valid signature" "nothing was installed; tell the makers of amesh"
  else
    warn "minisign is not installed: digests are checked, their signature is not"
  fi
}

# Finds the one archive for this platform in the list of digests; sets archive, version and digest.
choose_archive() {
  found=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]\(amesh-[0-9][0-9A-Za-z.-]*-$target\.tar\.gz\)\$/\1 \2/p" "$work/SHA256SUMS")
  if [ -z "$found" ]; then fail "the release has no archive for $target" "look at $releases/$place"; fi
  if [ "$(say "$found" | wc -l)" -ne 1 ]; then fail "the list of digests names more than one archive for $target"; fi
  digest=${found%% *}
  archive=${found#* }
  version=${archive#amesh-}
  version=${version%-"$target".tar.gz}
  if [ -n "$wanted" ] && [ "$version" != "$wanted" ]; then
    fail "the release of version $wanted holds version $version"
  fi
}

refuse_archive() {
  fail "the archive holds what does not belong there: $1" "nothing was installed; tell the makers of amesh"
}

# Unpacks only an archive that holds plain files and directories below one directory of its own name.
unpack() {
  top=${archive%.tar.gz}
  tar -tzf "$work/$archive" >"$work/names" 2>/dev/null || fail "the archive cannot be read"
  tar -tvzf "$work/$archive" >"$work/listing" 2>/dev/null || fail "the archive cannot be read"
  # Programs differ in how they show a hard link, and all of them name its target.
  if grep -e '^[^-d]' -e ' -> ' -e ' link to ' "$work/listing" >/dev/null; then refuse_archive "a link or a device"; fi
  while IFS= read -r name; do
    case $name/ in
      */../*) refuse_archive "$name" ;;
      "$top"/*) ;;
      *) refuse_archive "$name" ;;
    esac
  done <"$work/names"
  tar -xzf "$work/$archive" -C "$work" 2>/dev/null || fail "cannot unpack the archive" "is there room in ${TMPDIR:-/tmp}?"
  if [ ! -f "$work/$top/bin/amesh" ]; then fail "the archive holds no amesh"; fi
}

# The only proof that the executable fits this machine. An empty HOME: it must not look at an identity.
try_executable() {
  chmod 755 "$work/$top/bin/amesh"
  if said=$(HOME=$work "$work/$top/bin/amesh" --version 2>&1) && [ "$said" = "amesh $version" ]; then return 0; fi
  case $said in
    *libstdc++* | *libgcc_s*) fail "amesh needs libstdc++, which is not here" "as root: apk add libstdc++" ;;
    *[Pp]ermission*) fail "cannot run programs in ${TMPDIR:-/tmp}" "set TMPDIR to a directory that permits it" ;;
  esac
  fail "the executable for $target does not run here: $(say "$said" | head -n 1)"
}

# ---- putting in place -----------------------------------------------------------------------------------------

# A path of a receipt or an archive that this script may write to or remove.
is_ours() {
  case /$1/ in
    */../* | */./* | *//*) return 1 ;;
    /bin/amesh/ | /libexec/amesh-*/ | /share/*) return 0 ;;
    *) return 1 ;;
  esac
}

# Whoever owns the prefix could lead root's hand elsewhere by a link.
refuse_foreign_prefix() {
  if [ "$(id -u)" -ne 0 ]; then return 0; fi
  nearest=$prefix
  while [ ! -d "$nearest/" ]; do nearest=${nearest%/*}; done
  if [ -n "$(find "$nearest/" -prune ! -user 0)" ]; then
    fail "root does not write to $nearest, which is another user's" "run it as that user, or choose another --prefix"
  fi
}

# place_file PATH: copies it beside its place, then renames it there, which works while the old one runs.
place_file() {
  directory=$prefix/${1%/*}
  # The directories are for everybody to read, whatever the caller's umask.
  (umask 022 && mkdir -p "$directory") || fail "cannot make the directory $directory" "$writable"
  if [ -d "$prefix/$1" ]; then fail "$prefix/$1 is a directory" "move it away, or choose another --prefix"; fi
  new=$(mktemp "$directory/.amesh-install.XXXXXXXX") || fail "cannot write $prefix/$1" "$writable"
  case $1 in
    bin/* | libexec/*) mode=755 ;;
    *) mode=644 ;;
  esac
  if cp "$work/$top/$1" "$new" && chmod $mode "$new" && mv -f "$new" "$prefix/$1"; then
    new=''
    return 0
  fi
  fail "cannot write $prefix/$1" "$writable"
}

put_in_place() {
  writable="is there room, and may you write there? --prefix DIR names another place"
  receipt=share/amesh/installed
  before=''
  if [ -f "$prefix/$receipt" ]; then before=$(sed -n 's/^version //p' "$prefix/$receipt" | tail -n 1); fi
  (cd "$work/$top" && find . -type f | sed 's|^\./||' | sort) >"$work/files"
  say "version $version" >"$work/receipt"
  while IFS= read -r path; do
    is_ours "$path" || refuse_archive "$path"
    say "$(digest_of "$work/$top/$path")  $path" >>"$work/receipt"
  done <"$work/files"
  # What the earlier version has and this one has not, unless somebody has changed it since.
  : >"$work/obsolete"
  if [ -f "$prefix/$receipt" ]; then
    while read -r sum path; do
      if ! is_ours "$path" || grep -Fqx "$path" "$work/files" || [ ! -f "$prefix/$path" ]; then continue; fi
      if [ "$(digest_of "$prefix/$path")" = "$sum" ]; then say "$path" >>"$work/obsolete"; fi
    done <"$prefix/$receipt"
  fi
  # The receipt names both while files are being placed, so that whatever happens --uninstall finds all of them.
  mkdir -p "$work/$top/share/amesh"
  cp "$work/receipt" "$work/$top/$receipt"
  if [ -f "$prefix/$receipt" ]; then cat "$prefix/$receipt" >>"$work/$top/$receipt"; fi
  place_file "$receipt"
  while IFS= read -r path; do
    if [ "$path" != bin/amesh ]; then place_file "$path"; fi
  done <"$work/files"
  place_file bin/amesh
  while IFS= read -r path; do rm -f "$prefix/$path"; done <"$work/obsolete"
  cp "$work/receipt" "$work/$top/$receipt"
  place_file "$receipt"
  if [ -n "$before" ] && [ "$before" != "$version" ]; then
    say "amesh $version installed in $prefix (it was $before)"
  else
    say "amesh $version installed in $prefix"
  fi
}

# What keeps a shell from finding it.
advise() {
  case :${PATH:-}: in
    *":$prefix/bin:"*) ;;
    *)
      say "$prefix/bin is not in PATH. For sh, bash and zsh, add to the file that your shell reads first:"
      say "  export PATH=\"$prefix/bin:\$PATH\""
      return 0
      ;;
  esac
  other=$(command -v amesh 2>/dev/null || :)
  if [ -n "$other" ] && [ "$other" != "$prefix/bin/amesh" ]; then
    warn "another amesh comes earlier in PATH: $other"
  fi
}

install() {
  target=$(find_target)
  # Without a program for it, end before anything is fetched.
  digest_of /dev/null >/dev/null
  refuse_foreign_prefix
  check_url "$releases"
  umask 077
  work=$(mktemp -d "${TMPDIR:-/tmp}/amesh-install.XXXXXXXX") || fail "cannot make a temporary directory"
  new=''
  trap 'clean_up' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  place=latest/download
  if [ -n "$wanted" ]; then place=download/v$wanted; fi
  fetch "$place/SHA256SUMS" "$work/SHA256SUMS"
  check_signature
  choose_archive
  # By its version: a newer release may become the latest in between.
  fetch "download/v$version/$archive" "$work/$archive"
  if [ "$(digest_of "$work/$archive")" != "$digest" ]; then
    fail "the digest of $archive is not the one in SHA256SUMS" "nothing was installed; the download broke off, or was changed"
  fi
  unpack
  try_executable
  put_in_place
  advise
}

clean_up() {
  if [ -n "$new" ]; then rm -f "$new"; fi
  rm -rf "$work"
}

# ---- taking away ----------------------------------------------------------------------------------------------

uninstall() {
  refuse_foreign_prefix
  receipt=$prefix/share/amesh/installed
  if [ ! -f "$receipt" ]; then
    fail "this script has installed nothing in $prefix" "--prefix DIR names the place where it did"
  fi
  # An upgrade that was interrupted leaves the digests of both versions in it.
  sed 's/^[0-9a-f]*  //' "$receipt" | sort -u | while IFS= read -r path; do
    if ! is_ours "$path" || [ ! -f "$prefix/$path" ]; then continue; fi
    if grep -Fqx "$(digest_of "$prefix/$path")  $path" "$receipt"; then
      rm -f "$prefix/$path" || fail "cannot remove $prefix/$path" "may you write there?"
    else
      warn "$prefix/$path was changed after it was installed, and stays"
    fi
  done
  rm -f "$receipt" || fail "cannot remove $receipt" "may you write there?"
  # Only directories that nothing but amesh uses; one that is not empty stays.
  for directory in "$prefix/share/doc/amesh" "$prefix/share/amesh"; do
    find "$directory" -depth -type d -exec rmdir {} \; 2>/dev/null || :
  done
  say "amesh is no longer in $prefix. Identities stay where they are, in ~/.amesh."
}

# ---- the command line -----------------------------------------------------------------------------------------

main() {
  action=install
  wanted=${AMESH_INSTALL_VERSION:-$AMESH_VERSION}
  wanted=${wanted#v}
  prefix=${AMESH_INSTALL_PREFIX:-}
  releases=${AMESH_INSTALL_RELEASES:-$AMESH_RELEASES}
  releases=${releases%/}
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h)
        usage
        return 0
        ;;
      --uninstall)
        action=uninstall
        shift
        continue
        ;;
      --version=* | --prefix=* | --releases=*)
        option=${1%%=*}
        value=${1#*=}
        shift
        ;;
      --version | --prefix | --releases)
        if [ $# -lt 2 ]; then wrong_usage "$1 needs a value"; fi
        option=$1
        value=$2
        shift 2
        ;;
      *) wrong_usage "unknown option \"$1\"" ;;
    esac
    if [ -z "$value" ]; then wrong_usage "$option needs a value"; fi
    case $option in
      --version) wanted=${value#v} ;;
      --prefix) prefix=$value ;;
      --releases) releases=${value%/} ;;
    esac
  done
  case $wanted in
    *[!0-9A-Za-z.-]*) wrong_usage "\"$wanted\" is no version" ;;
  esac
  if [ -z "$prefix" ]; then
    if [ "$(id -u)" -eq 0 ]; then
      prefix=/usr/local
    else
      prefix='~'/.local
    fi
  fi
  case $prefix in
    /*) ;;
    # Most shells leave it so in --prefix=~/DIR.
    '~' | '~'/*)
      if [ -z "${HOME:-}" ]; then fail "HOME is not set" "--prefix DIR names a place"; fi
      prefix=$HOME${prefix#?}
      ;;
    *) prefix=$PWD/$prefix ;;
  esac
  prefix=${prefix%/}
  $action
}

main "$@"
