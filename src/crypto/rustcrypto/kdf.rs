//! Keys from keys and from passwords: HKDF (RFC 5869) and PBKDF2 (RFC 8018).

use crate::crypto::{Hash, kdf};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::CKR_GENERAL_ERROR;
use hkdf::SimpleHkdf;
use hmac::SimpleHmac;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};
use zeroize::Zeroizing;

// The simple forms of HMAC and HKDF take every hash function, SHA-3 too.

/// The same expression for whichever hash function `$hash` names, as the type `$function`.
macro_rules! with {
    ($hash:expr, $function:ident => $do:expr) => {
        with!(@ $hash, $function, $do, Sha1 Sha224 Sha256 Sha384 Sha512 Sha512_224 Sha512_256
            Sha3_224 Sha3_256 Sha3_384 Sha3_512)
    };
    (@ $hash:expr, $function:ident, $do:expr, $($name:ident)*) => {
        match $hash {
            $(Hash::$name => {
                type $function = $name;
                $do
            })*
        }
    };
}

/// HKDF-Extract: the pseudorandom key, as long as the digest. An empty salt is one of zeros.
pub fn hkdf_extract(hash: Hash, salt: &[u8], input: &[u8]) -> Result<Secret> {
    with!(hash, H => {
        let (key, _) = SimpleHkdf::<H>::extract(Some(salt), input);
        Secret::copy_of(&Zeroizing::new(key))
    })
}

/// HKDF-Expand: `len` bytes from a pseudorandom key. `CKR_KEY_SIZE_RANGE` for more than 255 digests,
/// and for a key that is shorter than one.
pub fn hkdf_expand(hash: Hash, key: &[u8], info: &[u8], len: usize) -> Result<Secret> {
    kdf::check_expansion(hash, key, len)?;
    let mut out = Secret::zeroed(len)?;
    let expanded = with!(hash, H => match SimpleHkdf::<H>::from_prk(key) {
        Ok(key) => key.expand(info, &mut out).is_ok(),
        Err(_) => false,
    });
    if !expanded {
        return fail!(CKR_GENERAL_ERROR, "HKDF expanded no key");
    }
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
    kdf::check_iterations(iterations)?;
    let mut out = Secret::zeroed(len)?;
    with!(hash, H => pbkdf2::pbkdf2::<SimpleHmac<H>>(password, salt, iterations, &mut out))
        .map_err(|_| Error::new(CKR_GENERAL_ERROR, "PBKDF2 refused its password"))?;
    Ok(out)
}
