# shellcheck shell=bash
# Shared by every script in conformance/: packages, temporary stores, tokens, servers, checks and totals.
# Source it first; it sets the strict mode and leaves nothing behind when the script ends.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# Another module may be put in place of ours, to learn whether a failure is the client's or the module's:
# CONFORMANCE_MODULE=/usr/lib/softhsm/libsofthsm2.so conformance/clients/pkcs11-tool.sh
MODULE=${CONFORMANCE_MODULE:-$TARGET/release/libnodetoken.so}
NODETOKEN=${CONFORMANCE_COMMAND:-$TARGET/release/nodetoken}
# The kind of token that a script works with, software, tpm or card:
# CONFORMANCE_TOKEN=tpm conformance/clients/openssl.sh
KIND=${CONFORMANCE_TOKEN:-software}
TPM=
CARD_CRATE=$ROOT/conformance/virtual-card
USER_PIN=246813
SO_PIN=13572468

PASSED=0
FAILED=0
SKIPPED=0
ENDED=
PATH=$PATH:/usr/sbin:/sbin

SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/nodetoken-conformance.XXXXXX")
mkdir "$SCRATCH/servers"
trap 'clean_up $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Ends the servers and removes the scratch directory; a script that stopped half-way counts as a failure.
clean_up() {
    local status=$1 server
    for server in "$SCRATCH"/servers/*; do
        [[ ! -e $server ]] || kill "${server##*/}" 2>/dev/null || true
    done
    rm -rf "$SCRATCH"
    if [[ -n ${COUNTING:-} && -z $ENDED ]]; then
        echo "FAIL the script stopped before its end, status $status"
        FAILED=$((FAILED + 1))
        totals || exit 1
    fi
}

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

on_tpm() {
    [[ $KIND == tpm ]]
}

on_card() {
    [[ $KIND == card ]]
}

[[ $KIND == software ]] || on_tpm || on_card || die "CONFORMANCE_TOKEN is software, tpm or card, not $KIND"

# The virtual card's key for writing, which with the PUK makes its security officer.
CARD_KEY=010203040506070801020304050607080102030405060708
! on_card || SO_PIN=12345678:$CARD_KEY

# ---- packages -------------------------------------------------------------------------------------------------

# as_root COMMAND…: runs it as root, through sudo where we are not.
as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

may_be_root() {
    [[ $(id -u) == 0 ]] || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; }
}

# need PACKAGE…: installs the Debian packages that are missing, or names them and stops.
need() {
    local package missing=()
    command -v dpkg-query >/dev/null || die "not a Debian system: install by hand what these packages hold: $*"
    for package in "$@"; do
        # shellcheck disable=SC2016 # the format is dpkg-query's own
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    may_be_root || die "missing Debian packages, and no root or sudo to install them: ${missing[*]}
install them with: apt-get install ${missing[*]}"
    echo "installing: ${missing[*]}"
    {
        as_root apt-get -q -o DPkg::Lock::Timeout=300 update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
            install -y --no-install-recommends "${missing[@]}"
    } </dev/null >"$SCRATCH/apt.log" 2>&1 || {
        tail -n 20 "$SCRATCH/apt.log" >&2
        die "apt-get could not install: ${missing[*]}"
    }
}

# run_cargo ARGUMENT…: cargo in the clone, as the user who called sudo when that user owns the clone.
run_cargo() {
    local home=$HOME path as=()
    if [[ $(id -u) == 0 && -n ${SUDO_USER:-} && $SUDO_USER != root && $(stat -c %U "$ROOT") == "$SUDO_USER" ]]; then
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        as=(runuser -u "$SUDO_USER" --)
    fi
    path=$PATH:$home/.cargo/bin:/usr/local/cargo/bin
    [[ -n $(PATH=$path type -P cargo) ]] || die "cargo is missing: install Rust (https://rustup.rs), then run this again"
    (cd "$ROOT" && "${as[@]}" env HOME="$home" PATH="$path" cargo "$@")
}

# need_module: builds the release library and command unless another module is under test.
need_module() {
    ! on_tpm || need swtpm tpm2-tools
    ! on_card || need_card
    [[ -z ${CONFORMANCE_MODULE:-} ]] || return 0
    need gcc libc6-dev
    run_cargo build --release --quiet
}

# need_card: builds the virtual card, with what it needs to be built and to run.
need_card() {
    need gcc libc6-dev clang libclang-dev pcscd vsmartcard-vpcd
    card_cargo build --release --quiet
}

# card_cargo COMMAND…: cargo in the crate of the virtual card.
card_cargo() {
    run_cargo "$1" --locked --manifest-path "$CARD_CRATE/Cargo.toml" --target-dir "$CARD_CRATE/target" "${@:2}"
}

# ---- checks ---------------------------------------------------------------------------------------------------

# attempt COMMAND…: runs it with no input, output in $SCRATCH/output, and leaves its status in STATUS.
attempt() {
    STATUS=0
    set +e
    (
        set -e
        "$@"
    ) >"$SCRATCH/output" 2>&1 </dev/null
    STATUS=$?
    set -e
}

pass() {
    COUNTING=1
    PASSED=$((PASSED + 1))
    echo "ok   $1"
}

fail() {
    COUNTING=1
    FAILED=$((FAILED + 1))
    echo "FAIL $1: $2"
    tail -n 80 "$SCRATCH/output" | sed 's/^/     | /'
}

# check NAME COMMAND…: the command succeeds.
check() {
    local name=$1
    shift
    attempt "$@"
    if [[ $STATUS == 0 ]]; then pass "$name"; else fail "$name" "status $STATUS of: $*"; fi
}

# shows NAME PATTERN COMMAND…: the command succeeds and its output matches the extended pattern.
shows() {
    local name=$1 pattern=$2
    shift 2
    attempt "$@"
    if [[ $STATUS != 0 ]]; then
        fail "$name" "status $STATUS of: $*"
    elif ! grep -Eq -e "$pattern" "$SCRATCH/output"; then
        fail "$name" "no \"$pattern\" in the output of: $*"
    else
        pass "$name"
    fi
}

# hides NAME PATTERN COMMAND…: the command succeeds and nothing in its output matches.
hides() {
    local name=$1 pattern=$2
    shift 2
    attempt "$@"
    if [[ $STATUS != 0 ]]; then
        fail "$name" "status $STATUS of: $*"
    elif grep -Eq -e "$pattern" "$SCRATCH/output"; then
        fail "$name" "\"$pattern\" is in the output of: $*"
    else
        pass "$name"
    fi
}

# refuse NAME PATTERN COMMAND…: the command fails by itself (not by a signal or the time limit) and says PATTERN.
refuse() {
    local name=$1 pattern=$2
    shift 2
    attempt "$@"
    if [[ $STATUS == 0 ]]; then
        fail "$name" "was not refused: $*"
    elif [[ $STATUS -ge 124 ]]; then
        fail "$name" "ended by a signal or the time limit, status $STATUS: $*"
    elif ! grep -Eq -e "$pattern" "$SCRATCH/output"; then
        fail "$name" "refused, but without \"$pattern\": $*"
    else
        pass "$name"
    fi
}

# exits NAME STATUS PATTERN COMMAND…: the command ends with this status and says PATTERN.
exits() {
    local name=$1 expected=$2 pattern=$3
    shift 3
    attempt "$@"
    if [[ $STATUS != "$expected" ]]; then
        fail "$name" "status $STATUS instead of $expected: $*"
    elif ! grep -Eq -e "$pattern" "$SCRATCH/output"; then
        fail "$name" "no \"$pattern\" in the output of: $*"
    else
        pass "$name"
    fi
}

# skip NAME REASON: only where another module than ours is under test.
skip() {
    COUNTING=1
    SKIPPED=$((SKIPPED + 1))
    echo "skip $1: $2"
}

ours() {
    [[ -z ${CONFORMANCE_MODULE:-} ]]
}

# totals: the line that CI reads; fails when a check has failed. The last command of a script.
totals() {
    ENDED=1
    if [[ $SKIPPED -gt 0 ]]; then
        echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    else
        echo "$PASSED passed, $FAILED failed"
    fi
    [[ $FAILED == 0 && $PASSED -gt 0 ]]
}

# ---- stores and tokens ----------------------------------------------------------------------------------------

# use_store NAME: from here on the module works in this store, made empty when it is new, and with the store's own TPM
# or card.
use_store() {
    export NODETOKEN_STORE=$SCRATCH/store-$1
    export SOFTHSM2_CONF=$NODETOKEN_STORE/softhsm2.conf
    unset NODETOKEN_TPM NODETOKEN_CARD NODETOKEN_CONF PCSCLITE_CSOCK_NAME
    if on_tpm; then
        TPM=$SCRATCH/tpm-$1
        export NODETOKEN_TPM=swtpm:$TPM/tpm.sock
        export TPM2_PKCS11_STORE=$NODETOKEN_STORE TPM2_PKCS11_TCTI=swtpm:path=$TPM/tpm.sock
    fi
    if on_card; then
        READER=$SCRATCH/reader-$1
        export NODETOKEN_CARD=pcsc NODETOKEN_CONF=$READER.toml PCSCLITE_CSOCK_NAME=$READER/pcscd/pcscd.comm
    fi
    [[ ! -d $NODETOKEN_STORE ]] || return 0
    mkdir -m 700 "$NODETOKEN_STORE"
    ! on_tpm || start_tpm
    ! on_card || start_card
    if ! ours; then
        mkdir "$NODETOKEN_STORE/tokens"
        printf 'directories.tokendir = %s\nlog.level = ERROR\n' "$NODETOKEN_STORE/tokens" >"$SOFTHSM2_CONF"
    fi
}

# start_tpm: a factory-new TPM 2.0 simulator with its state and sockets in the directory TPM. A real TPM allows some
# thirty wrong values before it locks itself; swtpm allows three, which would hide the token's own count of ten.
start_tpm() {
    local tpm tenths
    mkdir -m 700 "$TPM" "$TPM/state"
    swtpm socket --tpm2 --tpmstate "dir=$TPM/state" --flags not-need-init,startup-clear \
        --server "type=unixio,path=$TPM/tpm.sock" --ctrl "type=unixio,path=$TPM/tpm.sock.ctrl" \
        >"$TPM/log" 2>&1 </dev/null &
    tpm=$!
    touch "$SCRATCH/servers/$tpm"
    for ((tenths = 0; tenths < 150; tenths++)); do
        if timeout 10 tpm2_dictionarylockout -T "swtpm:path=$TPM/tpm.sock" -s -n 32 -t 1000 -l 1000 >"$TPM/ready" 2>&1; then
            return 0
        fi
        kill -0 "$tpm" 2>/dev/null || break
        sleep 0.1
    done
    cat "$TPM/log" "$TPM/ready"
    echo 'swtpm does not answer'
    return 1
}

# start_card: a pcscd of its own with a new virtual card, whose files are in the directory READER. The user may write
# to it, as to every other token.
start_card() {
    local card tenths
    echo "$CARD_KEY" >"$READER.key"
    printf '[card]\nmanagement_key_file = "%s"\n' "$READER.key" >"$READER.toml"
    "$CARD_CRATE/target/release/virtual-card" "$READER" >"$READER.log" 2>&1 </dev/null &
    card=$!
    touch "$SCRATCH/servers/$card"
    for ((tenths = 0; tenths < 150; tenths++)); do
        if grep -qx ready "$READER.log"; then return 0; fi
        kill -0 "$card" 2>/dev/null || break
        sleep 0.1
    done
    cat "$READER.log"
    echo 'the virtual card is not ready'
    return 1
}

# reader COMMAND…: what happens to a card of the reader READER, as `1 pull` or `2 insert`.
reader() {
    "$CARD_CRATE/target/release/virtual-card" --control "$READER" "$@"
}

# p11 ARGUMENT…: pkcs11-tool on the module under test.
p11() {
    timeout 120 pkcs11-tool --module "$MODULE" "$@"
}

# as_user TOKEN ARGUMENT…: pkcs11-tool, logged in as the user.
as_user() {
    p11 --token-label "$1" --login --pin "$USER_PIN" "${@:2}"
}

# blank_slot: the index of the first slot whose token is not initialized; empty when there is none. A card that is new
# calls itself PIV.
blank_slot() {
    p11 --list-slots | awk '/^Slot/ { slot = $2 } /uninitialized|token label *: PIV / { print slot; exit }'
}

# make_token LABEL: a token with USER_PIN and SO_PIN, by pkcs11-tool, or by our command where no slot is blank.
make_token() {
    local slot
    slot=$(blank_slot)
    if on_card && [[ -z $slot ]]; then
        reader 2 insert
        slot=$(blank_slot)
    fi
    if [[ -n $slot ]]; then
        p11 --slot-index "$slot" --init-token --label "$1" --so-pin "$SO_PIN"
        p11 --token-label "$1" --login --login-type so --so-pin "$SO_PIN" --init-pin --pin "$USER_PIN"
    else
        NT_PIN=$USER_PIN NT_SO_PIN=$SO_PIN "$NODETOKEN" init --new --label "$1" --pin-env NT_PIN --so-pin-env NT_SO_PIN
    fi
}

# make_key TOKEN NAME ID TYPE [OPTION…]: a key pair made inside the token; TYPE as pkcs11-tool writes it (rsa:2048,
# EC:prime256v1).
make_key() {
    as_user "$1" --keypairgen --label "$2" --id "$3" --key-type "$4" "${@:5}"
}

# key_uri TOKEN NAME: the private key's address for GnuTLS and the OpenSSL engine, with the PIN in it.
key_uri() {
    echo "pkcs11:token=$1;object=$2;type=private?pin-value=$USER_PIN"
}

# read_public TOKEN NAME FILE: the public key as PEM, read without login. By GnuTLS: pkcs11-tool 0.23 frees the point
# of an EC key before it uses it (read_object in pkcs11-tool.c) and fails from time to time.
read_public() {
    timeout 60 p11tool --provider "$MODULE" --batch --export --outfile "$3" "pkcs11:token=$1;object=$2;type=public"
}

# ---- certificates ---------------------------------------------------------------------------------------------

# make_ca: a throwaway authority in $SCRATCH/ca.pem, its key beside it.
make_ca() {
    env -u OPENSSL_CONF openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj '/CN=Throwaway test CA' -keyout "$SCRATCH/ca.key" -out "$SCRATCH/ca.pem" 2>"$SCRATCH/ca.log"
}

# sign_request REQUEST CERTIFICATE: the authority signs a PKCS#10 request and keeps the extensions that it asks for.
sign_request() {
    env -u OPENSSL_CONF openssl x509 -req -in "$1" -CA "$SCRATCH/ca.pem" -CAkey "$SCRATCH/ca.key" -CAcreateserial \
        -days 2 -copy_extensions copyall -out "$2"
}

# install_certificate TOKEN NAME ID FILE: puts a PEM certificate beside its key.
install_certificate() {
    openssl x509 -in "$4" -outform DER -out "$4.der"
    as_user "$1" --write-object "$4.der" --type cert --label "$2" --id "$3"
}

# use_engine: OpenSSL finds libengine-pkcs11-openssl and the module under test.
use_engine() {
    export PKCS11_MODULE_PATH=$MODULE
    export OPENSSL_CONF=$SCRATCH/openssl.cnf
    printf '[req]\ndistinguished_name = name\n[name]\n' >"$OPENSSL_CONF"
}

# engine_request TOKEN NAME COMMON-NAME REQUEST: a request signed by the token's key through the engine.
engine_request() {
    timeout 60 openssl req -new -engine pkcs11 -keyform engine -key "$(key_uri "$1" "$2")" \
        -subj "/CN=$3" -addext "subjectAltName=DNS:$3" -out "$4"
}

# certify TOKEN NAME ID COMMON-NAME: request, signature of the authority, certificate in the token and in NAME.pem.
certify() {
    engine_request "$1" "$2" "$4" "$SCRATCH/$2.csr"
    sign_request "$SCRATCH/$2.csr" "$SCRATCH/$2.pem"
    install_certificate "$1" "$2" "$3" "$SCRATCH/$2.pem"
}

# ---- servers --------------------------------------------------------------------------------------------------
# A server is a child of the shell that starts it, often the subshell of one check; its process id is the name of a
# file in $SCRATCH/servers until it has ended, so that clean_up finds those that a stopped script left.

listens() {
    grep -Eqi "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6
}

# free_port: a TCP port on which nothing listens, in PORT.
free_port() {
    PORT=$((20000 + RANDOM % 12000))
    while listens "$PORT"; do PORT=$((PORT + 1)); done
}

# start_server LOG COMMAND…: starts it and waits until something listens on PORT; its process id goes to SERVER.
start_server() {
    local log=$1 tenths
    shift
    "$@" >"$log" 2>&1 </dev/null &
    SERVER=$!
    touch "$SCRATCH/servers/$SERVER"
    for ((tenths = 0; tenths < 150; tenths++)); do
        if listens "$PORT"; then return 0; fi
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log"
    echo "the server does not listen on port $PORT: $*"
    return 1
}

# stop_server: ends the server SERVER.
stop_server() {
    kill "$SERVER" 2>/dev/null || true
    wait "$SERVER" || true
    rm -f "$SCRATCH/servers/$SERVER"
}

# await_server: gives the server SERVER ten seconds to end by itself, and its exit status.
await_server() {
    local tenths status=0
    for ((tenths = 0; tenths < 100; tenths++)); do
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
    done
    if kill "$SERVER" 2>/dev/null; then echo "the server did not end by itself"; fi
    wait "$SERVER" || status=$?
    rm -f "$SCRATCH/servers/$SERVER"
    return "$status"
}

# isolate: for servers that cannot be told to listen on 127.0.0.1 alone. Starts the script again in a network namespace
# where loopback is all there is; where the kernel grants none (most containers), compiles a bind() that turns "any
# address" into loopback, and puts the preload in FENCE, to be passed through `env` before such a server.
# shellcheck disable=SC2034 # FENCE is for the script
isolate() {
    FENCE=()
    if [[ -n ${ISOLATED:-} ]]; then
        ip link set lo up
        return
    fi
    local unshare=(unshare --net)
    [[ $(id -u) == 0 ]] || unshare+=(--map-root-user)
    if "${unshare[@]}" ip link set lo up 2>/dev/null; then
        rm -rf "$SCRATCH"
        ISOLATED=1 exec "${unshare[@]}" "$0" "$@"
    fi
    need gcc libc6-dev
    gcc -shared -fPIC -O1 -o "$SCRATCH/loopback.so" "$ROOT/conformance/loopback.c"
    FENCE=("LD_PRELOAD=$SCRATCH/loopback.so")
}
