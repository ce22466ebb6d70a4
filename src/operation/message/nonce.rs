//! The nonces of messages (PKCS#11 6.13.2, CKG_…): given, or made here of a fixed part that the
//! caller chose and a part that never comes twice in a process.
//!
//! Whatever is made is `base ⊕ count`, the count in the last bits. What the base is makes the
//! difference: zeros (CKG_GENERATE_COUNTER), what the caller gave (…_COUNTER_XOR), random bits once
//! (CKG_GENERATE, whose way the standard leaves to the module) or each time (…_RANDOM).

use crate::crypto::engine;
use crate::error::{Error, Result};
use crate::memory;
use cryptoki_sys::*;

/// SP 800-38D 8.2.2: a random part of 96 bits or more, and 8.3: 2^32 nonces of it.
const RANDOM_BITS: usize = 96;
const RANDOM_COUNT: u64 = 1 << 32;
/// Random bits at the start keep two processes with one key apart.
const START_BITS: usize = 64;

/// What a message says of its nonce.
#[derive(Debug, Clone)]
pub struct Nonce {
    /// The caller's buffer: all of it, or the fixed part, is the nonce's.
    pub bytes: Vec<u8>,
    /// How many of its first bits are the caller's.
    pub fixed_bits: usize,
    /// CKG_….
    pub generator: CK_GENERATOR_FUNCTION,
}

/// The nonces of a process.
#[derive(Default)]
pub(super) struct Nonces {
    /// The caller gave one that was used.
    given: bool,
    made: Option<Made>,
}

/// What the first nonce that was made here has settled.
struct Made {
    first: Nonce,
    base: Vec<u8>,
    last: Vec<u8>,
    count: u64,
}

fn refused(reason: &'static str) -> Error {
    Error::new(CKR_MECHANISM_PARAM_INVALID, reason)
}

impl Nonce {
    /// Which bits of a byte are the caller's.
    fn fixed_mask(&self, at: usize) -> u8 {
        let fixed = self.fixed_bits.saturating_sub(8 * at).min(8);
        (0xff00u16 >> fixed) as u8
    }

    /// The fixed part, and `rest` in the other bits.
    fn with(&self, rest: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = memory::copy(&self.bytes)?;
        for (at, (byte, rest)) in nonce.iter_mut().zip(rest).enumerate() {
            let mask = self.fixed_mask(at);
            *byte = (*byte & mask) | (rest & !mask);
        }
        Ok(nonce)
    }

    fn with_random(&self) -> Result<Vec<u8>> {
        let mut random = memory::copy(&self.bytes)?;
        engine::random(&mut random)?;
        self.with(&random)
    }

    fn with_zeros(&self) -> Result<Vec<u8>> {
        let mut zeros = memory::copy(&self.bytes)?;
        zeros.fill(0);
        self.with(&zeros)
    }

    /// How many bits are not the caller's, where that is enough for the way they are made.
    fn own_bits(&self) -> Result<usize> {
        let bits = (8 * self.bytes.len())
            .checked_sub(self.fixed_bits)
            .ok_or_else(|| refused("more bits of the nonce are fixed than it has"))?;
        let fewest = match self.generator {
            CKG_GENERATE => START_BITS,
            CKG_GENERATE_RANDOM => RANDOM_BITS,
            CKG_GENERATE_COUNTER | CKG_GENERATE_COUNTER_XOR => 1,
            _ => return Err(refused("this way of making nonces is not known")),
        };
        match bits >= fewest {
            true => Ok(bits),
            false => Err(refused("too many bits of the nonce are fixed")),
        }
    }
}

impl Nonces {
    /// The nonce of a message. None comes twice, as far as it is made here: what is made and what
    /// is given could only meet by chance, and a counter never starts again.
    /// `CKR_MECHANISM_PARAM_INVALID`.
    pub(super) fn next(&mut self, wanted: &Nonce) -> Result<Vec<u8>> {
        if wanted.generator == CKG_NO_GENERATE {
            if self.made.is_some() {
                return Err(refused(
                    "nonces were made here before: one that is given could be one of them",
                ));
            }
            self.given = true;
            return memory::copy(&wanted.bytes);
        }
        let bits = wanted.own_bits()?;
        let made = match &mut self.made {
            Some(made) => {
                made.check(wanted)?;
                made
            }
            empty => empty.insert(Made::new(wanted, self.given)?),
        };
        let most = match wanted.generator {
            CKG_GENERATE_RANDOM => RANDOM_COUNT,
            _ => 1u64
                .checked_shl(bits.try_into().unwrap_or(u32::MAX))
                .unwrap_or(u64::MAX),
        };
        if made.count >= most {
            return Err(refused("the nonces of this process are used up"));
        }
        let nonce = match wanted.generator {
            CKG_GENERATE_RANDOM => wanted.with_random()?,
            _ => {
                let mut nonce = memory::copy(&made.base)?;
                let count = made.count.to_be_bytes();
                for (byte, count) in nonce.iter_mut().rev().zip(count.iter().rev()) {
                    *byte ^= count;
                }
                nonce
            }
        };
        made.count += 1;
        made.last.clone_from(&nonce);
        Ok(nonce)
    }
}

impl Made {
    fn new(first: &Nonce, given: bool) -> Result<Self> {
        let base = match first.generator {
            CKG_GENERATE | CKG_GENERATE_RANDOM => first.with_random()?,
            _ if given => {
                return Err(refused(
                    "nonces were given before: a counter could come to one of them",
                ));
            }
            CKG_GENERATE_COUNTER => first.with_zeros()?,
            _ => memory::copy(&first.bytes)?,
        };
        Ok(Self {
            first: first.clone(),
            last: memory::copy(&base)?,
            base,
            count: 0,
        })
    }

    /// Refuses a nonce of another make than the first. The part that a counter is xored into must
    /// not vary (6.13.2); a buffer in which the last nonce still stands has not been varied.
    fn check(&self, wanted: &Nonce) -> Result<()> {
        let first = &self.first;
        let same = wanted.generator == first.generator
            && wanted.fixed_bits == first.fixed_bits
            && wanted.bytes.len() == first.bytes.len()
            && match wanted.generator {
                CKG_GENERATE_COUNTER_XOR => wanted.bytes == self.base || wanted.bytes == self.last,
                _ => wanted.with_zeros()? == first.with_zeros()?,
            };
        match same {
            true => Ok(()),
            false => Err(refused(
                "a process makes its nonces in one way, with one fixed part",
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn nonce(bytes: &[u8], fixed_bits: usize, generator: CK_GENERATOR_FUNCTION) -> Nonce {
        Nonce {
            bytes: bytes.to_vec(),
            fixed_bits,
            generator,
        }
    }

    #[test]
    fn a_counter_fills_the_bits_that_are_not_fixed_and_ends_with_them() {
        // Three bits of its own: eight nonces.
        let wanted = nonce(&[0xab, 0xff], 13, CKG_GENERATE_COUNTER);
        let mut nonces = Nonces::default();
        for count in 0..8 {
            assert_eq!(nonces.next(&wanted).unwrap(), [0xab, 0xf8 | count]);
        }
        assert_eq!(
            nonces.next(&wanted).unwrap_err().rv(),
            CKR_MECHANISM_PARAM_INVALID
        );
    }

    #[test]
    fn a_counter_is_xored_into_the_first_value_whether_or_not_the_buffer_is_set_anew() {
        let given = [7; 12];
        let (mut anew, mut kept) = (Nonces::default(), Nonces::default());
        let mut buffer = given.to_vec();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let one = anew
                .next(&nonce(&given, 32, CKG_GENERATE_COUNTER_XOR))
                .unwrap();
            buffer = kept
                .next(&nonce(&buffer, 32, CKG_GENERATE_COUNTER_XOR))
                .unwrap();
            assert_eq!(one, buffer);
            assert!(seen.insert(one));
        }
        anew.next(&nonce(&[8; 12], 32, CKG_GENERATE_COUNTER_XOR))
            .unwrap_err();
    }

    #[test]
    fn nonces_of_the_module_keep_the_fixed_part_and_differ() {
        for (generator, fixed) in [
            (CKG_GENERATE, 0),
            (CKG_GENERATE, 32),
            (CKG_GENERATE_RANDOM, 0),
        ] {
            let mut nonces = Nonces::default();
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..300 {
                let made = nonces.next(&nonce(&[5; 12], fixed, generator)).unwrap();
                assert_eq!(made[..fixed / 8], [5; 12][..fixed / 8]);
                assert!(seen.insert(made));
            }
        }
        for (fixed, generator) in [
            (33, CKG_GENERATE),
            (1, CKG_GENERATE_RANDOM),
            (96, CKG_GENERATE_COUNTER),
            (97, CKG_GENERATE_COUNTER),
            (usize::MAX, CKG_GENERATE),
            (0, 5),
        ] {
            let refused = Nonces::default().next(&nonce(&[5; 12], fixed, generator));
            assert_eq!(refused.unwrap_err().rv(), CKR_MECHANISM_PARAM_INVALID);
        }
    }

    #[test]
    fn what_is_given_and_what_is_made_do_not_meet() {
        let given = nonce(&[0; 12], 0, CKG_NO_GENERATE);
        let counted = nonce(&[0; 12], 0, CKG_GENERATE_COUNTER);
        let mut nonces = Nonces::default();
        nonces.next(&given).unwrap();
        nonces.next(&counted).unwrap_err();
        // As the example of 5.9.5 does.
        nonces.next(&nonce(&[0; 12], 0, CKG_GENERATE)).unwrap();
        nonces.next(&given).unwrap_err();
        nonces.next(&counted).unwrap_err();
    }
}
