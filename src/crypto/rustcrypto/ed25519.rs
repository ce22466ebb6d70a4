//! Ed25519, Ed25519ctx and Ed25519ph (RFC 8032 5.1).
//!
//! All three are one computation with another prefix, `dom2`, and so are written once here over
//! the group arithmetic: ed25519-dalek has no Ed25519ctx.

use super::super::edwards;
use super::check_signature_len;
use crate::error::{Result, fail};
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_SIGNATURE_INVALID,
};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// Length in bytes of a seed and of a public key.
pub const LEN: usize = 32;

/// The public key of a seed. `CKR_ATTRIBUTE_VALUE_INVALID` unless the seed has 32 bytes.
pub fn public_key(seed: &[u8]) -> Result<Vec<u8>> {
    check_len(seed)?;
    let (scalar, _) = expand(seed);
    let point = EdwardsPoint::mul_base(&scalar).compress();
    Ok(point.as_bytes().to_vec())
}

/// The 64 bytes of a signature over `message` (5.1.6), which is hashed first with `prehash`.
pub fn sign(
    seed: &[u8],
    public: &[u8],
    prehash: bool,
    context: Option<&[u8]>,
    message: &[u8],
) -> Result<Vec<u8>> {
    let dom = dom2(prehash, context)?;
    let hashed = prehash.then(|| Sha512::digest(message));
    let message = hashed.as_deref().unwrap_or(message);

    let (scalar, prefix) = expand(seed);
    let r = Zeroizing::new(hash_to_scalar(&[&dom, &*prefix, message]));
    let commitment = EdwardsPoint::mul_base(&r).compress();
    let k = hash_to_scalar(&[&dom, commitment.as_bytes(), public, message]);
    let s = k * *scalar + *r;
    Ok([commitment.as_bytes().as_slice(), s.as_bytes()].concat())
}

/// Checks a signature (5.1.7), without the cofactor; `S` has its one form below the order.
pub fn verify(
    public: &[u8],
    prehash: bool,
    context: Option<&[u8]>,
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    check_signature_len(signature, 2 * LEN)?;
    let dom = dom2(prehash, context)?;
    let hashed = prehash.then(|| Sha512::digest(message));
    let message = hashed.as_deref().unwrap_or(message);

    let point = edwards::point(public)?;
    let (commitment, s) = signature.split_at_checked(LEN).unwrap_or_default();
    let s = <[u8; LEN]>::try_from(s).ok();
    let holds = s
        .and_then(|s| Scalar::from_canonical_bytes(s).into_option())
        .is_some_and(|s| {
            let k = hash_to_scalar(&[&dom, commitment, public, message]);
            let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-point, &s);
            expected.compress().as_bytes() == commitment
        });
    if !holds {
        return fail!(
            CKR_SIGNATURE_INVALID,
            "the EdDSA signature does not fit the key and the message"
        );
    }
    Ok(())
}

/// `dom2(x, y)` of RFC 8032 2; nothing for plain Ed25519.
///
/// `CKR_MECHANISM_PARAM_INVALID` for a context above 255 bytes and for an empty one of
/// Ed25519ctx (8.3: it would only be plain Ed25519 by another name).
fn dom2(prehash: bool, context: Option<&[u8]>) -> Result<Vec<u8>> {
    if !prehash && context.is_none() {
        return Ok(Vec::new());
    }
    let context = context.unwrap_or_default();
    match u8::try_from(context.len()) {
        Ok(len) if prehash || len > 0 => Ok([
            b"SigEd25519 no Ed25519 collisions".as_slice(),
            &[u8::from(prehash), len],
            context,
        ]
        .concat()),
        _ => fail!(
            CKR_MECHANISM_PARAM_INVALID,
            "an Ed25519 context of {} bytes, not 1 to 255",
            context.len()
        ),
    }
}

/// The private scalar and the prefix of a seed (5.1.5).
fn expand(seed: &[u8]) -> (Zeroizing<Scalar>, Zeroizing<[u8; LEN]>) {
    let hashed = Zeroizing::new(<[u8; 2 * LEN]>::from(Sha512::digest(seed)));
    let mut scalar = Zeroizing::new([0; LEN]);
    let mut prefix = Zeroizing::new([0; LEN]);
    for (to, from) in scalar.iter_mut().chain(prefix.iter_mut()).zip(&*hashed) {
        *to = *from;
    }
    let scalar = Scalar::from_bytes_mod_order(clamp_integer(*scalar));
    (Zeroizing::new(scalar), prefix)
}

fn hash_to_scalar(parts: &[&[u8]]) -> Scalar {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn check_len(value: &[u8]) -> Result<()> {
    if value.len() == LEN {
        return Ok(());
    }
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "an Ed25519 key of {} bytes, not {LEN}",
        value.len()
    )
}
