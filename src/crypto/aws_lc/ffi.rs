//! The C objects that the engine owns, and its way to say no.

use super::super::Hash;
use crate::error::{Error, Result};
use crate::fork::{self, Pass};
use crate::memory::{self, Secret};
use aws_lc_sys as c;
use cryptoki_sys::{CK_RV, CKR_GENERAL_ERROR, CKR_HOST_MEMORY};
use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

/// Stands at every entrance of the engine: AWS-LC's memory is ours from its first allocation on, and
/// what an earlier call ran out of is not blamed on this one.
pub fn begin() {
    memory::adopt_engine();
    memory::ran_out();
}

/// The same where random numbers may be drawn: no fork comes in between while the pass is held.
pub fn begin_drawing() -> Pass {
    let pass = fork::enter_engine();
    begin();
    pass
}

/// `reason` as an error, or `CKR_HOST_MEMORY` where the call ran out of memory, after the thread's error queue of AWS-LC has been emptied: what it holds
/// is about this failure only, and nobody else reads it.
pub fn refused(rv: CK_RV, reason: &'static str) -> Error {
    // SAFETY: the call has no preconditions.
    unsafe { c::ERR_clear_error() };
    if memory::ran_out() {
        return Error::new(CKR_HOST_MEMORY, "no memory for a cryptographic operation");
    }
    Error::new(rv, reason)
}

/// Turns AWS-LC's "1 is success" into a `Result`.
pub fn check(done: c_int, rv: CK_RV, reason: &'static str) -> Result<()> {
    if done == 1 {
        Ok(())
    } else {
        Err(refused(rv, reason))
    }
}

/// Whether the last failure of this thread has AWS-LC's `reason` (a constant `*_R_*`).
pub fn failed_with(reason: c_int) -> bool {
    // SAFETY: the call has no preconditions.
    let packed = unsafe { c::ERR_peek_last_error() };
    // ERR_GET_REASON of err.h, a macro.
    c_int::try_from(packed & 0xfff) == Ok(reason)
}

macro_rules! owned {
    ($($(#[$doc:meta])* $name:ident($object:ty) freed by $free:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name(NonNull<$object>);

        impl $name {
            /// Takes ownership of what an AWS-LC constructor gave; `CKR_HOST_MEMORY` for null.
            pub fn own(object: *mut $object) -> Result<Self> {
                NonNull::new(object)
                    .map(Self)
                    .ok_or_else(|| refused(CKR_HOST_MEMORY, "AWS-LC made no object"))
            }

            /// The object, for AWS-LC's use while `self` lives.
            pub fn as_ptr(&self) -> *mut $object {
                self.0.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the object came from its constructor and nobody else frees it.
                unsafe { c::$free(self.0.as_ptr()) }
            }
        }
    )*};
}

owned! {
    /// An integer; wiped when freed.
    Bignum(c::BIGNUM) freed by BN_clear_free;
    /// An RSA key. AWS-LC locks inside it what several threads write (`rsa.h`).
    Rsa(c::RSA) freed by RSA_free;
    /// An EC key.
    EcKey(c::EC_KEY) freed by EC_KEY_free;
    /// A point.
    EcPoint(c::EC_POINT) freed by EC_POINT_free;
    /// An ECDSA signature.
    EcdsaSignature(c::ECDSA_SIG) freed by ECDSA_SIG_free;
    /// A running digest.
    MdState(c::EVP_MD_CTX) freed by EVP_MD_CTX_free;
    /// A running CMAC; wiped when freed.
    CmacState(c::CMAC_CTX) freed by CMAC_CTX_free;
    /// A running HMAC.
    HmacState(c::HMAC_CTX) freed by HMAC_CTX_free;
    /// A running cipher.
    CipherState(c::EVP_CIPHER_CTX) freed by EVP_CIPHER_CTX_free;
    /// A key of a scheme that AWS-LC offers through its envelope only.
    Pkey(c::EVP_PKEY) freed by EVP_PKEY_free;
    /// A running operation with one.
    PkeyOperation(c::EVP_PKEY_CTX) freed by EVP_PKEY_CTX_free;
    /// A cipher with authentication, keyed.
    AeadState(c::EVP_AEAD_CTX) freed by EVP_AEAD_CTX_free;
}

impl MdState {
    /// A digest of nothing yet. `CKR_HOST_MEMORY`.
    pub fn new(hash: Hash) -> Result<Self> {
        begin();
        // SAFETY: the constructor has no preconditions.
        let state = Self::own(unsafe { c::EVP_MD_CTX_new() })?;
        // SAFETY: the state is live and the table static; null stands for AWS-LC's own functions.
        let done = unsafe { c::EVP_DigestInit_ex(state.as_ptr(), md(hash), ptr::null_mut()) };
        // It fails for lack of memory alone (digest.h).
        check(done, CKR_HOST_MEMORY, "no memory for a digest")?;
        Ok(state)
    }

    /// A copy. `CKR_HOST_MEMORY`.
    pub fn try_clone(&self) -> Result<Self> {
        begin();
        // SAFETY: the constructor has no preconditions.
        let copy = Self::own(unsafe { c::EVP_MD_CTX_new() })?;
        // SAFETY: both states are live.
        let done = unsafe { c::EVP_MD_CTX_copy_ex(copy.as_ptr(), self.as_ptr()) };
        check(done, CKR_HOST_MEMORY, "no memory for a digest")?;
        Ok(copy)
    }
}

/// Reads a raw half of a key: what AWS-LC writes where it is given room, and its length.
pub type RawHalf = unsafe extern "C" fn(*const c::EVP_PKEY, *mut u8, *mut usize) -> c_int;

impl Pkey {
    /// An operation with the key, not yet begun.
    pub fn operation(&self) -> Result<PkeyOperation> {
        // SAFETY: the key is live; AWS-LC counts the reference that it keeps. No engine is given.
        PkeyOperation::own(unsafe { c::EVP_PKEY_CTX_new(self.as_ptr(), ptr::null_mut()) })
    }

    /// Writes one half of the key, which fills `out`.
    pub fn write(&self, half: RawHalf, out: &mut [u8]) -> Result<()> {
        let mut len = out.len();
        // SAFETY: the key is live; `out` is writable for `len` bytes, which is where AWS-LC stops.
        let done = unsafe { half(self.as_ptr(), out.as_mut_ptr(), &mut len) };
        check(
            (done == 1 && len == out.len()).into(),
            CKR_GENERAL_ERROR,
            "AWS-LC left out a half of a key",
        )
    }
}

impl Bignum {
    /// The integer that is written in `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        // SAFETY: `bytes` is readable for its length; a null target asks for a new integer.
        Self::own(unsafe { c::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) })
    }

    /// Gives the integer to an AWS-LC object that will free it.
    pub fn release(self) -> *mut c::BIGNUM {
        ManuallyDrop::new(self).as_ptr()
    }
}

/// The value of `integer` with leading zeros to `out.len()` bytes, in time that depends on the
/// length alone.
///
/// # Safety
/// `integer` is null or a live integer of AWS-LC.
pub unsafe fn write_integer(integer: *const c::BIGNUM, out: &mut [u8]) -> Result<()> {
    if integer.is_null() {
        return Err(refused(
            CKR_GENERAL_ERROR,
            "AWS-LC left out a value of a key",
        ));
    }
    // SAFETY: `integer` is live by the contract above; `out` is writable for its length.
    let done = unsafe { c::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), integer) };
    check(done, CKR_GENERAL_ERROR, "an integer does not fit its field")
}

/// As [`write_integer`], into new secret memory of `len` bytes.
///
/// # Safety
/// `integer` is null or a live integer of AWS-LC.
pub unsafe fn secret_integer(integer: *const c::BIGNUM, len: usize) -> Result<Secret> {
    let mut secret = Secret::zeroed(len)?;
    // SAFETY: the contract is the same.
    unsafe { write_integer(integer, &mut secret)? };
    Ok(secret)
}

/// AWS-LC's name of a hash function; lives as long as the process.
pub fn md(hash: Hash) -> *const c::EVP_MD {
    // SAFETY: the calls have no preconditions and return static tables.
    unsafe {
        match hash {
            Hash::Sha1 => c::EVP_sha1(),
            Hash::Sha224 => c::EVP_sha224(),
            Hash::Sha256 => c::EVP_sha256(),
            Hash::Sha384 => c::EVP_sha384(),
            Hash::Sha512 => c::EVP_sha512(),
            Hash::Sha512_224 => c::EVP_sha512_224(),
            Hash::Sha512_256 => c::EVP_sha512_256(),
            Hash::Sha3_224 => c::EVP_sha3_224(),
            Hash::Sha3_256 => c::EVP_sha3_256(),
            Hash::Sha3_384 => c::EVP_sha3_384(),
            Hash::Sha3_512 => c::EVP_sha3_512(),
        }
    }
}
