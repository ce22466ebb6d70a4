//! The PKCS#11 objects that a key and its certificate are, where nobody gave them other attributes.

use super::apdu;
use crate::attribute::{self, Attributes, Author, Birth, Template};
use crate::complete::{complete, note_birth};
use crate::crypto::{Hash, PublicParts, engine};
use crate::error::Result;
use crate::key;
use crate::mechanism::{MECHANISMS, Plan};
use crate::token::{ObjectId, Stored};
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
        PublicParts::X25519(_) => CKK_EC_MONTGOMERY,
        PublicParts::MlDsa { .. } => CKK_ML_DSA,
        PublicParts::MlKem { .. } => CKK_ML_KEM,
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
        Author::default(),
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
    let built = attribute::build(Birth::Create, &template, None, None, Author::default())?;
    Ok(complete(built)?.attributes)
}

/// A key of a card that pads PKCS #1 v1.5 signatures itself and does nothing else with it.
pub(super) struct Signer<'a> {
    /// CKA_ID of key and certificate.
    pub(super) id: &'a [u8],
    /// CKA_LABEL of the private key, the public key and the certificate.
    pub(super) labels: [&'a str; 3],
    /// The certificate, and the public key with it, are seen after the PIN only.
    pub(super) hidden: bool,
    /// The PIN is asked right before each signature.
    pub(super) always_asks: bool,
}

impl Signer<'_> {
    /// Its objects, by its certificate.
    pub(super) fn objects(&self, value: &[u8]) -> apdu::Result<Vec<Stored>> {
        let [private_label, public_label, certificate_label] = self.labels.map(str::as_bytes);
        let (hidden, always_asks) = (
            [CK_BBOOL::from(self.hidden)],
            [CK_BBOOL::from(self.always_asks)],
        );
        let mut objects = vec![Stored {
            id: name(ANYWHERE, CKO_CERTIFICATE, value),
            attributes: certificate(
                value,
                &[
                    (CKA_ID, self.id),
                    (CKA_LABEL, certificate_label),
                    (CKA_PRIVATE, &hidden),
                ],
            )?,
        }];
        let info = public_key_info(value).unwrap_or_default();
        let Some(public) = public_key(&info) else {
            return Ok(objects);
        };
        let subject = subject(value);
        let allowed: Vec<u8> = MECHANISMS
            .iter()
            .filter(|row| matches!(row.plan, Plan::RsaPkcs1(_)) && row.functions & CKF_SIGN != 0)
            .flat_map(|row| row.kind.to_ne_bytes())
            .collect();
        let private = key(
            CKO_PRIVATE_KEY,
            &public,
            &subject,
            &[
                (CKA_ID, self.id),
                (CKA_LABEL, private_label),
                (CKA_PRIVATE, &[CK_TRUE]),
                (CKA_ALWAYS_AUTHENTICATE, &always_asks),
                (CKA_DECRYPT, &[CK_FALSE]),
                (CKA_DERIVE, &[CK_FALSE]),
                (CKA_ALLOWED_MECHANISMS, &allowed),
            ],
        )?;
        let public = key(
            CKO_PUBLIC_KEY,
            &public,
            &subject,
            &[
                (CKA_ID, self.id),
                (CKA_LABEL, public_label),
                (CKA_PRIVATE, &hidden),
                (CKA_ENCRYPT, &[CK_FALSE]),
            ],
        )?;
        for (class, attributes) in [(CKO_PRIVATE_KEY, private), (CKO_PUBLIC_KEY, public)] {
            objects.push(Stored {
                id: name(0, class, &info),
                attributes,
            });
        }
        Ok(objects)
    }
}

/// The object of the certificate of an authority.
pub(super) fn authority(value: &[u8], id: &[u8], label: &str) -> apdu::Result<Stored> {
    let category = CK_CERTIFICATE_CATEGORY_AUTHORITY.to_ne_bytes();
    let given = [
        (CKA_ID, id),
        (CKA_LABEL, label.as_bytes()),
        (CKA_CERTIFICATE_CATEGORY, &category),
    ];
    Ok(Stored {
        id: name(ANYWHERE, CKO_CERTIFICATE, value),
        attributes: certificate(value, &given)?,
    })
}
