//! The paddings of PKCS #1 v1.5 (RFC 8017), for every token that has only the raw RSA operation.
//!
//! Decryption never says whether the padding held: a block with bad padding gives a message that
//! depends on the key and the ciphertext alone, so that Bleichenbacher's oracle has nothing to ask
//! (draft-irtf-cfrg-rsa-guidance, implicit rejection; the same derivation as OpenSSL 3.2).

use super::{Hash, engine, left_pad};
use crate::error::{Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{
    CKR_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_GENERAL_ERROR, CKR_SIGNATURE_INVALID,
};
use subtle::{
    Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess,
};
use zeroize::Zeroize;

/// Bytes of a padded block that are not message: `00 ‖ type ‖ eight or more bytes ‖ 00`
/// (RFC 8017 7.2.1, 9.2).
pub const OVERHEAD: usize = 11;

/// What stands before a digest of so many bytes in its DigestInfo, where the hash function is so-and-so in
/// NIST's arc `hashAlgs` (2.16.840.1.101.3.4.2).
macro_rules! nist {
    ($hash:expr, $len:expr) => {
        &[
            0x30,
            17 + $len,
            0x30,
            13,
            6,
            9,
            0x60,
            0x86,
            0x48,
            1,
            0x65,
            3,
            4,
            2,
            $hash,
            5,
            0,
            4,
            $len,
        ]
    };
}

/// The DigestInfo of a digest (RFC 8017 9.2 note 1): what RSASSA-PKCS1-v1_5 pads and signs.
pub fn digest_info(hash: Hash, digest: &[u8]) -> Vec<u8> {
    let prefix: &[u8] = match hash {
        Hash::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        Hash::Sha256 => nist!(1, 32),
        Hash::Sha384 => nist!(2, 48),
        Hash::Sha512 => nist!(3, 64),
        Hash::Sha224 => nist!(4, 28),
        Hash::Sha512_224 => nist!(5, 28),
        Hash::Sha512_256 => nist!(6, 32),
        Hash::Sha3_224 => nist!(7, 28),
        Hash::Sha3_256 => nist!(8, 32),
        Hash::Sha3_384 => nist!(9, 48),
        Hash::Sha3_512 => nist!(10, 64),
    };
    [prefix, digest].concat()
}

/// `00 01 FF … FF 00 ‖ input`, `modulus_len` bytes (RFC 8017 9.2).
///
/// `CKR_DATA_LEN_RANGE` when fewer than eight bytes `FF` would fit.
pub fn pad_type1(input: &[u8], modulus_len: usize) -> Result<Vec<u8>> {
    let Some(padding) = modulus_len
        .checked_sub(OVERHEAD)
        .and_then(|room| room.checked_sub(input.len()))
    else {
        return fail!(
            CKR_DATA_LEN_RANGE,
            "{} bytes to sign do not fit a modulus of {modulus_len} bytes with PKCS #1 padding",
            input.len()
        );
    };
    let mut block = Vec::with_capacity(modulus_len);
    block.extend_from_slice(&[0, 1]);
    block.resize(2 + 8 + padding, 0xff);
    block.push(0);
    block.extend_from_slice(input);
    Ok(block)
}

/// The message of a block that [`pad_type1`] made (RFC 8017 9.2; nothing here is secret).
/// `CKR_SIGNATURE_INVALID` for any other block.
pub fn unpad_type1(block: &[u8]) -> Result<Vec<u8>> {
    let padded = block.strip_prefix(&[0, 1]).unwrap_or_default();
    let padding = padded.iter().take_while(|byte| **byte == 0xff).count();
    match padded.get(padding..) {
        Some([0, message @ ..]) if padding >= 8 => Ok(message.to_vec()),
        _ => fail!(
            CKR_SIGNATURE_INVALID,
            "the signature holds no PKCS #1 v1.5 padding"
        ),
    }
}

/// The secret from which messages for bad paddings are derived: SHA-256 of the private exponent
/// `d`, written as long as the modulus.
pub fn rejection_key(d: &[u8], modulus_len: usize) -> Result<Secret> {
    let mut digest = engine::digest(Hash::Sha256, &left_pad(d, modulus_len)?);
    let key = Secret::copy_of(&digest);
    digest.zeroize();
    key
}

/// The message of an RSAES-PKCS1-v1_5 block (RFC 8017 7.2.2), or, when the padding is bad, one
/// derived from `rejection_key` and `ciphertext`. Time and code are the same for both, apart from
/// the length of the message, which is a random one for a bad block.
///
/// `block` is the result of the raw operation, `ciphertext` what it was applied to; both as long
/// as the modulus, else `CKR_ENCRYPTED_DATA_LEN_RANGE`.
pub fn unpad_type2(block: &[u8], ciphertext: &[u8], rejection_key: &[u8]) -> Result<Secret> {
    let (Some(len), Ok(bits)) = (
        u32::try_from(block.len())
            .ok()
            .filter(|_| block.len() >= OVERHEAD && block.len() == ciphertext.len()),
        u16::try_from(block.len() * 8),
    ) else {
        return fail!(
            CKR_ENCRYPTED_DATA_LEN_RANGE,
            "a PKCS #1 ciphertext is as long as the modulus"
        );
    };
    let mut derivation = engine::Hmac::new(Hash::Sha256, rejection_key)?;
    derivation.update(ciphertext);
    let mut kdk = derivation.finish();
    let lengths = prf(&kdk, b"length", 8 * 256, 256);
    let message = prf(&kdk, b"message", bits, block.len());
    kdk.zeroize();
    let (lengths, mut message) = (lengths?, message?);

    let synthetic_start = len - synthetic_length(&lengths, len - 10);
    let (padding_holds, real_start) = find_message(block);
    let start = u32::conditional_select(&synthetic_start, &real_start, padding_holds);
    for (synthetic, real) in message.iter_mut().zip(block) {
        synthetic.conditional_assign(real, padding_holds);
    }
    match message.get(start as usize..) {
        Some(message) => Secret::copy_of(message),
        None => fail!(CKR_GENERAL_ERROR, "a message starts outside of its block"),
    }
}

/// Whether the block is `00 02 ‖ eight or more bytes that are not zero ‖ 00 ‖ message`, and where
/// the message would start.
fn find_message(block: &[u8]) -> (Choice, u32) {
    let mut holds = Choice::from(1);
    let mut found = Choice::from(0);
    let mut zero = 0u32;
    for (position, byte) in (0u32..).zip(block) {
        match position {
            0 => holds &= byte.ct_eq(&0),
            1 => holds &= byte.ct_eq(&2),
            _ => {
                let first = byte.ct_eq(&0) & !found;
                zero.conditional_assign(&position, first);
                found |= first;
            }
        }
    }
    // A position below 10, or none at all (0), leaves fewer than eight bytes of padding.
    holds &= zero.ct_gt(&9);
    (holds, zero + 1)
}

/// The last of the candidates below `limit`, each cut to the bits that `limit` has.
fn synthetic_length(candidates: &[u8], limit: u32) -> u32 {
    let mask = u32::MAX >> limit.leading_zeros();
    let mut length = 0u32;
    for candidate in candidates.as_chunks::<2>().0 {
        let candidate = u32::from(u16::from_be_bytes(*candidate)) & mask;
        length.conditional_assign(&candidate, candidate.ct_lt(&limit));
    }
    length
}

/// `len` bytes: HMAC-SHA256 under `kdk` of `counter ‖ label ‖ bits`, for counters from 0.
fn prf(kdk: &[u8], label: &[u8], bits: u16, len: usize) -> Result<Secret> {
    let mut output = Secret::zeroed(len)?;
    for (counter, chunk) in (0u16..).zip(output.chunks_mut(32)) {
        let mut hmac = engine::Hmac::new(Hash::Sha256, kdk)?;
        hmac.update(&counter.to_be_bytes());
        hmac.update(label);
        hmac.update(&bits.to_be_bytes());
        let mut tag = hmac.finish();
        for (to, from) in chunk.iter_mut().zip(&tag) {
            *to = *from;
        }
        tag.zeroize();
    }
    Ok(output)
}
