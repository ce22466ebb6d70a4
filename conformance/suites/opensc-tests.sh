#!/usr/bin/env bash
# OpenSC's tests of pkcs11-tool on a software token (tests/test-pkcs11-tool-*.sh), with Debian's pkcs11-tool and the
# module under test in place of SoftHSM2; and the tests that pkcs11-tool has in itself.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need opensc openssl
need_module
debian_source opensc
suite_config <<'CONFIG'
[policy]
public_write = true
roles = "open"
rsa_min_bits = 1024
sha1_sign = true
CONFIG

SUITE=opensc-tests

# The scripts take module, tool and token from common.sh. Its last definitions of the variables and functions count.
common() {
    cat "$SCRATCH/opensc/tests/common.sh"
    cat <<END
PIN=$USER_PIN
SOPIN=$SO_PIN
P11LIB=$MODULE
PKCS11_TOOL=pkcs11-tool
END
    cat <<'END'
softhsm_initialize() {
    pkcs11-tool --module "$P11LIB" --slot-index 0 --init-token --label 'SC test' --so-pin "$SOPIN"
    pkcs11-tool --module "$P11LIB" --login --login-type so --so-pin "$SOPIN" --init-pin --pin "$PIN"
}
softhsm_cleanup() { :; }
# --import FILE --aes --token TOKEN --pin PIN --label LABEL --id ID
softhsm2-util() {
    pkcs11-tool --module "$P11LIB" --token-label "$5" --login --pin "$7" \
        --write-object "$2" --type secrkey --key-type aes:16 --usage-decrypt --label "$9" --id "${11}"
}
END
}

# script_passes NAME: one of OpenSC's scripts, in a directory and store of its own.
script_passes() {
    mkdir -p "$SCRATCH/$1/tests"
    common >"$SCRATCH/$1/tests/common.sh"
    suite_store "$1"
    # This one names OpenSC's own module after it has read common.sh.
    sed '/^P11LIB=/d' "$SCRATCH/opensc/tests/$1.sh" >"$SCRATCH/$1/tests/$1.sh"
    env -C "$SCRATCH/$1/tests" timeout 300 bash "./$1.sh"
}

tell() {
    local name=$1
    shift
    attempt "$@"
    if [[ $STATUS == 0 ]]; then
        suite_case "$SUITE" "$name" passed
    elif [[ $STATUS == 77 ]]; then
        suite_case "$SUITE" "$name" skipped
    else
        suite_case "$SUITE" "$name" failed "status $STATUS: $(grep -E 'ERROR|error' "$SCRATCH/output" | head -n 5 | tr '\n' ' ')"
    fi
}

# own_test PATTERN OPTION…: a test in pkcs11-tool, which says PATTERN at its end.
own_test() {
    as_user node "${@:2}" 2>&1 | tee own.log
    grep -Eq -e "$1" own.log
}

fork_test() {
    p11 --test-fork 2>&1 | tee own.log
    ! grep -Eq 'failed|Aborting' own.log
}

threads_test() {
    p11 --use-locking --test-threads ILGISLT0 --test-threads INGISLT0 --test-threads ILSLGIT0 --list-slots 2>&1 | tee own.log
    grep -q 'all threads have ended' own.log
}

cd "$SCRATCH" || exit
for script in "$SCRATCH"/opensc/tests/test-pkcs11-tool-*.sh; do
    script=$(basename "$script" .sh)
    tell "$script" script_passes "$script"
done
suite_token node
tell 'pkcs11-tool --test' own_test '^No errors' --session-rw --test --allow-sw
for curve in prime256v1 secp384r1 secp521r1; do
    tell "pkcs11-tool --test-ec $curve" own_test '==> OK' --session-rw --test-ec --id 20 --key-type "EC:$curve" --allow-sw
done
tell 'pkcs11-tool --test-fork' fork_test
tell 'pkcs11-tool --test-threads' threads_test
suite_result "$SUITE" "$SOURCE_VERSION"
totals
