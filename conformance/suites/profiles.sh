#!/usr/bin/env bash
# The test cases of the OASIS PKCS #11 Profiles 3.2, each on a token that was made for it. They are not part of this
# repository: OASIS_PROFILES names the directory that has them (docs.oasis-open.org/pkcs11/pkcs11-profiles/v3.2,
# test-cases), by default oasis-profiles in the directory shared beside the clone.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

CASES=${1:-${OASIS_PROFILES:-$ROOT/../shared/oasis-profiles}}
PROFILES=$ROOT/conformance/profiles
NAMES=(BL-M-1-32 EXT-M-1-32 AUTH-M-1-32 CERT-M-1-32)

missing=()
for name in "${NAMES[@]}"; do
    [[ -r $CASES/$name.xml ]] || missing+=("$name")
done
if [[ ${#missing[@]} == "${#NAMES[@]}" ]]; then
    echo "skip the OASIS profiles: there are no test cases in $CASES (OASIS_PROFILES names their directory)"
    SKIPPED=${#NAMES[@]}
    ENDED=1
    echo "0 passed, 0 failed, $SKIPPED skipped"
    exit 0
fi
need python3 opensc
need_module

# replay NAME: the case on a token of its own, in a store of its own.
replay() {
    timeout 120 python3 "$PROFILES/prepare.py" "$MODULE" token1 "$USER_PIN" "$CASES/$1.xml"
    timeout 120 python3 "$PROFILES/replay.py" "$MODULE" token1 "$USER_PIN" "$CASES/$1.xml"
}

export PYTHONDONTWRITEBYTECODE=1
for name in "${NAMES[@]}"; do
    if [[ " ${missing[*]} " == *" $name "* ]]; then
        skip "$name" "it is not in $CASES"
        continue
    fi
    use_store "$name"
    make_token token1 >/dev/null
    check "$name" replay "$name"
    sed -n 's/^note /     /p' "$SCRATCH/output"
done

totals
