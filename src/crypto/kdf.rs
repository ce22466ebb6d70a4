//! Derivation of keys: what no library has for both engines, and what both refuse.
//!
//! The key derivation functions of ANSI X9.63 and SP 800-56C, and the three modes of SP 800-108 over
//! input of any composition, as PKCS#11 6.42 describes it. The primitives are the engine's.

use super::{Hash, engine};
use crate::error::{Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID};
use zeroize::Zeroizing;

/// What is done with the secret of a key agreement (CK_EC_KDF_TYPE, PKCS#11 6.3.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EcKdf {
    /// Nothing: the key is the secret, or the end of it.
    Null,
    /// ANSI X9.63 5.6.3: the digests of `secret ‖ counter ‖ shared`.
    X963(Hash),
    /// SP 800-56C 4.1, option 1: the digests of `counter ‖ secret ‖ shared`.
    OneStep(Hash),
}

/// Refuses what HKDF-Expand cannot do (RFC 5869 2.3).
pub(super) fn check_expansion(hash: Hash, key: &[u8], len: usize) -> Result<()> {
    if key.len() < hash.len() {
        return fail!(
            CKR_KEY_SIZE_RANGE,
            "HKDF expands a key of {} bytes or more, not {} (RFC 5869 2.3)",
            hash.len(),
            key.len()
        );
    }
    if len > 255 * hash.len() {
        return fail!(
            CKR_KEY_SIZE_RANGE,
            "HKDF makes at most 255 digests of {} bytes, not {len} bytes (RFC 5869 2.3)",
            hash.len()
        );
    }
    Ok(())
}

/// Refuses a password that is not iterated at all.
pub(super) fn check_iterations(iterations: u32) -> Result<()> {
    match iterations {
        0 => fail!(CKR_MECHANISM_PARAM_INVALID, "PBKDF2 iterates once or more"),
        _ => Ok(()),
    }
}

/// Puts `segment`, or as much of it as there is room for, at `at`.
fn put(out: &mut [u8], at: usize, segment: &[u8]) {
    for (to, from) in out.iter_mut().skip(at).zip(segment) {
        *to = *from;
    }
}

/// `len` bytes from the secret of a key agreement, which must be all of it for [`EcKdf::Null`].
///
/// `CKR_KEY_SIZE_RANGE` where the secret is too short.
pub fn of_agreement(kdf: EcKdf, secret: &[u8], shared: &[u8], len: usize) -> Result<Secret> {
    let (hash, counter_first) = match kdf {
        EcKdf::Null => {
            // "The truncation removes bytes from the leading end of the secret value" (6.3.17).
            let tail = secret.len().checked_sub(len);
            return match tail.and_then(|start| secret.get(start..)) {
                Some(tail) => Secret::copy_of(tail),
                None => fail!(
                    CKR_KEY_SIZE_RANGE,
                    "the shared secret has {} bytes, not {len}",
                    secret.len()
                ),
            };
        }
        EcKdf::X963(hash) => (hash, false),
        EcKdf::OneStep(hash) => (hash, true),
    };
    let mut out = Secret::zeroed(len)?;
    for (at, counter) in (0..len).step_by(hash.len()).zip(1u32..) {
        let mut digest = engine::Digest::new(hash)?;
        let counter = counter.to_be_bytes();
        let parts = match counter_first {
            true => [&counter, secret, shared],
            false => [secret, &counter, shared],
        };
        for part in parts {
            digest.update(part);
        }
        put(&mut out, at, &Zeroizing::new(digest.finish()));
    }
    Ok(out)
}

/// The pseudorandom functions of SP 800-108.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prf {
    /// HMAC.
    Hmac(Hash),
    /// CMAC with AES.
    Cmac,
}

impl Prf {
    /// Length of what it gives.
    pub fn len(self) -> usize {
        match self {
            Prf::Hmac(hash) => hash.len(),
            Prf::Cmac => 16,
        }
    }

    fn of<'a>(
        self,
        key: &[u8],
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Prf::Hmac(hash) => {
                let mut hmac = engine::Hmac::new(hash, key)?;
                parts.for_each(|part| hmac.update(part));
                Ok(Zeroizing::new(hmac.finish()))
            }
            Prf::Cmac => {
                let mut cmac = engine::Cmac::new(key)?;
                parts.for_each(|part| cmac.update(part));
                Ok(Zeroizing::new(cmac.finish()))
            }
        }
    }
}

/// The modes of SP 800-108 (section 4 of revision 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 4.1.
    Counter,
    /// 4.2.
    Feedback,
    /// 4.3.
    DoublePipeline,
}

/// How an integer is written in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Least significant byte first.
    pub little_endian: bool,
    /// Bytes, 1 to 8.
    pub len: usize,
}

impl Format {
    /// Whether the integer has room.
    pub fn holds(self, integer: u64) -> bool {
        self.len >= 8 || integer >> (8 * self.len) == 0
    }

    /// The integer, which has room.
    pub fn write(self, integer: u64) -> Vec<u8> {
        let bytes = integer.to_be_bytes();
        let tail = bytes.len().saturating_sub(self.len);
        let mut bytes = bytes.get(tail..).unwrap_or_default().to_vec();
        if self.little_endian {
            bytes.reverse();
        }
        bytes
    }
}

/// A piece of the input of the pseudorandom function.
#[derive(Debug)]
pub enum Piece {
    /// The counter: in counter mode the iteration variable, in the others an addition.
    Counter(Format),
    /// The iteration variable of the other modes: `K(i-1)` of the feedback, `A(i)` of the pipeline.
    Chain,
    /// What is the same each time: label, context, length.
    Fixed(Secret),
}

/// The first `count` segments of the key derivation functions of SP 800-108, each as long as what the
/// pseudorandom function gives. `iv` is the feedback mode's K(0).
///
/// `CKR_KEY_SIZE_RANGE` where a counter has no room for so many.
pub fn sp800_108(
    mode: Mode,
    prf: Prf,
    key: &[u8],
    pieces: &[Piece],
    iv: &[u8],
    count: usize,
) -> Result<Secret> {
    let formats = pieces.iter().filter_map(|piece| match piece {
        Piece::Counter(format) => Some(format),
        _ => None,
    });
    let last = count as u64;
    // [i] counts to 2^32 - 1 at most (SP 800-108 4).
    if last >> 32 != 0 || formats.into_iter().any(|format| !format.holds(last)) {
        return fail!(
            CKR_KEY_SIZE_RANGE,
            "the counter has no room for {count} segments"
        );
    }
    let mut out = Secret::zeroed(count * prf.len())?;
    let fixed = || {
        pieces.iter().filter_map(|piece| match piece {
            Piece::Fixed(bytes) => Some(&**bytes),
            _ => None,
        })
    };
    let mut chain = Zeroizing::new(iv.to_vec());
    for (at, counter) in (0..out.len()).step_by(prf.len()).zip(1u64..) {
        if mode == Mode::DoublePipeline {
            // A(1) is made of A(0), which is the input without its variables.
            chain = match counter {
                1 => prf.of(key, fixed())?,
                _ => prf.of(key, std::iter::once(chain.as_slice()))?,
            };
        }
        let counters: Vec<_> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Counter(format) => format.write(counter),
                _ => Vec::new(),
            })
            .collect();
        let input = pieces
            .iter()
            .zip(&counters)
            .map(|(piece, counter)| match piece {
                Piece::Counter(_) => counter.as_slice(),
                Piece::Chain => chain.as_slice(),
                Piece::Fixed(bytes) => bytes,
            });
        let segment = prf.of(key, input)?;
        put(&mut out, at, &segment);
        if mode == Mode::Feedback {
            chain = segment;
        }
    }
    Ok(out)
}
