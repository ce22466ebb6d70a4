//! What a card says of its keys, certificates and PINs (ISO/IEC 7816-15, the cryptographic information
//! application): EF.OD names the directory files, and each holds one structure after another.
//!
//! Structures are spelled out as far as they are used here. What later editions add is passed over.

use crate::token::card::apdu::{Result, Talk, refuse};
use crate::token::card::files;
use cryptoki_sys::CKR_DEVICE_ERROR;
use der::asn1::{Any, BitString, GeneralizedTime, OctetString};
use der::{
    Choice, Decode, DecodeValue, Encode, Header, Reader, Sequence, SliceReader, Tag, Writer,
};

/// EF.OD (7.5.3).
const OBJECT_DIRECTORY: [u8; 2] = [0x50, 0x31];
/// No card has longer keys: what it says is believed as far as that.
const LONGEST_MODULUS: u32 = 8192;
/// needs-padding, of the flags of a password.
const NEEDS_PADDING: u8 = 0x04;

/// Where things are on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) pin: Pin,
    pub(super) key: Key,
    pub(super) certificate: Place,
    /// Other certificates with their identifiers: of the authorities.
    pub(super) authorities: Vec<(Vec<u8>, Place)>,
}

/// Where an object begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// File identifier or path.
    pub(super) file: Vec<u8>,
    pub(super) offset: usize,
}

/// How a PIN is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    /// The file that is selected before.
    pub(super) file: Option<Vec<u8>>,
    /// P2 of VERIFY.
    pub(super) reference: u8,
    /// Shortest and longest in bytes.
    pub(super) len: (usize, usize),
    /// The length to fill it up to, and with what.
    pub(super) filled: Option<(usize, u8)>,
}

/// How a key is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) file: Vec<u8>,
    /// Length of its modulus in bytes.
    pub(super) len: usize,
    /// The PIN is asked right before each signature.
    pub(super) always_asks: bool,
}

/// CIOChoice (8.3, 7.5.3): a directory file, by the path to it.
#[derive(Debug, Choice)]
enum Directory {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", constructed = "true")]
    PrivateKeys(Path),
    #[asn1(context_specific = "4", tag_mode = "EXPLICIT", constructed = "true")]
    Certificates(Path),
    #[asn1(context_specific = "5", tag_mode = "EXPLICIT", constructed = "true")]
    TrustedCertificates(Path),
    #[asn1(context_specific = "6", tag_mode = "EXPLICIT", constructed = "true")]
    UsefulCertificates(Path),
    #[asn1(context_specific = "8", tag_mode = "EXPLICIT", constructed = "true")]
    AuthenticationObjects(Path),
}

/// Path (8.2.5).
#[derive(Debug, Sequence)]
struct Path {
    file: OctetString,
    index: Option<u32>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    length: Option<u32>,
}

/// CIO (8.3): what keys, certificates and PINs have in common.
#[derive(Debug, Sequence)]
struct Object {
    common: Common,
    class: Class,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    subclass: Option<Any>,
    /// `[1]`, with what differs from kind to kind.
    of_kind: Any,
}

/// CommonObjectAttributes (8.2.8).
#[derive(Debug, Sequence)]
struct Common {
    label: Option<String>,
    flags: Option<BitString>,
    /// The PIN that guards it.
    auth_id: Option<OctetString>,
    user_consent: Option<u32>,
    later: Later,
}

/// CommonKeyAttributes, CommonCertificateAttributes, CommonAuthenticationObjectAttributes (8.2.9,
/// 8.2.15, 8.2.18): each begins with an identifier.
#[derive(Debug, Sequence)]
struct Class {
    id: Option<OctetString>,
    later: Later,
}

/// PrivateRSAKeyAttributes (8.4.2).
#[derive(Debug, Sequence)]
struct RsaKey {
    value: Path,
    modulus_bits: u32,
    later: Later,
}

/// X509CertificateAttributes (8.7.2).
#[derive(Debug, Sequence)]
struct X509 {
    value: Path,
    later: Later,
}

/// PasswordAttributes (8.9.2).
#[derive(Debug, Sequence)]
struct Password {
    flags: BitString,
    kind: Any,
    shortest: u32,
    stored: u32,
    longest: Option<u32>,
    /// One byte; some cards write it as a negative number.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    reference: Option<i16>,
    fill: Option<OctetString>,
    changed: Option<GeneralizedTime>,
    path: Option<Path>,
    later: Later,
}

/// Whatever else stands in a structure.
#[derive(Debug)]
struct Later;

impl<'a> Decode<'a> for Later {
    type Error = der::Error;

    fn decode<R: Reader<'a>>(reader: &mut R) -> der::Result<Self> {
        while !reader.is_finished() {
            Any::decode(reader)?;
        }
        Ok(Self)
    }
}

/// Nothing here is ever written.
impl Encode for Later {
    fn encoded_len(&self) -> der::Result<der::Length> {
        Ok(der::Length::ZERO)
    }

    fn encode(&self, _writer: &mut impl Writer) -> der::Result<()> {
        Ok(())
    }
}

impl Object {
    fn id(&self) -> Option<&[u8]> {
        self.class.id.as_ref().map(OctetString::as_bytes)
    }

    /// What differs from kind to kind. The tag is explicit, for a parameter stands under it (ISO/IEC
    /// 8824-1, 31.2.7); a card in the field is said to have none of the sequence's own.
    fn of_kind<T>(&self) -> Option<T>
    where
        T: for<'a> Decode<'a, Error = der::Error> + for<'a> DecodeValue<'a, Error = der::Error>,
    {
        let value = self.of_kind.value();
        T::from_der(value).ok().or_else(|| {
            let header = Header::new(Tag::Sequence, value.len().try_into().ok()?);
            T::decode_value(&mut SliceReader::new(value).ok()?, header).ok()
        })
    }
}

impl Path {
    fn place(&self) -> Place {
        Place {
            file: self.file.as_bytes().to_vec(),
            offset: self.index.unwrap_or(0) as usize,
        }
    }
}

impl Password {
    fn pin(&self) -> Pin {
        let len = |len: u32| len as usize;
        let longest = match (self.longest, self.stored) {
            (Some(longest), _) => len(longest),
            (None, 0) => super::PIN_LEN.1,
            (None, stored) => len(stored),
        };
        let flags = self.flags.raw_bytes().first().copied().unwrap_or(0);
        let fill = self.fill.as_ref().and_then(|fill| fill.as_bytes().first());
        Pin {
            file: self.path.as_ref().map(|path| path.place().file),
            reference: self.reference.unwrap_or(0) as u8,
            len: (len(self.shortest).max(1), longest.min(255)),
            filled: (flags & NEEDS_PADDING != 0)
                .then(|| (len(self.stored).min(255), fill.copied().unwrap_or(0))),
        }
    }
}

/// The objects of a directory file: those that can be understood.
fn objects_in(talk: &mut Talk<'_>, directory: &Path) -> Result<Vec<Object>> {
    let found = files::read_objects(talk, directory.file.as_bytes())?;
    let found = found.unwrap_or_default();
    Ok(found
        .iter()
        .filter_map(|der| Object::from_der(der).ok())
        .collect())
}

/// Reads what the card says of itself; `None` where it has no EF.OD.
pub(super) fn read(talk: &mut Talk<'_>) -> Result<Option<Layout>> {
    let Some(entries) = files::read_objects(talk, &OBJECT_DIRECTORY)? else {
        return Ok(None);
    };
    let (mut keys, mut certificates, mut pins) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries
        .iter()
        .filter_map(|der| Directory::from_der(der).ok())
    {
        let (path, to) = match &entry {
            Directory::PrivateKeys(path) => (path, &mut keys),
            Directory::Certificates(path)
            | Directory::TrustedCertificates(path)
            | Directory::UsefulCertificates(path) => (path, &mut certificates),
            Directory::AuthenticationObjects(path) => (path, &mut pins),
        };
        to.extend(objects_in(talk, path)?);
    }
    match layout(&keys, &certificates, &pins) {
        Some(layout) => Ok(Some(layout)),
        None => refuse!(
            CKR_DEVICE_ERROR,
            "the card's directories name no RSA key with a certificate and a PIN"
        ),
    }
}

fn layout(keys: &[Object], certificates: &[Object], pins: &[Object]) -> Option<Layout> {
    let (key, rsa) = keys
        .iter()
        .filter_map(|key| Some((key, key.of_kind::<RsaKey>()?)))
        .find(|(_, rsa)| rsa.modulus_bits <= LONGEST_MODULUS)?;
    let guarded_by = key.common.auth_id.as_ref().map(OctetString::as_bytes);
    let password = pins
        .iter()
        .filter(|pin| guarded_by.is_none() || pin.id() == guarded_by)
        .find_map(Object::of_kind::<Password>)?;
    let mut places: Vec<_> = certificates
        .iter()
        .filter_map(|one| Some((one.id()?.to_vec(), one.of_kind::<X509>()?.value.place())))
        .collect();
    let own = places
        .iter()
        .position(|(id, _)| Some(id.as_slice()) == key.id())?;
    let (_, certificate) = places.remove(own);
    Some(Layout {
        pin: password.pin(),
        key: Key {
            file: rsa.value.place().file,
            len: rsa.modulus_bits.div_ceil(8) as usize,
            always_asks: key.common.user_consent.is_some(),
        },
        certificate,
        authorities: places,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_left_out(bytes: Vec<u8>, head in 0usize..3) {
            let begin: [&[u8]; 3] = [
                &[],
                &[0x30, 0x0b, 0x30, 0x00, 0x30, 0x00, 0xa1, 0x05],
                &[0x30, 0x0d, 0x30, 0x00, 0x30, 0x00, 0xa1, 0x07, 0x30, 0x05],
            ];
            let der = [begin[head], &bytes].concat();
            let _ = Directory::from_der(&der);
            if let Ok(object) = Object::from_der(&der) {
                let _ = layout(&[object], &[], &[]);
            }
        }
    }

    #[test]
    fn a_password_is_filled_up_where_it_says_so() {
        // Flags, type, 4 to 8 bytes, stored as 8, reference 1, FF.
        let der = b"\x30\x16\x03\x02\x02\x4c\x0a\x01\x01\x02\x01\x04\x02\x01\x08\x02\x01\x08\x80\x01\x01\x04\x01\xff";
        let pin = Password::from_der(der).unwrap().pin();
        assert_eq!((pin.reference, pin.len), (1, (4, 8)));
        assert_eq!(pin.filled, Some((8, 0xff)));
    }
}
