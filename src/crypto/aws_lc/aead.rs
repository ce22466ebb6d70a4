//! Ciphers with authentication, in one call: AES-GCM, AES-CCM and ChaCha20-Poly1305.

use super::super::split_tag;
use super::ffi::{self, AeadState, CipherState, check, refused};
use super::internal;
use super::symmetric::key_size;
use crate::error::{Result, fail};
use crate::memory::{self, Secret};
use aws_lc_sys as c;
use cryptoki_sys::{
    CK_RV, CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID, CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE,
    CKR_MECHANISM_PARAM_INVALID,
};
use std::ffi::c_int;
use std::ptr;

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
    if !(1..=256).contains(&iv.len()) || !(12..=16).contains(&tag_len) {
        return fail!(
            CKR_MECHANISM_PARAM_INVALID,
            "AES-GCM takes an IV of 1 to 256 bytes and a tag of 12 to 16, not {} and {tag_len}",
            iv.len()
        );
    }
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

/// Encrypts with AES-CCM (SP 800-38C): `ciphertext ‖ tag`.
///
/// `CKR_KEY_SIZE_RANGE` unless the key has 16, 24 or 32 bytes; `CKR_MECHANISM_PARAM_INVALID` unless
/// the nonce has 7 to 13 bytes and the tag 4, 6, 8, 10, 12, 14 or 16; `CKR_DATA_LEN_RANGE` when the
/// bytes that the nonce leaves cannot tell the length of the plaintext.
pub fn ccm_seal(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    tag_len: usize,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    ffi::begin();
    let state = Ccm::new(key, nonce, plaintext.len(), tag_len, None)?;
    let room = plaintext.len().saturating_add(tag_len);
    let mut sealed = memory::buffer(room)?;
    sealed.resize(room, 0);
    let (ciphertext, tag) = sealed.split_at_mut(plaintext.len());
    state.take_aad(aad)?;
    state.run(plaintext, ciphertext, CKR_GENERAL_ERROR)?;
    state.control(c::EVP_CTRL_AEAD_GET_TAG, tag_len, tag.as_mut_ptr())?;
    Ok(sealed)
}

/// Decrypts `ciphertext ‖ tag`; refuses as [`gcm_open`] and [`ccm_seal`].
pub fn ccm_open(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    tag_len: usize,
    input: &[u8],
) -> Result<Secret> {
    ffi::begin();
    check_ccm(key, nonce, tag_len)?;
    let (ciphertext, tag) = split_tag(input, tag_len)?;
    let state = Ccm::new(key, nonce, ciphertext.len(), tag_len, Some(tag))?;
    let mut plaintext = Secret::zeroed(ciphertext.len())?;
    state.take_aad(aad)?;
    state.run(ciphertext, &mut plaintext, CKR_ENCRYPTED_DATA_INVALID)?;
    Ok(plaintext)
}

fn check_ccm(key: &[u8], nonce: &[u8], tag_len: usize) -> Result<()> {
    if !matches!(key.len(), 16 | 24 | 32) {
        return Err(key_size());
    }
    if !(7..=13).contains(&nonce.len()) || !matches!(tag_len, 4 | 6 | 8 | 10 | 12 | 14 | 16) {
        return fail!(
            CKR_MECHANISM_PARAM_INVALID,
            "AES-CCM takes a nonce of 7 to 13 bytes and a tag of 4 to 16, even, not {} and {tag_len}",
            nonce.len()
        );
    }
    Ok(())
}

/// AES-CCM over one message: AWS-LC has no AEAD object for it but for two fixed pairs of lengths.
struct Ccm(CipherState);

impl Ccm {
    /// `tag` is the expected one, to decrypt; `None` to encrypt.
    fn new(
        key: &[u8],
        nonce: &[u8],
        len: usize,
        tag_len: usize,
        tag: Option<&[u8]>,
    ) -> Result<Self> {
        check_ccm(key, nonce, tag_len)?;
        // SP 800-38C A.1: the length stands in the bytes that the nonce leaves of 15; and AWS-LC
        // counts in an int.
        let bits = 8 * (15 - nonce.len()) as u32;
        if u64::try_from(len).is_ok_and(|len| len.checked_shr(bits).unwrap_or(0) > 0)
            || c_int::try_from(len).is_err()
        {
            return fail!(
                CKR_DATA_LEN_RANGE,
                "AES-CCM with a nonce of {} bytes takes no message of {len} bytes",
                nonce.len()
            );
        }
        // SAFETY: the calls have no preconditions and return static tables.
        let cipher = unsafe {
            match key.len() {
                16 => c::EVP_aes_128_ccm(),
                24 => c::EVP_aes_192_ccm(),
                _ => c::EVP_aes_256_ccm(),
            }
        };
        let encrypt = c_int::from(tag.is_none());
        // SAFETY: the constructor has no preconditions.
        let state = Self(CipherState::own(unsafe { c::EVP_CIPHER_CTX_new() })?);
        let begin = |cipher, key, nonce| {
            // SAFETY: the state is live; key and nonce are null or have the lengths that were set.
            let done = unsafe {
                c::EVP_CipherInit_ex(
                    state.0.as_ptr(),
                    cipher,
                    ptr::null_mut(),
                    key,
                    nonce,
                    encrypt,
                )
            };
            check(done, CKR_GENERAL_ERROR, "AWS-LC refused an AES-CCM key")
        };
        begin(cipher, ptr::null(), ptr::null())?;
        state.control(c::EVP_CTRL_AEAD_SET_IVLEN, nonce.len(), ptr::null_mut())?;
        let tag = tag.map_or(ptr::null(), <[u8]>::as_ptr);
        state.control(c::EVP_CTRL_AEAD_SET_TAG, tag_len, tag.cast_mut())?;
        begin(ptr::null(), key.as_ptr(), nonce.as_ptr())?;
        // SAFETY: without input and output the call takes the length of the message.
        let done = unsafe { c::EVP_Cipher(state.0.as_ptr(), ptr::null_mut(), ptr::null(), len) };
        succeeded(
            done,
            CKR_GENERAL_ERROR,
            "AWS-LC refused a length of AES-CCM",
        )?;
        Ok(state)
    }

    /// `value` is null, or has `len` bytes, which the command reads or, where it asks for the tag,
    /// writes.
    fn control(&self, command: c_int, len: usize, value: *mut u8) -> Result<()> {
        let len = c_int::try_from(len).unwrap_or(-1);
        // SAFETY: the state is live, and `value` as its callers above say.
        let done = unsafe { c::EVP_CIPHER_CTX_ctrl(self.0.as_ptr(), command, len, value.cast()) };
        check(
            done,
            CKR_GENERAL_ERROR,
            "AWS-LC refused a setting of AES-CCM",
        )
    }

    fn take_aad(&self, aad: &[u8]) -> Result<()> {
        if aad.is_empty() {
            return Ok(());
        }
        // SAFETY: without output the call takes `aad` for additional data, readable for its length.
        let done =
            unsafe { c::EVP_Cipher(self.0.as_ptr(), ptr::null_mut(), aad.as_ptr(), aad.len()) };
        succeeded(
            done,
            CKR_MECHANISM_PARAM_INVALID,
            "the additional data of AES-CCM is shorter than 2 GiB",
        )
    }

    /// From `input` to `output`, which is as long; `rv` where that does not succeed.
    fn run(&self, input: &[u8], output: &mut [u8], rv: CK_RV) -> Result<()> {
        // SAFETY: both are as long as the length that was set. Neither pointer is null.
        let done = unsafe {
            c::EVP_Cipher(
                self.0.as_ptr(),
                output.as_mut_ptr(),
                input.as_ptr(),
                input.len(),
            )
        };
        succeeded(done, rv, "the tag of an AES-CCM ciphertext does not hold")
    }
}

/// AES-CCM returns a number of bytes, or -1.
fn succeeded(done: c_int, rv: CK_RV, reason: &'static str) -> Result<()> {
    if done < 0 {
        return Err(refused(rv, reason));
    }
    Ok(())
}
