//! SHA-1, SHA-2 and HMAC.

use super::super::Hash;
use super::ffi::{self, HmacState, check, md};
use crate::error::Result;
use aws_lc_sys as c;
use cryptoki_sys::CKR_GENERAL_ERROR;
use std::mem::MaybeUninit;
use std::ptr;

/// A running digest. Holds AWS-LC's state in place: no memory is allocated until the end, when
/// the state is wiped.
#[derive(Clone)]
pub struct Digest(State);

#[derive(Clone)]
enum State {
    Sha1(c::SHA_CTX),
    Sha224(c::SHA256_CTX),
    Sha256(c::SHA256_CTX),
    Sha384(c::SHA512_CTX),
    Sha512(c::SHA512_CTX),
}

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

impl Digest {
    /// A digest of nothing yet. This engine never fails here.
    pub fn new(hash: Hash) -> Result<Self> {
        Ok(Self::start(hash))
    }

    fn start(hash: Hash) -> Self {
        Self(match hash {
            Hash::Sha1 => State::Sha1(started!(SHA1_Init)),
            Hash::Sha224 => State::Sha224(started!(SHA224_Init)),
            Hash::Sha256 => State::Sha256(started!(SHA256_Init)),
            Hash::Sha384 => State::Sha384(started!(SHA384_Init)),
            Hash::Sha512 => State::Sha512(started!(SHA512_Init)),
        })
    }

    /// Takes in more of the message.
    pub fn update(&mut self, data: &[u8]) {
        let (start, len) = (data.as_ptr().cast(), data.len());
        // SAFETY: the state was started by `new`, and `data` is readable for its length. The
        // calls cannot fail (sha.h).
        unsafe {
            match &mut self.0 {
                State::Sha1(state) => c::SHA1_Update(state, start, len),
                State::Sha224(state) => c::SHA224_Update(state, start, len),
                State::Sha256(state) => c::SHA256_Update(state, start, len),
                State::Sha384(state) => c::SHA384_Update(state, start, len),
                State::Sha512(state) => c::SHA512_Update(state, start, len),
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
        }
    }
}

/// The digest of `data`.
pub fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    let mut digest = Digest::start(hash);
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
