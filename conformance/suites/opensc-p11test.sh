#!/usr/bin/env bash
# OpenSC's p11test (src/tests/p11test), which works with the keys and certificates that it finds on a token: those that
# its runtest.sh makes, as far as this kind of token has them.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need gcc libc6-dev libcmocka-dev libssl-dev opensc gnutls-bin
need_module
debian_source opensc
suite_config <<'CONFIG'
[policy]
public_write = true
roles = "open"
rsa_min_bits = 1024
sha1_sign = true
CONFIG

SUITE=opensc-p11test
[[ $KIND == software ]] || SUITE+=-$KIND
cd "$SCRATCH" || exit

build() {
    # What OpenSC's configure would find out that these files ask for.
    echo '#define ENABLE_OPENSSL 1' >config.h
    gcc -O0 -w -include config.h -I. -Iopensc/src -o p11test opensc/src/tests/p11test/*.c -lcmocka -lcrypto -ldl
}

# key_pair TYPE ID LABEL [certificate]: as runtest.sh makes it; Ed25519 gets no certificate there.
key_pair() {
    local extractable=(--extractable)
    ! in_chip || extractable=()
    make_key node "$3" "$2" "$1" "${extractable[@]}"
    [[ -n ${4:-} ]] || return 0
    GNUTLS_PIN=$USER_PIN timeout 60 certtool --generate-self-signed --outfile "$3.pem" \
        --template opensc/src/tests/p11test/cert.cfg --provider "$MODULE" \
        --load-privkey "pkcs11:object=$3;type=private" --load-pubkey "pkcs11:object=$3;type=public"
    install_certificate node "$3" "$2" "$3.pem"
}

make_keys() {
    on_card || key_pair rsa:1024 01 RSA_auth certificate
    key_pair rsa:2048 02 RSA2048 certificate
    key_pair EC:secp256r1 03 ECC_auth certificate
    if on_card; then
        key_pair EC:secp384r1 01 ECC384 certificate
        return
    fi
    key_pair EC:secp521r1 04 ECC521 certificate
    key_pair EC:edwards25519 05 EDDSA
    as_user node --keygen --key-type aes:16 --extractable --id 07 --label 'AES128 key'
    as_user node --keygen --key-type aes:32 --extractable --id 08 --label 'AES256 key'
}

attempt build
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
suite_token node
attempt make_keys
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
attempt timeout 300 env CMOCKA_MESSAGE_OUTPUT=TAP ./p11test -m "$MODULE" -p "$USER_PIN"
cp output p11test.tap
# A line may begin with what the test itself has printed.
while read -r result case; do
    suite_case "$SUITE" "$case" "$result"
done < <(grep -oE '(not )?ok [0-9]+ (-|# SKIP) \w+$' p11test.tap \
    | sed -E 's/^(not )?ok [0-9]+ # SKIP/skipped/; s/^ok [0-9]+ -/passed/; s/^not ok [0-9]+ -/failed/')
# A test that crashes ends the run before its plan is done.
planned=$(sed -nE 's/^1\.\.([0-9]+)$/\1/p' p11test.tap)
[[ $planned == $((SUITE_COUNT[passed] + SUITE_COUNT[failed] + SUITE_COUNT[skipped])) ]] \
    || fail "$SUITE: plan" "1..$planned, ended with status $STATUS: $(tail -n 3 p11test.tap)"
suite_result "$SUITE" "$SOURCE_VERSION"
totals
