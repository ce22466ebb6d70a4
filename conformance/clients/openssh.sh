#!/usr/bin/env bash
# OpenSSH: public keys by ssh-keygen, signatures by ssh-agent. No server is needed: `ssh-add -T` signs and verifies.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
need openssh-client opensc openssl
need_module

cd "$SCRATCH" || exit
use_store main
export HOME=$SCRATCH

prepare() {
    make_token node
    make_key node rsa 31 rsa:2048
    make_key node ec 32 EC:prime256v1
}

# with_agent COMMAND…: an agent that may load our module, and the PIN given to whoever asks for one.
with_agent() {
    printf '#!/bin/sh\necho %s\n' "$USER_PIN" >askpass
    chmod +x askpass
    timeout 60 env SSH_ASKPASS="$SCRATCH/askpass" SSH_ASKPASS_REQUIRE=force DISPLAY=none \
        ssh-agent -P "$(realpath "$MODULE")" "$@"
}

# agent_signs: the public keys alone are given to ssh-add -T and ssh-keygen -Y; the agent signs with the token.
agent_signs() {
    # shellcheck disable=SC2016 # $0 and $type are the inner shell's
    with_agent bash -ec '
        ssh-add -s "$0"
        ssh-add -L
        for type in ssh-rsa ecdsa-sha2-nistp256; do
            ssh-add -L | grep "^$type " >"$type.pub"
            ssh-add -T "$type.pub"
            ssh-keygen -Y sign -f "$type.pub" -n conformance message
            { echo -n "node "; cat "$type.pub"; } >allowed
            ssh-keygen -Y verify -f allowed -I node -n conformance -s message.sig <message
            rm message.sig
        done
        ssh-add -e "$0"' "$MODULE"
}

echo 'what a node signs' >message
check 'a token with two keys' prepare
shows 'ssh-keygen -D shows the RSA key' '^ssh-rsa ' timeout 60 ssh-keygen -D "$MODULE"
shows 'ssh-keygen -D shows the EC key' '^ecdsa-sha2-nistp256 ' timeout 60 ssh-keygen -D "$MODULE"
check 'ssh-agent signs with both' agent_signs

totals
