//! AES-GCM (SP 800-38D), whole or piece by piece.

use super::super::{check_gcm, split_tag};
use super::cipher::{Aes, Block, Step, stream, with_key};
use crate::error::{Error, Result, fail};
use crate::memory::{self, Secret};
use aes::{Aes128, Aes192, Aes256};
use cipher::array::Array;
use cipher::{KeyIvInit, StreamCipher};
use cryptoki_sys::{CKR_ENCRYPTED_DATA_INVALID, CKR_GENERAL_ERROR, CKR_KEY_SIZE_RANGE};
use ghash::{GHash, universal_hash::UniversalHash};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const BLOCK: usize = 16;

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
    let mut sealing = GcmSealing::new(key, iv, aad, tag_len)?;
    let mut sealed = memory::buffer(plaintext.len().saturating_add(tag_len))?;
    sealing.update(plaintext, &mut sealed)?;
    sealed.extend(sealing.finish()?.iter().take(tag_len));
    Ok(sealed)
}

/// Decrypts `ciphertext ‖ tag` once the tag holds, else `CKR_ENCRYPTED_DATA_INVALID`;
/// `CKR_ENCRYPTED_DATA_LEN_RANGE` when the input is shorter than a tag. The other refusals are
/// those of [`gcm_seal`].
pub fn gcm_open(key: &[u8], iv: &[u8], aad: &[u8], tag_len: usize, input: &[u8]) -> Result<Secret> {
    check_gcm(iv, tag_len)?;
    let (mut keystream, mut tagging) = with_key!(key, begin(key, iv, aad))?;
    let (ciphertext, tag) = split_tag(input, tag_len)?;
    tagging.update(ciphertext);
    let expected = tagging.finish();
    let expected = expected.get(..tag_len).unwrap_or_default();
    if !bool::from(expected.ct_eq(tag)) {
        return fail!(
            CKR_ENCRYPTED_DATA_INVALID,
            "the AES-GCM tag does not fit the key, the IV and the data"
        );
    }
    let mut plaintext = Secret::copy_of(ciphertext)?;
    keystream(&mut plaintext)?;
    Ok(plaintext)
}

/// An encryption of a message that comes in pieces.
///
/// GCM from its two halves, CTR and GHASH: the AEAD crate takes a message whole, and has the length of
/// the IV in a type, which PKCS #11 leaves to the caller (`CK_GCM_PARAMS`).
pub struct GcmSealing {
    keystream: Step,
    tagging: Tagging,
}

impl GcmSealing {
    /// Begins; refuses as [`gcm_seal`].
    pub fn new(key: &[u8], iv: &[u8], aad: &[u8], tag_len: usize) -> Result<Self> {
        check_gcm(iv, tag_len)?;
        let (keystream, tagging) = with_key!(key, begin(key, iv, aad))?;
        Ok(Self { keystream, tagging })
    }

    /// Encrypts the next piece, whose ciphertext goes to the end of `sealed`. `CKR_DATA_LEN_RANGE` for more
    /// than SP 800-38D 5.2.1.1 lets one message be; `CKR_HOST_MEMORY`.
    pub fn update(&mut self, data: &[u8], sealed: &mut Vec<u8>) -> Result<()> {
        sealed.try_reserve(data.len()).map_err(memory::short)?;
        let at = sealed.len();
        sealed.extend_from_slice(data);
        let piece = sealed.get_mut(at..).unwrap_or_default();
        (self.keystream)(piece)?;
        self.tagging.update(piece);
        Ok(())
    }

    /// The tag, at its full length.
    pub fn finish(self) -> Result<[u8; 16]> {
        Ok(self.tagging.finish().0)
    }
}

/// The tag under way (SP 800-38D 7.1 steps 4 to 6).
struct Tagging {
    ghash: GHash,
    /// The keystream of the first counter block, for the tag alone.
    mask: Block,
    /// Lengths in bytes of additional data and ciphertext.
    lengths: (usize, usize),
    /// Ciphertext that fills no block yet.
    rest: Vec<u8>,
}

impl Tagging {
    fn update(&mut self, ciphertext: &[u8]) {
        self.lengths.1 = self.lengths.1.saturating_add(ciphertext.len());
        let missing = (BLOCK - self.rest.len()) % BLOCK;
        let (fills, more) = ciphertext.split_at(missing.min(ciphertext.len()));
        self.rest.extend_from_slice(fills);
        if self.rest.len() == BLOCK {
            self.ghash.update_padded(&self.rest);
            self.rest.clear();
        }
        let (blocks, rest) = more.split_at(more.len() - more.len() % BLOCK);
        self.ghash.update_padded(blocks);
        self.rest.extend_from_slice(rest);
    }

    fn finish(mut self) -> Block {
        self.ghash.update_padded(&self.rest);
        self.ghash
            .update(&[lengths(self.lengths.0, self.lengths.1)]);
        let mut tag = self.ghash.finalize();
        for (byte, mask) in tag.iter_mut().zip(&self.mask) {
            *byte ^= mask;
        }
        tag
    }
}

fn begin<A: Aes>(key: &[u8], iv: &[u8], aad: &[u8]) -> Result<(Step, Tagging)> {
    let refused = |_| Error::new(CKR_GENERAL_ERROR, "AES refused its key or IV");
    let mut hash_key = Zeroizing::new(Block::default());
    A::new_from_slice(key)
        .map_err(refused)?
        .encrypt_block(&mut hash_key);
    let mut ghash = GHash::new(&hash_key);

    let mut keystream =
        ctr::Ctr32BE::<A>::new_from_slices(key, &first_counter(&ghash, iv)).map_err(refused)?;
    let mut mask = Block::default();
    keystream.apply_keystream(&mut mask);
    ghash.update_padded(aad);
    let tagging = Tagging {
        ghash,
        mask,
        lengths: (aad.len(), 0),
        rest: Vec::with_capacity(BLOCK),
    };
    Ok((stream(keystream), tagging))
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
    ghash.update(&[lengths(0, iv.len())]);
    ghash.finalize()
}

/// Two lengths in bytes, as GHASH takes them in: in bits, 64 bits each.
fn lengths(first: usize, second: usize) -> Block {
    let bits = |bytes: usize| 8 * bytes as u128;
    Array(((bits(first) << 64) | bits(second)).to_be_bytes())
}
