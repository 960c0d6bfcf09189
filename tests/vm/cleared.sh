# The last thing that is done to this TPM.
# shellcheck shell=sh
# shellcheck source=guest.sh
. /vm/guest.sh

tpm2_clear -Q -c l
expect 4 'the TPM was cleared' 'a cleared TPM is told' amesh sign doc
