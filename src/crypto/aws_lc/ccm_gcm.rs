//! AES-CCM, and AES-GCM that gives its ciphertext piece by piece: AWS-LC has both in the interface of its
//! plain ciphers.

use super::super::{check_gcm, split_tag};
use super::ffi::{self, CipherState, check, refused};
use super::symmetric::key_size;
use crate::error::{Result, fail};
use crate::memory::{self, Secret};
use aws_lc_sys as c;
use cryptoki_sys::{
    CK_RV, CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID, CKR_GENERAL_ERROR,
    CKR_MECHANISM_PARAM_INVALID,
};
use std::ffi::c_int;
use std::ptr;

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
    let state = begin_ccm(key, nonce, plaintext.len(), tag_len, None)?;
    let room = plaintext.len().saturating_add(tag_len);
    let mut sealed = memory::buffer(room)?;
    sealed.resize(room, 0);
    let (ciphertext, tag) = sealed.split_at_mut(plaintext.len());
    state.authenticate(aad)?;
    state.run(plaintext, ciphertext, CKR_GENERAL_ERROR)?;
    state.control(c::EVP_CTRL_AEAD_GET_TAG, tag_len, tag.as_mut_ptr())?;
    Ok(sealed)
}

/// Decrypts `ciphertext ‖ tag`; refuses as [`gcm_open`](super::gcm_open) and [`ccm_seal`].
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
    let state = begin_ccm(key, nonce, ciphertext.len(), tag_len, Some(tag))?;
    let mut plaintext = Secret::zeroed(ciphertext.len())?;
    state.authenticate(aad)?;
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

fn begin_ccm(
    key: &[u8],
    nonce: &[u8],
    len: usize,
    tag_len: usize,
    tag: Option<&[u8]>,
) -> Result<Running> {
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
    let state = Running::new(cipher, tag.is_none(), nonce.len())?;
    // An expected tag is read; of one that is made, this sets the length.
    let tag = tag.map_or(ptr::null(), <[u8]>::as_ptr);
    state.control(c::EVP_CTRL_AEAD_SET_TAG, tag_len, tag.cast_mut())?;
    // SAFETY: the table is the one for this length of the key, and the nonce's was set.
    unsafe { state.start(key, nonce)? };
    // SAFETY: without input and output the call takes the length of the message.
    let done = unsafe { c::EVP_Cipher(state.state.as_ptr(), ptr::null_mut(), ptr::null(), len) };
    succeeded(
        done,
        CKR_GENERAL_ERROR,
        "AWS-LC refused a length of AES-CCM",
    )?;
    Ok(state)
}

/// An encryption with AES-GCM of a message that comes in pieces.
pub struct GcmSealing(Running);

// SAFETY: the state is plain memory that no thread but the owner of `GcmSealing` reaches.
unsafe impl Send for GcmSealing {}

impl GcmSealing {
    /// Begins; refuses as [`gcm_seal`](super::gcm_seal).
    pub fn new(key: &[u8], iv: &[u8], aad: &[u8], tag_len: usize) -> Result<Self> {
        ffi::begin();
        check_gcm(iv, tag_len)?;
        // SAFETY: the calls have no preconditions and return static tables.
        let cipher = unsafe {
            match key.len() {
                16 => c::EVP_aes_128_gcm(),
                24 => c::EVP_aes_192_gcm(),
                32 => c::EVP_aes_256_gcm(),
                _ => return Err(key_size()),
            }
        };
        let state = Running::new(cipher, true, iv.len())?;
        // SAFETY: the table is the one for this length of the key, and the IV's was set.
        unsafe { state.start(key, iv)? };
        state.authenticate(aad)?;
        Ok(Self(state))
    }

    /// Encrypts the next piece, whose ciphertext goes to the end of `sealed`. `CKR_DATA_LEN_RANGE` for more
    /// than SP 800-38D 5.2.1.1 lets one message be; `CKR_HOST_MEMORY`.
    pub fn update(&mut self, data: &[u8], sealed: &mut Vec<u8>) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        sealed.try_reserve(data.len()).map_err(memory::short)?;
        // SAFETY: the state was started; `data` is readable for its length, and `sealed` has room for as
        // much behind its end, which the call fills.
        unsafe {
            let done = c::EVP_Cipher(
                self.0.state.as_ptr(),
                sealed.spare_capacity_mut().as_mut_ptr().cast(),
                data.as_ptr(),
                data.len(),
            );
            succeeded(
                done,
                CKR_DATA_LEN_RANGE,
                "one message of AES-GCM is shorter than 64 GiB",
            )?;
            sealed.set_len(sealed.len() + data.len());
        }
        Ok(())
    }

    /// The tag, at its full length.
    pub fn finish(self) -> Result<[u8; 16]> {
        let state = &self.0;
        // SAFETY: without input the call ends the message and writes no output.
        let done = unsafe { c::EVP_Cipher(state.state.as_ptr(), ptr::null_mut(), ptr::null(), 0) };
        succeeded(done, CKR_GENERAL_ERROR, "AWS-LC did not end AES-GCM")?;
        let mut tag = [0; 16];
        state.control(c::EVP_CTRL_AEAD_GET_TAG, tag.len(), tag.as_mut_ptr())?;
        Ok(tag)
    }
}

/// One message under way.
struct Running {
    state: CipherState,
    encrypt: c_int,
}

impl Running {
    /// With a cipher that takes nonces of any length, and no key yet. `cipher` is a static table.
    fn new(cipher: *const c::EVP_CIPHER, encrypt: bool, nonce_len: usize) -> Result<Self> {
        let new = Self {
            // SAFETY: the constructor has no preconditions.
            state: CipherState::own(unsafe { c::EVP_CIPHER_CTX_new() })?,
            encrypt: c_int::from(encrypt),
        };
        // SAFETY: the table is static, and there is neither key nor nonce to read.
        unsafe { new.init(cipher, ptr::null(), ptr::null())? };
        new.control(c::EVP_CTRL_AEAD_SET_IVLEN, nonce_len, ptr::null_mut())?;
        Ok(new)
    }

    /// Takes key and nonce.
    ///
    /// # Safety
    /// They have the lengths that the cipher reads.
    unsafe fn start(&self, key: &[u8], nonce: &[u8]) -> Result<()> {
        // SAFETY: by the contract above; a null cipher stands for the one that is there.
        unsafe { self.init(ptr::null(), key.as_ptr(), nonce.as_ptr()) }
    }

    /// # Safety
    /// Each pointer is null or as AWS-LC reads it.
    unsafe fn init(
        &self,
        cipher: *const c::EVP_CIPHER,
        key: *const u8,
        nonce: *const u8,
    ) -> Result<()> {
        // SAFETY: the state is live; the rest is the contract above.
        let done = unsafe {
            c::EVP_CipherInit_ex(
                self.state.as_ptr(),
                cipher,
                ptr::null_mut(),
                key,
                nonce,
                self.encrypt,
            )
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC refused the key of an AEAD")
    }

    /// `value` is null, or has `len` bytes, which the command reads or, where it asks for the tag,
    /// writes.
    fn control(&self, command: c_int, len: usize, value: *mut u8) -> Result<()> {
        let len = c_int::try_from(len).unwrap_or(-1);
        // SAFETY: the state is live, and `value` as its callers above say.
        let done =
            unsafe { c::EVP_CIPHER_CTX_ctrl(self.state.as_ptr(), command, len, value.cast()) };
        check(
            done,
            CKR_GENERAL_ERROR,
            "AWS-LC refused a setting of an AEAD",
        )
    }

    fn authenticate(&self, aad: &[u8]) -> Result<()> {
        if aad.is_empty() {
            return Ok(());
        }
        // SAFETY: without output the call takes `aad` for additional data, readable for its length.
        let done = unsafe {
            c::EVP_Cipher(
                self.state.as_ptr(),
                ptr::null_mut(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        succeeded(
            done,
            CKR_MECHANISM_PARAM_INVALID,
            "the additional data of an AEAD is shorter than 2 GiB",
        )
    }

    /// All of CCM's message from `input` to `output`, which is as long; `rv` where that does not succeed.
    fn run(&self, input: &[u8], output: &mut [u8], rv: CK_RV) -> Result<()> {
        // SAFETY: both are as long as the length that was set. Neither pointer is null.
        let done = unsafe {
            c::EVP_Cipher(
                self.state.as_ptr(),
                output.as_mut_ptr(),
                input.as_ptr(),
                input.len(),
            )
        };
        succeeded(done, rv, "the tag of an AES-CCM ciphertext does not hold")
    }
}

/// These ciphers return a number of bytes, or -1.
fn succeeded(done: c_int, rv: CK_RV, reason: &'static str) -> Result<()> {
    if done < 0 {
        return Err(refused(rv, reason));
    }
    Ok(())
}
