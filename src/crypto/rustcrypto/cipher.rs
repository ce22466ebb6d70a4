//! AES: ECB, CBC, CTR and CFB (SP 800-38A), Key Wrap; one block of Triple DES (SP 800-67).

use crate::crypto::{CipherMode, Direction, keywrap};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use aes::{Aes128, Aes192, Aes256};
use cipher::array::Array;
use cipher::consts::U16;
use cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
    KeyInit, KeyIvInit, StreamCipher,
};
use cryptoki_sys::{
    CKR_DATA_LEN_RANGE, CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID,
};
use des::TdesEde3;

const BLOCK: usize = 16;
pub(super) type Block = Array<u8, U16>;

/// AES with one of its three key sizes.
pub(super) trait Aes:
    BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + 'static
{
}

impl Aes for Aes128 {}
impl Aes for Aes192 {}
impl Aes for Aes256 {}

/// Calls a function that is generic over [`Aes`]; `CKR_KEY_SIZE_RANGE` for no size of AES.
macro_rules! with_key {
    ($key:expr, $function:ident($($argument:expr),*)) => {
        match $key.len() {
            16 => $function::<Aes128>($($argument),*),
            24 => $function::<Aes192>($($argument),*),
            32 => $function::<Aes256>($($argument),*),
            len => fail!(
                CKR_KEY_SIZE_RANGE,
                "an AES key of {} bytes, not 16, 24 or 32",
                len
            ),
        }
    };
}
pub(super) use with_key;

pub(super) type Step = Box<dyn FnMut(&mut [u8]) -> Result<()> + Send>;

/// AES in a mode without padding, part by part and in place.
pub struct Cipher {
    step: Step,
    granularity: usize,
}

impl Cipher {
    /// `CKR_KEY_SIZE_RANGE` for a key that is not 16, 24 or 32 bytes;
    /// `CKR_MECHANISM_PARAM_INVALID` for an IV that is not 16 bytes (none for ECB).
    pub fn new(mode: CipherMode, direction: Direction, key: &[u8], iv: &[u8]) -> Result<Self> {
        let (iv_len, granularity) = match mode {
            CipherMode::Ecb => (0, BLOCK),
            CipherMode::Cbc => (BLOCK, BLOCK),
            CipherMode::Ctr => (BLOCK, 1),
        };
        if iv.len() != iv_len {
            return fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "an IV of {} bytes, not {iv_len}, for AES in mode {mode:?}",
                iv.len()
            );
        }
        Ok(Self {
            step: with_key!(key, step(mode, direction, key, iv))?,
            granularity,
        })
    }

    /// Encrypts or decrypts the next part in place. `CKR_DATA_LEN_RANGE` for a part of ECB or CBC
    /// that is not whole blocks.
    pub fn update(&mut self, data: &mut [u8]) -> Result<()> {
        if !data.len().is_multiple_of(self.granularity) {
            return fail!(
                CKR_DATA_LEN_RANGE,
                "{} bytes are not whole AES blocks",
                data.len()
            );
        }
        (self.step)(data)
    }
}

fn step<A: Aes>(mode: CipherMode, direction: Direction, key: &[u8], iv: &[u8]) -> Result<Step> {
    let refused = |_| Error::new(CKR_GENERAL_ERROR, "AES refused its key or IV");
    Ok(match (mode, direction) {
        (CipherMode::Ecb, Direction::Encrypt) => {
            let mut cipher = ecb::Encryptor::<A>::new_from_slice(key).map_err(refused)?;
            Box::new(move |data| {
                cipher.encrypt_blocks(blocks(data));
                Ok(())
            })
        }
        (CipherMode::Ecb, Direction::Decrypt) => {
            let mut cipher = ecb::Decryptor::<A>::new_from_slice(key).map_err(refused)?;
            Box::new(move |data| {
                cipher.decrypt_blocks(blocks(data));
                Ok(())
            })
        }
        (CipherMode::Cbc, Direction::Encrypt) => {
            let mut cipher = cbc::Encryptor::<A>::new_from_slices(key, iv).map_err(refused)?;
            Box::new(move |data| {
                cipher.encrypt_blocks(blocks(data));
                Ok(())
            })
        }
        (CipherMode::Cbc, Direction::Decrypt) => {
            let mut cipher = cbc::Decryptor::<A>::new_from_slices(key, iv).map_err(refused)?;
            Box::new(move |data| {
                cipher.decrypt_blocks(blocks(data));
                Ok(())
            })
        }
        (CipherMode::Ctr, _) => {
            stream(ctr::Ctr128BE::<A>::new_from_slices(key, iv).map_err(refused)?)
        }
    })
}

/// Encrypts or decrypts the whole of `data` in place with AES in cipher feedback mode, 128 bits at a
/// time (CFB128, SP 800-38A 6.3). Any length: of the last block as much counts as there is.
///
/// `CKR_KEY_SIZE_RANGE` for no key size of AES; `CKR_MECHANISM_PARAM_INVALID` for an IV that is not
/// 16 bytes.
pub fn cfb(direction: Direction, key: &[u8], iv: &[u8], data: &mut [u8]) -> Result<()> {
    with_key!(key, feed_back(direction, key, iv, data))
}

fn feed_back<A: Aes>(direction: Direction, key: &[u8], iv: &[u8], data: &mut [u8]) -> Result<()> {
    // The key has the length of `A`.
    let refused = |_| {
        Error::new(
            CKR_MECHANISM_PARAM_INVALID,
            format!(
                "an IV of {} bytes, not {BLOCK}, for AES in mode Cfb",
                iv.len()
            ),
        )
    };
    match direction {
        Direction::Encrypt => cfb_mode::Encryptor::<A>::new_from_slices(key, iv)
            .map_err(refused)?
            .encrypt(data),
        Direction::Decrypt => cfb_mode::Decryptor::<A>::new_from_slices(key, iv)
            .map_err(refused)?
            .decrypt(data),
    }
    Ok(())
}

/// Encrypts or decrypts one block in place with Triple DES (SP 800-67 3; ECB, SP 800-38A 6.1), for
/// the administration of smart cards alone: old PIV cards keep such a key (SP 800-78-4 5).
///
/// `CKR_KEY_SIZE_RANGE` unless the key has 24 bytes; one of two keys is `K1 ‖ K2 ‖ K1`. Equal keys
/// and wrong parity bits are the card's affair: PIV cards leave the factory with such keys.
pub fn tdes_block(direction: Direction, key: &[u8], block: &mut [u8; 8]) -> Result<()> {
    // Wiped when dropped (feature `zeroize` of the crate).
    let cipher = TdesEde3::new_from_slice(key).map_err(|_| {
        Error::new(
            CKR_KEY_SIZE_RANGE,
            format!("a Triple DES key of {} bytes, not 24", key.len()),
        )
    })?;
    let block = block.into();
    match direction {
        Direction::Encrypt => cipher.encrypt_block(block),
        Direction::Decrypt => cipher.decrypt_block(block),
    }
    Ok(())
}

fn blocks(data: &mut [u8]) -> &mut [Block] {
    Block::slice_as_chunks_mut(data).0
}

/// Wraps `data` under `kek` as [`keywrap::wrap`] says. `CKR_KEY_SIZE_RANGE` for no key size of AES.
pub fn key_wrap(padded: bool, kek: &[u8], iv: Option<&[u8]>, data: &[u8]) -> Result<Vec<u8>> {
    let mut aes = Cipher::new(CipherMode::Ecb, Direction::Encrypt, kek, &[])?;
    keywrap::wrap(|block| aes.update(block), padded, iv, data)
}

/// Unwraps `wrapped` under `kek` as [`keywrap::unwrap`] says. `CKR_KEY_SIZE_RANGE` for no key size of
/// AES.
pub fn key_unwrap(padded: bool, kek: &[u8], iv: Option<&[u8]>, wrapped: &[u8]) -> Result<Secret> {
    let mut aes = Cipher::new(CipherMode::Ecb, Direction::Decrypt, kek, &[])?;
    keywrap::unwrap(|block| aes.update(block), padded, iv, wrapped)
}

pub(super) fn stream(mut cipher: impl StreamCipher + Send + 'static) -> Step {
    Box::new(move |data| {
        cipher
            .try_apply_keystream(data)
            .map_err(|_| Error::new(CKR_DATA_LEN_RANGE, "the AES counter is used up"))
    })
}
