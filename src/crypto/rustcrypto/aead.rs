//! Ciphers with authentication by the crates for them, in one call: AES-CCM (SP 800-38C) and
//! ChaCha20-Poly1305 (RFC 8439).

use super::super::split_tag;
use super::cipher::Aes;
use crate::error::{Error, Result, fail};
use crate::memory::{self, Secret};
use ::ccm::aead::{AeadCore, AeadInOut, Nonce, Tag};
use ::ccm::consts::{U4, U6, U7, U8, U9, U10, U11, U12, U13, U14, U16};
use ::ccm::{Ccm, NonceSize, TagSize};
use aes::{Aes128, Aes192, Aes256};
use chacha20poly1305::ChaCha20Poly1305;
use cipher::KeyInit;
use cipher::array::ArraySize;
use cryptoki_sys::{
    CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID, CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE,
    CKR_MECHANISM_PARAM_INVALID,
};

/// `ciphertext ‖ tag` by an AEAD of the crates.
fn seal<A: AeadInOut>(aead: &A, nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut sealed = memory::buffer(plaintext.len().saturating_add(size_of::<Tag<A>>()))?;
    sealed.extend_from_slice(plaintext);
    let tag = aead
        .encrypt_inout_detached(nonce_of::<A>(nonce)?, aad, sealed.as_mut_slice().into())
        .map_err(|_| Error::new(CKR_DATA_LEN_RANGE, "the message is too long for its AEAD"))?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// The plaintext of `ciphertext ‖ tag`.
fn open<A: AeadInOut>(aead: &A, nonce: &[u8], aad: &[u8], input: &[u8]) -> Result<Secret> {
    let (ciphertext, tag) = split_tag(input, size_of::<Tag<A>>())?;
    let mut plaintext = Secret::copy_of(ciphertext)?;
    let refused = |_| {
        Error::new(
            CKR_ENCRYPTED_DATA_INVALID,
            "the tag of an AEAD does not hold",
        )
    };
    let tag = <&Tag<A>>::try_from(tag)
        .map_err(|_| Error::new(CKR_GENERAL_ERROR, "a tag of another length"))?;
    aead.decrypt_inout_detached(nonce_of::<A>(nonce)?, aad, (&mut *plaintext).into(), tag)
        .map_err(refused)?;
    Ok(plaintext)
}

fn nonce_of<A: AeadCore>(nonce: &[u8]) -> Result<&Nonce<A>> {
    nonce.try_into().map_err(|_| {
        Error::new(
            CKR_MECHANISM_PARAM_INVALID,
            format!("an AEAD takes no nonce of {} bytes", nonce.len()),
        )
    })
}

/// Encrypts with ChaCha20-Poly1305: `ciphertext ‖ tag`, which has 16 bytes.
///
/// `CKR_KEY_SIZE_RANGE` unless the key has 32 bytes; `CKR_MECHANISM_PARAM_INVALID` unless the nonce
/// has 12.
pub fn chacha_seal(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    seal(&chacha(key)?, nonce, aad, plaintext)
}

/// Decrypts `ciphertext ‖ tag`; refuses as [`gcm_open`](super::gcm_open) and [`chacha_seal`].
pub fn chacha_open(key: &[u8], nonce: &[u8], aad: &[u8], input: &[u8]) -> Result<Secret> {
    let chacha = chacha(key)?;
    nonce_of::<ChaCha20Poly1305>(nonce)?;
    open(&chacha, nonce, aad, input)
}

fn chacha(key: &[u8]) -> Result<ChaCha20Poly1305> {
    ChaCha20Poly1305::new_from_slice(key).map_err(|_| {
        Error::new(
            CKR_KEY_SIZE_RANGE,
            format!("a ChaCha20 key of {} bytes, not 32", key.len()),
        )
    })
}

/// Calls a function that is generic over [`Aes`] and the lengths of CCM's nonce and tag, which the
/// crate has in its types.
macro_rules! with_lengths {
    ($key:expr, $nonce:expr, $tag_len:expr, $function:ident($($argument:expr),*)) => {
        match $key.len() {
            16 => with_lengths!(@nonce $nonce, $tag_len, $function, Aes128, ($($argument),*)),
            24 => with_lengths!(@nonce $nonce, $tag_len, $function, Aes192, ($($argument),*)),
            32 => with_lengths!(@nonce $nonce, $tag_len, $function, Aes256, ($($argument),*)),
            len => fail!(CKR_KEY_SIZE_RANGE, "an AES key of {len} bytes, not 16, 24 or 32"),
        }
    };
    (@nonce $nonce:expr, $tag_len:expr, $function:ident, $aes:ty, $arguments:tt) => {
        match $nonce.len() {
            7 => with_lengths!(@tag $tag_len, $function, $aes, U7, $arguments),
            8 => with_lengths!(@tag $tag_len, $function, $aes, U8, $arguments),
            9 => with_lengths!(@tag $tag_len, $function, $aes, U9, $arguments),
            10 => with_lengths!(@tag $tag_len, $function, $aes, U10, $arguments),
            11 => with_lengths!(@tag $tag_len, $function, $aes, U11, $arguments),
            12 => with_lengths!(@tag $tag_len, $function, $aes, U12, $arguments),
            13 => with_lengths!(@tag $tag_len, $function, $aes, U13, $arguments),
            len => fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "AES-CCM takes a nonce of 7 to 13 bytes, not {len}"
            ),
        }
    };
    (@tag $tag_len:expr, $function:ident, $aes:ty, $nonce:ty, ($($argument:expr),*)) => {
        match $tag_len {
            4 => $function::<$aes, U4, $nonce>($($argument),*),
            6 => $function::<$aes, U6, $nonce>($($argument),*),
            8 => $function::<$aes, U8, $nonce>($($argument),*),
            10 => $function::<$aes, U10, $nonce>($($argument),*),
            12 => $function::<$aes, U12, $nonce>($($argument),*),
            14 => $function::<$aes, U14, $nonce>($($argument),*),
            16 => $function::<$aes, U16, $nonce>($($argument),*),
            len => fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "AES-CCM takes a tag of 4 to 16 bytes, even, not {len}"
            ),
        }
    };
}

/// Encrypts with AES-CCM: `ciphertext ‖ tag`.
///
/// `CKR_KEY_SIZE_RANGE` for no key size of AES; `CKR_MECHANISM_PARAM_INVALID` unless the nonce has 7
/// to 13 bytes and the tag 4, 6, 8, 10, 12, 14 or 16; `CKR_DATA_LEN_RANGE` when the bytes that the
/// nonce leaves cannot tell the length of the plaintext.
pub fn ccm_seal(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    tag_len: usize,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    with_lengths!(key, nonce, tag_len, seal_ccm(key, nonce, aad, plaintext))
}

/// Decrypts `ciphertext ‖ tag`; refuses as [`gcm_open`](super::gcm_open) and [`ccm_seal`].
pub fn ccm_open(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    tag_len: usize,
    input: &[u8],
) -> Result<Secret> {
    with_lengths!(key, nonce, tag_len, open_ccm(key, nonce, aad, input))
}

fn ccm<A: Aes, T: ArraySize + TagSize, N: ArraySize + NonceSize>(
    key: &[u8],
    nonce: &[u8],
    len: usize,
) -> Result<Ccm<A, T, N>> {
    // SP 800-38C A.1: the length stands in the bytes that the nonce leaves of 15.
    let bits = 8 * 15usize.saturating_sub(nonce.len()) as u32;
    if len.checked_shr(bits).unwrap_or(0) > 0 {
        return fail!(
            CKR_DATA_LEN_RANGE,
            "AES-CCM with a nonce of {} bytes takes no message of {len} bytes",
            nonce.len()
        );
    }
    Ccm::new_from_slice(key).map_err(|_| Error::new(CKR_GENERAL_ERROR, "AES refused its key"))
}

fn seal_ccm<A: Aes, T: ArraySize + TagSize, N: ArraySize + NonceSize>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let ccm = ccm::<A, T, N>(key, nonce, plaintext.len())?;
    seal(&ccm, nonce, aad, plaintext)
}

fn open_ccm<A: Aes, T: ArraySize + TagSize, N: ArraySize + NonceSize>(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    input: &[u8],
) -> Result<Secret> {
    let len = input.len().saturating_sub(T::USIZE);
    open(&ccm::<A, T, N>(key, nonce, len)?, nonce, aad, input)
}
