//! Keys between their two forms: the attributes of an object, and what the engine works with.

use crate::attribute::Attributes;
use crate::crypto::{
    Crt, CryptScheme, KeySpec, MlDsaSet, MlKemSet, PrivateParts, PublicParts, SecretParts,
    SignScheme, engine, left_pad, trim,
};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use crate::token::{KeyPair, PrivateKey};
use cryptoki_sys::*;
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, PrintableStringRef};
use der::{Decode, Encode, Tag, Tagged};
use info::{ED25519, X25519, curve_of, curve_oid};
use spki::SubjectPublicKeyInfoOwned;

mod info;
pub mod pkcs8;

pub use info::{encode as public_key_info, parts as public_parts_of_info};

fn encoding(error: der::Error) -> Error {
    Error::new(CKR_FUNCTION_FAILED, format!("DER encoding: {error}"))
}

/// The one curve of a key type whose curves have names of their own, as CKA_EC_PARAMS says it: by
/// object identifier (RFC 8410) or by curveName (PKCS#11 6.3.5, 6.3.7).
fn sole_curve(key_type: CK_KEY_TYPE) -> Option<(KeySpec, ObjectIdentifier, &'static str)> {
    match key_type {
        CKK_EC_EDWARDS => Some((KeySpec::Ed25519, ED25519, "edwards25519")),
        CKK_EC_MONTGOMERY => Some((KeySpec::X25519, X25519, "curve25519")),
        _ => None,
    }
}

/// What key pair CKA_EC_PARAMS asks for: a named curve, Ed25519 or X25519 (PKCS#11 6.3.3 ff.).
pub fn spec_of_params(key_type: CK_KEY_TYPE, params: &[u8]) -> Result<KeySpec> {
    if let Some((spec, sole, sole_name)) = sole_curve(key_type) {
        let named = PrintableStringRef::from_der(params);
        let known = ObjectIdentifier::from_der(params).is_ok_and(|oid| oid == sole)
            || named.is_ok_and(|name| name.as_str() == sole_name);
        return if known {
            Ok(spec)
        } else {
            fail!(
                CKR_CURVE_NOT_SUPPORTED,
                "CKA_EC_PARAMS is not {sole_name}, the only curve of this key type here"
            )
        };
    }
    match ObjectIdentifier::from_der(params) {
        Ok(oid) => curve_of(oid).map(KeySpec::Ec).ok_or_else(|| {
            Error::new(
                CKR_CURVE_NOT_SUPPORTED,
                format!("curve {oid} is not one of P-256, P-384, P-521"),
            )
        }),
        // One with larger numbers than the library reads.
        Err(_) if AnyRef::from_der(params).is_ok_and(|any| any.tag() == Tag::ObjectIdentifier) => {
            fail!(
                CKR_CURVE_NOT_SUPPORTED,
                "CKA_EC_PARAMS is not one of P-256, P-384, P-521"
            )
        }
        Err(_) => fail!(
            CKR_DOMAIN_PARAMS_INVALID,
            "CKA_EC_PARAMS is not the object identifier of a named curve"
        ),
    }
}

/// The parameter set of an ML-DSA or ML-KEM key.
enum Set {
    MlDsa(MlDsaSet),
    MlKem(MlKemSet),
}

/// The parameter set that CKA_PARAMETER_SET names. `CKR_PARAMETER_SET_NOT_SUPPORTED`.
fn set_of(attributes: &Attributes) -> Result<Set> {
    needed(attributes, CKA_PARAMETER_SET)?;
    let id = attributes.ulong(CKA_PARAMETER_SET);
    let set = match attributes.key_type() {
        Some(CKK_ML_DSA) => MlDsaSet::ALL
            .into_iter()
            .find(|set| Some(set.id()) == id)
            .map(Set::MlDsa),
        _ => MlKemSet::ALL
            .into_iter()
            .find(|set| Some(set.id()) == id)
            .map(Set::MlKem),
    };
    set.ok_or_else(|| {
        Error::new(
            CKR_PARAMETER_SET_NOT_SUPPORTED,
            "CKA_PARAMETER_SET is none of the key type",
        )
    })
}

/// What key pair CKA_PARAMETER_SET asks for.
pub fn spec_of_set(attributes: &Attributes) -> Result<KeySpec> {
    Ok(match set_of(attributes)? {
        Set::MlDsa(set) => KeySpec::MlDsa(set),
        Set::MlKem(set) => KeySpec::MlKem(set),
    })
}

/// The point of CKA_EC_POINT: a DER OCTET STRING around it (6.3.3), or, as some clients write it,
/// the bare point.
pub(crate) fn point_of(value: &[u8], bare_len: usize) -> Result<Vec<u8>> {
    if let Ok(wrapped) = <&OctetStringRef>::from_der(value)
        && wrapped.as_bytes().len() == bare_len
    {
        return Ok(wrapped.as_bytes().to_vec());
    }
    if value.len() == bare_len {
        return Ok(value.to_vec());
    }
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "CKA_EC_POINT is not an uncompressed point of the key's curve"
    )
}

/// The bare point of a key that agrees on secrets: of short Weierstrass curves, or of X25519.
/// `CKR_KEY_TYPE_INCONSISTENT`.
pub(crate) fn agreeing_point(public: &PublicParts) -> Result<&[u8]> {
    match public {
        PublicParts::Ec { point, .. } | PublicParts::X25519(point) => Ok(point),
        _ => fail!(
            CKR_KEY_TYPE_INCONSISTENT,
            "this type of key agrees on no secrets"
        ),
    }
}

/// The public key of another who agrees with the owner of `own`: a bare point, or one in a DER OCTET
/// STRING ("in little endian order as defined in RFC 7748" for X25519, but some clients wrap that all the
/// same), uncompressed and on the curve. `CKR_ATTRIBUTE_VALUE_INVALID`, `CKR_KEY_TYPE_INCONSISTENT`.
pub(crate) fn peer_point(own: &Attributes, given: &[u8]) -> Result<Vec<u8>> {
    let mut theirs = public_parts(own)?;
    let point = point_of(given, agreeing_point(&theirs)?.len())?;
    if let PublicParts::Ec { point: place, .. } | PublicParts::X25519(place) = &mut theirs {
        place.clone_from(&point);
    }
    engine::PublicKey::from_parts(&theirs)?;
    Ok(point)
}

fn needed(attributes: &Attributes, attribute: CK_ATTRIBUTE_TYPE) -> Result<&[u8]> {
    attributes.get(attribute).ok_or_else(|| {
        Error::new(
            CKR_TEMPLATE_INCOMPLETE,
            format!("{} is missing", crate::attribute::name(attribute)),
        )
    })
}

/// The public key that an object's readable attributes describe.
pub fn public_parts(attributes: &Attributes) -> Result<PublicParts> {
    let key_type = attributes.key_type().unwrap_or(CK_UNAVAILABLE_INFORMATION);
    if key_type == CKK_RSA {
        return Ok(PublicParts::Rsa {
            n: trim(needed(attributes, CKA_MODULUS)?).to_vec(),
            e: trim(needed(attributes, CKA_PUBLIC_EXPONENT)?).to_vec(),
        });
    }
    if matches!(key_type, CKK_ML_DSA | CKK_ML_KEM) {
        return lattice_parts(attributes);
    }
    let point = needed(attributes, CKA_EC_POINT)?;
    match spec_of_params(key_type, needed(attributes, CKA_EC_PARAMS)?)? {
        KeySpec::Ec(curve) => Ok(PublicParts::Ec {
            curve,
            point: point_of(point, 2 * curve.len() + 1)?,
        }),
        KeySpec::X25519 => Ok(PublicParts::X25519(point_of(point, 32)?)),
        _ => Ok(PublicParts::Ed25519(point_of(point, 32)?)),
    }
}

/// The public key of ML-DSA or ML-KEM. That of a private key stands in its CKA_PUBLIC_KEY_INFO only:
/// its CKA_VALUE is secret.
fn lattice_parts(attributes: &Attributes) -> Result<PublicParts> {
    if attributes.class() == Some(CKO_PRIVATE_KEY) {
        return SubjectPublicKeyInfoOwned::from_der(needed(attributes, CKA_PUBLIC_KEY_INFO)?)
            .ok()
            .and_then(|info| info::parts(&info))
            .ok_or_else(|| {
                Error::new(
                    CKR_ATTRIBUTE_VALUE_INVALID,
                    "CKA_PUBLIC_KEY_INFO is not of this key",
                )
            });
    }
    let key = needed(attributes, CKA_VALUE)?.to_vec();
    Ok(match set_of(attributes)? {
        Set::MlDsa(set) => PublicParts::MlDsa { set, key },
        Set::MlKem(set) => PublicParts::MlKem { set, key },
    })
}

/// The readable attributes of a public key: CKA_MODULUS …, CKA_EC_PARAMS and CKA_EC_POINT,
/// CKA_PARAMETER_SET and CKA_VALUE, CKA_PUBLIC_KEY_INFO. Those of the public half of a private one are
/// the same but for CKA_VALUE, which is secret there.
pub fn public_attributes(public: &PublicParts) -> Result<Attributes> {
    let mut attributes = Attributes::new();
    match public {
        PublicParts::Rsa { n, e } => {
            attributes.set(CKA_MODULUS, trim(n));
            attributes.set(CKA_PUBLIC_EXPONENT, trim(e));
        }
        PublicParts::Ec { curve, point } => {
            let params = curve_oid(*curve).to_der().map_err(encoding)?;
            attributes.set(CKA_EC_PARAMS, params);
            attributes.set(CKA_EC_POINT, octet_string(point)?);
        }
        PublicParts::Ed25519(key) => {
            attributes.set(CKA_EC_PARAMS, ED25519.to_der().map_err(encoding)?);
            attributes.set(CKA_EC_POINT, octet_string(key)?);
        }
        PublicParts::X25519(key) => {
            attributes.set(CKA_EC_PARAMS, X25519.to_der().map_err(encoding)?);
            // The bare bytes (6.3.7).
            attributes.set(CKA_EC_POINT, key.as_slice());
        }
        PublicParts::MlDsa { set, key } => {
            attributes.set_ulong(CKA_PARAMETER_SET, set.id());
            attributes.set(CKA_VALUE, key.as_slice());
        }
        PublicParts::MlKem { set, key } => {
            attributes.set_ulong(CKA_PARAMETER_SET, set.id());
            attributes.set(CKA_VALUE, key.as_slice());
        }
    }
    attributes.set(CKA_PUBLIC_KEY_INFO, info::encode(public)?);
    Ok(attributes)
}

/// DER OCTET STRING.
pub(crate) fn octet_string(bytes: &[u8]) -> Result<Vec<u8>> {
    OctetStringRef::new(bytes)
        .and_then(|s| s.to_der())
        .map_err(encoding)
}

/// Secret values by attribute type.
pub type Secrets = Vec<(CK_ATTRIBUTE_TYPE, Secret)>;

/// A copy of one of them, `None` where there is none of that type.
pub fn secret_of(secrets: &Secrets, attribute: CK_ATTRIBUTE_TYPE) -> Result<Option<Secret>> {
    secrets
        .iter()
        .find(|secret| secret.0 == attribute)
        .map(|secret| Secret::copy_of(&secret.1))
        .transpose()
}

/// What a generated key's two objects have besides their templates.
pub fn pair_attributes(parts: PrivateParts) -> Result<KeyPair> {
    pair_of(&parts.public, secrets_of(parts.secret))
}

/// The same of a key whose secret values, if there are any outside of a chip, are `secrets`.
pub fn pair_of(public: &PublicParts, secrets: Secrets) -> Result<KeyPair> {
    let mut public_object = public_attributes(public)?;
    let mut private = public_object.clone();
    private.remove(CKA_VALUE);
    if matches!(public, PublicParts::Rsa { .. }) {
        public_object.set_ulong(CKA_MODULUS_BITS, public.bits() as CK_ULONG);
    }
    Ok(KeyPair {
        public: public_object,
        private,
        secrets,
    })
}

fn secrets_of(secret: SecretParts) -> Secrets {
    match secret {
        SecretParts::Rsa { d, crt } => {
            let mut secrets = vec![(CKA_PRIVATE_EXPONENT, d)];
            if let Some(crt) = crt {
                secrets.extend([
                    (CKA_PRIME_1, crt.p),
                    (CKA_PRIME_2, crt.q),
                    (CKA_EXPONENT_1, crt.dp),
                    (CKA_EXPONENT_2, crt.dq),
                    (CKA_COEFFICIENT, crt.qinv),
                ]);
            }
            secrets
        }
        SecretParts::Ec { d } => vec![(CKA_VALUE, d)],
        SecretParts::Ed25519 { seed } => vec![(CKA_VALUE, seed)],
        SecretParts::X25519 { scalar } => vec![(CKA_VALUE, scalar)],
        SecretParts::MlDsa { seed, expanded } | SecretParts::MlKem { seed, expanded } => {
            let mut secrets = vec![(CKA_VALUE, expanded)];
            secrets.extend(seed.map(|seed| (CKA_SEED, seed)));
            secrets
        }
    }
}

/// The private key that an object's attributes and secret values describe. The public half is
/// computed where the attributes do not hold it (an EC key is imported without its point).
pub fn private_parts(
    attributes: &Attributes,
    secret: &dyn Fn(CK_ATTRIBUTE_TYPE) -> Result<Option<Secret>>,
) -> Result<PrivateParts> {
    let must = |attribute| {
        secret(attribute)?.ok_or_else(|| {
            Error::new(
                CKR_TEMPLATE_INCOMPLETE,
                format!("{} is missing", crate::attribute::name(attribute)),
            )
        })
    };
    let key_type = attributes.key_type().unwrap_or(CK_UNAVAILABLE_INFORMATION);
    if key_type == CKK_RSA {
        let d = must(CKA_PRIVATE_EXPONENT)?;
        let crt = match (
            secret(CKA_PRIME_1)?,
            secret(CKA_PRIME_2)?,
            secret(CKA_EXPONENT_1)?,
            secret(CKA_EXPONENT_2)?,
            secret(CKA_COEFFICIENT)?,
        ) {
            (Some(p), Some(q), Some(dp), Some(dq), Some(qinv)) => Some(Crt { p, q, dp, dq, qinv }),
            (None, None, None, None, None) => None,
            _ => {
                return fail!(
                    CKR_TEMPLATE_INCOMPLETE,
                    "give all five of CKA_PRIME_1 … CKA_COEFFICIENT, or none"
                );
            }
        };
        return Ok(PrivateParts {
            public: public_parts(attributes)?,
            secret: SecretParts::Rsa { d, crt },
        });
    }
    if matches!(key_type, CKK_ML_DSA | CKK_ML_KEM) {
        let set = set_of(attributes)?;
        return lattice_private(set, secret(CKA_SEED)?, secret(CKA_VALUE)?);
    }
    let value = must(CKA_VALUE)?;
    match spec_of_params(key_type, needed(attributes, CKA_EC_PARAMS)?)? {
        KeySpec::Ec(curve) => {
            let d = left_pad(&value, curve.len())?;
            let public = match attributes.get(CKA_EC_POINT) {
                Some(_) => public_parts(attributes)?,
                None => PublicParts::Ec {
                    curve,
                    point: engine::public_point(curve, &d)?,
                },
            };
            Ok(PrivateParts {
                public,
                secret: SecretParts::Ec { d },
            })
        }
        KeySpec::X25519 => {
            let public = match attributes.get(CKA_EC_POINT) {
                Some(_) => public_parts(attributes)?,
                None => PublicParts::X25519(engine::x25519_public(&value)?),
            };
            Ok(PrivateParts {
                public,
                secret: SecretParts::X25519 { scalar: value },
            })
        }
        _ => {
            let public = match attributes.get(CKA_EC_POINT) {
                Some(_) => public_parts(attributes)?,
                None => PublicParts::Ed25519(engine::ed25519_public(&value)?),
            };
            Ok(PrivateParts {
                public,
                secret: SecretParts::Ed25519 { seed: value },
            })
        }
    }
}

/// The private key of a seed, of an expanded key, or of both; whether they are of one key is the
/// engine's to check.
fn lattice_private(
    set: Set,
    seed: Option<Secret>,
    expanded: Option<Secret>,
) -> Result<PrivateParts> {
    match (set, seed, expanded) {
        (Set::MlDsa(set), Some(seed), None) => engine::ml_dsa_from_seed(set, seed),
        (Set::MlKem(set), Some(seed), None) => engine::ml_kem_from_seed(set, seed),
        (Set::MlDsa(set), seed, Some(expanded)) => Ok(PrivateParts {
            public: PublicParts::MlDsa {
                set,
                key: engine::ml_dsa_public(set, &expanded)?,
            },
            secret: SecretParts::MlDsa { seed, expanded },
        }),
        (Set::MlKem(set), seed, Some(expanded)) => Ok(PrivateParts {
            public: PublicParts::MlKem {
                set,
                key: set.public_of(&expanded)?,
            },
            secret: SecretParts::MlKem { seed, expanded },
        }),
        (_, None, None) => fail!(CKR_TEMPLATE_INCOMPLETE, "give CKA_SEED, CKA_VALUE or both"),
    }
}

/// Size of a key as the mechanism table counts it (bits; bytes of a secret key), and length in bytes
/// of what an operation with it gives. Zeros where the attributes describe no key.
pub fn size(attributes: &Attributes) -> (usize, usize) {
    match attributes.class() {
        Some(CKO_SECRET_KEY) => (attributes.ulong(CKA_VALUE_LEN).unwrap_or(0) as usize, 0),
        _ => public_parts(attributes).map_or((0, 0), |key| (key.bits(), key.output_len())),
    }
}

impl PrivateKey for engine::PrivateKey {
    fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        engine::PrivateKey::sign(self, scheme, input)
    }

    fn decrypt(&self, scheme: &CryptScheme, input: &[u8]) -> Result<Secret> {
        engine::PrivateKey::decrypt(self, scheme, input)
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret> {
        engine::PrivateKey::decapsulate(self, ciphertext)
    }

    fn agree(&self, peer: &[u8]) -> Result<Secret> {
        engine::PrivateKey::agree(self, peer)
    }
}
