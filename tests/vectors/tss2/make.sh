#!/bin/sh
# Makes the files beside it anew on a throw-away software TPM: by swtpm, tpm2-tools and OpenSSL's tpm2 provider, and
# amesh.pem by amesh. Keys of a TPM are random, so the files differ each time; their digests stand in ../README.md.
# Usage: make.sh AMESH…   (the command that runs amesh, from the root of the repository)
set -eu
[ $# -gt 0 ] || { sed -n 's/^# Usage: /usage: /p' "$0" >&2; exit 2; }
out=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill "$(cat "$work/pid")"; rm -rf "$work"' EXIT
mkdir "$work/state"
swtpm socket --tpm2 --daemon --tpmstate dir="$work/state" --flags not-need-init,startup-clear --pid file="$work/pid" \
  --server type=unixio,path="$work/tpm" --ctrl type=unixio,path="$work/tpm.ctrl"
export TPM2TOOLS_TCTI="swtpm:path=$work/tpm" TPM2OPENSSL_TCTI="swtpm:path=$work/tpm"

# Neither the tools nor the provider clear up behind them, and there is no resource manager.
flush() { for kind in -t -l -s; do tpm2_flushcontext $kind; done; }

# The parent of every key: the SRK that the provider makes, kept at 0x81000001 too.
tpm2_createprimary -Q -C o -G ecc256:aes128cfb -c "$work/srk" \
  -a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda'
tpm2_evictcontrol -Q -C o -c "$work/srk" 0x81000001
flush

genpkey() {
  file=$1
  shift
  openssl genpkey -provider tpm2 -provider default -out "$out/$file" "$@" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
}
genpkey openssl_owner.pem -algorithm EC -pkeyopt group:P-256
genpkey openssl_persistent.pem -algorithm EC -pkeyopt group:P-256 -pkeyopt parent:0x81000001
genpkey openssl_auth.pem -algorithm EC -pkeyopt group:P-256 -pkeyopt user-auth:secret
genpkey openssl_p384.pem -algorithm EC -pkeyopt group:P-384
genpkey openssl_rsa.pem -algorithm RSA -pkeyopt bits:2048

tpm2_create -Q -C 0x81000001 -G ecc256 -u "$work/public" -r "$work/private" \
  -a 'sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda'
flush
tpm2_encodeobject -C 0x81000001 -u "$work/public" -r "$work/private" -o "$out/tpm2_encodeobject.pem"
flush

# The same key without the optional BOOLEAN, which no program at hand leaves out.
cat >"$work/no_flag.cnf" <<END
asn1 = SEQUENCE:key
[key]
type = OID:2.23.133.10.1.3
parent = INTEGER:0x81000001
public = FORMAT:HEX,OCTETSTRING:$(od -An -v -tx1 "$work/public" | tr -d ' \n')
private = FORMAT:HEX,OCTETSTRING:$(od -An -v -tx1 "$work/private" | tr -d ' \n')
END
openssl asn1parse -genconf "$work/no_flag.cnf" -noout -out "$work/no_flag.der"
{
  echo '-----BEGIN TSS2 PRIVATE KEY-----'
  openssl base64 -in "$work/no_flag.der"
  echo '-----END TSS2 PRIVATE KEY-----'
} >"$out/no_flag.pem"

AMESH_TPM_TCTI="swtpm:path=$work/tpm" AUTH_MESH_DIR="$work/amesh" "$@" init --name vector --backend tpm2 >"$work/log"
cp "$work"/amesh/keys/*.tss2.pem "$out/amesh.pem"

# What OpenSSL and tpm2-tools say of them.
for name in openssl_owner openssl_persistent amesh; do
  openssl pkey -provider tpm2 -provider default -in "$out/$name.pem" -pubout -out "$out/$name.pub.pem"
done
openssl pkey -provider tpm2 -provider default -in "$out/openssl_auth.pem" -passin pass:secret -pubout \
  -out "$out/openssl_auth.pub.pem"
tpm2_load -Q -C 0x81000001 -u "$work/public" -r "$work/private" -c "$work/key"
tpm2_readpublic -Q -c "$work/key" -f pem -o "$out/tpm2_encodeobject.pub.pem"
flush

# Structures as the TPM wrote them, in hexadecimal.
hex() { od -An -v -tx1 "$1" | tr -d ' \n'; }
readpublic() { tpm2_readpublic -Q -c "$1" -f tss -o "$work/area"; flush; hex "$work/area"; }
primary() { tpm2_createprimary -Q -C o -c "$work/object" "$@"; flush; readpublic "$work/object"; }
child() {
  tpm2_create -Q -C 0x81000001 -u "$work/public" -r "$work/private" "$@"
  flush
  tpm2_load -Q -C 0x81000001 -u "$work/public" -r "$work/private" -c "$work/object"
  flush
  readpublic "$work/object"
}
# TPM2_GetCapability of TPM_PT: first property and count; TPMS_CAPABILITY_DATA begins behind header and moreData.
properties() {
  # shellcheck disable=SC2059 # both are octal escapes
  printf '\200\001\000\000\000\026\000\000\001\172\000\000\000\006\000\000'"$1"'\000\000\000'"$2" |
    tpm2_send -o "$work/answer"
  hex "$work/answer" | cut -c 23-
}
born='fixedtpm|fixedparent|sensitivedataorigin|userwithauth'
tpm2_createek -Q -c "$work/ek" -G ecc
flush
separator='{'
entry() {
  name=$1
  shift
  value=$("$@")
  printf '%s\n  "%s": "%s"' "$separator" "$name" "$value"
  separator=,
}
{
  entry srk readpublic 0x81000001
  entry ek readpublic "$work/ek"
  entry tools_default primary -G ecc
  entry tools_rsa primary -G rsa
  entry attestation child -G ecc256:ecdsa-sha256:null -a "$born|restricted|sign"
  entry signs_sha384 child -G ecc256:ecdsa-sha384 -a "$born|sign"
  entry signer child -G ecc256:ecdsa-sha256 -a "$born|noda|sign"
  echo amesh >"$work/message"
  tpm2_sign -Q -c "$work/object" -g sha256 -f tss -o "$work/signature" "$work/message"
  flush
  entry signature_of_amesh_newline hex "$work/signature"
  entry properties_fixed properties '\001\000' '\020'
  entry properties_variable properties '\002\000' '\024'
  printf '\n}\n'
} >"$out/structures.json"
chmod 644 "$out"/*.pem
