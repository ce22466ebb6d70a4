//! The PKCS#11 objects that a key and its certificate are, where nobody gave them other attributes.

use crate::attribute::{self, Attributes, Birth, Template};
use crate::complete::{complete, note_birth};
use crate::crypto::{Hash, PublicParts, engine};
use crate::error::Result;
use crate::key;
use crate::token::ObjectId;
use cryptoki_sys::*;
use der::{Decode, Encode};
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::Certificate;

/// An attribute that is not derived from key or certificate.
pub(super) type Given<'a> = (CK_ATTRIBUTE_TYPE, &'a [u8]);

/// In the name of an object, the place of one that can move: no key reference.
pub(super) const ANYWHERE: u8 = 0xff;

/// The name of an object: where it lies, what it is, and what it is made of.
pub(super) fn name(place: u8, class: CK_OBJECT_CLASS, source: &[u8]) -> ObjectId {
    let digest = engine::digest(Hash::Sha256, source);
    let head = [place, class as u8];
    let mut id = ObjectId::default();
    for (to, from) in id.iter_mut().zip(head.into_iter().chain(digest)) {
        *to = from;
    }
    id
}

/// Subject of a certificate, DER; empty where it cannot be read.
pub(super) fn subject(certificate: &[u8]) -> Vec<u8> {
    let parsed = Certificate::from_der(certificate).ok();
    let subject = parsed.and_then(|parsed| parsed.tbs_certificate().subject().to_der().ok());
    subject.unwrap_or_default()
}

/// SubjectPublicKeyInfo of a certificate, DER.
pub(super) fn public_key_info(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let info = parsed.tbs_certificate().subject_public_key_info();
    info.to_der().ok()
}

/// The key of a SubjectPublicKeyInfo, where it is of a kind that this module knows.
pub(super) fn public_key(info: &[u8]) -> Option<PublicParts> {
    let info = SubjectPublicKeyInfoOwned::from_der(info).ok()?;
    let parts = key::public_parts_of_info(&info)?;
    // A key that is none is not shown as one.
    engine::PublicKey::from_parts(&parts).ok()?;
    Some(parts)
}

/// The attributes of a key.
pub(super) fn key(
    class: CK_OBJECT_CLASS,
    public: &PublicParts,
    subject: &[u8],
    given: &[Given<'_>],
) -> Result<Attributes> {
    let pair = key::pair_of(public, Vec::new())?;
    let mut pairs = vec![(CKA_TOKEN, [CK_TRUE].as_slice()), (CKA_SUBJECT, subject)];
    pairs.extend(given);
    let key_type = match public {
        PublicParts::Rsa { .. } => CKK_RSA,
        PublicParts::Ec { .. } => CKK_EC,
        PublicParts::Ed25519(_) => CKK_EC_EDWARDS,
    };
    let own = if class == CKO_PRIVATE_KEY {
        &pair.private
    } else {
        for asked in [CKA_MODULUS_BITS, CKA_EC_PARAMS] {
            if let Some(value) = pair.public.get(asked) {
                pairs.push((asked, value));
            }
        }
        &pair.public
    };
    let template = Template::new(pairs)?;
    let built = attribute::build(
        Birth::Generate,
        &template,
        Some(class),
        Some(key_type),
        false,
    )?;
    let mut attributes = built.attributes;
    attributes.extend(own);
    note_birth(&mut attributes, None);
    Ok(attributes)
}

/// The attributes of a certificate.
pub(super) fn certificate(value: &[u8], given: &[Given<'_>]) -> Result<Attributes> {
    let class = CKO_CERTIFICATE.to_ne_bytes();
    let kind = CKC_X_509.to_ne_bytes();
    let subject = subject(value);
    let mut pairs = vec![
        (CKA_CLASS, class.as_slice()),
        (CKA_CERTIFICATE_TYPE, &kind),
        (CKA_TOKEN, &[CK_TRUE]),
        (CKA_SUBJECT, &subject),
        (CKA_VALUE, value),
    ];
    pairs.extend(given);
    let template = Template::new(pairs)?;
    let built = attribute::build(Birth::Create, &template, None, None, false)?;
    Ok(complete(built)?.attributes)
}
