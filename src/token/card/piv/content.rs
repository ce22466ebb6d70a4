//! What lies in a certificate's data object (NIST SP 800-73-4 Part 1, 3.2 and table 10 ff.), and the
//! PKCS#11 objects that it stands for.

use super::record::{self, Part, Record};
use super::slots::KeySlot;
use crate::attribute::Attributes;
use crate::credential::gzip;
use crate::crypto::PublicParts;
use crate::error::{Error, Result};
use crate::key;
use crate::token::card::objects::{self, ANYWHERE};
use crate::token::card::{apdu, tlv};
use crate::token::{FREE_KEY, ObjectId, Stored};
use cryptoki_sys::*;

const CERTIFICATE: u32 = 0x70;
const CERT_INFO: u32 = 0x71;
const ERROR_DETECTION_CODE: u32 = 0xfe;
/// Bits of CertInfo that say "gzip": the standard's first editions and the later ones disagree.
const COMPRESSED: u8 = 0x81;
/// Longest certificate that a compressed one may become.
const LARGEST: usize = 1 << 16;

/// The classes of objects that a data object can stand for.
const CREDENTIAL: [CK_OBJECT_CLASS; 3] = [CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_CERTIFICATE];

/// A certificate's data object.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// The certificate, DER.
    pub(super) certificate: Option<Vec<u8>>,
    /// What this module noted, where it was the last to write.
    pub(super) record: Option<Record>,
    /// There is something that this module does not understand: no place for anything else.
    pub(super) strange: bool,
}

impl Content {
    /// From the value of the data object.
    pub(super) fn parse(value: &[u8]) -> apdu::Result<Self> {
        let objects = tlv::all(value)?;
        let info = tlv::find(&objects, CERT_INFO).and_then(<[u8]>::first);
        let compressed = info.is_some_and(|info| info & COMPRESSED != 0);
        let certificate = match tlv::find(&objects, CERTIFICATE) {
            None | Some([]) => None,
            Some(bytes) if compressed => {
                let inflated = gzip::inflate(bytes, LARGEST);
                let unreadable = |error| {
                    Error::new(
                        CKR_DEVICE_ERROR,
                        format!("a compressed certificate of the card cannot be read: {error}"),
                    )
                };
                Some(inflated.map_err(unreadable)?)
            }
            Some(bytes) => Some(bytes.to_vec()),
        };
        Ok(Self {
            certificate,
            record: tlv::find(&objects, record::TAG).and_then(record::decode),
            strange: false,
        })
    }

    /// A certificate of the card's maker: without a key of ours, and to stay as it is.
    pub(super) fn of_maker(slot: KeySlot, certificate: &[u8]) -> Result<Self> {
        let mut content = Self::default();
        content.set_certificate(certificate)?;
        let mut attributes = content.derived_certificate(slot)?;
        for never in [CKA_MODIFIABLE, CKA_DESTROYABLE] {
            attributes.set_bool(never, false);
        }
        content.put(slot, CKO_CERTIFICATE, &attributes)?;
        Ok(content)
    }

    /// Has its objects made in every place: each is one of its class, and there once.
    #[cfg(fuzzing)]
    pub(super) fn check(&self) {
        for slot in super::slots::all() {
            let Ok(objects) = self.objects(slot) else {
                continue;
            };
            let mut names = std::collections::BTreeSet::new();
            for Stored { id, attributes } in objects {
                assert!(names.insert(id), "two objects have one name");
                let class = attributes.class().expect("a class");
                assert_eq!(id.get(1), Some(&(class as u8)));
                if class == CKO_PRIVATE_KEY || class == CKO_PUBLIC_KEY {
                    let parts = key::public_parts(&attributes).expect("a key's public half");
                    assert_eq!(Some(parts), self.public());
                }
            }
        }
    }

    /// The value of the data object; empty where there is nothing to keep.
    pub(super) fn to_value(&self) -> Result<Vec<u8>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let mut value = Vec::new();
        let certificate = self.certificate.as_deref().unwrap_or_default();
        tlv::push(&mut value, CERTIFICATE, certificate);
        tlv::push(&mut value, CERT_INFO, &[0]);
        if let Some(record) = &self.record {
            tlv::push(&mut value, record::TAG, &record::encode(record)?);
        }
        tlv::push(&mut value, ERROR_DETECTION_CODE, &[]);
        Ok(value)
    }

    /// Nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        !self.strange
            && self.certificate.is_none()
            && self
                .record
                .as_ref()
                .is_none_or(|record| record.parts.is_empty())
    }

    /// The classes of its objects.
    fn classes(&self) -> Vec<CK_OBJECT_CLASS> {
        match &self.record {
            Some(record) => record
                .parts
                .iter()
                .map(|part| CK_OBJECT_CLASS::from(part.class))
                .collect(),
            None if self.certificate.is_some() => CREDENTIAL.to_vec(),
            None => Vec::new(),
        }
    }

    /// Whether an object of a class is in it.
    pub(super) fn has(&self, class: CK_OBJECT_CLASS) -> bool {
        self.classes().contains(&class)
    }

    /// SubjectPublicKeyInfo of the key, DER: of the record, else of the certificate.
    pub(super) fn public_key_info(&self) -> Option<Vec<u8>> {
        let noted = self.record.as_ref().and_then(|r| r.public_key.as_ref());
        match noted {
            Some(info) => Some(info.as_bytes().to_vec()),
            None => objects::public_key_info(self.certificate.as_deref()?),
        }
    }

    /// The key, where it is of a kind that this module knows.
    pub(super) fn public(&self) -> Option<PublicParts> {
        objects::public_key(&self.public_key_info()?)
    }

    /// The name of its object of a class. A key has it from its place; certificates and data keep it
    /// wherever they lie.
    pub(super) fn id(&self, slot: KeySlot, class: CK_OBJECT_CLASS) -> ObjectId {
        let nonce = self.record.as_ref().and_then(|r| r.nonce.as_ref());
        let source = match class {
            CKO_CERTIFICATE => self.certificate.clone(),
            CKO_DATA => nonce.map(|nonce| nonce.as_bytes().to_vec()),
            _ => self.public_key_info(),
        };
        let place = match class {
            CKO_CERTIFICATE | CKO_DATA => ANYWHERE,
            _ => slot.reference,
        };
        objects::name(place, class, &source.unwrap_or_default())
    }

    /// Its objects.
    pub(super) fn objects(&self, slot: KeySlot) -> Result<Vec<Stored>> {
        self.classes()
            .into_iter()
            .filter_map(|class| self.attributes(slot, class).transpose().map(|a| (class, a)))
            .map(|(class, attributes)| {
                Ok(Stored {
                    id: self.id(slot, class),
                    attributes: attributes?,
                })
            })
            .collect()
    }

    /// The attributes of its object of a class.
    pub(super) fn attributes(
        &self,
        slot: KeySlot,
        class: CK_OBJECT_CLASS,
    ) -> Result<Option<Attributes>> {
        let Some(derived) = self.derived(slot, class)? else {
            return Ok(None);
        };
        let part = self.record.as_ref().and_then(|record| {
            let same = |part: &&Part| CK_OBJECT_CLASS::from(part.class) == class;
            record.parts.iter().find(same)
        });
        Ok(Some(match part {
            Some(part) => part.attributes(derived),
            None => derived,
        }))
    }

    /// The attributes that an object has where nobody gave it others; `None` where it cannot be.
    fn derived(&self, slot: KeySlot, class: CK_OBJECT_CLASS) -> Result<Option<Attributes>> {
        match class {
            CKO_CERTIFICATE => self.derived_certificate(slot).map(Some),
            CKO_DATA => {
                let mut attributes = Attributes::new();
                attributes.set_ulong(CKA_CLASS, CKO_DATA);
                attributes.set_bool(CKA_TOKEN, true);
                Ok(Some(attributes))
            }
            _ => match self.public() {
                Some(public) => {
                    let certificate = self.certificate.as_deref();
                    let subject = certificate.map(objects::subject).unwrap_or_default();
                    derived_key(slot, class, &public, &subject).map(Some)
                }
                None => Ok(None),
            },
        }
    }

    fn derived_certificate(&self, slot: KeySlot) -> Result<Attributes> {
        let (value, label) = (self.certificate.as_deref(), slot.label());
        objects::certificate(
            value.unwrap_or_default(),
            &[
                (CKA_ID, std::slice::from_ref(&slot.number)),
                (CKA_LABEL, label.as_bytes()),
            ],
        )
    }

    /// Gives it an object of a class, or other attributes to the one it has.
    pub(super) fn put(
        &mut self,
        slot: KeySlot,
        class: CK_OBJECT_CLASS,
        attributes: &Attributes,
    ) -> Result<()> {
        let derived = self.derived(slot, class)?.unwrap_or_default();
        let part = Part::new(class as u8, attributes, &derived)?;
        let record = self.record_for_change()?;
        record.parts.retain(|old| old.class != part.class);
        record.parts.push(part);
        Ok(())
    }

    /// Gives it an object of a class with nothing but what follows from the key.
    pub(super) fn put_derived(&mut self, slot: KeySlot, class: CK_OBJECT_CLASS) -> Result<()> {
        let derived = self.derived(slot, class)?.unwrap_or_default();
        self.put(slot, class, &derived)
    }

    /// Says whose key it is, where no certificate does.
    pub(super) fn set_public(&mut self, public: &PublicParts) -> Result<()> {
        let info = key::public_key_info(public)?;
        if self.public_key_info().as_deref() != Some(&info) {
            self.record_for_change()?.public_key = Some(record::octets(&info)?);
        }
        Ok(())
    }

    /// Marks it as another than what was here before, for data of which nothing else tells that.
    pub(super) fn set_nonce(&mut self, nonce: &[u8]) -> Result<()> {
        self.record_for_change()?.nonce = Some(record::octets(nonce)?);
        Ok(())
    }

    /// Takes away its object of a class.
    pub(super) fn take(&mut self, class: CK_OBJECT_CLASS) -> Result<()> {
        let public_key = self.public_key_info();
        let record = self.record_for_change()?;
        record
            .parts
            .retain(|old| CK_OBJECT_CLASS::from(old.class) != class);
        if class == CKO_CERTIFICATE {
            // What the certificate said of the key stays.
            record.public_key = public_key.map(|info| record::octets(&info)).transpose()?;
            self.certificate = None;
        }
        Ok(())
    }

    /// Gives it a certificate for the key that it has, if it has one.
    pub(super) fn set_certificate(&mut self, certificate: &[u8]) -> Result<()> {
        let known = self.public_key_info();
        let record = self.record_for_change()?;
        record.public_key = None;
        self.certificate = Some(certificate.to_vec());
        if self.public_key_info() != known
            && let (Some(record), Some(info)) = (&mut self.record, known)
        {
            record.public_key = Some(record::octets(&info)?);
        }
        Ok(())
    }

    /// A record that says all that followed from the certificate so far.
    fn record_for_change(&mut self) -> Result<&mut Record> {
        if self.record.is_none() {
            let parts = self
                .classes()
                .into_iter()
                .map(|class| Part::new(class as u8, &Attributes::new(), &Attributes::new()))
                .collect::<Result<_>>()?;
            let public_key = self.public_key_info();
            self.record = Some(Record {
                public_key: public_key.map(|info| record::octets(&info)).transpose()?,
                nonce: None,
                parts,
            });
        }
        self.record
            .as_mut()
            .ok_or_else(|| Error::new(CKR_GENERAL_ERROR, "a record was lost"))
    }
}

/// The attributes of a key that nobody gave others.
fn derived_key(
    slot: KeySlot,
    class: CK_OBJECT_CLASS,
    public: &PublicParts,
    subject: &[u8],
) -> Result<Attributes> {
    let label = slot.label();
    let private = [CK_BBOOL::from(!slot.never_asks())];
    let always = [CK_BBOOL::from(slot.always_asks())];
    let mut given = vec![
        (CKA_ID, std::slice::from_ref(&slot.number)),
        (CKA_LABEL, label.as_bytes()),
    ];
    if class == CKO_PRIVATE_KEY {
        given.push((CKA_PRIVATE, &private));
        given.push((CKA_ALWAYS_AUTHENTICATE, &always));
    }
    let mut attributes = objects::key(class, public, subject, &given)?;
    if class == CKO_PRIVATE_KEY && slot.never_asks() {
        attributes.set_bool(FREE_KEY, true);
    }
    Ok(attributes)
}
