#!/usr/bin/env bash
# OpenSSL 3.0 with libengine-pkcs11-openssl: requests, signatures, and mutual TLS with the keys of both ends in tokens.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need opensc openssl libengine-pkcs11-openssl gnutls-bin
need_module

cd "$SCRATCH" || exit
use_engine
make_ca
echo 'what a node signs' >message

# make_end STORE TOKEN SUFFIX: a token with an RSA, a P-256 and a P-384 key, each with a certificate from the authority.
make_end() {
    use_store "$1"
    make_token "$2"
    make_key "$2" "rsa-$3" 31 rsa:2048
    make_key "$2" "p256-$3" 32 EC:prime256v1
    make_key "$2" "p384-$3" 33 EC:secp384r1
    certify "$2" "rsa-$3" 31 "rsa-$3.example"
    certify "$2" "p256-$3" 32 "p256-$3.example"
    certify "$2" "p384-$3" 33 "p384-$3.example"
}

request_verifies() {
    openssl req -in "$1.csr" -noout -verify
}

# signs_data KEY: openssl dgst signs with the token's key, the certificate's public key verifies.
signs_data() {
    timeout 60 openssl dgst -sha256 -engine pkcs11 -keyform engine -sign "$(key_uri client "$1")" -out signature message
    openssl dgst -sha256 -verify <(openssl x509 -in "$1.pem" -noout -pubkey) -signature signature message
}

# decrypts_data: a CMS message to the RSA certificate is opened with the token's key.
decrypts_data() {
    openssl cms -encrypt -in message -out sealed.pem -outform PEM -aes256 rsa-client.pem
    timeout 60 openssl cms -decrypt -in sealed.pem -inform PEM -recip rsa-client.pem -engine pkcs11 -keyform engine \
        -inkey "$(key_uri client rsa-client)" | tr -d '\r' | cmp - message
}

# signature KEY SCHEME: what the other end calls the key's signature. OpenSSL prefers PSS in TLS 1.2, too.
signature() {
    case $1:$2 in
        rsa-*:pkcs1) echo RSA ;;
        rsa-*) echo RSA-PSS ;;
        *) echo ECDSA ;;
    esac
}

# handshake VERSION CLIENT-KEY SERVER-KEY SERVER-STORE [pkcs1]: mutual TLS. The server echoes a line reversed and ends
# after one connection; both ends must verify each other, name each other, and end with status 0.
handshake() {
    local version=$1 client=$2 server=$3 scheme=${5:-pss} status=0 schemes=()
    [[ $scheme == pss ]] || schemes=(-sigalgs RSA+SHA256:ECDSA+SHA256)
    free_port
    use_store "$4"
    start_server server.log timeout 60 openssl s_server -accept "127.0.0.1:$PORT" -naccept 1 -rev "-$version" \
        -engine pkcs11 -keyform engine -key "$(key_uri server "$server")" -cert "$server.pem" \
        -CAfile ca.pem -Verify 1 -verify_return_error "${schemes[@]}"
    use_store one
    printf 'ping\nCLOSE\n' | timeout 60 openssl s_client -connect "127.0.0.1:$PORT" -brief -ign_eof "-$version" \
        -engine pkcs11 -keyform engine -key "$(key_uri client "$client")" -cert "$client.pem" \
        -CAfile ca.pem -verify_return_error -verify_hostname "$server.example" "${schemes[@]}" >client.log 2>&1 || status=$?
    sed 's/^/client: /' client.log
    echo "client: status $status"
    await_server || status=$?
    sed 's/^/server: /' server.log
    echo "server: status $status"
    [[ $status == 0 ]]
    grep -q 'gnip' client.log
    grep -q '^Verification: OK' client.log
    grep -q "^Verified peername: $server.example" client.log
    grep -qx "Signature type: $(signature "$server" "$scheme")" client.log
    grep -qx "Signature type: $(signature "$client" "$scheme")" server.log
    grep -q '^Verification: OK' server.log
    grep -q "^Peer certificate: CN = $client.example" server.log
}

# without_certificate: the same server refuses a client that has no key.
without_certificate() {
    local status=0
    free_port
    use_store one
    start_server server.log timeout 60 openssl s_server -accept "127.0.0.1:$PORT" -naccept 1 -rev "-$1" \
        -engine pkcs11 -keyform engine -key "$(key_uri server p256-server)" -cert p256-server.pem \
        -CAfile ca.pem -Verify 1 -verify_return_error
    printf 'ping\nCLOSE\n' | timeout 60 openssl s_client -connect "127.0.0.1:$PORT" -brief -ign_eof "-$1" \
        -CAfile ca.pem -verify_return_error >client.log 2>&1 || status=$?
    await_server || true
    cat client.log server.log
    if grep -q 'gnip' client.log; then return 1; fi
    grep -q 'peer did not return a certificate' server.log
}

check 'client token, keys, requests and certificates' make_end one client client
check 'server token in the same store' make_end one server server
check 'server token in a store of its own' make_end two server apart
use_store one
for key in rsa-client p256-client p384-client; do
    check "req: OpenSSL verifies the request of $key" request_verifies "$key"
    check "dgst: $key signs" signs_data "$key"
done
check 'cms: the RSA key decrypts' decrypts_data
refuse 'req: a wrong PIN is refused' 'PIN|pin|login' \
    timeout 60 openssl req -new -engine pkcs11 -keyform engine -subj /CN=x \
    -key 'pkcs11:token=client;object=rsa-client;type=private?pin-value=999999'

for version in tls1_2 tls1_3; do
    for store in one two; do
        end=server
        [[ $store == one ]] || end=apart
        for keys in 'rsa rsa' 'p256 p256' 'p384 p384' 'rsa p256' 'p256 rsa'; do
            check "mutual $version, client ${keys% *}, server ${keys#* }, server's store $store" \
                handshake "$version" "${keys% *}-client" "${keys#* }-$end" "$store"
        done
    done
    check "$version without a client certificate is refused" without_certificate "$version"
done
check 'mutual tls1_2 with PKCS#1 signatures, client rsa, server rsa' handshake tls1_2 rsa-client rsa-server one pkcs1
check 'mutual tls1_2 with PKCS#1 signatures, client rsa, server p256' handshake tls1_2 rsa-client p256-server one pkcs1

totals
