#!/usr/bin/env python3
"""Puts what a test case of the OASIS PKCS #11 Profiles finds there into a token: prepare.py MODULE TOKEN PIN CASE.xml

What that is, the cases show by what they ask for: AUTH a pair of RSA keys with labels of their own, CERT five objects,
of which the first has a label and the second a certificate; which comes first is the token's affair, so that all five
are the same certificate under that label.
"""

import sys

from cryptoki import *
from replay import read_case

OBJECTS = 5


def key_pair(module, session):
    mechanism = Mechanism(MECHANISMS["RSA_PKCS_KEY_PAIR_GEN"], None, 0)
    public = Template([
        ("TOKEN", True), ("LABEL", "testrsa-pub"), ("ID", b"\1"), ("MODULUS_BITS", 2048), ("PUBLIC_EXPONENT", b"\1\0\1"),
        ("VERIFY", True),
    ])
    private = Template([("TOKEN", True), ("LABEL", "testrsa-pri"), ("ID", b"\1"), ("PRIVATE", True), ("SIGN", True)])
    handles = c_ulong(0), c_ulong(0)
    module.must(
        "C_GenerateKeyPair", session, byref(mechanism), public.array, len(public.array), private.array,
        len(private.array), byref(handles[0]), byref(handles[1]),
    )


def elements(der):
    """The elements (tag, whole, content) of a constructed value of DER, whose lengths fit in two bytes."""
    while der:
        size, start = der[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(der[2:start], "big")
        yield der[0], der[: start + size], der[start : start + size]
        der = der[start + size :]


def certificates(module, session, response):
    """The certificate and the label that the responses give."""
    given = {one.get("type"): one.get("value") for one in response if one.get("value")}
    value = bytes.fromhex(given["VALUE"])
    [(_, _, certificate)] = elements(value)
    to_be_signed = [*elements(certificate)][0][2]
    # Version, serial number, algorithm, issuer, validity, subject (RFC 5280, 4.1).
    _, serial, _, issuer, _, subject = [whole for _, whole, _ in elements(to_be_signed)][:6]
    template = Template([
        ("CLASS", "CERTIFICATE"), ("CERTIFICATE_TYPE", 0), ("TOKEN", True), ("PRIVATE", False),
        ("LABEL", given["LABEL"] + "\0"), ("SUBJECT", subject), ("ISSUER", issuer), ("SERIAL_NUMBER", serial),
        ("VALUE", value),
    ])
    for _ in range(OBJECTS):
        handle = c_ulong(0)
        module.must("C_CreateObject", session, template.array, len(template.array), byref(handle))


def main():
    path, token, pin, case = sys.argv[1:]
    module, session = Module(path), c_ulong(0)
    module.must("C_Initialize", None)
    flags = SESSION_FLAGS["RW_SESSION"] | SESSION_FLAGS["SERIAL_SESSION"]
    module.must("C_OpenSession", module.slot_of(token), flags, None, None, byref(session))
    session = session.value
    module.must("C_Login", session, USERS["USER"], pin.encode(), len(pin))
    asked = [one for _, response in read_case(case) for one in response.iter("Attribute")]
    if any(one.get("type") == "MODULUS" for one in asked):
        key_pair(module, session)
    if any(one.get("type") == "VALUE" for one in asked):
        certificates(module, session, asked)
    module.must("C_Finalize", None)


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        sys.exit(str(refusal))
