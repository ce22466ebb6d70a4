#!/usr/bin/env bash
# NSS (the library of Firefox): the module added to a database, then certificates, requests and signatures.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need libnss3-tools opensc openssl libengine-pkcs11-openssl gnutls-bin
need_module

cd "$SCRATCH" || exit
use_store main
use_engine
make_ca
mkdir db
DB=sql:$SCRATCH/db
printf 'node:%s\nNSS Certificate DB:\n' "$USER_PIN" >pin
echo 'what a node signs' >message

prepare() {
    make_token node
    make_key node rsa 31 rsa:2048
    make_key node ec 32 EC:prime256v1
    certify node rsa 31 rsa.example
    certify node ec 32 ec.example
}

add_module() {
    timeout 60 certutil -N -d "$DB" --empty-password
    timeout 60 modutil -dbdir "$DB" -force -add conformance -libfile "$MODULE"
    timeout 60 certutil -A -d "$DB" -n ca -t CT,C,C -i ca.pem
}

# generate TYPE NAME OPTION…: certutil makes a key in the token and a request signed by it.
generate() {
    head -c 64 /dev/urandom >noise
    timeout 120 certutil -R -d "$DB" -h node -f pin -z noise -k "$1" "${@:3}" -s "CN=$2.example" -a -o "$2.csr"
    openssl req -in "$2.csr" -noout -verify
}

signs_message() {
    timeout 60 cmsutil -S -d "$DB" -N "node:$1" -f pin -T -G -H SHA256 -i message -o signed.cms
    openssl cms -verify -in signed.cms -inform DER -content message -binary -CAfile ca.pem -purpose any -out /dev/null
}

opens_message() {
    openssl cms -encrypt -in message -binary -outform DER -out sealed.cms -aes256 rsa.pem
    timeout 60 cmsutil -D -d "$DB" -f pin -p "$USER_PIN" -i sealed.cms -o opened
    cmp message opened
}

check 'a token with two certified keys' prepare
check 'modutil adds the module' add_module
shows 'modutil lists the token' 'token: node' timeout 60 modutil -dbdir "$DB" -list
shows 'certutil lists the RSA certificate' '^node:rsa  *u,u,u' timeout 60 certutil -L -d "$DB" -h node -f pin
shows 'certutil lists the EC certificate' '^node:ec  *u,u,u' timeout 60 certutil -L -d "$DB" -h node -f pin
shows 'certutil lists the keys' 'rsa .*rsa' timeout 60 certutil -K -d "$DB" -h node -f pin
check 'certutil makes an RSA key in the token and requests' generate rsa nss-rsa -g 2048
check 'certutil makes an EC key in the token and requests' generate ec nss-ec -q nistp256
check 'cmsutil signs with the RSA key' signs_message rsa
check 'cmsutil signs with the EC key' signs_message ec
check 'cmsutil opens with the RSA key' opens_message
check 'the RSA key is still there' openssl dgst -sha256 -engine pkcs11 -keyform engine \
    -sign "$(key_uri node rsa)" -out signature message
check 'modutil removes the module' timeout 60 modutil -dbdir "$DB" -force -delete conformance

totals
