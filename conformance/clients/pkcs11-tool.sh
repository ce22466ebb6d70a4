#!/usr/bin/env bash
# OpenSC's pkcs11-tool against the module: a token from blank to locked, and every kind of object and signature.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need opensc openssl gnutls-bin
need_module

cd "$SCRATCH" || exit
printf 'what a node signs' >message
openssl dgst -sha256 -binary message >digest
head -c 100 message >secret

# try_pin PIN: one login with this PIN.
try_pin() {
    p11 --token-label node --login --pin "$1" --list-objects
}

# A token in a chip has neither P-521 nor private keys that could leave it.
curves=(p256 p384)
in_chip || curves+=(p521)
# Private keys that come from outside, data objects that are there from the start, and tries of a PIN.
written=1 data=0 tries=10
! on_card || written=0 data=3 tries=3

# The tool chooses the key of a signature by id alone.
declare -A ID=([rsa]=31 [p256]=32 [p384]=33 [p521]=34 [outside]=10 [ecdh]=3d)
IV=000102030405060708090a0b0c0d0e0f

# sign_and_verify MECHANISM KEY FILE OPTION…: the module signs FILE and says that the signature is valid.
sign_and_verify() {
    local mechanism=$1 id=${ID[$2]} file=$3
    shift 3
    rm -f signature
    as_user node --sign -m "$mechanism" --id "$id" --input-file "$file" --output-file signature "$@"
    as_user node --verify -m "$mechanism" --id "$id" --input-file "$file" --signature-file signature "$@" | tee verdict
    grep -q 'Signature is valid' verdict
}

# openssl_verifies KEY OPTION…: OpenSSL takes the last signature for one over the message's SHA-256 digest.
openssl_verifies() {
    openssl pkeyutl -verify -pubin -inkey "$1.pub" -in digest -sigfile signature -pkeyopt digest:sha256 "${@:2}"
}

# sign_together: processes that sign at the same time do not disturb each other.
sign_together() {
    local number signers=()
    for number in 1 2 3 4 5 6; do
        as_user node --sign -m SHA256-RSA-PKCS --id "${ID[rsa]}" --input-file message --output-file "signature-$number" &
        signers+=("$!")
    done
    for number in "${signers[@]}"; do wait "$number"; done
    for number in 1 2 3 4 5 6; do openssl dgst -sha256 -verify rsa.pub -signature "signature-$number" message; done
}

# decrypts MECHANISM OPENSSL-OPTIONS… -- TOOL-OPTIONS…: OpenSSL encrypts to the public key, the token decrypts.
decrypts() {
    local mechanism=$1 encrypt=()
    shift
    while [[ $1 != -- ]]; do
        encrypt+=("$1")
        shift
    done
    shift
    openssl pkeyutl -encrypt -pubin -inkey rsa.pub -in secret -out sealed "${encrypt[@]}"
    as_user node --decrypt -m "$mechanism" --id "${ID[rsa]}" --input-file sealed --output-file opened "$@"
    cmp secret opened
}

# stolen: the right PIN, and a copy of the store beside another TPM.
stolen() {
    local store=$NODETOKEN_STORE
    use_store stolen
    cp "$store"/* "$NODETOKEN_STORE"
    try_pin "$USER_PIN"
}

# encrypts_as ID KEY: the secret key encrypts as OpenSSL does with KEY, in hexadecimal.
encrypts_as() {
    head -c 64 /dev/zero >zeros
    as_user node --encrypt -m AES-CBC --id "$1" --iv "$IV" --input-file zeros --output-file sealed
    openssl enc -aes-128-cbc -nopad -K "$2" -iv "$IV" -in zeros | cmp - sealed
}

# same_key ID ID: two secret keys encrypt alike.
same_key() {
    head -c 64 /dev/urandom >zeros
    as_user node --encrypt -m AES-CBC --id "$1" --iv "$IV" --input-file zeros --output-file first
    as_user node --encrypt -m AES-CBC --id "$2" --iv "$IV" --input-file zeros --output-file second
    cmp first second
}

# wrap_to MECHANISM KEK ID and unwrap_as MECHANISM KEK ID [OPTION…]: the secret key ID leaves under KEK, or comes back.
wrap_to() {
    as_user node --wrap -m "$1" --id "$2" --application-id "$3" --output-file wrapped
}
unwrap_as() {
    as_user node --unwrap -m "$1" --id "$2" --application-id "$3" --input-file wrapped --key-type AES: "${@:4}"
}

# agrees KEY CURVE [OPTION…]: the secret that the token derives with a key of OpenSSL's is the one that OpenSSL derives.
agrees() {
    openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:$2" -out peer.key
    openssl pkey -in peer.key -pubout -outform DER -out peer.der
    read_public node "$1" "$1.pub"
    as_user node --derive -m ECDH1-DERIVE --id "${ID[$1]}" --input-file peer.der --output-file derived "${@:3}"
    openssl pkeyutl -derive -inkey peer.key -peerkey "$1.pub" | cmp - derived
}

# count_objects TYPE COUNT: the token holds so many objects of this type.
count_objects() {
    local found
    found=$(as_user node --list-objects --type "$1" | grep -Eci '^(certificate|private key|data) object' || true)
    echo "$found objects of type $1, expected $2"
    [[ $found == "$2" ]]
}

wrong_pins() {
    local try
    for ((try = 0; try < $1; try++)); do try_pin 999999 || true; done
}

use_store main

# A blank token; a card has a PIN from the start.
if on_card; then
    shows 'list-slots shows the card' 'token label *: PIV ' p11 --list-slots
    shows 'list-slots shows the empty place' 'empty' p11 --list-slots
else
    shows 'list-slots shows one blank token' 'uninitialized' p11 --list-slots
fi
shows 'show-info names Cryptoki' 'Cryptoki version' p11 --show-info
check 'init-token' p11 --slot-index 0 --init-token --label node --so-pin "$SO_PIN"
shows 'the token is initialized' 'token label *: node' p11 --list-token-slots
on_card || refuse 'login before init-pin' 'CKR_USER_PIN_NOT_INITIALIZED' try_pin "$USER_PIN"
refuse 'init-pin with the wrong SO PIN' 'CKR_PIN_INCORRECT' \
    p11 --token-label node --login --login-type so --so-pin 99999999 --init-pin --pin "$USER_PIN"
refuse 'init-pin with a PIN too short' 'CKR_PIN_LEN_RANGE' \
    p11 --token-label node --login --login-type so --so-pin "$SO_PIN" --init-pin --pin 123
check 'init-pin' p11 --token-label node --login --login-type so --so-pin "$SO_PIN" --init-pin --pin "$USER_PIN"
check 'login' try_pin "$USER_PIN"
refuse 'wrong PIN is CKR_PIN_INCORRECT' 'rv = CKR_PIN_INCORRECT \(0xa0\)' try_pin 999999
p11 --token-label node --list-mechanisms >mechanisms || true
check 'list-mechanisms' test -s mechanisms
for mechanism in RSA-PKCS-KEY-PAIR-GEN RSA-PKCS RSA-PKCS-PSS SHA256-RSA-PKCS SHA256-RSA-PKCS-PSS RSA-X-509 RSA-PKCS-OAEP \
    ECDSA-KEY-PAIR-GEN ECDSA ECDSA-SHA256 SHA256 AES-GCM AES-CBC-PAD SHA256-HMAC; do
    check "it has $mechanism" grep -q "^ *$mechanism," mechanisms
done
if in_chip; then
    check 'the chip signs' grep -Eq '^ *RSA-PKCS,.* hw,.* sign' mechanisms
    hides 'the chip does not hash' '^ *SHA256,.* hw' cat mechanisms
fi
check 'generate-random' p11 --token-label node --generate-random 64 --output-file random
check 'hash' p11 --token-label node --hash -m SHA256 --input-file message --output-file hashed
check 'the hash is OpenSSL'\''s' cmp digest hashed

# Keys made inside
refuse 'keypairgen without login' 'CKR_USER_NOT_LOGGED_IN' \
    p11 --token-label node --keypairgen --key-type rsa:2048 --label nobody --id 99
shows 'keypairgen RSA 2048: never extractable' 'never extractable' make_key node rsa 31 rsa:2048
shows 'keypairgen P-256: never extractable' 'never extractable' make_key node p256 32 EC:prime256v1
shows 'keypairgen P-384: never extractable' 'never extractable' make_key node p384 33 EC:secp384r1
if in_chip; then
    # CKR_CURVE_NOT_SUPPORTED, whose name this pkcs11-tool does not know.
    refuse 'keypairgen P-521: no token in a chip has it' '\(0x140\)' make_key node p521 34 EC:secp521r1
    refuse 'keypairgen of an extractable key' 'CKR_TEMPLATE_INCONSISTENT' \
        make_key node loose 34 EC:prime256v1 --extractable
else
    shows 'keypairgen P-521: never extractable' 'never extractable' make_key node p521 34 EC:secp521r1
fi
if on_card; then
    refuse 'keygen AES-256: no card keeps it' 'CKR_TEMPLATE_INCONSISTENT' \
        as_user node --keygen --key-type AES:32 --label aes --id 35
else
    shows 'keygen AES-256' 'Secret Key Object; AES' as_user node --keygen --key-type AES:32 --label aes --id 35
fi
check 'the private keys with login' count_objects privkey $((1 + ${#curves[@]}))
hides 'no private key without login' 'Private Key' p11 --token-label node --list-objects
shows 'public keys without login' 'Public Key Object; RSA 2048' p11 --token-label node --list-objects
for name in rsa "${curves[@]}"; do
    check "the public key of $name is read without login" read_public node "$name" "$name.pub"
done
check 'read-object pubkey' p11 --token-label node --read-object --type pubkey --label rsa --output-file rsa.pub.der
check 'it is the same public key' cmp <(openssl pkey -pubin -in rsa.pub -outform DER) rsa.pub.der

# Signatures, each verified by the module and by OpenSSL
# A DigestInfo for SHA-256 (RFC 8017, section 9.2): nineteen fixed octets, then the digest.
printf '\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20' | cat - digest >digestinfo
check 'sign RSA-PKCS' sign_and_verify RSA-PKCS rsa digestinfo
check 'OpenSSL verifies RSA-PKCS' openssl_verifies rsa
check 'sign SHA256-RSA-PKCS' sign_and_verify SHA256-RSA-PKCS rsa message
check 'OpenSSL verifies SHA256-RSA-PKCS' openssl_verifies rsa
check 'sign SHA384-RSA-PKCS' sign_and_verify SHA384-RSA-PKCS rsa message
check 'sign SHA512-RSA-PKCS' sign_and_verify SHA512-RSA-PKCS rsa message
check 'sign RSA-PKCS-PSS' sign_and_verify RSA-PKCS-PSS rsa digest --hash-algorithm SHA256 --mgf MGF1-SHA256
check 'OpenSSL verifies RSA-PKCS-PSS' openssl_verifies rsa -pkeyopt rsa_padding_mode:pss
check 'sign SHA256-RSA-PKCS-PSS' sign_and_verify SHA256-RSA-PKCS-PSS rsa message
check 'OpenSSL verifies SHA256-RSA-PKCS-PSS' openssl_verifies rsa -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:digest
for name in "${curves[@]}"; do
    check "sign ECDSA $name" sign_and_verify ECDSA "$name" digest --signature-format openssl
    check "OpenSSL verifies ECDSA $name" openssl_verifies "$name"
    check "sign ECDSA-SHA256 $name" sign_and_verify ECDSA-SHA256 "$name" message --signature-format openssl
    check "OpenSSL verifies ECDSA-SHA256 $name" openssl_verifies "$name"
done
check 'sign ECDSA-SHA384' sign_and_verify ECDSA-SHA384 p384 message --signature-format openssl
check 'six processes sign at once' sign_together
check 'sign SHA256-RSA-PKCS again' sign_and_verify SHA256-RSA-PKCS rsa message
shows 'verify refuses another message' 'Invalid signature' \
    as_user node --verify -m SHA256-RSA-PKCS --id 31 --input-file digest --signature-file signature

# Decryption
check 'decrypt RSA-PKCS' decrypts RSA-PKCS --
check 'decrypt RSA-PKCS-OAEP SHA-1' decrypts RSA-PKCS-OAEP -pkeyopt rsa_padding_mode:oaep -- --hash-algorithm SHA-1
check 'decrypt RSA-PKCS-OAEP SHA-256' decrypts RSA-PKCS-OAEP \
    -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -- --hash-algorithm SHA256

# Wrapping; a key that wraps does nothing else, and what it unwraps is sensitive
if ! on_card; then
    secret_key=(as_user node --keygen --key-type AES:16)
    check 'keygen of a KEK' "${secret_key[@]}" --id 3a --label kek --usage-wrap --sensitive
    check 'keygen of a key that may leave' "${secret_key[@]}" --id 3b --label parcel --sensitive --extractable
    check 'keygen of a key that stays' "${secret_key[@]}" --id 3c --label stays --sensitive
    # By number CKM_AES_KEY_WRAP_KWP, for which this pkcs11-tool has no name.
    for mechanism in AES-KEY-WRAP 0x0000210B; do
        check "wrap by $mechanism" wrap_to "$mechanism" 3a 3b
        refuse "unwrap by $mechanism in clear" 'CKR_TEMPLATE_INCONSISTENT' unwrap_as "$mechanism" 3a 40
        check "unwrap by $mechanism" unwrap_as "$mechanism" 3a 40 --sensitive
        check 'it is the same key' same_key 3b 40
        check 'delete it' as_user node --delete-object --type secrkey --id 40
    done
    refuse 'wrap a key that stays' 'CKR_KEY_UNEXTRACTABLE' wrap_to AES-KEY-WRAP 3a 3c
    refuse 'wrap by a key that encrypts' 'CKR_(WRAPPING_)?KEY_(FUNCTION_NOT_PERMITTED|TYPE_INCONSISTENT)' wrap_to AES-KEY-WRAP 3c 3b
    check 'wrap once more' wrap_to AES-KEY-WRAP 3a 3b
    head -c 8 /dev/zero | dd of=wrapped conv=notrunc status=none
    refuse 'unwrap what was changed' 'CKR_WRAPPED_KEY_INVALID' unwrap_as AES-KEY-WRAP 3a 40 --sensitive
fi
if ! in_chip; then
    check 'keypairgen of an RSA KEK' as_user node --keypairgen --key-type rsa:2048 --label rsa-kek --id 41 --usage-wrap
    check 'its public key' read_public node rsa-kek rsa-kek.pub
    check 'OpenSSL wraps for it' openssl pkeyutl -encrypt -pubin -inkey rsa-kek.pub -out wrapped \
        -in <(printf '\x70%.0s' {1..16})
    check 'unwrap by RSA-PKCS' unwrap_as RSA-PKCS 41 42 --sensitive
    check 'it is the key that OpenSSL has wrapped' encrypts_as 42 70707070707070707070707070707070
    check 'wrap by RSA-PKCS' wrap_to RSA-PKCS 41 3b
    check 'and unwrap' unwrap_as RSA-PKCS 41 43 --sensitive
    check 'it is the same key' same_key 3b 43
    check 'delete the RSA KEK' as_user node --delete-object --type privkey --label rsa-kek
fi

# Agreement
if ! in_chip; then
    check 'keypairgen of a key that derives' make_key node ecdh 3d EC:prime256v1 --usage-derive
    check 'derive ECDH1' agrees ecdh P-256
    check 'derive ECDH1, the point in DER' agrees ecdh P-256 --derive-pass-der
    check 'delete the key that derives' as_user node --delete-object --type privkey --label ecdh
fi

# Objects written from outside
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=outside -days 2 -keyout outside.key -out outside.pem 2>/dev/null
openssl x509 -in outside.pem -outform DER -out outside.crt
openssl pkey -in outside.key -outform DER -out outside.der
openssl pkey -in outside.key -pubout -outform DER -out outside.pub.der
openssl ecparam -name prime256v1 -genkey -noout | openssl pkey -outform DER -out outside-ec.der
check 'write-object cert' as_user node --write-object outside.crt --type cert --label outside --id 10
if on_card; then
    refuse 'write-object privkey: no card takes one' 'CKR_TEMPLATE_INCONSISTENT' \
        as_user node --write-object outside.der --type privkey --label outside --id 10
else
    check 'write-object privkey RSA' as_user node --write-object outside.der --type privkey --label outside --id 10
    check 'write-object privkey EC' as_user node --write-object outside-ec.der --type privkey --label outside-ec --id 12
fi
check 'write-object pubkey RSA' as_user node --write-object outside.pub.der --type pubkey --label outside --id 10
! on_tpm || refuse 'write-object privkey, extractable' 'CKR_TEMPLATE_INCONSISTENT' \
    as_user node --write-object outside.der --type privkey --label loose --id 14 --extractable
check 'write-object data' as_user node --write-object message --type data --label note --application-label conformance
if ! on_card; then
    check 'the written key signs' sign_and_verify SHA256-RSA-PKCS outside message
    check 'OpenSSL verifies it' \
        openssl dgst -sha256 -verify <(openssl pkey -in outside.key -pubout) -signature signature message
fi
check 'read-object cert' p11 --token-label node --read-object --type cert --label outside --output-file back.crt
check 'the certificate is unchanged' cmp outside.crt back.crt
check 'read-object data' as_user node --read-object --type data --label note --output-file back.data
check 'the data is unchanged' cmp message back.data
refuse 'an object that is not there' 'not found' p11 --token-label node --read-object --type cert --label nothing
check 'set-id' as_user node --set-id 13 --type cert --label outside
shows 'the new id is shown' 'ID: *13' as_user node --list-objects --type cert
check 'one certificate' count_objects cert 1
check 'one data object more' count_objects data $((data + 1))
check 'delete-object cert' as_user node --delete-object --type cert --label outside
on_card || check 'delete-object privkey' as_user node --delete-object --type privkey --label outside
check 'delete-object data' as_user node --delete-object --type data --label note
check 'no certificate is left' count_objects cert 0
check 'the other private keys are left' count_objects privkey $((1 + written + ${#curves[@]}))
refuse 'delete-object twice' 'not found' as_user node --delete-object --type cert --label outside

# The tool's own test runs
shows 'test' 'No errors' as_user node --session-rw --test --allow-sw
shows 'test, hardware mechanisms only' 'No errors' as_user node --test
# --test-ec signs with CKM_ECDSA_SHA1.
{ [[ -z ${NODETOKEN_CONF-} ]] || cat "$NODETOKEN_CONF"; printf '[policy]\nsha1_sign = true\n'; } >sha1.toml
NODETOKEN_CONF=$PWD/sha1.toml shows 'test-ec' '==> OK' as_user node --session-rw --test-ec --id 20 --key-type EC:prime256v1 --allow-sw
shows 'moz-cert' '==> OK, successful' \
    as_user node --session-rw --moz-cert outside.crt --id 21 --key-type rsa:2048 --allow-sw
hides 'test-fork' 'failed|Aborting' p11 --test-fork
shows 'test-threads' 'all threads have ended' \
    p11 --use-locking --test-threads ILGISLT0 --test-threads INGISLT0 --test-threads ILSLGIT0 --list-slots

# PINs
check 'change-pin' p11 --token-label node --login --pin "$USER_PIN" --change-pin --new-pin 864213
refuse 'the old PIN is refused' 'CKR_PIN_INCORRECT' try_pin "$USER_PIN"
check 'the new PIN is accepted' try_pin 864213
refuse 'change-pin with the wrong old PIN' 'CKR_PIN_INCORRECT' \
    p11 --token-label node --change-pin --pin 999999 --new-pin 111111
check 'the SO sets the PIN anew' \
    p11 --token-label node --login --login-type so --so-pin "$SO_PIN" --init-pin --pin "$USER_PIN"
check 'login with the PIN that the SO set' try_pin "$USER_PIN"
if ours; then
    check 'wrong PINs, all but one' wrong_pins $((tries - 1))
    shows 'the token says final try' 'final user PIN try' p11 --list-token-slots
    refuse 'the last wrong PIN' 'CKR_PIN_INCORRECT|CKR_PIN_LOCKED' try_pin 999999
    refuse 'the right PIN is locked out' 'CKR_PIN_LOCKED' try_pin "$USER_PIN"
    shows 'the token says locked' 'user PIN locked' p11 --list-token-slots
else
    skip 'wrong PINs lock the token' 'the module under test may not lock'
fi
check 'the SO unlocks' p11 --token-label node --login --login-type so --so-pin "$SO_PIN" --init-pin --pin "$USER_PIN"
check 'login after unlocking' try_pin "$USER_PIN"
check 'the keys are still there' sign_and_verify ECDSA-SHA256 p256 message --signature-format openssl
! on_tpm || refuse 'a copy of the store is of no use beside another TPM' 'CKR_DEVICE_ERROR' stolen
refuse 'init-token again with the wrong SO PIN' 'CKR_PIN_INCORRECT' \
    p11 --slot-index 0 --init-token --label node --so-pin 99999999
check 'init-token again' p11 --slot-index 0 --init-token --label fresh --so-pin "$SO_PIN"
hides 'it holds nothing' '(Key|Certificate) Object|note' p11 --token-label fresh --list-objects

totals
