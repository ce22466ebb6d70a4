#!/usr/bin/env bash
# Our own command: the life of a node's credential, from the blank store to the destroyed key.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need opensc openssl jq
need_module

cd "$SCRATCH" || exit
use_store main
make_ca
umask 077
printf '%s\n' "$USER_PIN" >pin
printf '%s\n' "$SO_PIN" >so-pin
echo 999999 >wrong-pin
echo 864213 >new-pin

nt() {
    timeout 120 "$NODETOKEN" "$@"
}

# json FILTER ARGUMENT…: the command with --json, its output through jq; fails when the filter yields null or false.
json() {
    nt "${@:2}" --json | tee json.out | jq -e "$1" || {
        cat json.out
        return 1
    }
}

# certifies LABEL TYPE ID: key, request with both kinds of name, the authority's signature, installation.
certifies() {
    nt keygen --label "$1" --type "$2" --id "$3" --pin-file pin
    nt csr --label "$1" --subject "CN=$1.example,O=Hospital" --dns "$1.example" --ip 192.0.2.7 --out "$1.csr" --pin-file pin
    openssl req -in "$1.csr" -noout -verify -text | tee request.txt
    grep -q "DNS:$1.example" request.txt
    grep -q 'IP Address:192.0.2.7' request.txt
    sign_request "$1.csr" "$1.pem"
    cat "$1.pem" ca.pem >"$1-chain.pem"
    nt install "$1-chain.pem" --pin-file pin
}

pin_from_descriptor() {
    nt list --pin-fd 7 7<pin
}

exits 'status of an empty store' 0 'no token' nt status
exits 'help names the exit codes' 0 'Exit codes' nt --help
exits 'a PIN on the command line is not taken' 2 'unexpected argument' nt init --label node --pin "$USER_PIN"
exits 'without terminal and option no PIN is asked for' 2 'pin-file' nt init --label node
exits 'init refuses a PIN too short' 6 'PIN' env P=123 "$NODETOKEN" init --label node --so-pin-file so-pin --pin-env P
use_store life
exits 'init' 0 'made token "node"' nt init --label node --so-pin-file so-pin --pin-file pin
exits 'init does not make a second one by accident' 6 'already' nt init --label other --so-pin-file so-pin --pin-file pin
exits 'init --new' 0 'made token "second"' nt init --new --label second --so-pin-file so-pin --pin-file pin
exits 'which token is meant must be said' 2 'second' nt list
shows 'pkcs11-tool sees both' 'token label *: second' p11 --list-token-slots
check 'destroying the second token by init --erase' nt init --token second --erase --label second --so-pin-file so-pin --pin-file pin
use_store one
check 'init in a store with one token' nt init --label node --so-pin-file so-pin --pin-file pin

keys=(rsa2048=rsa:2048 rsa3072=rsa:3072 p256=ec:p256 p384=ec:p384)
if on_tpm; then
    exits 'no P-521 on a TPM' 6 'CKR_CURVE_NOT_SUPPORTED' nt keygen --label p521 --type ec:p521 --pin-file pin
    exits 'no Ed25519 on a TPM' 6 'CKR_MECHANISM_INVALID' nt keygen --label ed --type ed25519 --pin-file pin
else
    keys+=(p521=ec:p521 ed=ed25519)
fi
number=0
for key in "${keys[@]}"; do
    number=$((number + 1))
    check "key, request, certificate: ${key#*=}" certifies "${key%=*}" "${key#*=}" "3$number"
done
exits 'the same id twice is refused' 6 'already' nt keygen --label again --type ec:p256 --id 31 --pin-file pin
exits 'a wrong type is refused' 2 'invalid value' nt keygen --label again --type ec:p257 --pin-file pin
check 'keygen --json' json '.id and .label == "extra"' keygen --label extra --type ec:p256 --pin-file pin
check 'csr --json' json '.request' csr --label p256 --subject CN=x --pin-file pin
exits 'csr for a key that is not there' 3 'no private key' nt csr --label nothing --subject CN=x --pin-file pin
exits 'install twice changes nothing' 0 'unchanged' nt install p256.pem --pin-file pin
exits 'a certificate of another key is refused' 8 'no private key' nt install ca.pem --pin-file pin
head -c 300 ca.pem >broken.pem
exits 'a broken certificate is refused' 8 '' nt install broken.pem --pin-file pin
exits 'a file that is not there' 3 'absent.pem' nt install absent.pem --pin-file pin
exits 'list without login hides private keys' 0 '^certificate' nt list
hides 'list without login' 'never leaves' nt list
exits 'list: private keys never leave the token' 0 'p256 .*never leaves the token' nt list --pin-file pin
check 'list --json: every certificate and nothing extractable' \
    json "([.objects[] | select(.not_after and (.label | test(\"^(rsa|p|ed)\")))] | length == ${#keys[@]})
        and ([.objects[] | select(.extractable)] | length == 0)" list --pin-file pin
exits 'the PIN from a file descriptor' 0 'never leaves' pin_from_descriptor
exits 'the PIN from the environment' 0 'never leaves' env P="$USER_PIN" "$NODETOKEN" list --pin-env P
exits 'a wrong PIN' 4 'PIN' nt list --pin-file wrong-pin
exits 'status names certificate and issuer' 0 'p256.*Throwaway test CA' nt status
check 'status --json counts the days' json '[.tokens[].credentials[] | .days_left // 1] | all(. <= 2)' status
exits 'status --check: certificates of two days need attention' 9 '' nt status --check
exits 'pin change' 0 'changed' nt pin change --pin-file pin --new-pin-file new-pin
exits 'the old PIN is refused' 4 'PIN' nt list --pin-file pin
exits 'pin unblock by the SO' 0 'set' nt pin unblock --so-pin-file so-pin --new-pin-file pin
exits 'destroy asks first' 2 'yes' nt destroy --id 31 --kind key --pin-file pin
exits 'destroy' 0 'destroyed' nt destroy --id 31 --kind all --yes --pin-file pin
hides 'it is gone' 'rsa2048' nt list --pin-file pin
exits 'destroy again' 3 '' nt destroy --id 31 --kind all --yes --pin-file pin
hides 'pkcs11-tool does not see it either' 'rsa2048' as_user node --list-objects
exits 'no PIN in any log' 0 'never leaves' env NODETOKEN_LOG=debug "$NODETOKEN" list --pin-file pin
hides 'not even at the highest level' "$USER_PIN" env NODETOKEN_LOG=debug "$NODETOKEN" list --pin-file pin

totals
