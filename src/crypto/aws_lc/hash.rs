//! SHA-1, SHA-2, SHA-3, HMAC and CMAC.

use super::super::Hash;
use super::ffi::{self, CmacState, HmacState, MdState, check, md, refused};
use crate::error::Result;
use aws_lc_sys as c;
use cryptoki_sys::{CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE};
use std::mem::MaybeUninit;
use std::{ptr, slice};

/// A running digest. Holds AWS-LC's state in place, that of SHA-3 apart, which AWS-LC gives out as an
/// object only. Wiped at the end.
pub struct Digest(State);

enum State {
    Sha1(c::SHA_CTX),
    Sha224(c::SHA256_CTX),
    Sha256(c::SHA256_CTX),
    Sha384(c::SHA512_CTX),
    Sha512(c::SHA512_CTX),
    Sha512_224(c::SHA512_CTX),
    Sha512_256(c::SHA512_CTX),
    Sha3(MdState, Hash),
}

// SAFETY: the states are plain memory that no thread but the owner of `Digest` reaches.
unsafe impl Send for Digest {}

macro_rules! started {
    ($init:ident) => {{
        let mut state = MaybeUninit::uninit();
        // SAFETY: the call writes the whole state and cannot fail (sha.h).
        unsafe {
            c::$init(state.as_mut_ptr());
            state.assume_init()
        }
    }};
}

macro_rules! finished {
    ($final:ident, $state:ident, $hash:ident) => {{
        let mut digest = vec![0; Hash::$hash.len()];
        // SAFETY: the state was started, and the digest has the length of this hash function. The
        // state is numbers and no more, and nobody reads them after this.
        unsafe {
            c::$final(digest.as_mut_ptr(), $state);
            c::OPENSSL_cleanse(ptr::from_mut($state).cast(), size_of_val($state));
        }
        digest
    }};
}

// The states are numbers without a gap between them: their bytes are all there is to save.
const _: () = assert!(
    size_of::<c::SHA_CTX>() == 96
        && size_of::<c::SHA256_CTX>() == 112
        && size_of::<c::SHA512_CTX>() == 216
);

macro_rules! saved {
    ($state:ident) => {{
        // SAFETY: the state was started; it has no padding (see above), so that every byte is set.
        let bytes = unsafe {
            slice::from_raw_parts(ptr::from_ref($state).cast::<u8>(), size_of_val($state))
        };
        Some(bytes.to_vec())
    }};
}

macro_rules! restored {
    ($saved:ident, $hash:ident: $type:ident, $block:literal $(, $md_len:ident)?) => {{
        let bytes: &[u8; size_of::<c::$type>()] = $saved.try_into().ok()?;
        // SAFETY: the array is as long as the state, which is numbers: any bytes are one.
        let state = unsafe { bytes.as_ptr().cast::<c::$type>().read_unaligned() };
        // What AWS-LC takes for indices and lengths must be such.
        let fits = state.num < $block $(&& state.$md_len as usize == Hash::$hash.len())?;
        fits.then_some(Self(State::$hash(state)))
    }};
}

impl Digest {
    /// What [`Digest::restore`] goes on from, in this process; `None` where it cannot be told.
    pub fn save(&self) -> Option<Vec<u8>> {
        match &self.0 {
            State::Sha1(state) => saved!(state),
            State::Sha224(state) | State::Sha256(state) => saved!(state),
            State::Sha384(state)
            | State::Sha512(state)
            | State::Sha512_224(state)
            | State::Sha512_256(state) => saved!(state),
            // AWS-LC gives it out as an object only.
            State::Sha3(..) => None,
        }
    }

    /// The digest that [`Digest::save`] saved; `None` for bytes that are none. The caller makes
    /// sure that they are its own.
    pub fn restore(hash: Hash, saved: &[u8]) -> Option<Self> {
        match hash {
            Hash::Sha1 => restored!(saved, Sha1: SHA_CTX, 64),
            Hash::Sha224 => restored!(saved, Sha224: SHA256_CTX, 64, md_len),
            Hash::Sha256 => restored!(saved, Sha256: SHA256_CTX, 64, md_len),
            Hash::Sha384 => restored!(saved, Sha384: SHA512_CTX, 128, md_len),
            Hash::Sha512 => restored!(saved, Sha512: SHA512_CTX, 128, md_len),
            Hash::Sha512_224 => restored!(saved, Sha512_224: SHA512_CTX, 128, md_len),
            Hash::Sha512_256 => restored!(saved, Sha512_256: SHA512_CTX, 128, md_len),
            Hash::Sha3_224 | Hash::Sha3_256 | Hash::Sha3_384 | Hash::Sha3_512 => None,
        }
    }

    /// A digest of nothing yet. `CKR_HOST_MEMORY`, for SHA-3 alone.
    pub fn new(hash: Hash) -> Result<Self> {
        Ok(Self(match hash {
            Hash::Sha1 => State::Sha1(started!(SHA1_Init)),
            Hash::Sha224 => State::Sha224(started!(SHA224_Init)),
            Hash::Sha256 => State::Sha256(started!(SHA256_Init)),
            Hash::Sha384 => State::Sha384(started!(SHA384_Init)),
            Hash::Sha512 => State::Sha512(started!(SHA512_Init)),
            Hash::Sha512_224 => State::Sha512_224(started!(SHA512_224_Init)),
            Hash::Sha512_256 => State::Sha512_256(started!(SHA512_256_Init)),
            Hash::Sha3_224 | Hash::Sha3_256 | Hash::Sha3_384 | Hash::Sha3_512 => {
                State::Sha3(MdState::new(hash)?, hash)
            }
        }))
    }

    /// A second digest of what was taken in so far. `CKR_HOST_MEMORY`, for SHA-3 alone.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(match &self.0 {
            State::Sha1(state) => State::Sha1(*state),
            State::Sha224(state) => State::Sha224(*state),
            State::Sha256(state) => State::Sha256(*state),
            State::Sha384(state) => State::Sha384(*state),
            State::Sha512(state) => State::Sha512(*state),
            State::Sha512_224(state) => State::Sha512_224(*state),
            State::Sha512_256(state) => State::Sha512_256(*state),
            State::Sha3(state, hash) => State::Sha3(state.try_clone()?, *hash),
        }))
    }

    /// Takes in more of the message.
    pub fn update(&mut self, data: &[u8]) {
        let (start, len) = (data.as_ptr().cast(), data.len());
        // SAFETY: the state was started by `new`, and `data` is readable for its length. The
        // calls cannot fail (sha.h, digest.h).
        unsafe {
            match &mut self.0 {
                State::Sha1(state) => c::SHA1_Update(state, start, len),
                State::Sha224(state) => c::SHA224_Update(state, start, len),
                State::Sha256(state) => c::SHA256_Update(state, start, len),
                State::Sha384(state) => c::SHA384_Update(state, start, len),
                State::Sha512(state) => c::SHA512_Update(state, start, len),
                State::Sha512_224(state) => c::SHA512_224_Update(state, start, len),
                State::Sha512_256(state) => c::SHA512_256_Update(state, start, len),
                State::Sha3(state, _) => c::EVP_DigestUpdate(state.as_ptr(), start, len),
            }
        };
    }

    /// The digest of all that was taken in.
    pub fn finish(mut self) -> Vec<u8> {
        match &mut self.0 {
            State::Sha1(state) => finished!(SHA1_Final, state, Sha1),
            State::Sha224(state) => finished!(SHA224_Final, state, Sha224),
            State::Sha256(state) => finished!(SHA256_Final, state, Sha256),
            State::Sha384(state) => finished!(SHA384_Final, state, Sha384),
            State::Sha512(state) => finished!(SHA512_Final, state, Sha512),
            State::Sha512_224(state) => finished!(SHA512_224_Final, state, Sha512_224),
            State::Sha512_256(state) => finished!(SHA512_256_Final, state, Sha512_256),
            State::Sha3(state, hash) => {
                let mut digest = vec![0; hash.len()];
                // SAFETY: the state was started, and the digest has the length of its hash function.
                // The call cannot fail (digest.h) and wipes the state.
                unsafe {
                    c::EVP_DigestFinal_ex(state.as_ptr(), digest.as_mut_ptr(), ptr::null_mut())
                };
                digest
            }
        }
    }
}

/// The digest of `data`. Where the caller chooses the hash function, and so perhaps SHA-3, for which
/// there may be no memory, [`Digest::new`] says so; this one ends as an allocation of Rust would.
pub fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    let Ok(mut digest) = Digest::new(hash) else {
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<c::EVP_MD_CTX>());
    };
    digest.update(data);
    digest.finish()
}

/// A running HMAC (RFC 2104). Wiped when dropped.
pub struct Hmac {
    state: HmacState,
    len: usize,
}

// SAFETY: the state is plain memory that no thread but the owner of `Hmac` reaches.
unsafe impl Send for Hmac {}

impl Hmac {
    /// An HMAC of nothing yet, under `key`.
    pub fn new(hash: Hash, key: &[u8]) -> Result<Self> {
        ffi::begin();
        // SAFETY: the constructor has no preconditions.
        let state = HmacState::own(unsafe { c::HMAC_CTX_new() })?;
        // SAFETY: the state is live and `key` is readable for its length; its pointer is not null,
        // which would mean "the key from before".
        let done = unsafe {
            c::HMAC_Init_ex(
                state.as_ptr(),
                key.as_ptr().cast(),
                key.len(),
                md(hash),
                ptr::null_mut(),
            )
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC refused an HMAC key")?;
        Ok(Self {
            state,
            len: hash.len(),
        })
    }

    /// Takes in more of the message.
    pub fn update(&mut self, data: &[u8]) {
        // SAFETY: `new` started the state, so the call cannot fail; `data` is readable for its
        // length.
        unsafe { c::HMAC_Update(self.state.as_ptr(), data.as_ptr(), data.len()) };
    }

    /// The tag of all that was taken in, as long as the hash function's digest.
    pub fn finish(self) -> Vec<u8> {
        let mut tag = vec![0; self.len];
        // SAFETY: `new` started the state, so the call cannot fail; it writes the digest length of
        // its hash function, which is `len`.
        unsafe { c::HMAC_Final(self.state.as_ptr(), tag.as_mut_ptr(), ptr::null_mut()) };
        tag
    }
}

/// A running CMAC of AES (SP 800-38B). Wiped when dropped.
pub struct Cmac(CmacState);

// SAFETY: the state is plain memory that no thread but the owner of `Cmac` reaches.
unsafe impl Send for Cmac {}

impl Cmac {
    /// A CMAC of nothing yet. `CKR_KEY_SIZE_RANGE` unless the key has 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self> {
        ffi::begin();
        // SAFETY: the calls have no preconditions and return static tables.
        let cipher = unsafe {
            match key.len() {
                16 => c::EVP_aes_128_cbc(),
                24 => c::EVP_aes_192_cbc(),
                32 => c::EVP_aes_256_cbc(),
                _ => {
                    return Err(refused(
                        CKR_KEY_SIZE_RANGE,
                        "an AES key has 16, 24 or 32 bytes",
                    ));
                }
            }
        };
        // SAFETY: the constructor has no preconditions.
        let state = CmacState::own(unsafe { c::CMAC_CTX_new() })?;
        // SAFETY: the state is live, `key` is readable for its length and the cipher takes that length.
        let done = unsafe {
            c::CMAC_Init(
                state.as_ptr(),
                key.as_ptr().cast(),
                key.len(),
                cipher,
                ptr::null_mut(),
            )
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC refused a CMAC key")?;
        Ok(Self(state))
    }

    /// Takes in more of the message.
    pub fn update(&mut self, data: &[u8]) {
        // SAFETY: `new` started the state, so the call cannot fail; `data` is readable for its
        // length.
        unsafe { c::CMAC_Update(self.0.as_ptr(), data.as_ptr(), data.len()) };
    }

    /// The tag of all that was taken in, 16 bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut tag = vec![0; 16];
        let mut len = 0;
        // SAFETY: `new` started the state, so the call cannot fail; it writes a block of AES.
        unsafe { c::CMAC_Final(self.0.as_ptr(), tag.as_mut_ptr(), &mut len) };
        tag
    }
}
