//! Which bytes are an Ed25519 public key: AWS-LC only finds out when a signature does not hold.

use crate::error::{Error, Result};
use cryptoki_sys::CKR_ATTRIBUTE_VALUE_INVALID;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};

/// The point that `public` encodes (RFC 8032 5.1.3).
///
/// `CKR_ATTRIBUTE_VALUE_INVALID` unless it has 32 bytes, in the one form that the point has, and is
/// of more than eight elements' order: under a key of small order, signatures hold that nobody made.
pub fn point(public: &[u8]) -> Result<EdwardsPoint> {
    CompressedEdwardsY::from_slice(public)
        .ok()
        .and_then(|encoded| encoded.decompress())
        .filter(|point| point.compress().as_bytes() == public && !point.is_small_order())
        .ok_or_else(|| {
            Error::new(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "an Ed25519 public key is 32 bytes that encode a point of the curve's large group",
            )
        })
}
