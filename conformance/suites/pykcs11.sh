#!/usr/bin/env bash
# The tests of PyKCS11 (PyPI), from its source release, which is also built.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need g++ python3-dev python3-venv opensc
need_module

SUITE=pykcs11
VERSION=1.5.20
SOURCE=$SCRATCH/pykcs11-$VERSION
PYTHON=$SCRATCH/venv/bin/python

# The PINs are the suite's own, and it makes RSA keys of 1024 bits and signs with SHA-1.
USER_PIN=1234
SO_PIN=123456
suite_config <<'CONFIG'
[pin]
min_length = 4

[policy]
rsa_min_bits = 1024
sha1_sign = true
roles = "open"
CONFIG

# The suite skips what SoftHSM did not have before its version 2, by the version of whatever module it tests.
install_suite() {
    python3 -m venv "$SCRATCH/venv"
    "$PYTHON" -m pip install -q --no-binary PyKCS11 "PyKCS11==$VERSION" pytest==9.2.0 asn1crypto==1.5.1
    "$PYTHON" -m pip download -q --no-deps --no-binary PyKCS11 -d "$SCRATCH" "PyKCS11==$VERSION"
    tar -x -C "$SCRATCH" -f "$SOURCE.tar.gz"
    mkdir "$SCRATCH/plugin"
    cat >"$SCRATCH/plugin/newest_softhsm.py" <<'PLUGIN'
from PyKCS11 import PyKCS11Lib

get_info = PyKCS11Lib.getInfo


def newest(self):
    info = get_info(self)
    info.libraryVersion = (9, 9)
    return info


PyKCS11Lib.getInfo = newest
PLUGIN
}

attempt install_suite
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
suite_token "$SUITE"
plugin=()
! ours || plugin=(-p newest_softhsm)
# A process for each file: what fails in one leaves the module loaded for the next.
for file in "$SOURCE"/test/test_*.py; do
    attempt timeout 120 env -C "$SOURCE" PYKCS11LIB="$MODULE" PYTHONPATH="$SCRATCH/plugin" \
        "$PYTHON" -m pytest -q "${plugin[@]}" -p no:cacheprovider --junitxml "$SCRATCH/junit.xml" "$file"
    [[ $STATUS == 0 || $STATUS == 1 ]] || die "$file stopped, status $STATUS: $(tail -n 20 "$SCRATCH/output")"
    while IFS=$'\t' read -r case status words; do
        suite_case "$SUITE" "$case" "$status" "$words"
    done < <("$PYTHON" "$SUITES/pytest-cases.py" "$SCRATCH/junit.xml")
done
suite_result "$SUITE" "$VERSION"
totals
