//! Ciphers with authentication by AWS-LC's interface for them, in one call: AES-GCM and
//! ChaCha20-Poly1305.

use super::super::{check_gcm, split_tag};
use super::ffi::{self, AeadState, check};
use super::internal;
use super::symmetric::key_size;
use crate::error::{Result, fail};
use crate::memory::{self, Secret};
use aws_lc_sys as c;
use cryptoki_sys::{
    CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID,
};

/// Tag of ChaCha20-Poly1305 (RFC 8439 2.8).
const POLY1305_TAG: usize = 16;

/// Encrypts with AES-GCM: `ciphertext ‖ tag`.
///
/// `CKR_KEY_SIZE_RANGE` unless the key has 16, 24 or 32 bytes; `CKR_MECHANISM_PARAM_INVALID`
/// unless the IV has 1 to 256 bytes and the tag 12 to 16.
pub fn gcm_seal(
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    tag_len: usize,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    ffi::begin();
    seal(&gcm(key, iv, tag_len)?, iv, aad, tag_len, plaintext)
}

/// Decrypts `ciphertext ‖ tag`.
///
/// `CKR_ENCRYPTED_DATA_INVALID` when the tag does not hold, and then nothing of the plaintext
/// remains in memory; `CKR_ENCRYPTED_DATA_LEN_RANGE` when the input is shorter than a tag; the rest
/// as [`gcm_seal`].
pub fn gcm_open(key: &[u8], iv: &[u8], aad: &[u8], tag_len: usize, input: &[u8]) -> Result<Secret> {
    ffi::begin();
    open(&gcm(key, iv, tag_len)?, iv, aad, tag_len, input)
}

fn gcm(key: &[u8], iv: &[u8], tag_len: usize) -> Result<AeadState> {
    check_gcm(iv, tag_len)?;
    // SAFETY: the calls have no preconditions and return static tables.
    let aead = unsafe {
        match key.len() {
            16 => c::EVP_aead_aes_128_gcm(),
            24 => c::EVP_aead_aes_192_gcm(),
            32 => c::EVP_aead_aes_256_gcm(),
            _ => return Err(key_size()),
        }
    };
    // SAFETY: the table is static and the one for this length of the key.
    unsafe { keyed(aead, key, tag_len) }
}

/// Encrypts with ChaCha20-Poly1305 (RFC 8439 2.8): `ciphertext ‖ tag`, which has 16 bytes.
///
/// `CKR_KEY_SIZE_RANGE` unless the key has 32 bytes; `CKR_MECHANISM_PARAM_INVALID` unless the nonce
/// has 12.
pub fn chacha_seal(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    ffi::begin();
    seal(&chacha(key, nonce)?, nonce, aad, POLY1305_TAG, plaintext)
}

/// Decrypts `ciphertext ‖ tag`; refuses as [`gcm_open`] and [`chacha_seal`].
pub fn chacha_open(key: &[u8], nonce: &[u8], aad: &[u8], input: &[u8]) -> Result<Secret> {
    ffi::begin();
    open(&chacha(key, nonce)?, nonce, aad, POLY1305_TAG, input)
}

fn chacha(key: &[u8], nonce: &[u8]) -> Result<AeadState> {
    if key.len() != 32 {
        return fail!(
            CKR_KEY_SIZE_RANGE,
            "a ChaCha20 key of {} bytes, not 32",
            key.len()
        );
    }
    if nonce.len() != 12 {
        return fail!(
            CKR_MECHANISM_PARAM_INVALID,
            "ChaCha20-Poly1305 takes a nonce of 12 bytes, not {}",
            nonce.len()
        );
    }
    // SAFETY: the call has no preconditions and returns a static table, for keys of 32 bytes.
    unsafe { keyed(c::EVP_aead_chacha20_poly1305(), key, POLY1305_TAG) }
}

/// # Safety
/// `aead` is a static table of AWS-LC for keys as long as `key`.
unsafe fn keyed(aead: *const c::EVP_AEAD, key: &[u8], tag_len: usize) -> Result<AeadState> {
    // SAFETY: `key` is readable for its length, which is the table's.
    let state = unsafe { c::EVP_AEAD_CTX_new(aead, key.as_ptr(), key.len(), tag_len) };
    if state.is_null() {
        return Err(internal("AWS-LC refused the key of an AEAD"));
    }
    AeadState::own(state)
}

fn seal(
    state: &AeadState,
    iv: &[u8],
    aad: &[u8],
    tag_len: usize,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let room = plaintext.len().saturating_add(tag_len);
    let mut sealed = memory::buffer(room)?;
    let mut len = 0;
    // SAFETY: the state is keyed, every input is readable for its length, and `sealed` has `room`
    // bytes; the call writes `len` of them.
    unsafe {
        let done = c::EVP_AEAD_CTX_seal(
            state.as_ptr(),
            sealed.as_mut_ptr(),
            &mut len,
            room,
            iv.as_ptr(),
            iv.len(),
            plaintext.as_ptr(),
            plaintext.len(),
            aad.as_ptr(),
            aad.len(),
        );
        check(
            done,
            CKR_DATA_LEN_RANGE,
            "one message of an AEAD is shorter than 64 GiB",
        )?;
        sealed.set_len(len);
    }
    Ok(sealed)
}

fn open(state: &AeadState, iv: &[u8], aad: &[u8], tag_len: usize, input: &[u8]) -> Result<Secret> {
    let (ciphertext, tag) = split_tag(input, tag_len)?;
    let mut plaintext = Secret::zeroed(ciphertext.len())?;
    // SAFETY: the state is keyed, every input is readable for its length, and `plaintext` is as
    // long as the ciphertext.
    let done = unsafe {
        c::EVP_AEAD_CTX_open_gather(
            state.as_ptr(),
            plaintext.as_mut_ptr(),
            iv.as_ptr(),
            iv.len(),
            ciphertext.as_ptr(),
            ciphertext.len(),
            tag.as_ptr(),
            tag.len(),
            aad.as_ptr(),
            aad.len(),
        )
    };
    check(
        done,
        CKR_ENCRYPTED_DATA_INVALID,
        "the tag of an AEAD does not hold",
    )?;
    Ok(plaintext)
}
