#!/usr/bin/env python3
"""Replays a test case of the OASIS PKCS #11 Profiles through a module: replay.py MODULE TOKEN PIN CASE.xml

What may differ is what section 3.1 of the Profiles (version 3.2) names: VARIABLE below. Besides, a case depends on "a
specific configuration", which a token cannot be given in everything: such a difference is printed as a note. Anything
else that differs is a failure, and ends the case.
"""

import hashlib
import re
import sys
import xml.etree.ElementTree as ElementTree

from cryptoki import *

# 3.1.1, of Info, SlotInfo and TokenInfo.
VARIABLE = {
    "LibraryDescription", "LibraryVersion", "ManufacturerID", "SlotDescription", "HardwareVersion", "FirmwareVersion",
    "serialNumber", "label", "model", "utcTime",
}
# How much memory a token has, and which key sizes it takes, is its own; so is whether it wants a key with a saved state.
OWN = {
    "TotalPublicMemory", "FreePublicMemory", "TotalPrivateMemory", "FreePrivateMemory", "MaxPinLen", "MinPinLen",
    "MinKeySize", "MaxKeySize",
}
OWN_FLAGS = {"RESTORE_KEY_NOT_NEEDED"}

# DigestInfo of SHA-256 (RFC 8017, 9.2).
SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


class Differs(Exception):
    """What the module answered is not what the case says."""


def demand(condition, what):
    if not condition:
        raise Differs(what)


def read_case(path):
    """The requests of a case, each with its response. Lines that begin with # are comments."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"(?m)^\s*#.*$", "", file.read())
    elements = list(ElementTree.fromstring(text))
    pairs = list(zip(elements[::2], elements[1::2]))
    for request, response in pairs:
        demand(request.tag == response.tag and "rv" in response.attrib, f"{request.tag} has no response")
    return pairs


def flags_of(text, table):
    return int(text, 16) if text.startswith("0x") else sum(table[name] for name in text.split("|"))


class Replay:
    """The state of a case: what its ${names} stand for, and what the last calls gave."""

    def __init__(self, module, token, pin):
        self.module, self.token = module, token
        self.names = {"Pin": pin}
        self.read = {}

    def run(self, path):
        for request, response in read_case(path):
            try:
                answer = getattr(self, request.tag, None)
                demand(answer, "the replay does not know this function")
                answer(request, response)
            except Differs as difference:
                raise Differs(f"{request.tag}: {difference}") from None

    def call(self, response, *arguments):
        code = self.module.call(response.tag, *arguments)
        demand(code == response.get("rv"), f"CKR_{code} instead of CKR_{response.get('rv')}")

    def value(self, element, path, attribute="value"):
        """What a request gives, a ${name} replaced."""
        text = element.find(path).get(attribute)
        name = re.fullmatch(r"\$\{(.*)\}", text)
        if not name:
            return text
        demand(name[1] in self.names, f"{text} is not bound")
        return self.names[name[1]]

    def bind(self, element, value, attribute="value"):
        """What a response calls by a ${name} has this value from now on."""
        name = re.fullmatch(r"\$\{(.*)\}", element.get(attribute))
        demand(name, f"{element.tag} of the response is no name")
        self.names[name[1]] = value

    def session(self, request):
        return self.value(request, "Session")

    def note(self, what):
        print(f"note {what}")

    # ---- structures -----------------------------------------------------------------------------------------

    def compare(self, expected, found, flags):
        """A structure with the fields that a response gives of it."""
        for field in expected:
            if field.tag in VARIABLE:
                continue
            have = getattr(found, field.tag)
            if isinstance(have, Version):
                want = (int(field.get("major")), int(field.get("minor")))
                demand((have.major, have.minor) == want, f"{field.tag} is {have.major}.{have.minor}")
            elif field.tag == "Flags":
                self.compare_flags(field.get("value"), have, flags)
            elif have != int(field.get("value")):
                what = f"{field.tag} is {'unavailable' if have == UNAVAILABLE else have}, not {field.get('value')}"
                demand(field.tag in OWN, what)
                self.note(what)

    def compare_flags(self, text, have, table):
        """Every flag of the case is set; others say more of the device (CKF_HW_SLOT, CKF_HW, …)."""
        want = flags_of(text, table)
        if text.startswith("0x"):
            demand(have == want, f"Flags are {have:#x}")
            return
        for name in [name for name in text.split("|") if not have & table[name]]:
            demand(name in OWN_FLAGS, f"CKF_{name} is not set")
            self.note(f"CKF_{name} is not set")

    # ---- general --------------------------------------------------------------------------------------------

    def C_Initialize(self, _, response):
        self.call(response, None)

    C_Finalize = C_Initialize

    def C_GetInfo(self, _, response):
        info = Info()
        self.call(response, byref(info))
        self.compare(response.find("Info"), info, {})

    def listing(self, request, response, name, before):
        """The two forms of a call that lists: how many, and which."""
        asked = request.find(name).get("length")
        room = self.value(request, name, "length") if asked else 0
        array, count = (c_ulong * room)() if asked else None, c_ulong(room)
        self.call(response, *before, array, byref(count))
        if not asked:
            self.bind(response.find(name), count.value, "length")
            return []
        return list(array[: count.value])

    def C_GetSlotList(self, request, response):
        present = c_ubyte(request.find("TokenPresent").get("value") == "true")
        found = self.listing(request, response, "SlotList", [present])
        if found:
            # 3.1.2, 3: one entry fits the case, that of the token that was prepared for it.
            slot = self.module.slot_of(self.token)
            demand(slot in found, "the token's slot is not in the list")
            self.bind(response.find("SlotList/SlotID"), slot)

    def C_GetMechanismList(self, request, response):
        slot = self.value(request, "SlotID")
        found = self.listing(request, response, "MechanismList", [slot])
        for mechanism in response.findall("MechanismList/Type"):
            name = mechanism.get("value")
            demand(MECHANISMS[name] in found, f"CKM_{name} is not in the list")

    def C_GetMechanismInfo(self, request, response):
        info = MechanismInfo()
        self.call(response, self.value(request, "SlotID"), MECHANISMS[self.value(request, "Type")], byref(info))
        self.compare(response.find("MechanismInfo"), info, MECHANISM_FLAGS)

    def C_GetSlotInfo(self, request, response):
        info = SlotInfo()
        self.call(response, self.value(request, "SlotID"), byref(info))
        self.compare(response.find("SlotInfo"), info, SLOT_FLAGS)

    def C_GetTokenInfo(self, request, response):
        info = TokenInfo()
        self.call(response, self.value(request, "SlotID"), byref(info))
        self.compare(response.find("TokenInfo"), info, TOKEN_FLAGS)

    # ---- sessions -------------------------------------------------------------------------------------------

    def C_OpenSession(self, request, response):
        session = c_ulong(0)
        flags = flags_of(self.value(request, "Flags"), SESSION_FLAGS)
        self.call(response, self.value(request, "SlotID"), flags, None, None, byref(session))
        self.bind(response.find("Session"), session.value)

    def C_Login(self, request, response):
        pin = self.value(request, "Pin").encode()
        self.call(response, self.session(request), USERS[self.value(request, "UserType")], pin, len(pin))

    def of_session(self, request, response):
        self.call(response, self.session(request))

    C_Logout = C_CloseSession = C_FindObjectsFinal = of_session

    def C_CloseAllSessions(self, request, response):
        self.call(response, self.value(request, "SlotID"))

    # ---- objects --------------------------------------------------------------------------------------------

    def template(self, element):
        entries = []
        for attribute in element.findall("Template/Attribute"):
            length = attribute.get("length")
            entries.append((attribute.get("type"), int(length) if length else attribute.get("value")))
        return Template(entries)

    def C_FindObjectsInit(self, request, response):
        template = self.template(request)
        self.call(response, self.session(request), template.array, len(template.array))

    def C_FindObjects(self, request, response):
        room = int(self.value(request, "Object", "length"))
        array, count = (c_ulong * room)(), c_ulong(0)
        self.call(response, self.session(request), array, room, byref(count))
        expected = response.findall("Object/Object")
        # An empty list in the response says nothing of how many there are.
        demand(not expected or count.value == len(expected), f"{count.value} objects instead of {len(expected)}")
        for element, found in zip(expected, array):
            self.bind(element, found)

    def C_GetAttributeValue(self, request, response):
        template = self.template(request)
        handle = self.value(request, "Object")
        self.call(response, self.session(request), handle, template.array, len(template.array))
        expected = response.findall("Template/Attribute")
        for element, (name, length, value) in zip(expected, template.answers(), strict=True):
            demand(element.get("type") == name, f"{name} stands where the case has {element.get('type')}")
            if element.get("length"):
                demand(length == int(element.get("length")), f"CKA_{name} has {length} bytes")
                continue
            self.read[name] = value
            if name in TEXTS:
                # The list of roots that the case was taken from counts the NUL of a C string in.
                demand(value.rstrip(b"\0") == element.get("value").encode(), f"CKA_{name} is {value!r}")
            elif name == "MODULUS":
                self.same_key(value, element)
            else:
                demand(value == bytes.fromhex(element.get("value")), f"CKA_{name} is {value.hex()}")

    def same_key(self, modulus, element):
        """The private key of the case is not published: the token has one of its own of the same length."""
        demand(len(modulus) == len(element.get("value")) // 2, f"the modulus has {len(modulus)} bytes")
        if modulus != bytes.fromhex(element.get("value")):
            self.note("CKA_MODULUS is that of the token's own key")

    # ---- signing --------------------------------------------------------------------------------------------

    def C_SignInit(self, request, response):
        mechanism = Mechanism(MECHANISMS[self.value(request, "Mechanism/Type")], None, 0)
        self.call(response, self.session(request), byref(mechanism), self.value(request, "Key"))

    def C_Sign(self, request, response):
        data = bytes.fromhex(self.value(request, "Data"))
        room = int(self.value(request, "Signature", "length"))
        signature, length = create_string_buffer(room), c_ulong(room)
        self.call(response, self.session(request), data, len(data), signature, byref(length))
        expected = bytes.fromhex(response.find("Signature").get("value"))
        demand(length.value == len(expected), f"the signature has {length.value} bytes")
        if signature.raw != expected:
            # By another key than that of the case: it must be that key's (RSASSA-PKCS1-v1_5).
            self.verify(data, signature.raw)
            self.note("the signature is one of the token's own key, and verifies")

    def verify(self, data, signature):
        modulus, exponent = (int.from_bytes(self.read[name], "big") for name in ("MODULUS", "PUBLIC_EXPONENT"))
        hashed = SHA256 + hashlib.sha256(data).digest()
        block = b"\0\1" + b"\xff" * (len(signature) - len(hashed) - 3) + b"\0" + hashed
        raised = pow(int.from_bytes(signature, "big"), exponent, modulus)
        demand(raised.to_bytes(len(signature), "big") == block, "the signature does not verify")


def main():
    path, token, pin, case = sys.argv[1:]
    try:
        Replay(Module(path), token, pin).run(case)
    except (Differs, Refused) as difference:
        sys.exit(f"differs: {difference}")


if __name__ == "__main__":
    main()
