//! SubjectPublicKeyInfo: public keys as certificates and CKA_PUBLIC_KEY_INFO have them.

use super::{Set, encoding};
use crate::crypto::{Curve, MlDsaSet, MlKemSet, PublicParts};
use crate::error::Result;
use der::asn1::{ObjectIdentifier, UintRef};
use der::{AnyRef, Decode, Encode, Sequence};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};

pub(super) const RSA_ENCRYPTION: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(super) const EC_PUBLIC_KEY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(super) const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// The object identifier of a curve (RFC 5480 2.1.1.1).
pub(super) const fn curve_oid(curve: Curve) -> ObjectIdentifier {
    match curve {
        Curve::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        Curve::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        Curve::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
    }
}

pub(super) fn curve_of(oid: ObjectIdentifier) -> Option<Curve> {
    Curve::ALL
        .into_iter()
        .find(|curve| curve_oid(*curve) == oid)
}

/// RSAPublicKey (RFC 8017 A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

/// The object identifier of an ML-DSA parameter set (RFC 9881 2).
pub(super) const fn ml_dsa_oid(set: MlDsaSet) -> ObjectIdentifier {
    match set {
        MlDsaSet::MlDsa44 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"),
        MlDsaSet::MlDsa65 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"),
        MlDsaSet::MlDsa87 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"),
    }
}

/// The object identifier of an ML-KEM parameter set (RFC 9935 3).
pub(super) const fn ml_kem_oid(set: MlKemSet) -> ObjectIdentifier {
    match set {
        MlKemSet::MlKem512 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1"),
        MlKemSet::MlKem768 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2"),
        MlKemSet::MlKem1024 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3"),
    }
}

/// The parameter set of ML-DSA or ML-KEM that an object identifier names.
pub(super) fn set_of(oid: ObjectIdentifier) -> Option<Set> {
    let ml_dsa = MlDsaSet::ALL.into_iter();
    let ml_kem = MlKemSet::ALL.into_iter();
    let mut sets = ml_dsa
        .map(|set| (ml_dsa_oid(set), Set::MlDsa(set)))
        .chain(ml_kem.map(|set| (ml_kem_oid(set), Set::MlKem(set))));
    sets.find(|(its, _)| *its == oid).map(|(_, set)| set)
}

/// SubjectPublicKeyInfo of a key (RFC 5280 4.1, RFC 5480, RFC 8410, RFC 9881, RFC 9935), DER.
pub fn encode(public: &PublicParts) -> Result<Vec<u8>> {
    let rsa_key;
    let curve_parameter;
    let (algorithm, key) = match public {
        PublicParts::Rsa { n, e } => {
            rsa_key = RsaPublicKey {
                modulus: UintRef::new(n).map_err(encoding)?,
                public_exponent: UintRef::new(e).map_err(encoding)?,
            }
            .to_der()
            .map_err(encoding)?;
            ((RSA_ENCRYPTION, Some(AnyRef::NULL)), &rsa_key)
        }
        PublicParts::Ec { curve, point } => {
            curve_parameter = curve_oid(*curve);
            ((EC_PUBLIC_KEY, Some(AnyRef::from(&curve_parameter))), point)
        }
        PublicParts::Ed25519(key) => ((ED25519, None), key),
        PublicParts::X25519(key) => ((X25519, None), key),
        PublicParts::MlDsa { set, key } => ((ml_dsa_oid(*set), None), key),
        PublicParts::MlKem { set, key } => ((ml_kem_oid(*set), None), key),
    };
    let (oid, parameters) = algorithm;
    SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        subject_public_key: der::asn1::BitStringRef::from_bytes(key).map_err(encoding)?,
    }
    .to_der()
    .map_err(encoding)
}

/// The public key inside a SubjectPublicKeyInfo; `None` for a kind that the module does not know.
pub fn parts(info: &SubjectPublicKeyInfoOwned) -> Option<PublicParts> {
    let key = info.subject_public_key.as_bytes()?;
    match info.algorithm.oid {
        RSA_ENCRYPTION => {
            let key = RsaPublicKey::from_der(key).ok()?;
            Some(PublicParts::Rsa {
                n: key.modulus.as_bytes().to_vec(),
                e: key.public_exponent.as_bytes().to_vec(),
            })
        }
        EC_PUBLIC_KEY => {
            let oid = info.algorithm.parameters.as_ref()?.decode_as().ok()?;
            Some(PublicParts::Ec {
                curve: curve_of(oid)?,
                point: key.to_vec(),
            })
        }
        ED25519 => Some(PublicParts::Ed25519(key.to_vec())),
        X25519 => Some(PublicParts::X25519(key.to_vec())),
        oid => {
            let key = key.to_vec();
            Some(match set_of(oid)? {
                Set::MlDsa(set) => PublicParts::MlDsa { set, key },
                Set::MlKem(set) => PublicParts::MlKem { set, key },
            })
        }
    }
}
