//! What this module notes beside a certificate: names and other attributes that PIV has no place for.
//!
//! It stands in the certificate's own data object, under a tag that other programs pass over, so that
//! key, certificate and names are written together and move together. A program that writes its own
//! certificate there takes it away; then everything follows from the certificate again.

use crate::attribute::nested::{native, portable};
use crate::attribute::roles::KEK_PAIR;
use crate::attribute::{self, Attributes};
use crate::error::{Error, Result};
use crate::token::FREE_KEY;
use cryptoki_sys::*;
use der::asn1::OctetString;
use der::{Decode, Encode, Sequence};

/// Tag of the record in a certificate's data object and in the CHUID: private class, primitive.
pub(super) const TAG: u32 = 0xde;

/// The classes of objects that a record can have.
const CLASSES: [CK_OBJECT_CLASS; 4] = [CKO_DATA, CKO_CERTIFICATE, CKO_PUBLIC_KEY, CKO_PRIVATE_KEY];

/// What follows from key, certificate and place, whatever a record says: no one has vouched for it.
const FOLLOWS: [CK_ATTRIBUTE_TYPE; 18] = [
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_KEY_TYPE,
    CKA_CERTIFICATE_TYPE,
    CKA_VALUE,
    CKA_MODULUS,
    CKA_MODULUS_BITS,
    CKA_PUBLIC_EXPONENT,
    CKA_EC_PARAMS,
    CKA_EC_POINT,
    CKA_PUBLIC_KEY_INFO,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_UNIQUE_ID,
    FREE_KEY,
    KEK_PAIR,
];

/// The objects of one data object of the card.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct Record {
    /// SubjectPublicKeyInfo of the key, where no certificate says it.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) public_key: Option<OctetString>,
    /// Tells a data object from others that were here before it.
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(super) nonce: Option<OctetString>,
    /// The objects that there are.
    pub(super) parts: Vec<Part>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct Part {
    /// CKA_CLASS.
    pub(super) class: u8,
    /// Attributes, those apart that follow from key or certificate.
    pub(super) entries: Vec<Entry>,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct Entry {
    kind: u32,
    value: OctetString,
}

/// What is noted of the card itself.
#[derive(Debug, Clone, PartialEq, Eq, Sequence)]
pub(super) struct CardRecord {
    /// The token's label.
    pub(super) label: String,
}

/// The bytes of a record.
pub(super) fn encode<T: Encode>(record: &T) -> Result<Vec<u8>> {
    record.to_der().map_err(malformed)
}

/// A record from its bytes; `None` where they are none.
pub(super) fn decode<'a, T: Decode<'a, Error = der::Error>>(bytes: &'a [u8]) -> Option<T> {
    T::from_der(bytes).ok()
}

/// Bytes of a record.
pub(super) fn octets(bytes: &[u8]) -> Result<OctetString> {
    OctetString::new(bytes).map_err(malformed)
}

fn malformed(error: der::Error) -> Error {
    Error::new(
        CKR_DEVICE_MEMORY,
        format!("the attributes do not fit on a card: {error}"),
    )
}

impl Record {
    /// Whether each object is one that can be, and there once.
    pub(super) fn is_sound(&self) -> bool {
        let class = |part: &Part| CK_OBJECT_CLASS::from(part.class);
        self.parts.iter().enumerate().all(|(at, part)| {
            let earlier = self.parts.iter().take(at);
            CLASSES.contains(&class(part)) && earlier.into_iter().all(|one| one.class != part.class)
        })
    }
}

impl Part {
    /// What of `attributes` does not follow from `derived`.
    pub(super) fn new(class: u8, attributes: &Attributes, derived: &Attributes) -> Result<Self> {
        let entries = attributes
            .iter()
            .filter(|(kind, value)| derived.get(*kind) != Some(*value))
            .map(|(kind, value)| {
                let kind_number = u32::try_from(kind).map_err(|_| {
                    Error::new(CKR_DEVICE_MEMORY, "an attribute has no place on a card")
                })?;
                Ok(Entry {
                    kind: kind_number,
                    value: octets(&portable(kind, value))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { class, entries })
    }

    /// The whole of the attributes. What an object of its class cannot have is passed over.
    pub(super) fn attributes(&self, derived: Attributes) -> Attributes {
        let mut whole = derived.clone();
        for entry in &self.entries {
            let kind = CK_ATTRIBUTE_TYPE::from(entry.kind);
            let settled = derived.get(kind).is_some() || matches!(kind, FREE_KEY | CKA_UNIQUE_ID);
            let value = native(kind, entry.value.as_bytes());
            let follows = settled && FOLLOWS.contains(&kind);
            if !follows && attribute::can_have(&derived, kind, &value) {
                whole.set(kind, value);
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::FREE_KEY;

    #[test]
    fn a_part_is_what_does_not_follow_and_comes_back() {
        let mut derived = Attributes::new();
        derived.set_ulong(CKA_CLASS, CKO_PRIVATE_KEY);
        derived.set(CKA_LABEL, *b"PIV Authentication");
        derived.set_ulong(CKA_KEY_TYPE, CKK_EC);
        let mut whole = derived.clone();
        whole.set(CKA_LABEL, *b"node");
        whole.set_ulong(CKA_KEY_GEN_MECHANISM, CKM_EC_KEY_PAIR_GEN);
        whole.set(
            CKA_ALLOWED_MECHANISMS,
            [CKM_ECDSA, CK_UNAVAILABLE_INFORMATION]
                .map(CK_ULONG::to_ne_bytes)
                .concat(),
        );
        let part = Part::new(3, &whole, &derived).unwrap();
        assert_eq!(part.entries.len(), 3);
        let record = Record {
            public_key: None,
            nonce: Some(octets(&[7]).unwrap()),
            parts: vec![part],
        };
        let back: Record = decode(&encode(&record).unwrap()).unwrap();
        assert_eq!(back, record);
        assert_eq!(back.parts[0].attributes(derived), whole);
    }

    #[test]
    fn a_record_does_not_make_another_key_of_it() {
        let mut derived = Attributes::new();
        derived.set_ulong(CKA_CLASS, CKO_PRIVATE_KEY);
        derived.set_bool(CKA_PRIVATE, true);
        let mut claimed = Attributes::new();
        claimed.set_ulong(CKA_CLASS, CKO_PUBLIC_KEY);
        claimed.set_bool(CKA_PRIVATE, false);
        claimed.set_bool(FREE_KEY, true);
        claimed.set(CKA_LABEL, *b"node");
        let part = Part::new(3, &claimed, &Attributes::new()).unwrap();
        let whole = part.attributes(derived.clone());
        derived.set(CKA_LABEL, *b"node");
        assert_eq!(whole, derived);
    }

    #[test]
    fn a_part_makes_no_other_object() {
        let mut derived = Attributes::new();
        derived.set_ulong(CKA_CLASS, CKO_PRIVATE_KEY);
        derived.set_ulong(CKA_KEY_TYPE, CKK_EC);
        derived.set(CKA_EC_POINT, [4; 67]);
        derived.set_bool(CKA_PRIVATE, true);
        let mut other = derived.clone();
        other.set_ulong(CKA_CLASS, CKO_CERTIFICATE);
        other.set_ulong(CKA_KEY_TYPE, CKK_RSA);
        other.set(CKA_EC_POINT, [5; 67]);
        other.set_bool(CKA_PRIVATE, false);
        // No values of these, no attributes of a private key, and one that the module keeps to itself.
        other.set(CKA_SIGN, [2]);
        other.set(CKA_START_DATE, *b"today");
        other.set(CKA_MODULUS, [7; 256]);
        other.set(CKA_VALUE, [7; 32]);
        other.set_bool(FREE_KEY, true);
        let part = Part::new(3, &other, &derived).unwrap();
        assert_eq!(part.entries.len(), 9);
        assert_eq!(part.attributes(derived.clone()), derived);
    }

    #[test]
    fn a_record_has_objects_that_can_be_each_once() {
        let record = |classes: &[u8]| Record {
            public_key: None,
            nonce: None,
            parts: classes
                .iter()
                .map(|class| Part::new(*class, &Attributes::new(), &Attributes::new()).unwrap())
                .collect(),
        };
        assert!(record(&[]).is_sound());
        assert!(record(&[0, 1, 2, 3]).is_sound());
        for wrong in [&[4][..], &[200], &[3, 3], &[1, 2, 1]] {
            assert!(!record(wrong).is_sound(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_look_the_same_on_every_machine() {
        assert_eq!(
            portable(CKA_KEY_TYPE, &CKK_EC.to_ne_bytes()),
            [0, 0, 0, 0, 0, 0, 0, 3]
        );
        assert_eq!(portable(CKA_LABEL, b"eight by"), b"eight by");
    }
}
