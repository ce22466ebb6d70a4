//! X25519 (RFC 7748).

use super::super::{PrivateParts, PublicParts, SecretParts};
use super::{ffi, random};
use crate::error::{Result, fail};
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::CKR_ATTRIBUTE_VALUE_INVALID;

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
    ffi::begin();
    check_len(scalar)?;
    let mut public = vec![0; LEN];
    // SAFETY: both have the 32 bytes that the call reads and writes.
    unsafe { c::X25519_public_from_private(public.as_mut_ptr(), scalar.as_ptr()) };
    Ok(public)
}

/// The shared secret of a scalar and a peer's public key (RFC 7748 6.1).
///
/// `CKR_ATTRIBUTE_VALUE_INVALID` unless both have 32 bytes, and for a peer of small order: the
/// secret would be zero whatever the scalar.
pub fn agree(scalar: &[u8], peer: &[u8]) -> Result<Secret> {
    ffi::begin();
    check_len(scalar)?;
    check_len(peer)?;
    let mut shared = Secret::zeroed(LEN)?;
    // SAFETY: all three have the 32 bytes that the call reads and writes.
    let done = unsafe { c::X25519(shared.as_mut_ptr(), scalar.as_ptr(), peer.as_ptr()) };
    // AWS-LC answers 0 for the all-zero secret, and for nothing else.
    ffi::check(
        done,
        CKR_ATTRIBUTE_VALUE_INVALID,
        "an X25519 public key of small order agrees on nothing secret",
    )?;
    Ok(shared)
}

/// Refuses a public key with which nobody can agree on a secret: RFC 7748 takes any other 32 bytes.
pub fn check_public(public: &[u8]) -> Result<()> {
    agree(&[0; LEN], public).map(drop)
}

/// `CKR_ATTRIBUTE_VALUE_INVALID` when `expected` is not the public key of `scalar`.
pub fn check_pair(expected: &[u8], scalar: &[u8]) -> Result<()> {
    if public(scalar)? == expected {
        return Ok(());
    }
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "the X25519 public key is not the one of the private key"
    )
}

fn check_len(value: &[u8]) -> Result<()> {
    if value.len() == LEN {
        return Ok(());
    }
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "an X25519 key has {LEN} bytes, not {}",
        value.len()
    )
}
