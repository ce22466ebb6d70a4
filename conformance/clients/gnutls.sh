#!/usr/bin/env bash
# GnuTLS: the life of a token by p11tool and certtool, then gnutls-serv and gnutls-cli, keys and certificates by URI.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need gnutls-bin opensc openssl iproute2
need_module
isolate "$@"

cd "$SCRATCH" || exit
export GNUTLS_PIN=$USER_PIN GNUTLS_SO_PIN=$SO_PIN
make_ca

tool() {
    timeout 120 p11tool --provider "$MODULE" --batch "$@"
}

blank_uri() {
    tool --list-token-urls | head -n 1
}

# initialize TOKEN: by GnuTLS, which only sees a blank token when C_OpenSession works on it (not with SoftHSM).
initialize() {
    if ! ours; then
        make_token "$1"
        return
    fi
    tool --initialize --label "$1" --set-so-pin "$SO_PIN" "$(blank_uri)"
    tool --initialize-pin --set-so-pin "$SO_PIN" --set-pin "$USER_PIN" "pkcs11:token=$1"
}

# certify_by_gnutls TOKEN NAME ID: certtool makes the request with the token's key, p11tool writes the certificate.
certify_by_gnutls() {
    printf 'cn = "%s.example"\ndns_name = "%s.example"\nsigning_key\ntls_www_server\ntls_www_client\n' "$2" "$2" >"$2.template"
    timeout 60 certtool --provider "$MODULE" --generate-request --template "$2.template" \
        --load-privkey "pkcs11:token=$1;object=$2;type=private" --outfile "$2.csr"
    sign_request "$2.csr" "$2.pem"
    tool --login --write --load-certificate "$2.pem" --label "$2" --id "$3" "pkcs11:token=$1"
}

# make_end STORE TOKEN: a token whose RSA, P-256 and P-384 keys are made, certified and installed by GnuTLS alone.
make_end() {
    use_store "$1"
    initialize "$2"
    tool --login --generate-privkey=rsa --bits 2048 --label "rsa-$2" --id 31 "pkcs11:token=$2"
    tool --login --generate-privkey=ecdsa --curve secp256r1 --label "ec-$2" --id 32 "pkcs11:token=$2"
    tool --login --generate-privkey=ecdsa --curve secp384r1 --label "p384-$2" --id 33 "pkcs11:token=$2"
    certify_by_gnutls "$2" "rsa-$2" 31
    certify_by_gnutls "$2" "ec-$2" 32
    certify_by_gnutls "$2" "p384-$2" 33
}

exports_unchanged() {
    tool --export "pkcs11:token=client;object=$1;type=cert" --outfile exported.pem
    cmp <(openssl x509 -in exported.pem -outform DER) <(openssl x509 -in "$1.pem" -outform DER)
}

key_of_certificate() {
    tool --login --export-pubkey "pkcs11:token=client;object=$1;type=private" --outfile exported.pub
    cmp <(openssl pkey -pubin -in exported.pub -outform DER) <(openssl x509 -in "$1.pem" -noout -pubkey | openssl pkey -pubin -outform DER)
}

# signature VERSION KEY: how GnuTLS names the key's signature, in part. It prefers PKCS#1 in TLS 1.2.
signature() {
    case $1:$2 in
        TLS1.2:rsa-*) echo RSA-SHA ;;
        TLS1.3:rsa-*) echo RSA-PSS-RSAE-SHA ;;
        *) echo ECDSA- ;;
    esac
}

# handshake VERSION CLIENT-KEY SERVER-KEY: mutual TLS, each end's key and certificate by URI, and a line echoed.
handshake() {
    local priority="NORMAL:-VERS-ALL:+VERS-$1" client=$2 server=$3 status=0
    free_port
    use_store server
    start_server server.log timeout 60 env "${FENCE[@]}" gnutls-serv --provider "$MODULE" --port "$PORT" --echo \
        --priority "$priority" --require-client-cert --verify-client-cert --x509cafile ca.pem \
        --x509keyfile "pkcs11:token=server;object=$server;type=private" \
        --x509certfile "pkcs11:token=server;object=$server;type=cert"
    use_store client
    { echo ping; sleep 1; } | timeout 60 gnutls-cli --provider "$MODULE" --port "$PORT" --priority "$priority" \
        --x509cafile ca.pem --verify-hostname "$server.example" \
        --x509keyfile "pkcs11:token=client;object=$client;type=private" \
        --x509certfile "pkcs11:token=client;object=$client;type=cert" 127.0.0.1 >client.log 2>&1 || status=$?
    kill -0 "$SERVER" || echo 'the server is gone'
    stop_server
    sed -n "/^[-*]/s/^/server: /p; /Subject:/s/^/server: /p" server.log
    sed 's/^/client: /' client.log
    echo "client: status $status"
    [[ $status == 0 ]]
    grep -q 'Status: The certificate is trusted' client.log
    grep -q "^- Description: ($1" client.log
    grep -qx 'ping' client.log
    grep -q "Subject: CN=$client.example" server.log
    grep -q '^- Status: The certificate is trusted' server.log
    grep -q "^- Client Signature: $(signature "$1" "$client")" server.log
    grep -q "^- Server Signature: $(signature "$1" "$server")" server.log
}

use_store client
! ours || shows 'list-tokens shows the blank token' 'Token 0' tool --list-tokens
check 'a client token, made by GnuTLS alone' make_end client client
check 'a server token in another store' make_end server server
shows 'list-tokens shows the label' 'Label: client' tool --list-tokens
shows 'list-mechanisms' 'CKM_RSA_PKCS_PSS' tool --list-mechanisms pkcs11:token=client
shows 'list-all without login: certificate' 'object=rsa-client;type=cert' tool --list-all pkcs11:token=client
hides 'list-all without login: no private key' 'type=private' tool --list-all pkcs11:token=client
shows 'list-all with login: private key' 'object=ec-client;type=private' tool --login --list-all pkcs11:token=client
shows 'list-certs: with their keys' 'object=rsa-client;type=cert' tool --login --list-certs pkcs11:token=client
shows 'a key is never extractable' 'CKA_NEVER_EXTRACTABLE' tool --login --list-privkeys pkcs11:token=client
shows 'info' 'Type: Private key' tool --login --info 'pkcs11:token=client;object=rsa-client;type=private'
for key in rsa-client ec-client p384-client; do
    check "export: the certificate of $key is unchanged" exports_unchanged "$key"
    check "export-pubkey: the key of $key is the certificate's" key_of_certificate "$key"
    check "test-sign: $key" tool --login --test-sign "pkcs11:token=client;object=$key;type=private"
done
check 'test-sign: rsa-client with PSS' \
    tool --login --test-sign --sign-params=rsa-pss 'pkcs11:token=client;object=rsa-client;type=private'
refuse 'export of a private key' 'rror|annot|denied' \
    tool --login --export 'pkcs11:token=client;object=ec-client;type=private' --outfile leaked
check 'generate-random' tool --generate-random=32 --outfile random pkcs11:token=client
check 'write privkey' tool --login --write --load-privkey ca.key --label imported --id 20 pkcs11:token=client
check 'test-sign: the written key' tool --login --test-sign 'pkcs11:token=client;object=imported;type=private'
check 'delete' tool --login --delete 'pkcs11:token=client;object=imported;type=private'
hides 'it is gone' 'object=imported;type=private' tool --login --list-all pkcs11:token=client
refuse 'a wrong PIN is refused' 'PIN' \
    env GNUTLS_PIN=999999 timeout 60 p11tool --provider "$MODULE" --batch --login --list-privkeys pkcs11:token=client

for version in TLS1.2 TLS1.3; do
    for keys in 'rsa rsa' 'ec ec' 'p384 p384' 'rsa ec' 'ec rsa'; do
        check "mutual $version, client ${keys% *}, server ${keys#* }" \
            handshake "$version" "${keys% *}-client" "${keys#* }-server"
    done
done

totals
