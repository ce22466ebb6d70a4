//! Keys from keys and from passwords: HKDF (RFC 5869) and PBKDF2 (RFC 8018).

use super::super::{Hash, kdf};
use super::ffi::{self, check, md};
use crate::error::Result;
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::CKR_GENERAL_ERROR;

/// HKDF-Extract: the pseudorandom key, as long as the digest. An empty salt is one of zeros.
pub fn hkdf_extract(hash: Hash, salt: &[u8], input: &[u8]) -> Result<Secret> {
    ffi::begin();
    let mut key = Secret::zeroed(hash.len())?;
    let mut len = 0;
    // SAFETY: salt and input are readable for their lengths; `key` has room for a digest, which is
    // what the call writes.
    let done = unsafe {
        c::HKDF_extract(
            key.as_mut_ptr(),
            &mut len,
            md(hash),
            input.as_ptr(),
            input.len(),
            salt.as_ptr(),
            salt.len(),
        )
    };
    check(
        (done == 1 && len == key.len()).into(),
        CKR_GENERAL_ERROR,
        "AWS-LC extracted no key",
    )?;
    Ok(key)
}

/// HKDF-Expand: `len` bytes from a pseudorandom key. `CKR_KEY_SIZE_RANGE` for more than 255 digests,
/// and for a key that is shorter than one.
pub fn hkdf_expand(hash: Hash, key: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    ffi::begin();
    kdf::check_expansion(hash, key, len)?;
    let mut out = Secret::zeroed(len)?;
    // SAFETY: key and info are readable and `out` is writable for their lengths.
    let done = unsafe {
        c::HKDF_expand(
            out.as_mut_ptr(),
            out.len(),
            md(hash),
            key.as_ptr(),
            key.len(),
            info.as_ptr(),
            info.len(),
        )
    };
    check(done, CKR_GENERAL_ERROR, "AWS-LC expanded no key")?;
    Ok(out)
}

/// PBKDF2 with HMAC: `len` bytes from a password.
pub fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Result<Secret> {
    ffi::begin();
    kdf::check_iterations(iterations)?;
    let mut out = Secret::zeroed(len)?;
    // SAFETY: password and salt are readable and `out` is writable for their lengths.
    let done = unsafe {
        c::PKCS5_PBKDF2_HMAC(
            password.as_ptr().cast(),
            password.len(),
            salt.as_ptr(),
            salt.len(),
            iterations,
            md(hash),
            out.len(),
            out.as_mut_ptr(),
        )
    };
    check(done, CKR_GENERAL_ERROR, "AWS-LC made no key of a password")?;
    Ok(out)
}
