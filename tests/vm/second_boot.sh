# The same machine after a restart.
# shellcheck shell=sh
# shellcheck source=guest.sh
. /vm/guest.sh

expect 0 '^valid' 'the identity survives a restart' signs
tpm2_createprimary -Q -C o -G ecc256:aes128cfb -c srk.ctx \
  -a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda'
tpm2_evictcontrol -Q -C o -c srk.ctx 0x81000001
expect 0 '^Backend: +tpm2' 'a kept SRK is used' sh -c 'AUTH_MESH_DIR=kept amesh init --name kept'
expect 0 '"parent": "0x81000001"' 'and remembered' cat kept/identity.json
expect 0 'available' 'and opens the key' sh -c 'AUTH_MESH_DIR=kept amesh sign doc; AUTH_MESH_DIR=kept amesh doctor'

# A chip that hangs in the middle of a signature: the message comes in time, whatever the kernel does.
mkfifo input
{ amesh sign < input; echo "code $?" > code; } &
exec 3> input
sleep 5
echo FREEZE
sleep 4
echo data >&3
exec 3>&-
wait
expect 0 '^code 4$' 'a TPM that hangs ends in exit code 4' cat code
expect 0 '^valid' 'and works when it answers again' signs
