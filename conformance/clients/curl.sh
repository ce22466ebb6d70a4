#!/usr/bin/env bash
# curl over HTTPS with a client certificate whose key is in the token.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need curl opensc openssl libengine-pkcs11-openssl gnutls-bin
need_module

cd "$SCRATCH" || exit
use_store main
use_engine
make_ca

prepare() {
    make_token node
    make_key node rsa 31 rsa:2048
    make_key node ec 32 EC:prime256v1
    certify node rsa 31 rsa.example
    certify node ec 32 ec.example
}

# fetch KEY TLS-OPTION…: OpenSSL's status page names the client that it verified.
fetch() {
    local status=0
    free_port
    start_server server.log timeout 60 openssl s_server -accept "127.0.0.1:$PORT" -www \
        -engine pkcs11 -keyform engine -key "$(key_uri node ec)" -cert ec.pem -CAfile ca.pem -Verify 1 -verify_return_error
    timeout 60 curl --silent --show-error --fail "${@:2}" --resolve "ec.example:$PORT:127.0.0.1" --cacert ca.pem \
        --engine pkcs11 --key-type ENG --key "$(key_uri node "$1")" --cert "$1.pem" "https://ec.example:$PORT/" || status=$?
    stop_server
    cat server.log
    [[ $status == 0 ]]
    grep -q "depth=0 CN = $1.example" server.log
}

check 'a token with two certified keys' prepare
for key in rsa ec; do
    check "curl, TLS 1.2, $key" fetch "$key" --tlsv1.2 --tls-max 1.2
    check "curl, TLS 1.3, $key" fetch "$key" --tlsv1.3
done

totals
