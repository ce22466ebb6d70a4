//! Key derivation of TPM 2.0 Part 1: KDFa for sessions and duplicates, KDFe for secrets that an
//! ephemeral key carries. Always with SHA-256, in whole bytes.

use crate::crypto::{Hash, engine};
use crate::error::Result;
use crate::memory::Secret;
use zeroize::Zeroize;

/// KDFa (Part 1, 11.4.10.2): SP 800-108 in counter mode with HMAC, `len` bytes.
pub(super) fn kdfa(key: &[u8], label: &[u8], u: &[u8], v: &[u8], len: usize) -> Result<Secret> {
    let bits = (8 * len as u32).to_be_bytes();
    blocks(len, |counter| {
        let mut hmac = engine::Hmac::new(Hash::Sha256, key)?;
        for part in [&counter, label, &[0], u, v, &bits] {
            hmac.update(part);
        }
        Ok(hmac.finish())
    })
}

/// KDFe (Part 1, 11.4.10.3): SP 800-56A with a hash; `z` is the shared x coordinate, `u` and `v` are
/// those of the ephemeral and of the static key.
pub(super) fn kdfe(z: &[u8], label: &[u8], u: &[u8], v: &[u8], len: usize) -> Result<Secret> {
    blocks(len, |counter| {
        let mut digest = engine::Digest::new(Hash::Sha256)?;
        for part in [&counter, z, label, &[0], u, v] {
            digest.update(part);
        }
        Ok(digest.finish())
    })
}

fn blocks(len: usize, mut block: impl FnMut([u8; 4]) -> Result<Vec<u8>>) -> Result<Secret> {
    let mut key = Secret::zeroed(len)?;
    for (counter, piece) in (1u32..).zip(key.chunks_mut(Hash::Sha256.len())) {
        let mut made = block(counter.to_be_bytes())?;
        for (to, from) in piece.iter_mut().zip(&made) {
            *to = *from;
        }
        made.zeroize();
    }
    Ok(key)
}
