//! The tables of PIV: key references with their certificates, and the other data objects
//! (NIST SP 800-73-4 Part 1, tables 2 and 4; SP 800-78-4, table 6-2).

use crate::token::ObjectId;
use crate::token::card::tlv::Tag;
use cryptoki_sys::CKO_DATA;

/// A place for a key, and the data object for its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeySlot {
    /// Key reference.
    pub(super) reference: u8,
    /// Data object.
    pub(super) container: Tag,
    /// CKA_ID of what another program put there: the number that OpenSC and ykcs11 give it.
    pub(super) number: u8,
}

/// Authentication, digital signature, key management, card authentication.
const MAIN: [KeySlot; 4] = [
    slot(0x9a, 0x5fc105, 1),
    slot(0x9c, 0x5fc10a, 2),
    slot(0x9d, 0x5fc10b, 3),
    slot(0x9e, 0x5fc101, 4),
];
/// The first retired key management key, its certificate, its number; the others follow.
const RETIRED: KeySlot = slot(0x82, 0x5fc10d, 5);
/// How many of those there are.
pub(super) const RETIRED_COUNT: u8 = 20;
/// The key by which a YubiKey's maker attests the others. Only its certificate is of use here.
pub(super) const ATTESTATION: KeySlot = slot(0xf9, 0x5fff01, 25);

const fn slot(reference: u8, container: Tag, number: u8) -> KeySlot {
    KeySlot {
        reference,
        container,
        number,
    }
}

/// The four that every card has.
pub(super) fn main() -> impl Iterator<Item = KeySlot> {
    MAIN.into_iter()
}

/// The retired ones.
pub(super) fn retired() -> impl Iterator<Item = KeySlot> {
    (0..RETIRED_COUNT).map(|at| {
        slot(
            RETIRED.reference + at,
            RETIRED.container + Tag::from(at),
            RETIRED.number + at,
        )
    })
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = KeySlot> {
    main().chain(retired())
}

impl KeySlot {
    /// The one with a key reference.
    pub(super) fn of(reference: u8) -> Option<Self> {
        all()
            .chain([ATTESTATION])
            .find(|slot| slot.reference == reference)
    }

    /// The one that a CKA_ID names: by its number, or by its reference as cards write it.
    pub(super) fn named(id: &[u8]) -> Option<Self> {
        let [name] = id else {
            return None;
        };
        all().find(|slot| slot.number == *name || slot.reference == *name)
    }

    /// The PIN is asked right before each use (Part 1, table 5).
    pub(super) fn always_asks(self) -> bool {
        self.reference == 0x9c
    }

    /// Its key is used without a PIN.
    pub(super) fn never_asks(self) -> bool {
        self.reference == 0x9e
    }

    pub(super) fn is_retired(self) -> bool {
        self.container >= RETIRED.container
    }

    /// What its objects are called where nobody gave them a name.
    pub(super) fn label(self) -> String {
        match self.reference {
            0x9a => "PIV Authentication".into(),
            0x9c => "Digital Signature".into(),
            0x9d => "Key Management".into(),
            0x9e => "Card Authentication".into(),
            0xf9 => "PIV Attestation".into(),
            _ => format!("Retired Key {}", self.number - RETIRED.number + 1),
        }
    }
}

/// A data object that is neither key nor certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataObject {
    pub(super) tag: Tag,
    pub(super) name: &'static str,
    /// The last arcs of its object identifier, after 2.16.840.1.101.3.7.
    pub(super) oid: &'static [u32],
    /// It is read after the PIN only.
    pub(super) private: bool,
}

impl DataObject {
    /// The name of its object: no place of a key, its class, its tag.
    pub(super) fn id(&self) -> ObjectId {
        let mut id = ObjectId::default();
        let name = [0, CKO_DATA as u8].into_iter();
        for (to, from) in id.iter_mut().zip(name.chain(self.tag.to_be_bytes())) {
            *to = from;
        }
        id
    }
}

macro_rules! data_objects {
    ($($name:ident = $tag:literal, $text:literal, $oid:expr, $private:literal;)*) => {
        $(pub(super) const $name: DataObject = DataObject {
            tag: $tag, name: $text, oid: &$oid, private: $private,
        };)*
        /// Every one.
        pub(super) static DATA_OBJECTS: &[DataObject] = &[$($name),*];
    };
}

data_objects! {
    CAPABILITIES  = 0x5fc107, "Card Capability Container", [1, 219, 0], false;
    CHUID         = 0x5fc102, "Card Holder Unique Identifier", [2, 48, 0], false;
    FINGERPRINTS  = 0x5fc103, "Cardholder Fingerprints", [2, 96, 16], true;
    SECURITY      = 0x5fc106, "Security Object", [2, 144, 0], false;
    FACE          = 0x5fc108, "Cardholder Facial Image", [2, 96, 48], true;
    PRINTED       = 0x5fc109, "Printed Information", [2, 48, 1], true;
    DISCOVERY     = 0x7e,     "Discovery Object", [2, 96, 80], false;
    KEY_HISTORY   = 0x5fc10c, "Key History Object", [2, 96, 96], false;
    IRIS          = 0x5fc121, "Cardholder Iris Images", [2, 16, 21], true;
    BIOMETRICS    = 0x7f61,   "Biometric Information Templates", [2, 16, 22], false;
    SM_SIGNER     = 0x5fc122, "Secure Messaging Certificate Signer", [2, 16, 23], false;
    PAIRING_CODE  = 0x5fc123, "Pairing Code Reference Data", [2, 16, 24], true;
}
