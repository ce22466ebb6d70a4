#!/usr/bin/env bash
# The tests of python-pkcs11 (PyPI), from its source release, with the built package of the same release.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need openssl opensc python3-venv softhsm2
need_module

VERSION=0.10.1
SOURCE=$SCRATCH/python_pkcs11-$VERSION
PYTHON=$SCRATCH/venv/bin/python

# The suite makes RSA keys of 1024 bits and has vectors signed with SHA-1.
suite_config <<'CONFIG'
[software]
spare_slot = true

[policy]
rsa_min_bits = 1024
sha1_sign = true
roles = "open"
CONFIG

# The tests are taken out of the source, beside which Python would find the package's parts that are not compiled.
install_suite() {
    python3 -m venv "$SCRATCH/venv"
    "$PYTHON" -m pip install -q "python-pkcs11==$VERSION" pytest==9.2.0 cryptography==46.0.3 parameterized==0.9.0
    "$PYTHON" -m pip download -q --no-deps --no-binary python-pkcs11 -d "$SCRATCH" "python-pkcs11==$VERSION"
    tar -x -C "$SCRATCH" -f "$SOURCE.tar.gz"
    mkdir "$SCRATCH/tests"
    mv "$SOURCE/tests" "$SCRATCH/tests/tests"
}

# run_suite SUITE MODULE: one whole run on a new token. Tests end in failure at some of their cases, not the run.
run_suite() {
    local suite=$1 module=$2 case status words
    suite_token "$suite"
    ! ours || export SOFTHSM2_CONF=$OTHER_CONFIG
    attempt timeout 300 env -C "$SCRATCH/tests" PKCS11_MODULE="$module" PKCS11_MODULE2="$OTHER" PKCS11_TOKEN_LABEL="$suite" \
        PKCS11_TOKEN_PIN="$USER_PIN" PKCS11_TOKEN_SO_PIN="$SO_PIN" \
        "$PYTHON" -m pytest -q -p no:cacheprovider --junitxml "$SCRATCH/$suite.xml" tests
    [[ $STATUS == 0 || $STATUS == 1 ]] || die "$suite stopped, status $STATUS: $(tail -n 20 "$SCRATCH/output")"
    while IFS=$'\t' read -r case status words; do
        suite_case "$suite" "$case" "$status" "$words"
    done < <("$PYTHON" "$SUITES/pytest-cases.py" "$SCRATCH/$suite.xml")
    suite_result "$suite" "$VERSION"
}

attempt install_suite
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
# One test loads a second module beside the first.
OTHER=/usr/lib/softhsm/libsofthsm2.so
OTHER_CONFIG=$SCRATCH/other.conf
mkdir "$SCRATCH/other"
printf 'directories.tokendir = %s\nlog.level = ERROR\n' "$SCRATCH/other" >"$OTHER_CONFIG"
ours || OTHER=$TARGET/release/libnodetoken.so
run_suite python-pkcs11 "$MODULE"
# The suite tells a SoftHSM2 by its file name, and has tests for it alone.
ln -s "$MODULE" "$SCRATCH/libsofthsm2.so"
run_suite python-pkcs11-as-softhsm2 "$SCRATCH/libsofthsm2.so"
totals
