//! AES: the plain modes in place, and Key Wrap; one block of Triple DES.

use super::super::{CipherMode, Direction, keywrap};
use super::ffi::{self, CipherState, check, refused};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::{
    CKR_DATA_LEN_RANGE, CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID,
};
use std::ffi::c_int;
use std::ptr;

const BLOCK: usize = 16;
const TDES_KEY: usize = 24;

/// A running AES cipher without padding.
pub struct Cipher {
    state: CipherState,
    whole_blocks: bool,
}

// SAFETY: the state is plain memory that no thread but the owner of `Cipher` reaches.
unsafe impl Send for Cipher {}

impl Cipher {
    /// Starts a cipher.
    ///
    /// `CKR_KEY_SIZE_RANGE` unless the key has 16, 24 or 32 bytes; `CKR_MECHANISM_PARAM_INVALID`
    /// unless the IV is empty for ECB and 16 bytes for the others.
    pub fn new(mode: CipherMode, direction: Direction, key: &[u8], iv: &[u8]) -> Result<Self> {
        ffi::begin();
        // SAFETY: the calls have no preconditions and return static tables.
        let cipher = unsafe {
            match (mode, key.len()) {
                (CipherMode::Ecb, 16) => c::EVP_aes_128_ecb(),
                (CipherMode::Ecb, 24) => c::EVP_aes_192_ecb(),
                (CipherMode::Ecb, 32) => c::EVP_aes_256_ecb(),
                (CipherMode::Cbc, 16) => c::EVP_aes_128_cbc(),
                (CipherMode::Cbc, 24) => c::EVP_aes_192_cbc(),
                (CipherMode::Cbc, 32) => c::EVP_aes_256_cbc(),
                (CipherMode::Ctr, 16) => c::EVP_aes_128_ctr(),
                (CipherMode::Ctr, 24) => c::EVP_aes_192_ctr(),
                (CipherMode::Ctr, 32) => c::EVP_aes_256_ctr(),
                _ => return Err(key_size()),
            }
        };
        Ok(Self {
            // SAFETY: the table is the one for this length of the key.
            state: unsafe { start(cipher, direction, key, iv)? },
            whole_blocks: mode != CipherMode::Ctr,
        })
    }

    /// Encrypts or decrypts `data` in place, and goes on where the last call ended. ECB and CBC
    /// take whole blocks, else `CKR_DATA_LEN_RANGE`.
    pub fn update(&mut self, data: &mut [u8]) -> Result<()> {
        if self.whole_blocks && !data.len().is_multiple_of(BLOCK) {
            return fail!(CKR_DATA_LEN_RANGE, "this AES mode takes whole blocks");
        }
        step(&self.state, data)
    }
}

/// Encrypts or decrypts the whole of `data` in place with AES in cipher feedback mode, 128 bits at a
/// time (CFB128, SP 800-38A 6.3). Any length: of the last block as much counts as there is.
///
/// `CKR_KEY_SIZE_RANGE` unless the key has 16, 24 or 32 bytes; `CKR_MECHANISM_PARAM_INVALID` unless
/// the IV has 16.
pub fn cfb(direction: Direction, key: &[u8], iv: &[u8], data: &mut [u8]) -> Result<()> {
    ffi::begin();
    // SAFETY: the calls have no preconditions and return static tables.
    let cipher = unsafe {
        match key.len() {
            16 => c::EVP_aes_128_cfb128(),
            24 => c::EVP_aes_192_cfb128(),
            32 => c::EVP_aes_256_cfb128(),
            _ => return Err(key_size()),
        }
    };
    // SAFETY: the table is the one for this length of the key.
    let state = unsafe { start(cipher, direction, key, iv)? };
    step(&state, data)
}

/// Encrypts or decrypts one block in place with Triple DES (SP 800-67 3; ECB, SP 800-38A 6.1), for
/// the administration of smart cards alone: old PIV cards keep such a key (SP 800-78-4 5).
///
/// `CKR_KEY_SIZE_RANGE` unless the key has 24 bytes; one of two keys is `K1 ‖ K2 ‖ K1`. Equal keys
/// and wrong parity bits are the card's affair: PIV cards leave the factory with such keys.
pub fn tdes_block(direction: Direction, key: &[u8], block: &mut [u8; 8]) -> Result<()> {
    ffi::begin();
    if key.len() != TDES_KEY {
        return fail!(
            CKR_KEY_SIZE_RANGE,
            "a Triple DES key of {} bytes, not {TDES_KEY}",
            key.len()
        );
    }
    // Not DES_ecb3_encrypt: its key schedules would be ours to wipe; those of the state stand in its
    // memory, which is wiped when it is freed.
    // SAFETY: the call has no preconditions and returns a static table, the one for this length of
    // the key.
    let state = unsafe { start(c::EVP_des_ede3_ecb(), direction, key, &[])? };
    step(&state, block)
}

/// A cipher that has its key and IV; `CKR_MECHANISM_PARAM_INVALID` unless the IV has the length of
/// the mode.
///
/// # Safety
/// `cipher` is a static table of AWS-LC for keys as long as `key`.
unsafe fn start(
    cipher: *const c::EVP_CIPHER,
    direction: Direction,
    key: &[u8],
    iv: &[u8],
) -> Result<CipherState> {
    // SAFETY: the table is static by the contract above.
    let iv_len = unsafe { c::EVP_CIPHER_iv_length(cipher) } as usize;
    if iv.len() != iv_len {
        return fail!(
            CKR_MECHANISM_PARAM_INVALID,
            "the IV of this mode has {iv_len} bytes, not {}",
            iv.len()
        );
    }
    // SAFETY: the constructor has no preconditions.
    let state = CipherState::own(unsafe { c::EVP_CIPHER_CTX_new() })?;
    // SAFETY: the state is live; key and IV have the lengths that the cipher reads.
    let done = unsafe {
        c::EVP_CipherInit_ex(
            state.as_ptr(),
            cipher,
            ptr::null_mut(),
            key.as_ptr(),
            iv.as_ptr(),
            c_int::from(direction == Direction::Encrypt),
        )
    };
    check(
        done,
        CKR_GENERAL_ERROR,
        "AWS-LC refused the key of a cipher",
    )?;
    Ok(state)
}

/// Encrypts or decrypts `data`, which fits the mode, in place.
fn step(state: &CipherState, data: &mut [u8]) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    // SAFETY: the state was started; input and output are the same bytes, which AWS-LC allows.
    let done =
        unsafe { c::EVP_Cipher(state.as_ptr(), data.as_mut_ptr(), data.as_ptr(), data.len()) };
    check(done, CKR_GENERAL_ERROR, "AWS-LC broke off a cipher")
}

/// Wraps `data` under `kek` as [`keywrap::wrap`] says. `CKR_KEY_SIZE_RANGE` unless `kek` has 16, 24 or
/// 32 bytes.
pub fn key_wrap(padded: bool, kek: &[u8], iv: Option<&[u8]>, data: &[u8]) -> Result<Vec<u8>> {
    let mut aes = Cipher::new(CipherMode::Ecb, Direction::Encrypt, kek, &[])?;
    keywrap::wrap(|block| aes.update(block), padded, iv, data)
}

/// Unwraps `wrapped` under `kek` as [`keywrap::unwrap`] says. `CKR_KEY_SIZE_RANGE` unless `kek` has 16,
/// 24 or 32 bytes.
pub fn key_unwrap(padded: bool, kek: &[u8], iv: Option<&[u8]>, wrapped: &[u8]) -> Result<Secret> {
    let mut aes = Cipher::new(CipherMode::Ecb, Direction::Decrypt, kek, &[])?;
    keywrap::unwrap(|block| aes.update(block), padded, iv, wrapped)
}

pub(super) fn key_size() -> Error {
    refused(CKR_KEY_SIZE_RANGE, "an AES key has 16, 24 or 32 bytes")
}
