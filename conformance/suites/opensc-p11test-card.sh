#!/usr/bin/env bash
# OpenSC's p11test on a smart card (a virtual one).
CONFORMANCE_TOKEN=card exec "$(dirname "$0")/opensc-p11test.sh"
