//! ECDSA and ECDH on the NIST curves (FIPS 186-5, SP 800-56A).

use super::super::{Curve, PrivateParts, PublicParts, SecretParts};
use super::ffi::{
    self, Bignum, EcKey, EcPoint, EcdsaSignature, check, refused, secret_integer, write_integer,
};
use crate::error::{Result, fail};
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_DATA_LEN_RANGE, CKR_GENERAL_ERROR, CKR_SIGNATURE_INVALID,
    CKR_SIGNATURE_LEN_RANGE,
};
use std::ptr;

/// A key of a curve: a public one, or a pair.
pub struct Key {
    key: EcKey,
    curve: Curve,
}

// SAFETY: once a constructor has returned, the object is only read: AWS-LC signs and verifies with
// a `const EC_KEY *`, which it allows on several threads at once (ec_key.h).
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

fn group(curve: Curve) -> *const c::EC_GROUP {
    // SAFETY: the calls have no preconditions and return static tables.
    unsafe {
        match curve {
            Curve::P256 => c::EC_group_p256(),
            Curve::P384 => c::EC_group_p384(),
            Curve::P521 => c::EC_group_p521(),
        }
    }
}

/// Makes a key pair.
pub fn generate(curve: Curve) -> Result<PrivateParts> {
    let key = Key::empty(curve)?;
    // SAFETY: the key is live and has its group.
    let done = unsafe { c::EC_KEY_generate_key(key.key.as_ptr()) };
    check(done, CKR_GENERAL_ERROR, "AWS-LC made no EC key pair")?;
    // SAFETY: the key is live; both values belong to it and are used before it goes.
    let (point, d) = unsafe {
        (
            write_point(curve, c::EC_KEY_get0_public_key(key.key.as_ptr()))?,
            secret_integer(c::EC_KEY_get0_private_key(key.key.as_ptr()), curve.len())?,
        )
    };
    Ok(PrivateParts {
        public: PublicParts::Ec { curve, point },
        secret: SecretParts::Ec { d },
    })
}

/// The uncompressed public point that belongs to the private value `d`;
/// `CKR_ATTRIBUTE_VALUE_INVALID` unless `d` is as long as the order, above 0 and below it.
pub fn public_point(curve: Curve, d: &[u8]) -> Result<Vec<u8>> {
    ffi::begin();
    let key = Key::empty(curve)?;
    key.set_private(d)?;
    let point = key.multiply_base(d)?;
    // SAFETY: the point is live and of this curve.
    unsafe { write_point(curve, point.as_ptr()) }
}

/// The x coordinate of `d`·`peer_point`, as long as the field (ECDH, SP 800-56A 5.7.1.2).
///
/// `CKR_ATTRIBUTE_VALUE_INVALID` unless `peer_point` is an uncompressed point of the curve, and `d`
/// a private value as [`public_point`] takes it.
pub fn agree(curve: Curve, d: &[u8], peer_point: &[u8]) -> Result<Secret> {
    ffi::begin();
    let own = Key::empty(curve)?;
    own.set_private(d)?;
    own.agree(peer_point)
}

/// # Safety
/// `point` is a live point of `curve`.
unsafe fn write_point(curve: Curve, point: *const c::EC_POINT) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 1 + 2 * curve.len()];
    // SAFETY: the point is live by the contract above; `bytes` is writable for its length.
    let written = unsafe {
        c::EC_POINT_point2oct(
            group(curve),
            point,
            c::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
            bytes.as_mut_ptr(),
            bytes.len(),
            ptr::null_mut(),
        )
    };
    if written != bytes.len() {
        return Err(refused(
            CKR_GENERAL_ERROR,
            "AWS-LC gave a point of the wrong length",
        ));
    }
    Ok(bytes)
}

impl Key {
    /// A public key; `CKR_ATTRIBUTE_VALUE_INVALID` unless `point` is an uncompressed point of the
    /// curve.
    pub fn public(curve: Curve, point: &[u8]) -> Result<Self> {
        let key = Self::empty(curve)?;
        key.set_public(point)?;
        Ok(key)
    }

    /// A key pair; `CKR_ATTRIBUTE_VALUE_INVALID` unless 0 < `d` < order and `point` = d·G.
    pub fn private(curve: Curve, point: &[u8], d: &[u8]) -> Result<Self> {
        let key = Self::public(curve, point)?;
        key.set_private(d)?;
        // SAFETY: the key is live and has both halves.
        let done = unsafe { c::EC_KEY_check_key(key.key.as_ptr()) };
        check(
            done,
            CKR_ATTRIBUTE_VALUE_INVALID,
            "the EC public point is not the one of the private value",
        )?;
        Ok(key)
    }

    fn empty(curve: Curve) -> Result<Self> {
        // SAFETY: the constructor has no preconditions.
        let key = EcKey::own(unsafe { c::EC_KEY_new() })?;
        // SAFETY: the key is live and has no group yet; the group is a static table.
        let done = unsafe { c::EC_KEY_set_group(key.as_ptr(), group(curve)) };
        check(done, CKR_GENERAL_ERROR, "AWS-LC refused a curve of its own")?;
        Ok(Self { key, curve })
    }

    fn set_public(&self, bytes: &[u8]) -> Result<()> {
        // AWS-LC would also take the point at infinity, compressed and hybrid forms.
        if bytes.len() != 1 + 2 * self.curve.len() || bytes.first() != Some(&4) {
            return fail!(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "an uncompressed point of this curve has {} bytes, the first of them 4",
                1 + 2 * self.curve.len()
            );
        }
        // SAFETY: the group is a static table.
        let point = EcPoint::own(unsafe { c::EC_POINT_new(group(self.curve)) })?;
        // SAFETY: point and key are live and of the same group; `bytes` is readable for its length.
        let done = unsafe {
            c::EC_POINT_oct2point(
                group(self.curve),
                point.as_ptr(),
                bytes.as_ptr(),
                bytes.len(),
                ptr::null_mut(),
            ) == 1
                && c::EC_KEY_set_public_key(self.key.as_ptr(), point.as_ptr()) == 1
        };
        check(
            done.into(),
            CKR_ATTRIBUTE_VALUE_INVALID,
            "the EC public point is not on its curve",
        )
    }

    fn set_private(&self, d: &[u8]) -> Result<()> {
        if d.len() != self.curve.len() {
            return fail!(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "a private value of this curve has {} bytes, not {}",
                self.curve.len(),
                d.len()
            );
        }
        let d = Bignum::from_bytes(d)?;
        // SAFETY: key and integer are live; AWS-LC copies the integer.
        let done = unsafe { c::EC_KEY_set_private_key(self.key.as_ptr(), d.as_ptr()) };
        check(
            done,
            CKR_ATTRIBUTE_VALUE_INVALID,
            "the EC private value is not between 0 and the order",
        )
    }

    fn multiply_base(&self, d: &[u8]) -> Result<EcPoint> {
        let d = Bignum::from_bytes(d)?;
        // SAFETY: the group is a static table.
        let point = EcPoint::own(unsafe { c::EC_POINT_new(group(self.curve)) })?;
        // SAFETY: point and integer are live; null stands for "no second product".
        let done = unsafe {
            c::EC_POINT_mul(
                group(self.curve),
                point.as_ptr(),
                d.as_ptr(),
                ptr::null(),
                ptr::null(),
                ptr::null_mut(),
            )
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC gave no public point")?;
        Ok(point)
    }

    /// The x coordinate of the product of the private half and `peer_point`, as [`agree`].
    pub fn agree(&self, peer_point: &[u8]) -> Result<Secret> {
        let peer = Self::public(self.curve, peer_point)?;
        let mut x = Secret::zeroed(self.curve.len())?;
        // SAFETY: both keys are live and of one curve, and each has the half that is read; `x` is
        // writable for its length. No function derives a key: the coordinate itself is written.
        let written = unsafe {
            c::ECDH_compute_key(
                x.as_mut_ptr().cast(),
                x.len(),
                c::EC_KEY_get0_public_key(peer.key.as_ptr()),
                self.key.as_ptr(),
                None,
            )
        };
        check(
            (usize::try_from(written) == Ok(x.len())).into(),
            CKR_GENERAL_ERROR,
            "AWS-LC gave no shared secret",
        )?;
        Ok(x)
    }

    /// Signs `digest`, of which the leftmost bits count, as many as the order has (FIPS 186-5 6.4.1).
    pub fn sign(&self, digest: &[u8]) -> Result<Vec<u8>> {
        some_digest(digest)?;
        // SAFETY: the key is live and has its private half; `digest` is readable for its length.
        let signature =
            unsafe { c::ECDSA_do_sign(digest.as_ptr(), digest.len(), self.key.as_ptr()) };
        let signature = EcdsaSignature::own(signature)?;
        let mut bytes = vec![0; 2 * self.curve.len()];
        let (r, s) = bytes.split_at_mut(self.curve.len());
        // SAFETY: the signature is live, and its two integers with it.
        unsafe {
            write_integer(c::ECDSA_SIG_get0_r(signature.as_ptr()), r)?;
            write_integer(c::ECDSA_SIG_get0_s(signature.as_ptr()), s)?;
        }
        Ok(bytes)
    }

    /// Checks `signature`, which is `r ‖ s`, over `digest`.
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<()> {
        some_digest(digest)?;
        let Some((r, s)) = signature
            .split_at_checked(self.curve.len())
            .filter(|(_, s)| s.len() == self.curve.len())
        else {
            return fail!(
                CKR_SIGNATURE_LEN_RANGE,
                "an ECDSA signature of this curve has {} bytes, not {}",
                2 * self.curve.len(),
                signature.len()
            );
        };
        let (r, s) = (Bignum::from_bytes(r)?, Bignum::from_bytes(s)?);
        // SAFETY: the constructor has no preconditions.
        let parsed = EcdsaSignature::own(unsafe { c::ECDSA_SIG_new() })?;
        // SAFETY: all three objects are live; on success, which is certain for integers that are
        // there, the signature owns the integers.
        unsafe { c::ECDSA_SIG_set0(parsed.as_ptr(), r.release(), s.release()) };
        // SAFETY: key and signature are live; `digest` is readable for its length.
        let done = unsafe {
            c::ECDSA_do_verify(
                digest.as_ptr(),
                digest.len(),
                parsed.as_ptr(),
                self.key.as_ptr(),
            )
        };
        check(
            done,
            CKR_SIGNATURE_INVALID,
            "the ECDSA signature does not hold",
        )
    }
}

fn some_digest(digest: &[u8]) -> Result<()> {
    if digest.is_empty() {
        return fail!(CKR_DATA_LEN_RANGE, "ECDSA takes a digest, not nothing");
    }
    Ok(())
}
