# Sourced by each script of this folder, which runs as root in a virtual machine. A check is one line of output.
# shellcheck shell=sh
cd /root || exit
export HOME=/root NO_COLOR=1
[ -e doc ] || echo 'a document' > doc

# expect CODE PATTERN NAME COMMAND…: it ends with CODE, and what it says matches.
expect() {
  code=$1 pattern=$2 name=$3
  shift 3
  "$@" > said 2>&1
  got=$?
  if [ "$got" = "$code" ] && grep -qE "$pattern" said; then
    echo "ok $name"
  else
    echo "not ok $name: exit $got"
    sed 's/^/    /' said
  fi
}

signs() { amesh sign doc > sig && amesh verify --signature @sig doc; }
# Of the chip itself: the resource manager shows each program only what is its own. A list that cannot be had is a failure.
nothing_loaded() {
  for list in handles-transient handles-loaded-session; do
    for device in /dev/tpmrm0 /dev/tpm0; do
      held=$(tpm2_getcap -T "device:$device" "$list") || return 1
      [ -z "$held" ] || { echo "$device $list: $held"; return 1; }
    done
  done
  echo nothing
}
all_sign() {
  i=0
  while [ $i -lt "$1" ]; do amesh sign doc > "sig$i" & i=$((i + 1)); done
  wait
  while [ $i -gt 0 ]; do i=$((i - 1)); amesh verify --signature "@sig$i" doc || return 1; done
}
