//! Sealing of what the store keeps: AES-256-GCM under keys of one purpose each.

use crate::crypto::{Hash, engine};
use crate::error::{Error, Result, fail};
use crate::memory::{self, Secret};
use cryptoki_sys::{CKR_DEVICE_ERROR, CKR_ENCRYPTED_DATA_INVALID, CKR_GENERAL_ERROR};

/// Length in bytes of every key here.
pub(super) const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// A fresh key.
pub(super) fn random_key() -> Result<Secret> {
    let mut key = Secret::zeroed(KEY_LEN)?;
    engine::random(&mut key)?;
    Ok(key)
}

/// What a sealed value is bound to: opened in another place, or another time, it is refused.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// What it is.
    pub(super) purpose: &'static [u8],
    /// Serial number of its token; empty for the store's own.
    pub(super) serial: &'a str,
    /// Its object's name, or what stands for one.
    pub(super) id: &'a [u8],
    /// Revision, attribute type, ….
    pub(super) number: u64,
}

impl Context<'_> {
    /// No two contexts give the same bytes: all but the number has its length in front.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80);
        for part in [self.purpose, self.serial.as_bytes(), self.id] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part);
        }
        bytes.extend(self.number.to_be_bytes());
        bytes
    }
}

/// `nonce ‖ ciphertext ‖ tag` of `plaintext`, under a random nonce.
pub(super) fn seal(key: &[u8], context: Context<'_>, plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    engine::random(&mut nonce)?;
    let mut sealed = engine::gcm_seal(key, &nonce, &context.bytes(), TAG_LEN, plaintext)?;
    sealed.try_reserve_exact(NONCE_LEN).map_err(memory::short)?;
    sealed.splice(..0, nonce);
    Ok(sealed)
}

/// What was sealed; `None` where the key, the context or a bit of it is another.
pub(super) fn try_open(key: &[u8], context: Context<'_>, sealed: &[u8]) -> Result<Option<Secret>> {
    let Some((nonce, rest)) = sealed
        .split_at_checked(NONCE_LEN)
        .filter(|(_, rest)| rest.len() >= TAG_LEN)
    else {
        return Ok(None);
    };
    match engine::gcm_open(key, nonce, &context.bytes(), TAG_LEN, rest) {
        Ok(plaintext) => Ok(Some(plaintext)),
        Err(error) if error.rv() == CKR_ENCRYPTED_DATA_INVALID => Ok(None),
        Err(error) => Err(error),
    }
}

/// What was sealed; `CKR_DEVICE_ERROR` where it has been changed since.
pub(super) fn open(key: &[u8], context: Context<'_>, sealed: &[u8]) -> Result<Secret> {
    try_open(key, context, sealed)?.ok_or_else(|| {
        let what = String::from_utf8_lossy(context.purpose);
        Error::new(
            CKR_DEVICE_ERROR,
            format!("a record of the store ({what}) was changed from outside; restore a backup"),
        )
    })
}

/// The keys that follow from one root: the store's key, which lies in the file, for what may be
/// read before login; a token's key, which the PINs guard, for what is private.
pub(super) struct Keys {
    /// Of the store's state.
    pub(super) state: Secret,
    /// Of the readable attributes of objects.
    pub(super) body: Secret,
    /// Of secret values.
    pub(super) secret: Secret,
    row: Secret,
}

impl Keys {
    /// Derives them (one block of HKDF-Expand each, RFC 5869 2.3).
    pub(super) fn of(root: &[u8]) -> Result<Self> {
        let derived = |label: &[u8]| -> Result<Secret> {
            let mut hmac = engine::Hmac::new(Hash::Sha256, root)?;
            hmac.update(b"nodetoken 1 ");
            hmac.update(label);
            hmac.update(&[1]);
            wiped(hmac.finish())
        };
        Ok(Self {
            state: derived(b"state")?,
            body: derived(b"body")?,
            secret: derived(b"secret")?,
            row: derived(b"row")?,
        })
    }

    /// A number that only the holder of the keys can tell from `parts`, whose lengths must follow
    /// from the parts before them.
    pub(super) fn mark(&self, parts: &[&[u8]]) -> Result<u128> {
        let mut hmac = engine::Hmac::new(Hash::Sha256, &self.row)?;
        for part in parts {
            hmac.update(part);
        }
        match hmac.finish().first_chunk() {
            Some(mark) => Ok(u128::from_be_bytes(*mark)),
            None => fail!(CKR_GENERAL_ERROR, "an HMAC is too short"),
        }
    }
}

/// Where the tag and the nonce of a sealed value stand for all of it.
pub(super) fn fingerprint(sealed: &[u8]) -> Result<[u8; NONCE_LEN + TAG_LEN]> {
    match (
        sealed.first_chunk::<NONCE_LEN>(),
        sealed.last_chunk::<TAG_LEN>(),
    ) {
        (Some(nonce), Some(tag)) if sealed.len() >= NONCE_LEN + TAG_LEN => {
            let mut both = [0; NONCE_LEN + TAG_LEN];
            for (to, from) in both.iter_mut().zip(nonce.iter().chain(tag)) {
                *to = *from;
            }
            Ok(both)
        }
        _ => fail!(
            CKR_DEVICE_ERROR,
            "a record of the store is cut short; restore a backup"
        ),
    }
}

/// A secret that came in ordinary memory.
pub(super) fn wiped(mut bytes: Vec<u8>) -> Result<Secret> {
    let secret = Secret::copy_of(&bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    secret
}
