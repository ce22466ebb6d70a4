//! What the commands ask of an object, and the words they have for its kind.

use crate::choice::Id;
use clap::ValueEnum;
use cryptoki_sys::*;
use nodetoken::attribute::Attributes;
use nodetoken::credential::certificate::Certificate;
use nodetoken::crypto::{Curve, KeySpec};
use nodetoken::key::spec_of_params;
use std::fmt;
use std::sync::Arc;

/// The kinds of objects that the command lists and destroys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// CKO_CERTIFICATE.
    Certificate,
    /// CKO_PUBLIC_KEY.
    PublicKey,
    /// CKO_PRIVATE_KEY.
    PrivateKey,
    /// CKO_SECRET_KEY.
    SecretKey,
    /// CKO_DATA.
    Data,
}

impl Kind {
    /// Every kind. Private keys come after what belongs to them, so that a destruction that stops
    /// half-way has spared them.
    pub const ALL: [Kind; 5] = [
        Kind::Certificate,
        Kind::PublicKey,
        Kind::PrivateKey,
        Kind::SecretKey,
        Kind::Data,
    ];

    /// CKA_CLASS.
    pub fn class(self) -> CK_OBJECT_CLASS {
        match self {
            Kind::Certificate => CKO_CERTIFICATE,
            Kind::PublicKey => CKO_PUBLIC_KEY,
            Kind::PrivateKey => CKO_PRIVATE_KEY,
            Kind::SecretKey => CKO_SECRET_KEY,
            Kind::Data => CKO_DATA,
        }
    }

    /// Whether it has a key type.
    pub fn is_key(self) -> bool {
        !matches!(self, Kind::Certificate | Kind::Data)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Certificate => "certificate",
            Kind::PublicKey => "public key",
            Kind::PrivateKey => "private key",
            Kind::SecretKey => "secret key",
            Kind::Data => "data",
        })
    }
}

/// The key pairs that `keygen` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    /// RSA, 2048 bits.
    #[value(name = "rsa:2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[value(name = "rsa:3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[value(name = "rsa:4096")]
    Rsa4096,
    /// NIST P-256.
    #[value(name = "ec:p256")]
    EcP256,
    /// NIST P-384.
    #[value(name = "ec:p384")]
    EcP384,
    /// NIST P-521.
    #[value(name = "ec:p521")]
    EcP521,
    /// Ed25519.
    #[value(name = "ed25519")]
    Ed25519,
}

impl KeyType {
    /// CKA_MODULUS_BITS, or CKA_EC_PARAMS as the object identifier of the curve in DER
    /// (PKCS#11 6.3.3, 6.3.5).
    pub fn parameter(self) -> Parameter {
        match self {
            KeyType::Rsa2048 => Parameter::ModulusBits(2048),
            KeyType::Rsa3072 => Parameter::ModulusBits(3072),
            KeyType::Rsa4096 => Parameter::ModulusBits(4096),
            // 1.2.840.10045.3.1.7, 1.3.132.0.34, 1.3.132.0.35, 1.3.101.112
            KeyType::EcP256 => Parameter::Curve(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
            KeyType::EcP384 => Parameter::Curve(b"\x06\x05\x2b\x81\x04\x00\x22"),
            KeyType::EcP521 => Parameter::Curve(b"\x06\x05\x2b\x81\x04\x00\x23"),
            KeyType::Ed25519 => Parameter::Curve(b"\x06\x03\x2b\x65\x70"),
        }
    }

    /// The mechanism that makes it.
    pub fn mechanism(self) -> CK_MECHANISM_TYPE {
        match self {
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => CKM_RSA_PKCS_KEY_PAIR_GEN,
            KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 => CKM_EC_KEY_PAIR_GEN,
            KeyType::Ed25519 => CKM_EC_EDWARDS_KEY_PAIR_GEN,
        }
    }
}

/// What a template says of a pair to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// CKA_MODULUS_BITS.
    ModulusBits(CK_ULONG),
    /// CKA_EC_PARAMS.
    Curve(&'static [u8]),
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}

/// An object of a token, as far as it can be seen.
pub struct Object(pub Arc<nodetoken::object::Object>);

impl Object {
    fn attributes(&self) -> &Attributes {
        self.0.attributes()
    }

    /// The value of an attribute.
    pub fn get(&self, attribute: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.attributes().get(attribute)
    }

    /// CKA_ID; empty where the object has none.
    pub fn id(&self) -> Id {
        Id(self.get(CKA_ID).unwrap_or_default().to_vec())
    }

    /// CKA_LABEL, with a mark in place of what is not UTF-8.
    pub fn label(&self) -> String {
        String::from_utf8_lossy(self.get(CKA_LABEL).unwrap_or_default()).into_owned()
    }

    /// Label and id, as messages name it.
    pub fn name(&self) -> String {
        let label = crate::table::printable(&self.label());
        match self.id() {
            Id(id) if id.is_empty() => format!("\"{label}\""),
            id => format!("\"{label}\" (id {id})"),
        }
    }

    /// The certificate of a certificate object; `None` where it is not X.509 in DER.
    pub fn certificate(&self) -> Option<Certificate> {
        Certificate::from_der(self.get(CKA_VALUE)?).ok()
    }

    /// CKA_EXTRACTABLE.
    pub fn is_extractable(&self) -> bool {
        self.attributes().is(CKA_EXTRACTABLE)
    }

    /// The kind of key, as `keygen --type` writes it where it makes such keys.
    pub fn key_type(&self) -> String {
        let attributes = self.attributes();
        let curve = |key_type| {
            let params = attributes.get(CKA_EC_PARAMS)?;
            spec_of_params(key_type, params).ok()
        };
        match attributes.key_type() {
            Some(CKK_RSA) => {
                let modulus = attributes.get(CKA_MODULUS).unwrap_or_default();
                let leading = modulus.iter().take_while(|byte| **byte == 0).count();
                format!("rsa:{}", (modulus.len() - leading) * 8)
            }
            Some(CKK_EC) => match curve(CKK_EC) {
                Some(KeySpec::Ec(Curve::P256)) => "ec:p256".to_owned(),
                Some(KeySpec::Ec(Curve::P384)) => "ec:p384".to_owned(),
                Some(KeySpec::Ec(Curve::P521)) => "ec:p521".to_owned(),
                _ => "ec".to_owned(),
            },
            Some(CKK_EC_EDWARDS) => "ed25519".to_owned(),
            Some(CKK_AES) => match attributes.ulong(CKA_VALUE_LEN) {
                Some(bytes) => format!("aes:{}", bytes * 8),
                None => "aes".to_owned(),
            },
            Some(CKK_GENERIC_SECRET) => "generic secret".to_owned(),
            Some(other) => format!("key type {other:#x}"),
            None => "no key".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn curves_are_those_of_the_module() {
        let spec = |key: KeyType, key_type| match key.parameter() {
            Parameter::Curve(params) => spec_of_params(key_type, params).unwrap(),
            Parameter::ModulusBits(_) => unreachable!("not RSA"),
        };
        assert_eq!(spec(KeyType::EcP256, CKK_EC), KeySpec::Ec(Curve::P256));
        assert_eq!(spec(KeyType::EcP384, CKK_EC), KeySpec::Ec(Curve::P384));
        assert_eq!(spec(KeyType::EcP521, CKK_EC), KeySpec::Ec(Curve::P521));
        assert_eq!(spec(KeyType::Ed25519, CKK_EC_EDWARDS), KeySpec::Ed25519);
    }

    #[test]
    fn key_types_are_named_as_they_are_chosen() {
        for value in KeyType::value_variants() {
            let name = value.to_string();
            assert_eq!(KeyType::from_str(&name, false).as_ref(), Ok(value));
        }
    }
}
