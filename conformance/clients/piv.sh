#!/usr/bin/env bash
# Other programs for PIV cards, OpenSC and yubico-piv-tool: they use what we wrote, we use what they wrote.
export CONFORMANCE_TOKEN=card
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need opensc opensc-pkcs11 yubico-piv-tool openssl libengine-pkcs11-openssl gnutls-bin
need_module

cd "$SCRATCH" || exit
use_engine
make_ca
echo 'what a node signs' >message
openssl dgst -sha256 -binary message >digest
OPENSC=$(dpkg-query -L opensc-pkcs11 | grep '/opensc-pkcs11.so$' | head -n 1)
CARD_PIN=123456

# opensc ARGUMENT…: pkcs11-tool on OpenSC's own module.
opensc() {
    timeout 60 pkcs11-tool --module "$OPENSC" "$@"
}

yubico() {
    timeout 60 yubico-piv-tool --reader Virtual "$@"
}

# admin ARGUMENT…: piv-tool with the management key, which it reads from a file. OpenSC 0.23 gets the authentication of
# one side wrong (A); and with OpenSSL 3 it cannot write down the public key that the card has made (--genkey).
admin() {
    echo "$CARD_KEY" | sed 's/../&:/g; s/:$//' >admin.key
    PIV_EXT_AUTH_KEY=$SCRATCH/admin.key timeout 60 piv-tool --admin M:9B:03 "$@"
}

same_certificate() {
    cmp <(openssl x509 -in "$1" -outform DER) <(openssl x509 -in "$2" -outform DER)
}

key_of() {
    openssl x509 -in "$1" -noout -pubkey
}

# give_certificate NAME: the authority's certificate for the public key in NAME.pub, in NAME.pem.
give_certificate() {
    env -u OPENSSL_CONF openssl x509 -new -force_pubkey "$1.pub" -subj "/CN=$1.example" -days 2 \
        -CA "$SCRATCH/ca.pem" -CAkey "$SCRATCH/ca.key" -out "$1.pem"
}

# ---- what we wrote

# ours_on NAME TYPE: a key of ours and its certificate, in the place of PIV Authentication.
ours_on() {
    make_token node
    make_key node "$1" 01 "$2"
    certify node "$1" 01 "$1.example"
}

pkcs15_reads() {
    timeout 60 pkcs15-tool --read-certificate 01 --output read.pem
    same_certificate read.pem "$1.pem"
    timeout 60 pkcs15-tool --read-public-key 01 --output read.pub
    cmp <(openssl pkey -pubin -in read.pub) <(key_of "$1.pem")
}

# opensc_signs CERTIFICATE ID MECHANISM OPTION…: OpenSC signs with the key, OpenSSL verifies.
opensc_signs() {
    opensc --login --pin "$USER_PIN" --sign -m "$3" --id "$2" --input-file message --output-file signature "${@:4}"
    openssl dgst -sha256 -verify <(key_of "$1.pem") -signature signature message
}

yubico_uses() {
    yubico --action read-certificate --slot 9a --output read.pem
    same_certificate read.pem "$1.pem"
    yubico --action verify-pin --pin "$USER_PIN" --action test-signature --slot 9a --input "$1.pem"
}

# together: OpenSC and we sign in turns and at once; nobody is thrown out.
together() {
    local round
    for ((round = 0; round < 4; round++)); do
        opensc_signs rsa 01 SHA256-RSA-PKCS &
        as_user node --sign -m SHA256-RSA-PKCS --id 01 --input-file message --output-file "ours-$round"
        wait "$!"
        openssl dgst -sha256 -verify <(key_of rsa.pem) -signature "ours-$round" message
    done
}

use_store rsa
check 'a card with an RSA key of ours' ours_on rsa rsa:2048
shows 'opensc-tool names the card' 'Personal Identity Verification' timeout 60 opensc-tool --name
check 'pkcs15-tool reads certificate and public key' pkcs15_reads rsa
shows 'OpenSC shows the three objects' 'Private Key Object; RSA' opensc --login --pin "$USER_PIN" --list-objects
check 'OpenSC signs with PKCS#1' opensc_signs rsa 01 SHA256-RSA-PKCS
check 'yubico-piv-tool reads and signs' yubico_uses rsa
shows 'yubico-piv-tool shows the subject' 'CN=rsa.example' yubico --action status
check 'OpenSC and we sign at once' together
use_store p256
check 'a card with a P-256 key of ours' ours_on p256 EC:prime256v1
check 'pkcs15-tool reads that, too' pkcs15_reads p256
check 'OpenSC signs with ECDSA' opensc_signs p256 01 ECDSA-SHA256 --signature-format openssl
check 'yubico-piv-tool reads and signs, P-256' yubico_uses p256

# ---- what they wrote

# From here on the card is as they left it: our command and pkcs11-tool name its token by nothing.
theirs() {
    p11 --login --pin "$CARD_PIN" "$@"
}

# by_piv_tool NAME PLACE ALGORITHM [compressed]: the certificate by OpenSC's piv-tool, whose status is any number where it
# has written one: that it is there is seen when it is read.
by_piv_tool() {
    yubico --action generate --slot "$2" --algorithm "$3" --output "$1.pub"
    give_certificate "$1"
    if [[ ${4:-} == compressed ]]; then
        openssl x509 -in "$1.pem" -outform DER | gzip -9n >"$1.gz"
        admin --compresscert "${2^^}" --in "$1.gz" || true
    else
        admin --cert "${2^^}" --in "$1.pem" || true
    fi
}

# by_yubico NAME PLACE ALGORITHM: the same by yubico-piv-tool.
by_yubico() {
    yubico --action generate --slot "$2" --algorithm "$3" --output "$1.pub"
    give_certificate "$1"
    yubico --action import-certificate --slot "$2" --input "$1.pem"
}

# we_read NAME ID: its certificate and its public key, as they wrote them.
we_read() {
    p11 --read-object --type cert --id "$2" --output-file read.der
    cmp read.der <(openssl x509 -in "$1.pem" -outform DER)
    # By GnuTLS, see read_public.
    timeout 60 p11tool --provider "$MODULE" --batch --export --outfile read.pub "pkcs11:id=%$2;type=public"
    cmp <(openssl pkey -pubin -in read.pub) <(key_of "$1.pem")
}

# we_sign NAME ID MECHANISM OPTION…
we_sign() {
    theirs --sign -m "$3" --id "$2" --input-file message --output-file signature "${@:4}"
    case $3 in
        *PSS) openssl dgst -sha256 -sigopt rsa_padding_mode:pss -verify <(key_of "$1.pem") -signature signature message ;;
        *) openssl dgst -sha256 -verify <(key_of "$1.pem") -signature signature message ;;
    esac
}

# mutual_tls NAME ID: TLS 1.3 with their key through the engine, the server's key in a file.
mutual_tls() {
    local key status=0
    key="pkcs11:id=%$2;type=private?pin-value=$CARD_PIN"
    free_port
    start_server server.log timeout 60 env -u OPENSSL_CONF openssl s_server -accept "127.0.0.1:$PORT" -naccept 1 -rev \
        -key ca.key -cert ca.pem -CAfile ca.pem -Verify 1 -verify_return_error
    printf 'ping\nCLOSE\n' | timeout 60 openssl s_client -connect "127.0.0.1:$PORT" -brief -ign_eof -tls1_3 \
        -engine pkcs11 -keyform engine -key "$key" -cert "$1.pem" -CAfile ca.pem -verify_return_error \
        >client.log 2>&1 || status=$?
    await_server || status=$?
    cat client.log server.log
    [[ $status == 0 ]]
    grep -q 'gnip' client.log
    grep -q "^Peer certificate: CN = $1.example" server.log
}

use_store theirs
check 'piv-tool writes RSA to 9A' by_piv_tool nine-a 9a RSA2048
check 'piv-tool writes RSA to 9D, its certificate compressed' by_piv_tool nine-d 9d RSA2048 compressed
check 'yubico-piv-tool writes P-256 to 9C' by_yubico nine-c 9c ECCP256
check 'yubico-piv-tool writes P-384 to 9E' by_yubico nine-e 9e ECCP384
check 'yubico-piv-tool writes RSA to 82' by_yubico retired 82 RSA2048
for key in nine-a=01 nine-c=02 nine-d=03 nine-e=04 retired=05; do
    check "we read certificate and key of ${key%=*}" we_read "${key%=*}" "${key#*=}"
done
check 'we sign with 9A' we_sign nine-a 01 SHA256-RSA-PKCS
check 'we sign with 9C, which asks once more' we_sign nine-c 02 ECDSA-SHA256 --signature-format openssl
check 'we sign with 9D' we_sign nine-d 03 SHA256-RSA-PKCS-PSS
check 'we sign with the retired key' we_sign retired 05 SHA256-RSA-PKCS
check 'mutual TLS with 9A' mutual_tls nine-a 01
check 'mutual TLS with 9E' mutual_tls nine-e 04
shows 'our command shows them' 'CN=nine-a.example|nine-a.example' "$NODETOKEN" status

totals
