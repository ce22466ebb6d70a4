//! X25519 (RFC 7748).

use super::super::{PrivateParts, PublicParts, SecretParts};
use super::random;
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::CKR_ATTRIBUTE_VALUE_INVALID;
use curve25519_dalek::montgomery::MontgomeryPoint;
use zeroize::Zeroizing;

/// Length in bytes of a scalar, a public key and a shared secret.
const LEN: usize = 32;

/// Makes a key pair.
pub fn generate() -> Result<PrivateParts> {
    let mut scalar = Secret::zeroed(LEN)?;
    random(&mut scalar)?;
    Ok(PrivateParts {
        public: PublicParts::X25519(public(&scalar)?),
        secret: SecretParts::X25519 { scalar },
    })
}

/// The public key of a scalar; `CKR_ATTRIBUTE_VALUE_INVALID` unless it has 32 bytes.
pub fn public(scalar: &[u8]) -> Result<Vec<u8>> {
    let scalar = Zeroizing::new(array(scalar)?);
    let point = MontgomeryPoint::mul_base_clamped(*scalar);
    Ok(point.as_bytes().to_vec())
}

/// The shared secret of a scalar and a peer's public key (RFC 7748 6.1).
///
/// `CKR_ATTRIBUTE_VALUE_INVALID` unless both have 32 bytes, and for a peer of small order: the
/// secret would be zero whatever the scalar.
pub fn agree(scalar: &[u8], peer: &[u8]) -> Result<Secret> {
    let scalar = Zeroizing::new(array(scalar)?);
    let shared = Zeroizing::new(MontgomeryPoint(array(peer)?).mul_clamped(*scalar));
    // In time that tells nothing: all of it is read.
    if shared.as_bytes().iter().fold(0, |any, byte| any | byte) == 0 {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an X25519 public key of small order agrees on nothing secret"
        );
    }
    Secret::copy_of(shared.as_bytes())
}

/// Refuses a public key with which nobody can agree on a secret: RFC 7748 takes any other 32 bytes.
pub fn check_public(public: &[u8]) -> Result<()> {
    agree(&[0; LEN], public).map(drop)
}

fn array(value: &[u8]) -> Result<[u8; LEN]> {
    value.try_into().map_err(|_| {
        Error::new(
            CKR_ATTRIBUTE_VALUE_INVALID,
            format!("an X25519 key has {LEN} bytes, not {}", value.len()),
        )
    })
}
