#!/usr/bin/env bash
# SoftHSM2's own tests of its PKCS#11 functions (src/lib/test), on the module under test instead of SoftHSM2.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need g++ libcppunit-dev
need_module
debian_source softhsm2

SUITE=softhsm2-p11test
SOURCE=$SCRATCH/softhsm2/src/lib
# What SoftHSM2's configure finds on Debian 12; GOST it leaves out, as OpenSSL has none of it.
SETTINGS=(WITH_ECC WITH_EDDSA WITH_RAW_PSS HAVE_AES_KEY_WRAP_PAD HAVE_PTHREAD_H)
# Cases that need nothing else than MD5 that is missing here: run once more as `configure --enable-fips` makes them.
WITHOUT_MD5=(DigestTests::testDigestAll SignVerifyTests::testRsaSignVerify)

# configure [LINE]: the suite's PINs are its own, 12345678 and 1234; some cases write without a login, and with RSA keys
# of 1024 bits and SHA-1.
configure() {
    suite_config <<END
[software]
spare_slot = true

[pin]
min_length = 4

[policy]
public_write = true
roles = "open"
rsa_min_bits = 1024
sha1_sign = true

[mechanisms]
${1:-}
END
}

# build DIRECTORY SOURCE… [-- SETTING…]: the tests load the module that the macro P11M names.
build() {
    local directory=$1 sources=()
    shift
    while [[ $# -gt 0 && $1 != -- ]]; do
        sources+=("$SOURCE/$1.cpp")
        shift
    done
    mkdir "$directory"
    cd "$directory"
    printf '#define %s 1\n' "${SETTINGS[@]}" "${@:2}" >config.h
    printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P 2 g++ -c -O0 -w -std=gnu++17 -include config.h \
        -I. -I"$SOURCE" -I"$SOURCE/test" -I"$SOURCE/pkcs11" -I"$SOURCE/common" "-DP11M=\"$MODULE\""
    g++ -O0 -o p11test "$SUITES/softhsm2-p11test.cpp" ./*.o -lcppunit -ldl -pthread
}

# tell PROGRAM CASE NAME: runs a case in a store of its own.
tell() {
    # What the case is about in SoftHSM2's configuration is ours in this one.
    case $2 in
        InfoTests::testGetMechanismListConfig) configure '"*" = ["CKM_RSA_X_509", "CKM_RSA_PKCS"]' ;;
        *) configure ;;
    esac
    suite_store "$3"
    # The tests point SOFTHSM2_CONF at files in the working directory.
    if ! ours; then
        cp "$SOFTHSM2_CONF" "$NODETOKEN_STORE/softhsm2-reset-on-fork.conf"
        echo 'library.reset_on_fork = true' >>"$NODETOKEN_STORE/softhsm2-reset-on-fork.conf"
        cp "$SOFTHSM2_CONF" "$NODETOKEN_STORE/softhsm2-mech.conf"
        echo 'slots.mechanisms = CKM_RSA_X_509,CKM_RSA_PKCS' >>"$NODETOKEN_STORE/softhsm2-mech.conf"
        cp "$SOFTHSM2_CONF" "$NODETOKEN_STORE/softhsm2-alt.conf"
        echo 'slots.removable = true' >>"$NODETOKEN_STORE/softhsm2-alt.conf"
    fi
    attempt timeout 60 env -C "$NODETOKEN_STORE" "$1" "$2"
    if [[ $STATUS == 0 ]]; then
        suite_case "$SUITE" "$3" passed
    else
        suite_case "$SUITE" "$3" failed "status $STATUS: $(tail -n 3 "$SCRATCH/output" | tr '\n' ' ')"
    fi
}

attempt build "$SCRATCH/all" common/{log,osmutex} test/{TestsBase,TestsNoPINInitBase} test/{Asym{EncryptDecrypt,WrapUnwrap},Derive,Digest,Fork,Info,Init,Object,Random,Session,SignVerify,SymmetricAlgorithm,Token,User}Tests
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
attempt build "$SCRATCH/fips" test/{TestsBase,TestsNoPINInitBase,DigestTests,SignVerifyTests} -- WITH_FIPS
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
mapfile -t cases < <("$SCRATCH/all/p11test")
for case in "${cases[@]}"; do
    tell "$SCRATCH/all/p11test" "$case" "$case"
done
for case in "${WITHOUT_MD5[@]}"; do
    tell "$SCRATCH/fips/p11test" "$case" "$case, configured without MD5"
done
suite_result "$SUITE" "$SOURCE_VERSION"
totals
