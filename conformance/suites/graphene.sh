#!/usr/bin/env bash
# The tests of graphene-pk11 (npm) on its newest release. No release since 2.0.34 has the tests in it, so they are that one's.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need g++ make python3 opensc jq
need_module
command -v npm >/dev/null || need nodejs npm

SUITE=graphene
VERSION=2.3.6
TESTS=2.0.34
LIBRARY=$SCRATCH/npm/node_modules/graphene-pk11

# The PINs of the user and the SO are the suite's, and it makes RSA keys of 1024 bits and signs with SHA-1.
USER_PIN=12345
SO_PIN=12345
LABEL='My slot 0'
suite_config <<'CONFIG'
[software]
spare_slot = true

[pin]
min_length = 4

[policy]
rsa_min_bits = 1024
sha1_sign = true
roles = "open"
CONFIG

# The tests look for the library in build/graphene, where it was in their time.
install_suite() {
    mkdir "$SCRATCH/npm"
    cd "$SCRATCH/npm"
    export npm_config_cache=$SCRATCH/npm-cache npm_config_update_notifier=false
    npm install --silent --no-audit --no-fund "graphene-pk11@$VERSION" pkcs11js@2.1.7 mocha@10.7.3
    npm pack --silent "graphene-pk11@$TESTS"
    tar -x -f "graphene-pk11-$TESTS.tgz" package/test
    mv package/test "$LIBRARY/test"
    echo 'module.exports = require("./cjs/index.js");' >"$LIBRARY/build/graphene.js"
}

# control_values: what the suite is to find in the module's and the token's information, from pkcs11-tool.
control_values() {
    local info manufacturer description token_manufacturer mechanisms
    info=$(p11 --show-info)
    manufacturer=$(sed -n 's/^Manufacturer *//p' <<<"$info")
    description=$(sed -n 's/^Library *\(.*\) (ver .*/\1/p' <<<"$info")
    token_manufacturer=$(p11 --list-token-slots | sed -n 's/^ *token manufacturer *: //p' | head -n 1)
    mechanisms=$(p11 --token-label "$LABEL" --list-mechanisms | grep -c '^ ')
    jq --arg lib "$MODULE" --arg manufacturer "$manufacturer" --arg description "$description" \
        --arg token "$token_manufacturer" --argjson mechanisms "$mechanisms" --argjson flags "$1" '
        .init.lib = $lib | .controlValues.module = { manufacturerID: $manufacturer, libraryDescription: $description }
        | .controlValues.slot.token.manufacturerID = $token | .controlValues.slot.mechanisms = $mechanisms
        | .controlValues.slot.token.flags = $flags' "$LIBRARY/test/config.json" >"$SCRATCH/config.json"
    cat "$SCRATCH/config.json"
    mv "$SCRATCH/config.json" "$LIBRARY/test/config.json"
}

attempt install_suite
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
suite_store graphene
attempt make_token "$LABEL"
[[ $STATUS == 0 ]] || die "no token for the suite: $(cat "$SCRATCH/output")"
# CKF_RNG, CKF_LOGIN_REQUIRED, CKF_USER_PIN_INITIALIZED, CKF_TOKEN_INITIALIZED; SoftHSM2 has CKF_RESTORE_KEY_NOT_NEEDED too.
flags=$((0x40d))
ours || flags=$((0x42d))
attempt control_values "$flags"
[[ $STATUS == 0 ]] || die "$(tail -n 20 "$SCRATCH/output")"
attempt timeout 300 env -C "$LIBRARY" "$SCRATCH/npm/node_modules/.bin/mocha" --no-config --no-package --timeout 20000 \
    --reporter json --reporter-option "output=$SCRATCH/mocha.json" 'test/*.js'
[[ -s $SCRATCH/mocha.json ]] || die "the suite stopped, status $STATUS: $(tail -n 20 "$SCRATCH/output")"
while IFS=$'\t' read -r case status words; do
    suite_case "$SUITE" "$case" "$status" "$words"
done < <(jq -r '.pending as $pending | .tests[] | [.fullTitle,
    (if .err != {} then "failed" elif [.fullTitle] | inside([$pending[].fullTitle]) then "skipped" else "passed" end),
    (.err.message // "" | gsub("\\s+"; " ") | .[:120])] | @tsv' "$SCRATCH/mocha.json")
suite_result "$SUITE" "$VERSION, tests of $TESTS"
totals
