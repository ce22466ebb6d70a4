"""PKCS#11 through ctypes: the structures and functions that the OASIS test cases name, and no more."""

import ctypes
from ctypes import POINTER, Structure, byref, c_char, c_ubyte, c_ulong, c_void_p, cast, create_string_buffer

UNAVAILABLE = c_ulong(-1).value

# The names that the cases and their preparation use, without CKA_, CKO_, …, as they stand in the XML.
ATTRIBUTES = {
    "CLASS": 0x0, "TOKEN": 0x1, "PRIVATE": 0x2, "LABEL": 0x3, "VALUE": 0x11, "CERTIFICATE_TYPE": 0x80, "ISSUER": 0x81,
    "SERIAL_NUMBER": 0x82, "KEY_TYPE": 0x100, "SUBJECT": 0x101, "ID": 0x102, "SIGN": 0x108, "VERIFY": 0x10A,
    "MODULUS": 0x120, "MODULUS_BITS": 0x121, "PUBLIC_EXPONENT": 0x122,
}
BOOLEANS = {"TOKEN", "PRIVATE", "SIGN", "VERIFY"}
NUMBERS = {"CLASS", "CERTIFICATE_TYPE", "KEY_TYPE", "MODULUS_BITS"}
TEXTS = {"LABEL"}
CLASSES = {"DATA": 0, "CERTIFICATE": 1, "PUBLIC_KEY": 2, "PRIVATE_KEY": 3}
MECHANISMS = {"RSA_PKCS_KEY_PAIR_GEN": 0x0, "RSA_PKCS": 0x1, "SHA256_RSA_PKCS": 0x40, "SHA512": 0x270}
USERS = {"SO": 0, "USER": 1}
SESSION_FLAGS = {"RW_SESSION": 0x2, "SERIAL_SESSION": 0x4}
SLOT_FLAGS = {"TOKEN_PRESENT": 0x1}
TOKEN_FLAGS = {
    "RNG": 0x1, "LOGIN_REQUIRED": 0x4, "USER_PIN_INITIALIZED": 0x8, "RESTORE_KEY_NOT_NEEDED": 0x20,
    "TOKEN_INITIALIZED": 0x400,
}
MECHANISM_FLAGS = {
    "ENCRYPT": 0x100, "DECRYPT": 0x200, "DIGEST": 0x400, "SIGN": 0x800, "VERIFY": 0x2000, "GENERATE_KEY_PAIR": 0x10000,
    "WRAP": 0x20000, "UNWRAP": 0x40000,
}
CODES = {
    0x0: "OK", 0x3: "SLOT_ID_INVALID", 0x5: "GENERAL_ERROR", 0x6: "FUNCTION_FAILED", 0x7: "ARGUMENTS_BAD",
    0x12: "ATTRIBUTE_TYPE_INVALID", 0x54: "FUNCTION_NOT_SUPPORTED", 0x70: "MECHANISM_INVALID", 0xA0: "PIN_INCORRECT",
    0x101: "USER_NOT_LOGGED_IN", 0x150: "BUFFER_TOO_SMALL",
}


class Version(Structure):
    _fields_ = [("major", c_ubyte), ("minor", c_ubyte)]


class Info(Structure):
    _fields_ = [
        ("CryptokiVersion", Version), ("ManufacturerID", c_char * 32), ("Flags", c_ulong),
        ("LibraryDescription", c_char * 32), ("LibraryVersion", Version),
    ]


class SlotInfo(Structure):
    _fields_ = [
        ("SlotDescription", c_char * 64), ("ManufacturerID", c_char * 32), ("Flags", c_ulong),
        ("HardwareVersion", Version), ("FirmwareVersion", Version),
    ]


class TokenInfo(Structure):
    _fields_ = [
        ("label", c_char * 32), ("ManufacturerID", c_char * 32), ("model", c_char * 16), ("serialNumber", c_char * 16),
        ("Flags", c_ulong), ("MaxSessionCount", c_ulong), ("SessionCount", c_ulong), ("MaxRwSessionCount", c_ulong),
        ("RwSessionCount", c_ulong), ("MaxPinLen", c_ulong), ("MinPinLen", c_ulong), ("TotalPublicMemory", c_ulong),
        ("FreePublicMemory", c_ulong), ("TotalPrivateMemory", c_ulong), ("FreePrivateMemory", c_ulong),
        ("HardwareVersion", Version), ("FirmwareVersion", Version), ("utcTime", c_char * 16),
    ]


class MechanismInfo(Structure):
    _fields_ = [("MinKeySize", c_ulong), ("MaxKeySize", c_ulong), ("Flags", c_ulong)]


class Attribute(Structure):
    _fields_ = [("type", c_ulong), ("value", c_void_p), ("length", c_ulong)]


class Mechanism(Structure):
    _fields_ = [("type", c_ulong), ("parameter", c_void_p), ("length", c_ulong)]


class Refused(Exception):
    """A call of the preparation that was not answered with CKR_OK."""


def encode(name, value):
    """A value as the attribute NAME holds it."""
    if name in BOOLEANS:
        return bytes([value in (True, "TRUE")])
    if name in NUMBERS:
        return bytes(c_ulong(CLASSES[value] if value in CLASSES else value))
    return value.encode() if isinstance(value, str) else value


class Template:
    """An array of attributes with its memory: of values, or of room for answers (a length, or None to ask for it)."""

    def __init__(self, entries):
        self.buffers, self.names = [], []
        self.array = (Attribute * len(entries))()
        for attribute, (name, value) in zip(self.array, entries):
            buffer = None
            if isinstance(value, int) and name not in BOOLEANS | NUMBERS:
                buffer = create_string_buffer(value)
            elif value is not None:
                raw = encode(name, value)
                buffer = create_string_buffer(raw, len(raw))
            attribute.type = ATTRIBUTES[name]
            attribute.value = cast(buffer, c_void_p) if buffer is not None else None
            attribute.length = len(buffer) if buffer is not None else 0
            self.buffers.append(buffer)
            self.names.append(name)

    def answers(self):
        """(name, length, bytes or None) of each."""
        for name, attribute, buffer in zip(self.names, self.array, self.buffers):
            yield name, attribute.length, buffer.raw[: attribute.length] if buffer is not None else None


class Module:
    """The module, by the functions that it exports under their names."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)

    def call(self, name, *arguments):
        """The name of the return code, without CKR_."""
        function = getattr(self.library, name)
        function.restype = c_ulong
        code = function(*(c_ulong(one) if isinstance(one, int) else one for one in arguments))
        return CODES.get(code, hex(code))

    def must(self, name, *arguments):
        answer = self.call(name, *arguments)
        if answer != "OK":
            raise Refused(f"{name}: {answer}")

    def slots(self):
        count = c_ulong(0)
        self.must("C_GetSlotList", c_ubyte(1), None, byref(count))
        slots = (c_ulong * count.value)()
        self.must("C_GetSlotList", c_ubyte(1), slots, byref(count))
        return list(slots[: count.value])

    def slot_of(self, label):
        info = TokenInfo()
        for slot in self.slots():
            self.must("C_GetTokenInfo", slot, byref(info))
            if bytes_of(info, "label").rstrip(b" ") == label.encode():
                return slot
        raise Refused(f"there is no token {label}")


def bytes_of(structure, field):
    """All bytes of a field, where ctypes would stop at a NUL."""
    place = getattr(type(structure), field)
    return ctypes.string_at(ctypes.addressof(structure) + place.offset, place.size)


__all__ = [name for name in dir() if not name.startswith("_")]
