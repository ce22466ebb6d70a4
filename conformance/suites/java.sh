#!/usr/bin/env bash
# Java's provider SunPKCS11: keytool makes, brings, lists and deletes keys; then each service that the provider finds in
# the token beside Java's own (SunPkcs11.java), and TLS with both ends' keys in the token.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need default-jdk-headless opensc openssl
need_module

SUITE=java
CONFIG=$SCRATCH/sunpkcs11.cfg
# Everything but a signature with SHA-1 works with the policy as it comes.
suite_config <<'CONFIG'
[policy]
sha1_sign = true
CONFIG

# kt COMMAND ARGUMENT…: keytool on the token.
kt() {
    timeout 60 keytool "$1" -keystore NONE -storetype PKCS11 -providerClass sun.security.pkcs11.SunPKCS11 \
        -providerArg "$CONFIG" -storepass "$USER_PIN" "${@:2}"
}

# case_of NAME PATTERN COMMAND…: the command succeeds and says the pattern.
case_of() {
    attempt "${@:3}"
    if [[ $STATUS == 0 ]] && { [[ -z $2 ]] || grep -Eq -e "$2" "$SCRATCH/output"; }; then
        suite_case "$SUITE" "$1" passed
    else
        suite_case "$SUITE" "$1" failed "status $STATUS: $(tail -n 1 "$SCRATCH/output" | cut -c 1-120)"
    fi
}

# certified: a request of the token's key, signed by the authority, comes back as a chain.
certified() {
    kt -certreq -alias rsa -file "$SCRATCH/rsa.csr"
    sign_request "$SCRATCH/rsa.csr" "$SCRATCH/rsa.pem"
    cat "$SCRATCH/rsa.pem" "$SCRATCH/ca.pem" >"$SCRATCH/chain.pem"
    kt -importcert -noprompt -alias rsa -file "$SCRATCH/chain.pem"
    kt -list -v -alias rsa
}

# brought TYPE OPTION…: a key that OpenSSL made comes in by PKCS#12.
brought() {
    openssl req -x509 -nodes -days 2 -subj "/CN=$1" -keyout "$SCRATCH/$1.key" -out "$SCRATCH/$1.pem" "${@:2}"
    openssl pkcs12 -export -inkey "$SCRATCH/$1.key" -in "$SCRATCH/$1.pem" -name "$1" -passout pass:password -out "$SCRATCH/$1.p12"
    kt_import "$1"
    kt -list -alias "$1"
}

kt_import() {
    timeout 60 keytool -importkeystore -noprompt -srckeystore "$SCRATCH/$1.p12" -srcstoretype PKCS12 -srcstorepass password \
        -srcalias "$1" -destkeystore NONE -deststoretype PKCS11 -deststorepass "$USER_PIN" \
        -providerClass sun.security.pkcs11.SunPKCS11 -providerArg "$CONFIG"
}

# services last|first: what the program says.
services() {
    local case status words
    attempt timeout 300 java "$SUITES/SunPkcs11.java" "$CONFIG" "$USER_PIN" "$1"
    cp "$SCRATCH/output" "$SCRATCH/services"
    grep -q $'\t' "$SCRATCH/services" || die "the program stopped, status $STATUS: $(tail -n 20 "$SCRATCH/services")"
    if [[ $STATUS != 0 ]]; then suite_case "$SUITE" "the program ends, $1" failed "status $STATUS"; fi
    while IFS=$'\t' read -r case status words; do
        [[ $status =~ ^(passed|failed|skipped)$ ]] || continue
        suite_case "$SUITE" "$case" "$status" "${words:0:160}"
    done <"$SCRATCH/services"
}

make_ca
suite_token java
printf 'name = token\nlibrary = %s\nslotListIndex = 0\n' "$MODULE" >"$CONFIG"
VERSION=$(java -version 2>&1 | sed -n 's/.*version "\([^"]*\)".*/\1/p')
case_of 'keytool: RSA key pair' '' kt -genkeypair -alias rsa -keyalg RSA -keysize 2048 -dname CN=rsa
case_of 'keytool: P-256 key pair' '' kt -genkeypair -alias p256 -keyalg EC -groupname secp256r1 -dname CN=p256
case_of 'keytool: P-384 key pair' '' kt -genkeypair -alias p384 -keyalg EC -groupname secp384r1 -dname CN=p384
case_of 'keytool: AES key' '' kt -genseckey -alias aes -keyalg AES -keysize 256
case_of 'keytool: list' 'p384, *PrivateKeyEntry' kt -list
case_of 'keytool: request, certificate and chain' 'chain length: 2' certified
case_of 'keytool: an RSA key is brought' 'PrivateKeyEntry' brought brought-rsa -newkey rsa:2048
case_of 'keytool: a P-256 key is brought' 'PrivateKeyEntry' brought brought-ec -newkey ec -pkeyopt ec_paramgen_curve:P-256
case_of 'keytool: export of a certificate' 'BEGIN CERTIFICATE' kt -exportcert -rfc -alias brought-ec
case_of 'keytool: delete' '' kt -delete -alias brought-rsa
case_of 'keytool: the deleted entry is gone' '^gone$' bash -c "! grep -q brought-rsa <<<'$(kt -list 2>&1)' && echo gone"
services last
services first
suite_result "$SUITE" "$VERSION"
totals
