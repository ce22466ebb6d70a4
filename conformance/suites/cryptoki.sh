#!/usr/bin/env bash
# The tests of the Rust crate cryptoki (crates.io), from its source there.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need gcc libc6-dev jq
need_module

SUITE=cryptoki
VERSION=0.12.1
CRATE=$SCRATCH/cryptoki-$VERSION
export CARGO_TARGET_DIR=$SCRATCH/target
suite_config <<'CONFIG'
[policy]
rsa_min_bits = 1024
sha1_sign = true
roles = "open"
CONFIG

# source_of_crate: cargo fetches and checks it, as a dependency of an empty crate.
source_of_crate() {
    mkdir -p "$SCRATCH/empty/src"
    printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\ncryptoki = "=%s"\n' \
        "$VERSION" >"$SCRATCH/empty/Cargo.toml"
    : >"$SCRATCH/empty/src/lib.rs"
    run_cargo vendor --quiet --versioned-dirs --manifest-path "$SCRATCH/empty/Cargo.toml" "$SCRATCH/vendor" >/dev/null
    cp -r "$SCRATCH/vendor/cryptoki-$VERSION" "$CRATE"
    run_cargo test --quiet --locked --no-run --message-format json --manifest-path "$CRATE/Cargo.toml" >"$SCRATCH/built"
}

# run_case TEST CASE: a process and a store each, as a test that fails leaves the module initialized. The suite's PINs
# are its own, and it makes the token.
run_case() {
    local store="$1-${2//:/-}" status
    suite_store "$store"
    attempt timeout "${LIMIT:-60}" env -C "$CRATE" TEST_PKCS11_MODULE="$MODULE" "${SETTINGS[@]}" "${TEST[$1]}" --exact "$2" --nocapture
    status=$STATUS
    rm -rf "$NODETOKEN_STORE"
    STATUS=$status
}

attempt source_of_crate
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
declare -A TEST
while IFS=$'\t' read -r name executable; do
    TEST[$name]=$executable
done < <(jq -r 'select(.executable and (.target.kind | index("test"))) | [.target.name, .executable] | @tsv' "$SCRATCH/built")
for name in allowed_mechanisms basic ml_dsa ml_kem slh_dsa wycheproof; do
    [[ -n ${TEST[$name]:-} ]] || die "no test $name in the crate"
    mapfile -t cases < <("${TEST[$name]}" --list --format terse | sed -n 's/: test$//p')
    mapfile -t ignored < <("${TEST[$name]}" --list --format terse --ignored | sed -n 's/: test$//p')
    for case in "${cases[@]}"; do
        SETTINGS=() LIMIT=60
        case $name::$case in
            # Where there is no event, it expects SoftHSM to say so and any other module not to have the function.
            basic::get_slot_event) SETTINGS=(TEST_PRETEND_LIBRARY=softhsm) ;;
            # It waits for an event that nothing causes, and expects the function not to be there.
            basic::wait_for_slot_event) LIMIT=10 ;;
        esac
        if [[ " ${ignored[*]} " == *" $case "* ]]; then
            SETTINGS+=(RUST_TEST_THREADS=1)
            run_ignored=1
        else
            run_ignored=
        fi
        run_case "$name" "$case"
        if [[ $STATUS != 0 ]]; then
            suite_case "$SUITE" "$name::$case" failed "status $STATUS: $(grep -m 1 -A 1 -E 'panicked|^Error' "$SCRATCH/output" | tail -n 1 | cut -c 1-120)"
        elif [[ -n $run_ignored ]]; then
            suite_case "$SUITE" "$name::$case" skipped 'the suite ignores it, as SoftHSM and Kryoptic do not have it'
        else
            suite_case "$SUITE" "$name::$case" passed
        fi
    done
done
suite_result "$SUITE" "$VERSION"
totals
