//! Private keys as PKCS #8 PrivateKeyInfo (RFC 5958), the form in which they are wrapped
//! (PKCS#11 3.2 section 6.7): RSA as in RFC 8017 A.1.2, EC as in RFC 5915 with the curve in the
//! algorithm identifier, Ed25519 and X25519 as in RFC 8410, ML-DSA as in RFC 9881, ML-KEM as in RFC 9935.

use super::info::{
    EC_PUBLIC_KEY, ED25519, RSA_ENCRYPTION, X25519, curve_of, curve_oid, ml_dsa_oid, ml_kem_oid,
    set_of,
};
use super::{Set, encoding, lattice_private};
use crate::crypto::{Crt, PrivateParts, PublicParts, SecretParts, engine, left_pad};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::*;
use der::asn1::{BitStringRef, ObjectIdentifier, OctetStringRef, UintRef};
use der::{AnyRef, Choice, Decode, Encode, Header, Reader, Sequence, SliceReader};
use spki::AlgorithmIdentifierRef;

/// PrivateKeyInfo, or OneAsymmetricKey with its public key (RFC 5958 2).
#[derive(Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: AlgorithmIdentifierRef<'a>,
    private_key: &'a OctetStringRef,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    attributes: Option<x509_cert::attr::Attributes>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    public_key: Option<BitStringRef<'a>>,
}

/// RSAPrivateKey (RFC 8017 A.1.2), of two primes.
#[derive(Sequence)]
struct RsaPrivateKey<'a> {
    version: u8,
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
    private_exponent: UintRef<'a>,
    prime1: UintRef<'a>,
    prime2: UintRef<'a>,
    exponent1: UintRef<'a>,
    exponent2: UintRef<'a>,
    coefficient: UintRef<'a>,
}

/// ECPrivateKey (RFC 5915 3). What it says of the public key is not taken over: it follows from the
/// private one.
#[derive(Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    private_key: &'a OctetStringRef,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    parameters: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    public_key: Option<BitStringRef<'a>>,
}

/// A name for the type, which is what the derived CHOICE asks for.
type Octets<'a> = &'a OctetStringRef;

/// ML-DSA-…-PrivateKey (RFC 9881 6) and ML-KEM-…-PrivateKey (RFC 9935 6).
#[derive(Choice)]
enum LatticePrivateKey<'a> {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Seed(Octets<'a>),
    Expanded(Octets<'a>),
    Both(SeedAndExpanded<'a>),
}

#[derive(Sequence)]
struct SeedAndExpanded<'a> {
    seed: Octets<'a>,
    expanded: Octets<'a>,
}

/// The key as PrivateKeyInfo. `CKR_KEY_NOT_WRAPPABLE` where the standard has no form for it.
pub fn encode(parts: &PrivateParts) -> Result<Secret> {
    match (&parts.public, &parts.secret) {
        (PublicParts::Rsa { n, e }, SecretParts::Rsa { d, crt: Some(crt) }) => {
            let key = RsaPrivateKey {
                version: 0,
                modulus: UintRef::new(n).map_err(encoding)?,
                public_exponent: UintRef::new(e).map_err(encoding)?,
                private_exponent: UintRef::new(d).map_err(encoding)?,
                prime1: UintRef::new(&crt.p).map_err(encoding)?,
                prime2: UintRef::new(&crt.q).map_err(encoding)?,
                exponent1: UintRef::new(&crt.dp).map_err(encoding)?,
                exponent2: UintRef::new(&crt.dq).map_err(encoding)?,
                coefficient: UintRef::new(&crt.qinv).map_err(encoding)?,
            };
            info(RSA_ENCRYPTION, Some(AnyRef::NULL), &secret_der(&key)?)
        }
        (PublicParts::Ec { curve, point }, SecretParts::Ec { d }) => {
            let key = EcPrivateKey {
                version: 1,
                private_key: OctetStringRef::new(d).map_err(encoding)?,
                parameters: None,
                public_key: Some(BitStringRef::from_bytes(point).map_err(encoding)?),
            };
            let curve = curve_oid(*curve);
            info(
                EC_PUBLIC_KEY,
                Some(AnyRef::from(&curve)),
                &secret_der(&key)?,
            )
        }
        (PublicParts::Ed25519(_), SecretParts::Ed25519 { seed }) => {
            info(ED25519, None, &curve_private_key(seed)?)
        }
        (PublicParts::X25519(_), SecretParts::X25519 { scalar }) => {
            info(X25519, None, &curve_private_key(scalar)?)
        }
        (PublicParts::MlDsa { set, .. }, SecretParts::MlDsa { seed, expanded }) => {
            let key = lattice_private_key(seed.as_ref(), expanded)?;
            info(ml_dsa_oid(*set), None, &key)
        }
        (PublicParts::MlKem { set, .. }, SecretParts::MlKem { seed, expanded }) => {
            let key = lattice_private_key(seed.as_ref(), expanded)?;
            info(ml_kem_oid(*set), None, &key)
        }
        _ => fail!(
            CKR_KEY_NOT_WRAPPABLE,
            "a key without all of its values has no PKCS #8 form (6.7)"
        ),
    }
}

/// CurvePrivateKey (RFC 8410 7): an OCTET STRING in the OCTET STRING.
fn curve_private_key(bytes: &[u8]) -> Result<Secret> {
    secret_der(&OctetStringRef::new(bytes).map_err(encoding)?)
}

/// The seed where there is one, which is what both RFCs recommend and which gives the rest.
fn lattice_private_key(seed: Option<&Secret>, expanded: &Secret) -> Result<Secret> {
    let bytes = OctetStringRef::new(seed.unwrap_or(expanded)).map_err(encoding)?;
    secret_der(&match seed {
        Some(_) => LatticePrivateKey::Seed(bytes),
        None => LatticePrivateKey::Expanded(bytes),
    })
}

fn info(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<Secret> {
    secret_der(&PrivateKeyInfo {
        version: 0,
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        private_key: OctetStringRef::new(key).map_err(encoding)?,
        attributes: None,
        public_key: None,
    })
}

fn secret_der(value: &impl Encode) -> Result<Secret> {
    let len = usize::try_from(value.encoded_len().map_err(encoding)?).map_err(encoding)?;
    let mut der = Secret::zeroed(len)?;
    value.encode_to_slice(&mut der).map_err(encoding)?;
    Ok(der)
}

/// Whether the bytes are a PrivateKeyInfo, and so no secret key, whatever a mechanism has filled them
/// up with.
pub fn is_private_key(bytes: &[u8]) -> bool {
    let der = der_len(bytes).and_then(|len| bytes.get(..len));
    der.is_some_and(|der| PrivateKeyInfo::from_der(der).is_ok())
}

/// Length of the DER value that the bytes begin with; what follows is padding.
pub fn der_len(bytes: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let start = u32::from(reader.position());
    let len = start.checked_add(u32::from(header.length()))?;
    usize::try_from(len).ok().filter(|len| *len <= bytes.len())
}

/// The key of a PrivateKeyInfo, and its CKA_KEY_TYPE. `CKR_WRAPPED_KEY_INVALID`; whether the numbers
/// make a key is for the engine to say.
pub fn decode(bytes: &[u8]) -> Result<(CK_KEY_TYPE, PrivateParts)> {
    let info = PrivateKeyInfo::from_der(bytes).map_err(malformed)?;
    if info.version > 1 {
        return Err(unknown("version"));
    }
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        RSA_ENCRYPTION => Ok((CKK_RSA, rsa(key)?)),
        EC_PUBLIC_KEY => {
            let curve = info.algorithm.parameters.and_then(|p| p.decode_as().ok());
            let curve = curve.and_then(curve_of).ok_or_else(|| unknown("curve"))?;
            let key = EcPrivateKey::from_der(key).map_err(malformed)?;
            let inside = key.parameters.is_none_or(|oid| oid == curve_oid(curve));
            if key.version != 1 || !inside {
                return Err(unknown("curve"));
            }
            let d = left_pad(key.private_key.as_bytes(), curve.len())?;
            let point = engine::public_point(curve, &d)?;
            Ok((
                CKK_EC,
                PrivateParts {
                    public: PublicParts::Ec { curve, point },
                    secret: SecretParts::Ec { d },
                },
            ))
        }
        ED25519 => {
            let seed = <&OctetStringRef>::from_der(key).map_err(malformed)?;
            let seed = Secret::copy_of(seed.as_bytes())?;
            Ok((
                CKK_EC_EDWARDS,
                PrivateParts {
                    public: PublicParts::Ed25519(engine::ed25519_public(&seed)?),
                    secret: SecretParts::Ed25519 { seed },
                },
            ))
        }
        X25519 => {
            let scalar = <&OctetStringRef>::from_der(key).map_err(malformed)?;
            let scalar = Secret::copy_of(scalar.as_bytes())?;
            Ok((
                CKK_EC_MONTGOMERY,
                PrivateParts {
                    public: PublicParts::X25519(engine::x25519_public(&scalar)?),
                    secret: SecretParts::X25519 { scalar },
                },
            ))
        }
        oid => {
            let set = set_of(oid).ok_or_else(|| unknown("algorithm"))?;
            // Of these algorithms there are no parameters (RFC 9881 2, RFC 9935 3).
            if info.algorithm.parameters.is_some() {
                return Err(unknown("parameter"));
            }
            lattice(set, key)
        }
    }
}

fn lattice(set: Set, key: &[u8]) -> Result<(CK_KEY_TYPE, PrivateParts)> {
    let key_type = match set {
        Set::MlDsa(_) => CKK_ML_DSA,
        Set::MlKem(_) => CKK_ML_KEM,
    };
    let (seed, expanded) = match LatticePrivateKey::from_der(key).map_err(malformed)? {
        LatticePrivateKey::Seed(seed) => (Some(seed), None),
        LatticePrivateKey::Expanded(expanded) => (None, Some(expanded)),
        LatticePrivateKey::Both(both) => (Some(both.seed), Some(both.expanded)),
    };
    let copy = |bytes: Option<&OctetStringRef>| {
        let copied = bytes.map(|bytes| Secret::copy_of(bytes.as_bytes()));
        copied.transpose()
    };
    let parts = lattice_private(set, copy(seed)?, copy(expanded)?)?;
    Ok((key_type, parts))
}

fn rsa(key: &[u8]) -> Result<PrivateParts> {
    let key = RsaPrivateKey::from_der(key).map_err(malformed)?;
    if key.version != 0 {
        return Err(unknown("number of primes"));
    }
    let secret = |number: UintRef<'_>| Secret::copy_of(number.as_bytes());
    Ok(PrivateParts {
        public: PublicParts::Rsa {
            n: key.modulus.as_bytes().to_vec(),
            e: key.public_exponent.as_bytes().to_vec(),
        },
        secret: SecretParts::Rsa {
            d: secret(key.private_exponent)?,
            crt: Some(Crt {
                p: secret(key.prime1)?,
                q: secret(key.prime2)?,
                dp: secret(key.exponent1)?,
                dq: secret(key.exponent2)?,
                qinv: secret(key.coefficient)?,
            }),
        },
    })
}

fn malformed(_: der::Error) -> Error {
    Error::new(
        CKR_WRAPPED_KEY_INVALID,
        "the unwrapped bytes are no private key in PKCS #8",
    )
}

fn unknown(what: &'static str) -> Error {
    Error::new(
        CKR_WRAPPED_KEY_INVALID,
        format!("the unwrapped private key has an unknown {what}"),
    )
}
