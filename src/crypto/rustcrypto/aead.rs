//! Ciphers with authentication, in one call: AES-GCM (SP 800-38D), AES-CCM (SP 800-38C) and
//! ChaCha20-Poly1305 (RFC 8439).

use super::super::split_tag;
use super::cipher::{Aes, Block, Step, stream, with_key};
use crate::error::{Error, Result, fail};
use crate::memory::{self, Secret};
use ::ccm::aead::{AeadCore, AeadInOut, Nonce, Tag};
use ::ccm::consts::{U4, U6, U7, U8, U9, U10, U11, U12, U13, U14, U16};
use ::ccm::{Ccm, NonceSize, TagSize};
use aes::{Aes128, Aes192, Aes256};
use chacha20poly1305::ChaCha20Poly1305;
use cipher::array::{Array, ArraySize};
use cipher::{KeyInit, KeyIvInit, StreamCipher};
use cryptoki_sys::{
    CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID, CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE,
    CKR_MECHANISM_PARAM_INVALID,
};
use ghash::{GHash, universal_hash::UniversalHash};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Encrypts `plaintext` and authenticates it with `aad`: `ciphertext ‖ tag`.
///
/// `CKR_KEY_SIZE_RANGE` for no key size of AES; `CKR_MECHANISM_PARAM_INVALID` for an IV that is
/// not 1 to 256 bytes, or a tag that is not 12 to 16.
pub fn gcm_seal(
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    tag_len: usize,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let mut gcm = Gcm::new(key, iv, tag_len)?;
    let mut sealed = room_for(plaintext, tag_len)?;
    (gcm.keystream)(&mut sealed)?;
    let tag = gcm.tag(aad, &sealed);
    sealed.extend(tag.iter().take(tag_len));
    Ok(sealed)
}

/// Decrypts `ciphertext ‖ tag` once the tag holds, else `CKR_ENCRYPTED_DATA_INVALID`;
/// `CKR_ENCRYPTED_DATA_LEN_RANGE` when the input is shorter than a tag. The other refusals are
/// those of [`gcm_seal`].
pub fn gcm_open(key: &[u8], iv: &[u8], aad: &[u8], tag_len: usize, input: &[u8]) -> Result<Secret> {
    let mut gcm = Gcm::new(key, iv, tag_len)?;
    let (ciphertext, tag) = split_tag(input, tag_len)?;
    let expected = gcm.tag(aad, ciphertext);
    let expected = expected.get(..tag_len).unwrap_or_default();
    if !bool::from(expected.ct_eq(tag)) {
        return fail!(
            CKR_ENCRYPTED_DATA_INVALID,
            "the AES-GCM tag does not fit the key, the IV and the data"
        );
    }
    let mut plaintext = Secret::copy_of(ciphertext)?;
    (gcm.keystream)(&mut plaintext)?;
    Ok(plaintext)
}

/// GCM from its two halves, CTR and GHASH: the AEAD crate has the length of the IV in a type, and
/// PKCS #11 leaves it to the caller (`CK_GCM_PARAMS`).
struct Gcm {
    keystream: Step,
    ghash: GHash,
    /// The keystream of the first counter block, for the tag alone.
    mask: Block,
}

impl Gcm {
    fn new(key: &[u8], iv: &[u8], tag_len: usize) -> Result<Self> {
        if !(1..=256).contains(&iv.len()) || !(12..=16).contains(&tag_len) {
            return fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "AES-GCM takes an IV of 1 to 256 bytes and a tag of 12 to 16, not {} and {}",
                iv.len(),
                tag_len
            );
        }
        with_key!(key, gcm(key, iv))
    }

    /// The tag at its full length (SP 800-38D 7.1 steps 4 to 6).
    fn tag(&self, aad: &[u8], ciphertext: &[u8]) -> Block {
        let mut ghash = self.ghash.clone();
        ghash.update_padded(aad);
        ghash.update_padded(ciphertext);
        ghash.update(&[lengths(aad, ciphertext)]);
        let mut tag = ghash.finalize();
        for (byte, mask) in tag.iter_mut().zip(&self.mask) {
            *byte ^= mask;
        }
        tag
    }
}

fn gcm<A: Aes>(key: &[u8], iv: &[u8]) -> Result<Gcm> {
    let refused = |_| Error::new(CKR_GENERAL_ERROR, "AES refused its key or IV");
    let mut hash_key = Zeroizing::new(Block::default());
    A::new_from_slice(key)
        .map_err(refused)?
        .encrypt_block(&mut hash_key);
    let ghash = GHash::new(&hash_key);

    let mut keystream =
        ctr::Ctr32BE::<A>::new_from_slices(key, &first_counter(&ghash, iv)).map_err(refused)?;
    let mut mask = Block::default();
    keystream.apply_keystream(&mut mask);
    Ok(Gcm {
        keystream: stream(keystream),
        ghash,
        mask,
    })
}

/// The first counter block (SP 800-38D 7.1 step 2).
fn first_counter(ghash: &GHash, iv: &[u8]) -> Block {
    if iv.len() == 12 {
        let mut block = Block::default();
        let bytes = iv.iter().chain(&[0, 0, 0, 1]);
        for (to, from) in block.iter_mut().zip(bytes) {
            *to = *from;
        }
        return block;
    }
    let mut ghash = ghash.clone();
    ghash.update_padded(iv);
    ghash.update(&[lengths(&[], iv)]);
    ghash.finalize()
}

/// The lengths in bits of two inputs of GHASH, 64 bits each.
fn lengths(first: &[u8], second: &[u8]) -> Block {
    let bits = |data: &[u8]| 8 * data.len() as u128;
    Array((bits(first) << 64 | bits(second)).to_be_bytes())
}

/// A copy of `plaintext`, with room for the tag after it.
fn room_for(plaintext: &[u8], tag_len: usize) -> Result<Vec<u8>> {
    let mut sealed = memory::buffer(plaintext.len().saturating_add(tag_len))?;
    sealed.extend_from_slice(plaintext);
    Ok(sealed)
}

/// `ciphertext ‖ tag` by an AEAD of the crates.
fn seal<A: AeadInOut>(aead: &A, nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut sealed = room_for(plaintext, size_of::<Tag<A>>())?;
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

/// Decrypts `ciphertext ‖ tag`; refuses as [`gcm_open`] and [`chacha_seal`].
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

/// Decrypts `ciphertext ‖ tag`; refuses as [`gcm_open`] and [`ccm_seal`].
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
