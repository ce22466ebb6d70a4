//! Objects of a TPM: what is asked for (public templates), and what is kept of them outside.
//!
//! The TPM gives a key it has made back wrapped, so that only its parent, the storage root, can
//! load it again. That lies in the token's store; nothing but the storage root is kept in the chip.

use super::fault::{Fault, malformed};
use super::frame::split_2b;
use crate::crypto::{Curve, Hash, KeySpec, PublicParts, engine, left_pad};
use crate::error::{Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_CURVE_NOT_SUPPORTED, CKR_DEVICE_ERROR,
    CKR_TEMPLATE_INCONSISTENT,
};
use tpm2_protocol::basic::{TpmUint16, TpmUint32};
use tpm2_protocol::data::*;
use tpm2_protocol::{TpmMarshal, TpmUnmarshal, TpmWriter};

/// Length of the authorization values that are made here.
pub(super) const AUTH_LEN: usize = 32;
/// The exponent that every TPM has; in a template it is written as 0 (Part 2, 12.2.3.5).
const RSA_EXPONENT: u32 = 65537;

/// An object outside of the TPM.
pub(super) struct Wrapped {
    /// TPMT_PUBLIC.
    pub(super) public: Vec<u8>,
    /// TPM2B_PRIVATE without its length: encrypted and authenticated by the storage root.
    pub(super) private: Vec<u8>,
    /// What authorizes its use; empty where the caller brings it (a PIN).
    pub(super) auth: Secret,
}

impl Wrapped {
    /// As it is stored: three TPM2B, one after the other.
    pub(super) fn to_bytes(&self) -> Result<Secret> {
        sized(&[], &[&self.public, &self.private, &self.auth])
    }

    /// From what was stored.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let parts = split_2b(bytes).and_then(|(public, rest)| {
            let (private, rest) = split_2b(rest)?;
            let (auth, rest) = split_2b(rest)?;
            rest.is_empty().then_some((public, private, auth))
        });
        let Some((public, private, auth)) = parts else {
            return fail!(
                CKR_DEVICE_ERROR,
                "a key of the TPM is damaged in the store: restore a backup"
            );
        };
        Ok(Self {
            public: public.to_vec(),
            private: private.to_vec(),
            auth: Secret::copy_of(auth)?,
        })
    }

    /// Its name: nothing else has it (Part 1, 16).
    pub(super) fn name(&self) -> Vec<u8> {
        name(&self.public)
    }
}

/// `head`, and behind it each value as a TPM2B.
pub(super) fn sized(head: &[u8], values: &[&[u8]]) -> Result<Secret> {
    let len = values.iter().map(|value| 2 + value.len()).sum::<usize>();
    let mut bytes = Secret::zeroed(head.len() + len)?;
    let mut room = bytes.iter_mut();
    let mut put = |part: &[u8]| {
        part.iter()
            .zip(&mut room)
            .for_each(|(from, to)| *to = *from)
    };
    put(head);
    for value in values {
        put(&(value.len() as u16).to_be_bytes());
        put(value);
    }
    Ok(bytes)
}

/// The name of an object: the identifier of SHA-256 and the digest of its TPMT_PUBLIC.
pub(super) fn name(public: &[u8]) -> Vec<u8> {
    let mut name = TpmAlgId::Sha256.value().to_be_bytes().to_vec();
    name.extend(engine::digest(Hash::Sha256, public));
    name
}

/// The qualified name of an object under a storage root of the owner (Part 1, 16): it tells the
/// object's whole ancestry.
pub(super) fn qualified_name(root: &[u8], name: &[u8]) -> Vec<u8> {
    let owner = (TpmRh::Owner as u32).to_be_bytes();
    let qualified_root = self::name(&[&owner, root].concat());
    self::name(&[&qualified_root, name].concat())
}

/// Whether an object has been made by a template of ours.
pub(super) fn is_by_template(public: &TpmtPublic) -> bool {
    *public.auth_policy == *OURS
}

/// A structure of the library as bytes.
pub(super) fn to_bytes(structure: &impl TpmMarshal) -> std::result::Result<Vec<u8>, Fault> {
    let mut room = [0; 4096];
    let mut writer = TpmWriter::new(&mut room);
    structure.marshal(&mut writer)?;
    Ok(writer.as_bytes().to_vec())
}

/// A TPMT_PUBLIC from its bytes.
pub(super) fn public_of(bytes: &[u8]) -> std::result::Result<TpmtPublic, Fault> {
    match TpmtPublic::unmarshal(bytes)? {
        (public, []) => Ok(public),
        _ => Err(malformed("bytes follow a public area").into()),
    }
}

fn aes_128_cfb() -> TpmtSymDef {
    TpmtSymDef {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(TpmUint16::from(128)),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

/// Parameter encryption of the sessions.
pub(super) fn session_cipher() -> TpmtSymDef {
    aes_128_cfb()
}

fn ecc(symmetric: TpmtSymDef, curve_id: TpmEccCurve) -> TpmuPublicParms {
    TpmuPublicParms::Ecc(TpmsEccParms {
        symmetric,
        scheme: TpmtEccScheme::default(),
        curve_id,
        kdf: TpmtKdfScheme::default(),
    })
}

/// Marks objects as ours: a policy that nobody can meet, for no commands have this digest. All use is
/// by the authorization value.
const OURS: &[u8; 32] = b"nodetoken: nobody has the policy";

fn template(
    object_type: TpmAlgId,
    object_attributes: TpmaObject,
    parameters: TpmuPublicParms,
    unique: TpmuPublicId,
) -> TpmtPublic {
    TpmtPublic {
        object_type,
        name_alg: TpmAlgId::Sha256,
        object_attributes,
        // It fits a digest.
        auth_policy: Tpm2bDigest::try_from(OURS.as_slice()).unwrap_or_default(),
        parameters,
        unique,
    }
}

/// What makes a storage root fit for us.
pub(super) const STORAGE: [TpmaObject; 7] = [
    TpmaObject::FIXED_TPM,
    TpmaObject::FIXED_PARENT,
    TpmaObject::SENSITIVE_DATA_ORIGIN,
    TpmaObject::USER_WITH_AUTH,
    TpmaObject::RESTRICTED,
    TpmaObject::DECRYPT,
    // Else a locked TPM would refuse what is under it.
    TpmaObject::NO_DA,
];

/// The storage root of the TCG's provisioning guidance, on P-256: the same that systemd and others
/// make, so that all share one.
pub(super) fn storage_root() -> std::result::Result<TpmtPublic, Fault> {
    let zeros = Tpm2bEccParameter::try_from([0; 32].as_slice())?;
    let attributes = STORAGE
        .into_iter()
        .fold(TpmaObject::empty(), |all, attribute| all | attribute);
    Ok(TpmtPublic {
        auth_policy: Tpm2bDigest::default(),
        ..template(
            TpmAlgId::Ecc,
            attributes,
            ecc(aes_128_cfb(), TpmEccCurve::NistP256),
            TpmuPublicId::Ecc(TpmsEccPoint { x: zeros, y: zeros }),
        )
    })
}

/// A secret that the TPM keeps for who knows its authorization value. `limited`: wrong values count
/// for the lockout.
pub(super) fn sealed(limited: bool) -> TpmtPublic {
    let mut attributes =
        TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT | TpmaObject::USER_WITH_AUTH;
    if !limited {
        attributes |= TpmaObject::NO_DA;
    }
    template(
        TpmAlgId::KeyedHash,
        attributes,
        TpmuPublicParms::KeyedHash(TpmsKeyedhashParms::default()),
        TpmuPublicId::KeyedHash(Tpm2bDigest::default()),
    )
}

/// Of a key that signs and decrypts (EC: agrees); what it may do, its PKCS#11 attributes say. Made in
/// the TPM it never leaves it; imported it could be moved to another by who meets its policy, which
/// nobody can. Wrong values do not count for the lockout: the value is random, and a locked
/// TPM shall not stop a node that has logged in.
fn key_attributes(made_here: bool) -> TpmaObject {
    let attributes = TpmaObject::USER_WITH_AUTH
        | TpmaObject::NO_DA
        | TpmaObject::SIGN_ENCRYPT
        | TpmaObject::DECRYPT;
    if !made_here {
        return attributes;
    }
    attributes
        | TpmaObject::FIXED_TPM
        | TpmaObject::FIXED_PARENT
        | TpmaObject::SENSITIVE_DATA_ORIGIN
}

/// The public area of a private key of ours.
pub(super) fn key(public: &PublicParts, made_here: bool) -> std::result::Result<TpmtPublic, Fault> {
    let attributes = key_attributes(made_here);
    match public {
        PublicParts::Rsa { n, e } => {
            let spec = KeySpec::Rsa {
                bits: public.bits(),
                exponent: e.clone(),
            };
            let parameters = parameters(&spec).map_err(|refusal| match made_here {
                true => refusal,
                // What is wrong is the value that was brought, not a wish.
                false => refusal.with_rv(CKR_ATTRIBUTE_VALUE_INVALID),
            })?;
            Ok(template(
                TpmAlgId::Rsa,
                attributes,
                parameters,
                TpmuPublicId::Rsa(Tpm2bPublicKeyRsa::try_from(n.as_slice())?),
            ))
        }
        PublicParts::Ec { curve, point } => {
            let coordinates = point.get(1..).unwrap_or_default();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            Ok(template(
                TpmAlgId::Ecc,
                attributes,
                parameters(&KeySpec::Ec(*curve))?,
                TpmuPublicId::Ecc(TpmsEccPoint {
                    x: Tpm2bEccParameter::try_from(x)?,
                    y: Tpm2bEccParameter::try_from(y)?,
                }),
            ))
        }
        _ => Err(no_such_key().into()),
    }
}

/// The template from which the TPM makes a key pair.
pub(super) fn new_key(spec: &KeySpec) -> std::result::Result<TpmtPublic, Fault> {
    match spec {
        KeySpec::Rsa { exponent, .. } => key(
            &PublicParts::Rsa {
                n: Vec::new(),
                e: exponent.clone(),
            },
            true,
        )
        .and_then(|template| {
            Ok(TpmtPublic {
                parameters: parameters(spec)?,
                ..template
            })
        }),
        KeySpec::Ec(curve) => key(
            &PublicParts::Ec {
                curve: *curve,
                point: Vec::new(),
            },
            true,
        ),
        _ => Err(no_such_key().into()),
    }
}

/// What TPM2_TestParms is asked about a kind of key.
pub(super) fn parameters(spec: &KeySpec) -> Result<TpmuPublicParms> {
    match spec {
        KeySpec::Rsa { bits, exponent } => {
            if crate::crypto::trim(exponent) != [1, 0, 1] {
                return fail!(
                    CKR_TEMPLATE_INCONSISTENT,
                    "a TPM has RSA keys with the public exponent {RSA_EXPONENT} only"
                );
            }
            Ok(TpmuPublicParms::Rsa(TpmsRsaParms {
                symmetric: TpmtSymDef::default(),
                scheme: TpmtRsaScheme::default(),
                key_bits: TpmUint16::from(*bits as u16),
                exponent: TpmUint32::from(0),
            }))
        }
        KeySpec::Ec(curve) => {
            let curve = match curve {
                Curve::P256 => TpmEccCurve::NistP256,
                Curve::P384 => TpmEccCurve::NistP384,
                Curve::P521 => TpmEccCurve::NistP521,
            };
            Ok(ecc(TpmtSymDef::default(), curve))
        }
        _ => Err(no_such_key()),
    }
}

pub(super) fn no_such_key() -> crate::error::Error {
    crate::error::Error::new(
        CKR_CURVE_NOT_SUPPORTED,
        "a TPM has RSA keys and those on NIST curves only",
    )
}

/// The public key that a TPMT_PUBLIC describes; `CKR_DEVICE_ERROR` for any but a key of ours.
pub(super) fn public_parts(public: &TpmtPublic) -> Result<PublicParts> {
    match (&public.parameters, &public.unique) {
        (TpmuPublicParms::Rsa(_), TpmuPublicId::Rsa(n)) => Ok(PublicParts::Rsa {
            n: n.to_vec(),
            e: vec![1, 0, 1],
        }),
        (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(at)) => {
            let curve = match parameters.curve_id {
                TpmEccCurve::NistP256 => Curve::P256,
                TpmEccCurve::NistP384 => Curve::P384,
                TpmEccCurve::NistP521 => Curve::P521,
                _ => return Err(malformed("its curve was not asked for")),
            };
            Ok(PublicParts::Ec {
                curve,
                point: point(curve, at)?,
            })
        }
        _ => Err(malformed("it is another kind of key than was asked for")),
    }
}

/// The uncompressed point of coordinates that may lack leading zeros.
pub(super) fn point(curve: Curve, at: &TpmsEccPoint) -> Result<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [&at.x, &at.y] {
        let padded = left_pad(coordinate, curve.len());
        point.extend_from_slice(&padded.map_err(|_| malformed("a coordinate is too long"))?);
    }
    Ok(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let wrapped = Wrapped {
            public: vec![1, 2, 3],
            private: vec![4; 300],
            auth: Secret::copy_of(&[5; AUTH_LEN]).unwrap(),
        };
        let bytes = wrapped.to_bytes().unwrap();
        let again = Wrapped::from_bytes(&bytes).unwrap();
        assert_eq!(again.public, wrapped.public);
        assert_eq!(again.private, wrapped.private);
        assert_eq!(*again.auth, *wrapped.auth);
        for len in 0..bytes.len() {
            assert!(Wrapped::from_bytes(&bytes[..len]).is_err());
        }
        assert!(Wrapped::from_bytes(&[&*bytes, &[0]].concat()).is_err());
    }

    #[test]
    fn templates_are_what_a_tpm_reads() {
        let rsa = KeySpec::Rsa {
            bits: 2048,
            exponent: vec![1, 0, 1],
        };
        for spec in [rsa, KeySpec::Ec(Curve::P384)] {
            let template = new_key(&spec).unwrap();
            let bytes = to_bytes(&template).unwrap();
            assert_eq!(public_of(&bytes).unwrap(), template);
            assert!(template.object_attributes.contains(TpmaObject::FIXED_TPM));
        }
        for template in [storage_root().unwrap(), sealed(true), sealed(false)] {
            let bytes = to_bytes(&template).unwrap();
            assert_eq!(public_of(&bytes).unwrap(), template);
        }
        assert!(new_key(&KeySpec::Ed25519).is_err());
        let odd = KeySpec::Rsa {
            bits: 2048,
            exponent: vec![3],
        };
        assert!(new_key(&odd).is_err());
    }
}
