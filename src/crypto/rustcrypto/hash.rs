//! Digests and HMAC.

use crate::crypto::Hash;
use crate::error::{Error, Result};
use cryptoki_sys::CKR_GENERAL_ERROR;
use hmac::{KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// The same expression for whichever hash function `$state` holds.
macro_rules! each {
    ($type:ident, $state:expr, $inner:ident => $do:expr) => {
        match $state {
            $type::Sha1($inner) => $do,
            $type::Sha224($inner) => $do,
            $type::Sha256($inner) => $do,
            $type::Sha384($inner) => $do,
            $type::Sha512($inner) => $do,
        }
    };
}

#[derive(Clone)]
enum DigestState {
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

/// A digest in parts (FIPS 180-4).
#[derive(Clone)]
pub struct Digest(DigestState);

impl Digest {
    /// A digest of nothing yet.
    pub fn new(hash: Hash) -> Result<Self> {
        Ok(Self::of(hash))
    }

    /// [`Digest::new`], which cannot fail in this engine.
    pub(super) fn of(hash: Hash) -> Self {
        Self(match hash {
            Hash::Sha1 => DigestState::Sha1(Sha1::new()),
            Hash::Sha224 => DigestState::Sha224(Sha224::new()),
            Hash::Sha256 => DigestState::Sha256(Sha256::new()),
            Hash::Sha384 => DigestState::Sha384(Sha384::new()),
            Hash::Sha512 => DigestState::Sha512(Sha512::new()),
        })
    }

    /// Takes the next part of the message.
    pub fn update(&mut self, data: &[u8]) {
        each!(DigestState, &mut self.0, state => state.update(data));
    }

    /// The digest, [`Hash::len`] bytes.
    pub fn finish(self) -> Vec<u8> {
        each!(DigestState, self.0, state => state.finalize().to_vec())
    }
}

/// The digest of `data`, [`Hash::len`] bytes.
pub fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    let mut digest = Digest::of(hash);
    digest.update(data);
    digest.finish()
}

enum HmacState {
    Sha1(hmac::Hmac<Sha1>),
    Sha224(hmac::Hmac<Sha224>),
    Sha256(hmac::Hmac<Sha256>),
    Sha384(hmac::Hmac<Sha384>),
    Sha512(hmac::Hmac<Sha512>),
}

/// HMAC in parts (FIPS 198-1).
pub struct Hmac(HmacState);

impl Hmac {
    /// HMAC under `key`, of any length.
    pub fn new(hash: Hash, key: &[u8]) -> Result<Self> {
        let state = match hash {
            Hash::Sha1 => KeyInit::new_from_slice(key).map(HmacState::Sha1),
            Hash::Sha224 => KeyInit::new_from_slice(key).map(HmacState::Sha224),
            Hash::Sha256 => KeyInit::new_from_slice(key).map(HmacState::Sha256),
            Hash::Sha384 => KeyInit::new_from_slice(key).map(HmacState::Sha384),
            Hash::Sha512 => KeyInit::new_from_slice(key).map(HmacState::Sha512),
        };
        match state {
            Ok(state) => Ok(Self(state)),
            Err(_) => Err(Error::new(CKR_GENERAL_ERROR, "HMAC refused its key")),
        }
    }

    /// Takes the next part of the message.
    pub fn update(&mut self, data: &[u8]) {
        each!(HmacState, &mut self.0, state => state.update(data));
    }

    /// The whole tag, [`Hash::len`] bytes.
    pub fn finish(self) -> Vec<u8> {
        each!(HmacState, self.0, state => state.finalize().into_bytes().to_vec())
    }
}
