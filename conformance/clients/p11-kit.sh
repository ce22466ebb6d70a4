#!/usr/bin/env bash
# p11-kit: the module in a module file of its own, seen by p11-kit and used through its proxy and its server.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need p11-kit p11-kit-modules opensc openssl gnutls-bin
need_module

# p11-kit reads ~/.config/pkcs11 except as root. As root, the tools therefore run as nobody with a home of their own,
# so that nothing has to be written to /etc.
cd "$SCRATCH" || exit
chmod 711 "$SCRATCH"
use_store main
make_token one >/dev/null
make_key one rsa 31 rsa:2048 >/dev/null
if ours; then make_token two >/dev/null; fi
# Before the store changes hands: root is refused in a store that is somebody else's.
check 'the public key' read_public one rsa rsa.pub
mkdir -p home/.config/pkcs11/modules
cp "$MODULE" home/module.so
printf 'module: %s\ncritical: yes\n' "$SCRATCH/home/module.so" >home/.config/pkcs11/modules/conformance.module
export HOME=$SCRATCH/home
unset XDG_CONFIG_HOME
as_someone=()
if [[ $(id -u) == 0 ]]; then
    chown -R nobody: home "$NODETOKEN_STORE" ${TPM:+"$TPM"}
    as_someone=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
PROXY=$(dpkg-query -L p11-kit-modules | grep 'p11-kit-proxy.so$')

kit() {
    timeout 60 "${as_someone[@]}" "$@"
}

proxy() {
    kit pkcs11-tool --module "$PROXY" "$@"
}

through_proxy() {
    proxy --token-label one --login --pin "$USER_PIN" --sign -m SHA256-RSA-PKCS --id 31 --input-file home/message \
        --output-file home/signature
    openssl dgst -sha256 -verify rsa.pub -signature home/signature home/message
}

# through_server: the token served over a socket by p11-kit server, used by p11-kit-client.so.
through_server() {
    local address pid status=0
    address=$(kit p11-kit server --provider "$SCRATCH/home/module.so" --name "$SCRATCH/home/socket" 'pkcs11:token=one')
    echo "$address"
    eval "$address"
    pid=$P11_KIT_SERVER_PID
    touch "$SCRATCH/servers/$pid"
    kit env P11_KIT_SERVER_ADDRESS="$P11_KIT_SERVER_ADDRESS" pkcs11-tool --module "${PROXY%/*}/pkcs11/p11-kit-client.so" \
        --token-label one --login --pin "$USER_PIN" --sign -m SHA256-RSA-PKCS --id 31 --input-file home/message \
        --output-file home/signature || status=$?
    kill "$pid"
    rm -f "$SCRATCH/servers/$pid"
    [[ $status == 0 ]]
    openssl dgst -sha256 -verify rsa.pub -signature home/signature home/message
}

echo 'what a node signs' >home/message
shows 'list-modules' '^conformance: ' kit p11-kit list-modules
shows 'list-modules shows the token' 'token: one' kit p11-kit list-modules
shows 'list-tokens through the proxy' 'token label *: one' proxy --list-token-slots
if ours; then shows 'two tokens through the proxy' 'token label *: two' proxy --list-token-slots; fi
shows 'p11tool finds it without being told where' 'Label: one' kit p11tool --batch --list-tokens
shows 'list-all through p11-kit' 'object=rsa;type=public' kit p11tool --batch --list-all pkcs11:token=one
check 'sign through the proxy' through_proxy
check 'test-fork through the proxy' proxy --test-fork
check 'sign through p11-kit server' through_server

totals
