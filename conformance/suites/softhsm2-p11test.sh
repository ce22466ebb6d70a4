#!/usr/bin/env bash
# SoftHSM2's own tests of its PKCS#11 functions (src/lib/test), on the module under test instead of SoftHSM2.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need g++ libcppunit-dev
need_module
debian_source softhsm2

SUITE=softhsm2-p11test
BUILD=$SCRATCH/build
# What SoftHSM2's configure turns on, but for GOST: there is no mechanism of it in today's standard.
SETTINGS=(WITH_ECC WITH_EDDSA WITH_RAW_PSS HAVE_AES_KEY_WRAP_PAD HAVE_PTHREAD_H)

# The suite's PINs are its own: 12345678 and 1234.
suite_config <<'CONFIG'
[software]
spare_slot = true

[pin]
min_length = 4
CONFIG

# build: the tests load the module that the macro P11M names.
build() {
    local source=$SCRATCH/softhsm2/src/lib
    mkdir "$BUILD"
    cd "$BUILD"
    printf '#define %s 1\n' "${SETTINGS[@]}" >config.h
    printf '%s\0' "$source"/test/*Tests*.cpp "$source"/common/{log,osmutex}.cpp | xargs -0 -n 1 -P 2 g++ -c -O0 -w -std=gnu++17 \
        -include config.h -I. -I"$source" -I"$source/test" -I"$source/pkcs11" -I"$source/common" "-DP11M=\"$MODULE\""
    g++ -O0 -o p11test "$SUITES/softhsm2-p11test.cpp" ./*.o -lcppunit -ldl -pthread
}

# run_case CASE: in a store of its own.
run_case() {
    suite_store "$1"
    # The tests point SOFTHSM2_CONF at files in the working directory.
    if ! ours; then
        cp "$SOFTHSM2_CONF" "$NODETOKEN_STORE/softhsm2-reset-on-fork.conf"
        echo 'library.reset_on_fork = true' >>"$NODETOKEN_STORE/softhsm2-reset-on-fork.conf"
        cp "$SOFTHSM2_CONF" "$NODETOKEN_STORE/softhsm2-mech.conf"
        echo 'slots.mechanisms = CKM_RSA_X_509,CKM_RSA_PKCS' >>"$NODETOKEN_STORE/softhsm2-mech.conf"
        cp "$SOFTHSM2_CONF" "$NODETOKEN_STORE/softhsm2-alt.conf"
        echo 'slots.removable = true' >>"$NODETOKEN_STORE/softhsm2-alt.conf"
    fi
    attempt timeout 60 env -C "$NODETOKEN_STORE" "$BUILD/p11test" "$1"
}

attempt build
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
mapfile -t cases < <("$BUILD/p11test")
for case in "${cases[@]}"; do
    run_case "$case"
    if [[ $STATUS == 0 ]]; then
        suite_case "$SUITE" "$case" passed
    else
        suite_case "$SUITE" "$case" failed "status $STATUS: $(tail -n 3 "$SCRATCH/output" | tr '\n' ' ')"
    fi
done
suite_result "$SUITE" "$SOURCE_VERSION"
totals
