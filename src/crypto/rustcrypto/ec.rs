//! ECDSA and ECDH over the NIST prime curves (FIPS 186-5, SP 800-56A, SP 800-186).

use super::{check_signature_len, random};
use crate::crypto::Curve;
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_DATA_LEN_RANGE, CKR_RANDOM_NO_RNG, CKR_SIGNATURE_INVALID,
};
use ecdsa::elliptic_curve::{
    self, CurveArithmetic, FieldBytes, Generate, SecretKey,
    sec1::{FromSec1Point, ModulusSize, ToSec1Point},
};
use ecdsa::{DigestAlgorithm, EcdsaCurve, Signature, hazmat};
use getrandom::SysRng;
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;
use zeroize::Zeroizing;

/// What the three curves have in common.
trait NistCurve:
    EcdsaCurve
    + DigestAlgorithm
    + CurveArithmetic<AffinePoint: FromSec1Point<Self> + ToSec1Point<Self>>
    + elliptic_curve::Curve<FieldBytesSize: ModulusSize>
{
}

impl NistCurve for NistP256 {}
impl NistCurve for NistP384 {}
impl NistCurve for NistP521 {}

/// Calls a function that is generic over [`NistCurve`].
macro_rules! on_curve {
    ($curve:expr, $function:ident($($argument:expr),*)) => {
        match $curve {
            Curve::P256 => $function::<NistP256>($($argument),*),
            Curve::P384 => $function::<NistP384>($($argument),*),
            Curve::P521 => $function::<NistP521>($($argument),*),
        }
    };
}

/// A private value, as long as the order, and its point.
pub fn generate(curve: Curve) -> Result<(Secret, Vec<u8>)> {
    let d = on_curve!(curve, generate_scalar())?;
    let point = public_point(curve, &d)?;
    Ok((d, point))
}

/// The uncompressed point of the private value `d`. `CKR_ATTRIBUTE_VALUE_INVALID` unless `d` is as
/// long as the order, above 0 and below it.
pub fn public_point(curve: Curve, d: &[u8]) -> Result<Vec<u8>> {
    on_curve!(curve, point_of(d))
}

/// `CKR_ATTRIBUTE_VALUE_INVALID` unless `point` is `04 ‖ x ‖ y` and on the curve.
pub fn check_point(curve: Curve, point: &[u8]) -> Result<()> {
    check_form(curve, point)?;
    on_curve!(curve, check_on_curve(point))
}

/// `CKR_ATTRIBUTE_VALUE_INVALID` unless `point` is `04 ‖ x ‖ y`; the crates would also take a
/// compressed point.
fn check_form(curve: Curve, point: &[u8]) -> Result<()> {
    if point.len() != 1 + 2 * curve.len() || point.first() != Some(&4) {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an EC point of {} bytes is not an uncompressed one of {curve:?}",
            point.len()
        );
    }
    Ok(())
}

/// The x coordinate of `d`·`peer_point`, as long as the field (ECDH, SP 800-56A 5.7.1.2).
///
/// `CKR_ATTRIBUTE_VALUE_INVALID` unless `peer_point` is an uncompressed point of the curve, and `d`
/// a private value as [`public_point`] takes it.
pub fn agree(curve: Curve, d: &[u8], peer_point: &[u8]) -> Result<Secret> {
    check_form(curve, peer_point)?;
    on_curve!(curve, agree_on_curve(d, peer_point))
}

/// `r ‖ s` over a digest of any length, under the private value `d`.
pub fn sign(curve: Curve, d: &[u8], digest: &[u8]) -> Result<Vec<u8>> {
    let z = digest_to_integer(curve, digest)?;
    on_curve!(curve, sign_integer(d, &z, digest))
}

/// Checks `r ‖ s` over a digest of any length.
pub fn verify(curve: Curve, point: &[u8], digest: &[u8], signature: &[u8]) -> Result<()> {
    check_signature_len(signature, 2 * curve.len())?;
    let z = digest_to_integer(curve, digest)?;
    on_curve!(curve, verify_integer(point, &z, signature))
}

/// The leftmost bits of the digest, as many as the order has (FIPS 186-5 6.4.1 step 2), as an
/// integer as long as the order.
///
/// The crates take the rightmost bits where the order does not end on a byte (P-521).
/// `CKR_DATA_LEN_RANGE` for no digest at all.
fn digest_to_integer(curve: Curve, digest: &[u8]) -> Result<Vec<u8>> {
    if digest.is_empty() {
        return fail!(CKR_DATA_LEN_RANGE, "ECDSA takes a digest, not nothing");
    }
    let len = curve.len();
    let digest = digest.get(..len).unwrap_or(digest);
    let mut z = vec![0; len - digest.len()];
    z.extend_from_slice(digest);
    // All three orders have as many bits as their field.
    let surplus = (8 * digest.len()).saturating_sub(curve.bits());
    if surplus > 0 {
        let mut carry = 0;
        for byte in &mut z {
            let shifted = (*byte >> surplus) | carry;
            carry = *byte << (8 - surplus);
            *byte = shifted;
        }
    }
    Ok(z)
}

fn generate_scalar<C: NistCurve>() -> Result<Secret> {
    let key = SecretKey::<C>::try_generate_from_rng(&mut SysRng).map_err(|error| {
        Error::new(
            CKR_RANDOM_NO_RNG,
            format!("the operating system gives no random bytes: {error}"),
        )
    })?;
    Secret::copy_of(&Zeroizing::new(key.to_bytes()))
}

fn parse_scalar<C: NistCurve>(d: &[u8]) -> Result<SecretKey<C>> {
    <&FieldBytes<C>>::try_from(d)
        .ok()
        .and_then(|d| SecretKey::from_bytes(d).ok())
        .ok_or_else(|| {
            Error::new(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "an EC private value is not as long as the order, zero or not below the order",
            )
        })
}

fn parse_point<C: NistCurve>(point: &[u8]) -> Result<elliptic_curve::PublicKey<C>> {
    elliptic_curve::PublicKey::from_sec1_bytes(point).map_err(|_| {
        Error::new(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an EC point is not on its curve",
        )
    })
}

fn check_on_curve<C: NistCurve>(point: &[u8]) -> Result<()> {
    parse_point::<C>(point).map(|_| ())
}

fn agree_on_curve<C: NistCurve>(d: &[u8], peer_point: &[u8]) -> Result<Secret> {
    let shared = parse_scalar::<C>(d)?.diffie_hellman(&parse_point(peer_point)?);
    Secret::copy_of(shared.raw_secret_bytes())
}

fn point_of<C: NistCurve>(d: &[u8]) -> Result<Vec<u8>> {
    let point = parse_scalar::<C>(d)?.public_key().to_sec1_point(false);
    Ok(point.as_bytes().to_vec())
}

/// The nonce is derived from key and digest (RFC 6979 3.6) with 32 random bytes more: neither a
/// broken generator nor a fault in a repeated signature gives the key away. The whole digest goes
/// in, since the derivation of the crate drops bits where the order does not end on a byte.
fn sign_integer<C: NistCurve>(d: &[u8], z: &[u8], digest: &[u8]) -> Result<Vec<u8>> {
    let mut extra = [0; 32];
    random(&mut extra)?;
    let extra = Zeroizing::new([&extra, digest].concat());
    let d = parse_scalar::<C>(d)?.to_nonzero_scalar();
    let (signature, _) = hazmat::sign_prehashed_rfc6979::<C, C::Digest>(&d, z, &extra);
    Ok(signature.to_bytes().to_vec())
}

fn verify_integer<C: NistCurve>(point: &[u8], z: &[u8], signature: &[u8]) -> Result<()> {
    let point = parse_point::<C>(point)?.to_projective();
    match Signature::<C>::from_slice(signature)
        .and_then(|signature| hazmat::verify_prehashed(&point, z, &signature))
    {
        Ok(()) => Ok(()),
        Err(_) => fail!(
            CKR_SIGNATURE_INVALID,
            "the ECDSA signature does not fit the key and the digest"
        ),
    }
}
