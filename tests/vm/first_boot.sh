# A machine with a TPM that nobody has used.
# shellcheck shell=sh
# shellcheck source=guest.sh
. /vm/guest.sh

expect 0 '^tpm2: selected' 'init takes the TPM by itself' amesh init --name vm
expect 0 '"storageBackend": "tpm2"' 'identity.json names the tier' cat .amesh/identity.json
expect 0 '"parent": "0x40000001"' 'the SRK is made anew' cat .amesh/identity.json
expect 0 '^600$' 'the key file is private' sh -c 'stat -c %a .amesh/keys/*.tss2.pem'
expect 0 '^700 700$' 'and so are its directories' sh -c 'echo $(stat -c %a .amesh .amesh/keys)'
expect 0 '^valid' 'it signs' signs
expect 0 '^nothing' 'nothing stays loaded' nothing_loaded
expect 0 '^valid' 'two processes sign at once' all_sign 2
expect 0 '^valid' 'six processes sign at once' all_sign 6
expect 0 '^nothing' 'nothing stays loaded by them' nothing_loaded
expect 0 'tpm2: available' 'doctor finds nothing wrong' amesh doctor

# shellcheck disable=SC2217 # it only holds the device
sleep 1000 < /dev/tpm0 &
until [ "$(readlink /proc/$!/fd/0)" = /dev/tpm0 ] || ! kill -0 $!; do sleep 0.1; done
expect 0 '^valid' 'it signs while another program holds /dev/tpm0' signs
expect 0 '^/dev/tpm0$' 'which that program did all the time' readlink /proc/$!/fd/0
kill $!

mv /dev/tpmrm0 /dev/away
expect 4 'there is no /dev/tpmrm0' 'a device that is gone is named' amesh sign doc
mv /dev/away /dev/tpmrm0

cp doc /tmp/doc
as() { su "$1" -s /bin/sh -c "cd /tmp; HOME=/tmp/$1; export HOME; mkdir -p \$HOME; $2"; }
expect 4 'belongs to group "tss"' 'a user outside of the group is told of it' as outsider 'amesh init --name u --backend tpm2'
expect 4 'new login is needed' 'and of the new login' as outsider 'amesh init --name u --backend tpm2'
expect 0 '^encrypted-file: selected' 'without --backend that user gets a file' as outsider 'amesh init --name u'
expect 0 'permission denied on /dev/tpmrm0' 'and is told why' as outsider 'rm -r $HOME/.amesh; amesh init --name u'
expect 0 '^valid' 'a member of the group has a key in the TPM' as member \
  'amesh init --name u --backend tpm2 && amesh sign doc > $HOME/sig && amesh verify --signature @$HOME/sig doc'
