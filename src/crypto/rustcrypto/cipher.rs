//! AES: ECB, CBC, CTR and CFB (SP 800-38A), GCM (SP 800-38D); one block of Triple DES (SP 800-67).

use crate::crypto::{CipherMode, Direction};
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
    CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE,
    CKR_GENERAL_ERROR, CKR_HOST_MEMORY, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID,
};
use des::TdesEde3;
use ghash::{GHash, universal_hash::UniversalHash};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const BLOCK: usize = 16;
type Block = Array<u8, U16>;

/// AES with one of its three key sizes.
trait Aes:
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

type Step = Box<dyn FnMut(&mut [u8]) -> Result<()> + Send>;

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
    let mut sealed = Vec::new();
    sealed
        .try_reserve_exact(plaintext.len().saturating_add(tag_len))
        .map_err(|_| Error::new(CKR_HOST_MEMORY, "no memory for a ciphertext"))?;
    sealed.extend_from_slice(plaintext);
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
    let Some((ciphertext, tag)) = input
        .len()
        .checked_sub(tag_len)
        .and_then(|len| input.split_at_checked(len))
    else {
        return fail!(
            CKR_ENCRYPTED_DATA_LEN_RANGE,
            "an AES-GCM ciphertext is no shorter than its tag"
        );
    };
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

fn stream(mut cipher: impl StreamCipher + Send + 'static) -> Step {
    Box::new(move |data| {
        cipher
            .try_apply_keystream(data)
            .map_err(|_| Error::new(CKR_DATA_LEN_RANGE, "the AES counter is used up"))
    })
}
