//! Digests, HMAC and CMAC.

use crate::crypto::Hash;
use crate::error::{Error, Result, fail};
use aes::{Aes128, Aes192, Aes256};
use cryptoki_sys::{CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE};
use hmac::{KeyInit, Mac, SimpleHmac};
use sha1::Sha1;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// The same expression for whichever hash function `$state` holds.
macro_rules! each {
    ($type:ident, $state:expr, $inner:ident => $do:expr) => {
        match $state {
            $type::Sha1($inner) => $do,
            $type::Sha224($inner) => $do,
            $type::Sha256($inner) => $do,
            $type::Sha384($inner) => $do,
            $type::Sha512($inner) => $do,
            $type::Sha512_224($inner) => $do,
            $type::Sha512_256($inner) => $do,
            $type::Sha3_224($inner) => $do,
            $type::Sha3_256($inner) => $do,
            $type::Sha3_384($inner) => $do,
            $type::Sha3_512($inner) => $do,
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
    Sha512_224(Sha512_224),
    Sha512_256(Sha512_256),
    Sha3_224(Sha3_224),
    Sha3_256(Sha3_256),
    Sha3_384(Sha3_384),
    Sha3_512(Sha3_512),
}

/// A digest in parts (FIPS 180-4, FIPS 202).
pub struct Digest(DigestState);

impl Digest {
    /// What [`Digest::restore`] goes on from, in this process; `None` where it cannot be told.
    pub fn save(&self) -> Option<Vec<u8>> {
        Some(each!(DigestState, &self.0, state => state.serialize().to_vec()))
    }

    /// The digest that [`Digest::save`] saved; `None` for bytes that are none. The caller makes
    /// sure that they are its own.
    pub fn restore(hash: Hash, saved: &[u8]) -> Option<Self> {
        fn of<T: SerializableState>(saved: &[u8]) -> Option<T> {
            T::deserialize(saved.try_into().ok()?).ok()
        }
        Some(Self(match hash {
            Hash::Sha1 => DigestState::Sha1(of(saved)?),
            Hash::Sha224 => DigestState::Sha224(of(saved)?),
            Hash::Sha256 => DigestState::Sha256(of(saved)?),
            Hash::Sha384 => DigestState::Sha384(of(saved)?),
            Hash::Sha512 => DigestState::Sha512(of(saved)?),
            Hash::Sha512_224 => DigestState::Sha512_224(of(saved)?),
            Hash::Sha512_256 => DigestState::Sha512_256(of(saved)?),
            Hash::Sha3_224 => DigestState::Sha3_224(of(saved)?),
            Hash::Sha3_256 => DigestState::Sha3_256(of(saved)?),
            Hash::Sha3_384 => DigestState::Sha3_384(of(saved)?),
            Hash::Sha3_512 => DigestState::Sha3_512(of(saved)?),
        }))
    }

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
            Hash::Sha512_224 => DigestState::Sha512_224(Sha512_224::new()),
            Hash::Sha512_256 => DigestState::Sha512_256(Sha512_256::new()),
            Hash::Sha3_224 => DigestState::Sha3_224(Sha3_224::new()),
            Hash::Sha3_256 => DigestState::Sha3_256(Sha3_256::new()),
            Hash::Sha3_384 => DigestState::Sha3_384(Sha3_384::new()),
            Hash::Sha3_512 => DigestState::Sha3_512(Sha3_512::new()),
        })
    }

    /// A second digest of what was taken in so far. This engine never fails here.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.clone()))
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
    Sha512_224(hmac::Hmac<Sha512_224>),
    Sha512_256(hmac::Hmac<Sha512_256>),
    Sha3_224(SimpleHmac<Sha3_224>),
    Sha3_256(SimpleHmac<Sha3_256>),
    Sha3_384(SimpleHmac<Sha3_384>),
    Sha3_512(SimpleHmac<Sha3_512>),
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
            Hash::Sha512_224 => KeyInit::new_from_slice(key).map(HmacState::Sha512_224),
            Hash::Sha512_256 => KeyInit::new_from_slice(key).map(HmacState::Sha512_256),
            Hash::Sha3_224 => KeyInit::new_from_slice(key).map(HmacState::Sha3_224),
            Hash::Sha3_256 => KeyInit::new_from_slice(key).map(HmacState::Sha3_256),
            Hash::Sha3_384 => KeyInit::new_from_slice(key).map(HmacState::Sha3_384),
            Hash::Sha3_512 => KeyInit::new_from_slice(key).map(HmacState::Sha3_512),
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

enum CmacState {
    Aes128(cmac::Cmac<Aes128>),
    Aes192(cmac::Cmac<Aes192>),
    Aes256(cmac::Cmac<Aes256>),
}

/// CMAC of AES in parts (SP 800-38B).
pub struct Cmac(CmacState);

impl Cmac {
    /// CMAC under `key`. `CKR_KEY_SIZE_RANGE` for no key size of AES.
    pub fn new(key: &[u8]) -> Result<Self> {
        let state = match key.len() {
            16 => KeyInit::new_from_slice(key).map(CmacState::Aes128),
            24 => KeyInit::new_from_slice(key).map(CmacState::Aes192),
            32 => KeyInit::new_from_slice(key).map(CmacState::Aes256),
            len => {
                return fail!(
                    CKR_KEY_SIZE_RANGE,
                    "an AES key of {len} bytes, not 16, 24 or 32"
                );
            }
        };
        match state {
            Ok(state) => Ok(Self(state)),
            Err(_) => Err(Error::new(CKR_GENERAL_ERROR, "CMAC refused its key")),
        }
    }

    /// Takes the next part of the message.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            CmacState::Aes128(state) => state.update(data),
            CmacState::Aes192(state) => state.update(data),
            CmacState::Aes256(state) => state.update(data),
        }
    }

    /// The whole tag, 16 bytes.
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            CmacState::Aes128(state) => state.finalize().into_bytes().to_vec(),
            CmacState::Aes192(state) => state.finalize().into_bytes().to_vec(),
            CmacState::Aes256(state) => state.finalize().into_bytes().to_vec(),
        }
    }
}
