# The directory on another machine.
# shellcheck shell=sh
# shellcheck source=guest.sh
. /vm/guest.sh

expect 4 'the key belongs to another TPM' 'another TPM is told' amesh sign doc
expect 0 '^valid' 'a new identity can be made there' sh -c \
  'amesh init --name new --force && amesh sign doc > sig && amesh verify --signature @sig doc'
