//! The paddings of RSA that are not in [`crate::crypto::pkcs1`] and [`crate::crypto::oaep`]:
//! RSAES-PKCS1-v1_5 and OAEP encryption, and PSS (RFC 8017), with any pair of hash functions.

use super::hash::{Digest, digest};
use super::random;
use crate::crypto::oaep::{self, mask};
use crate::crypto::{Hash, pkcs1::OVERHEAD};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{CKR_DATA_LEN_RANGE, CKR_MECHANISM_PARAM_INVALID};

/// `00 02 ‖ random bytes that are not zero ‖ 00 ‖ plaintext` (7.2.1).
pub fn pad_type2(plaintext: &[u8], modulus_len: usize) -> Result<Secret> {
    let Some(filler) = modulus_len
        .checked_sub(OVERHEAD)
        .filter(|room| plaintext.len() <= *room)
        .map(|_| modulus_len - 3 - plaintext.len())
    else {
        return too_long(plaintext.len(), modulus_len);
    };
    let mut nonzero = Secret::zeroed(filler)?;
    random(&mut nonzero)?;
    for byte in nonzero.iter_mut() {
        while *byte == 0 {
            random(std::slice::from_mut(byte))?;
        }
    }
    concatenate(&[&[0, 2], &nonzero, &[0], plaintext])
}

/// EME-OAEP encoding (7.1.1 step 2).
pub fn oaep_encode(
    hash: Hash,
    mgf: Hash,
    label: &[u8],
    plaintext: &[u8],
    modulus_len: usize,
) -> Result<Secret> {
    let Some(zeros) = modulus_len
        .checked_sub(oaep::overhead(hash))
        .and_then(|room| room.checked_sub(plaintext.len()))
    else {
        return too_long(plaintext.len(), modulus_len);
    };
    let mut seed = Secret::zeroed(hash.len())?;
    random(&mut seed)?;
    let label = digest(hash, label);
    let mut block = concatenate(&[&label, &vec![0; zeros], &[1], plaintext])?;
    mask(mgf, &seed, &mut block)?;
    mask(mgf, &block, &mut seed)?;
    concatenate(&[&[0], &seed, &block])
}

/// EMSA-PSS encoding of a digest to `bits` bits (9.1.1), with a fresh salt of `salt_len` bytes.
pub fn pss_encode(
    hash: Hash,
    mgf: Hash,
    salt_len: usize,
    input: &[u8],
    bits: usize,
) -> Result<Vec<u8>> {
    check_digest(hash, input)?;
    let zeros = pss_zeros(hash, salt_len, bits)?;
    let mut salt = vec![0; salt_len];
    random(&mut salt)?;

    let salted = pss_hash(hash, input, &salt);
    let mut block = vec![0; zeros];
    block.push(1);
    block.extend_from_slice(&salt);
    mask(mgf, &salted, &mut block)?;
    clear_surplus(&mut block, bits);
    block.extend_from_slice(&salted);
    block.push(0xbc);
    Ok(block)
}

/// Whether `encoded`, as long as `bits` bits need, is the EMSA-PSS encoding of a digest (9.1.2).
pub fn pss_holds(
    hash: Hash,
    mgf: Hash,
    salt_len: usize,
    input: &[u8],
    encoded: &[u8],
    bits: usize,
) -> Result<bool> {
    check_digest(hash, input)?;
    let zeros = pss_zeros(hash, salt_len, bits)?;
    let Some((masked, (salted, trailer))) = encoded
        .split_at_checked(zeros + 1 + salt_len)
        .and_then(|(masked, rest)| Some((masked, rest.split_at_checked(hash.len())?)))
    else {
        return Ok(false);
    };
    let mut block = masked.to_vec();
    clear_surplus(&mut block, bits);
    if block.first() != masked.first() {
        return Ok(false);
    }
    mask(mgf, salted, &mut block)?;
    clear_surplus(&mut block, bits);
    let (padding, salt) = block.split_at_checked(zeros + 1).unwrap_or_default();
    Ok(trailer == [0xbc]
        && padding
            .split_last()
            .is_some_and(|(one, zeros)| *one == 1 && zeros.iter().all(|byte| *byte == 0))
        && pss_hash(hash, input, salt) == salted)
}

/// How many bytes `00` stand before the salt. `CKR_MECHANISM_PARAM_INVALID` when the salt does not
/// fit.
fn pss_zeros(hash: Hash, salt_len: usize, bits: usize) -> Result<usize> {
    bits.div_ceil(8)
        .checked_sub(hash.len() + 2)
        .and_then(|room| room.checked_sub(salt_len))
        .ok_or_else(|| {
            Error::new(
                CKR_MECHANISM_PARAM_INVALID,
                format!("a PSS salt of {salt_len} bytes does not fit the modulus beside the hash"),
            )
        })
}

/// Clears the bits that the encoding has not, at the left of the first byte.
fn clear_surplus(block: &mut [u8], bits: usize) {
    if let Some(first) = block.first_mut() {
        *first &= 0xff >> (8 * bits.div_ceil(8) - bits);
    }
}

/// `Hash(00 00 00 00 00 00 00 00 ‖ digest ‖ salt)`.
fn pss_hash(hash: Hash, input: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut salted = Digest::of(hash);
    salted.update(&[0; 8]);
    salted.update(input);
    salted.update(salt);
    salted.finish()
}

fn concatenate(parts: &[&[u8]]) -> Result<Secret> {
    let mut whole = Secret::zeroed(parts.iter().map(|part| part.len()).sum())?;
    let bytes = parts.iter().copied().flatten();
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    Ok(whole)
}

fn check_digest(hash: Hash, input: &[u8]) -> Result<()> {
    if input.len() == hash.len() {
        return Ok(());
    }
    fail!(
        CKR_DATA_LEN_RANGE,
        "{} bytes are no digest of {hash:?}",
        input.len()
    )
}

fn too_long<T>(len: usize, modulus_len: usize) -> Result<T> {
    fail!(
        CKR_DATA_LEN_RANGE,
        "{} bytes to encrypt do not fit a modulus of {} bytes with their padding",
        len,
        modulus_len
    )
}
