//! Decoding of OAEP (RFC 8017 7.1.2), for every key that has only the raw RSA operation, with any
//! pair of hash functions.

use super::{Hash, engine};
use crate::error::{Result, fail};
use crate::memory::Secret;
use cryptoki_sys::CKR_ENCRYPTED_DATA_INVALID;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// Bytes of a block that are not message (7.1.1 step 1b).
pub const fn overhead(hash: Hash) -> usize {
    2 * hash.len() + 2
}

/// The message of a block (7.1.2 step 3), which is as long as the modulus and is wiped.
///
/// Which of the checks failed, nobody learns, nor when: there is one error,
/// `CKR_ENCRYPTED_DATA_INVALID`, lest it tell where the padding broke (Manger's attack).
pub fn decode(hash: Hash, mgf: Hash, label: &[u8], mut block: Secret) -> Result<Secret> {
    let mut label_digest = engine::Digest::new(hash)?;
    label_digest.update(label);
    let label = label_digest.finish();
    if let Some((first, rest)) = block.split_first_mut()
        && let Some((seed, data)) = rest.split_at_mut_checked(hash.len())
    {
        mask(mgf, data, seed)?;
        mask(mgf, seed, data)?;
        if let Some(message) = find_message(*first, data, &label) {
            return Secret::copy_of(message);
        }
    }
    fail!(
        CKR_ENCRYPTED_DATA_INVALID,
        "the ciphertext is not one of OAEP with this key, hash and label"
    )
}

/// The message, where `first` is 0 and `data` is `label ‖ 00 … 00 ‖ 01 ‖ message`. Time depends on
/// nothing but lengths and whether there is one.
fn find_message<'a>(first: u8, data: &'a [u8], label: &[u8]) -> Option<&'a [u8]> {
    let (label_found, rest) = data.split_at_checked(label.len())?;
    let mut holds = first.ct_eq(&0) & label_found.ct_eq(label);
    let mut searching = Choice::from(1);
    let mut start = 0u32;
    for (next, byte) in (1u32..).zip(rest) {
        let one = byte.ct_eq(&1);
        start.conditional_assign(&next, searching & one);
        holds &= !searching | one | byte.ct_eq(&0);
        searching &= !one;
    }
    holds &= !searching;
    rest.get(start as usize..).filter(|_| bool::from(holds))
}

/// Exclusive-ors MGF1 of `seed` onto `target` (B.2.1).
pub fn mask(mgf: Hash, seed: &[u8], target: &mut [u8]) -> Result<()> {
    for (counter, block) in (0u32..).zip(target.chunks_mut(mgf.len())) {
        let mut digest = engine::Digest::new(mgf)?;
        digest.update(seed);
        digest.update(&counter.to_be_bytes());
        let stream = Zeroizing::new(digest.finish());
        for (byte, mask) in block.iter_mut().zip(stream.iter()) {
            *byte ^= mask;
        }
    }
    Ok(())
}
