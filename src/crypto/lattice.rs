//! ML-DSA (FIPS 204) and ML-KEM (FIPS 203): their parameter sets, and what both engines share.

use super::Hash;
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{
    CK_ULONG, CKP_ML_DSA_44, CKP_ML_DSA_65, CKP_ML_DSA_87, CKP_ML_KEM_512, CKP_ML_KEM_768,
    CKP_ML_KEM_1024, CKR_ATTRIBUTE_VALUE_INVALID, CKR_DATA_LEN_RANGE, CKR_MECHANISM_PARAM_INVALID,
};
use ml_dsa::{ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams};

/// Length in bytes of the seed ξ of ML-DSA.
pub const ML_DSA_SEED: usize = 32;
/// Length in bytes of the seed d ‖ z of ML-KEM.
pub const ML_KEM_SEED: usize = 64;
/// Length in bytes of the key that ML-KEM agrees on.
pub const ML_KEM_SHARED: usize = 32;
/// Longest context of a signature (FIPS 204 5.2).
pub const LONGEST_CONTEXT: usize = 255;

/// The parameter sets of ML-DSA (FIPS 204 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MlDsaSet {
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

impl MlDsaSet {
    /// Every set there is.
    pub const ALL: [MlDsaSet; 3] = [MlDsaSet::MlDsa44, MlDsaSet::MlDsa65, MlDsaSet::MlDsa87];

    /// CKP_ML_DSA_….
    pub const fn id(self) -> CK_ULONG {
        match self {
            MlDsaSet::MlDsa44 => CKP_ML_DSA_44,
            MlDsaSet::MlDsa65 => CKP_ML_DSA_65,
            MlDsaSet::MlDsa87 => CKP_ML_DSA_87,
        }
    }

    /// Length in bytes of a public key (FIPS 204 table 2).
    pub const fn public_len(self) -> usize {
        match self {
            MlDsaSet::MlDsa44 => 1312,
            MlDsaSet::MlDsa65 => 1952,
            MlDsaSet::MlDsa87 => 2592,
        }
    }

    /// Length in bytes of an expanded private key.
    pub const fn expanded_len(self) -> usize {
        match self {
            MlDsaSet::MlDsa44 => 2560,
            MlDsaSet::MlDsa65 => 4032,
            MlDsaSet::MlDsa87 => 4896,
        }
    }

    /// Length in bytes of a signature.
    pub const fn signature_len(self) -> usize {
        match self {
            MlDsaSet::MlDsa44 => 2420,
            MlDsaSet::MlDsa65 => 3309,
            MlDsaSet::MlDsa87 => 4627,
        }
    }
}

/// The parameter sets of ML-KEM (FIPS 203 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MlKemSet {
    /// ML-KEM-512.
    MlKem512,
    /// ML-KEM-768.
    MlKem768,
    /// ML-KEM-1024.
    MlKem1024,
}

impl MlKemSet {
    /// Every set there is.
    pub const ALL: [MlKemSet; 3] = [MlKemSet::MlKem512, MlKemSet::MlKem768, MlKemSet::MlKem1024];

    /// CKP_ML_KEM_….
    pub const fn id(self) -> CK_ULONG {
        match self {
            MlKemSet::MlKem512 => CKP_ML_KEM_512,
            MlKemSet::MlKem768 => CKP_ML_KEM_768,
            MlKemSet::MlKem1024 => CKP_ML_KEM_1024,
        }
    }

    /// The rank k of the module.
    const fn rank(self) -> usize {
        match self {
            MlKemSet::MlKem512 => 2,
            MlKemSet::MlKem768 => 3,
            MlKemSet::MlKem1024 => 4,
        }
    }

    /// Length in bytes of an encapsulation key (FIPS 203 table 3).
    pub const fn public_len(self) -> usize {
        384 * self.rank() + 32
    }

    /// Length in bytes of an expanded decapsulation key.
    pub const fn expanded_len(self) -> usize {
        768 * self.rank() + 96
    }

    /// Length in bytes of a ciphertext.
    pub const fn ciphertext_len(self) -> usize {
        match self {
            MlKemSet::MlKem512 => 768,
            MlKemSet::MlKem768 => 1088,
            MlKemSet::MlKem1024 => 1568,
        }
    }

    /// The encapsulation key inside an expanded decapsulation key: dk_PKE ‖ ek ‖ H(ek) ‖ z (FIPS
    /// 203 7.1). `CKR_ATTRIBUTE_VALUE_INVALID` for one of another length.
    pub fn public_of(self, expanded: &[u8]) -> Result<Vec<u8>> {
        check_len(expanded, self.expanded_len(), "expanded ML-KEM key")?;
        let start = 384 * self.rank();
        let public = expanded.get(start..start + self.public_len());
        Ok(public.unwrap_or_default().to_vec())
    }
}

/// How an ML-DSA key signs what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlDsaScheme {
    /// HashML-DSA: the input is a digest of this hash function (FIPS 204 5.4).
    pub prehash: Option<Hash>,
    /// Context, at most 255 bytes.
    pub context: Vec<u8>,
    /// Whether the signature depends on key and input alone (FIPS 204 3.4); if not, it is hedged.
    pub deterministic: bool,
}

impl MlDsaScheme {
    /// What stands before the input in the message M' that is signed (FIPS 204 5.2, 5.4):
    /// `0 ‖ len ‖ context`, or `1 ‖ len ‖ context ‖ OID` where the input is a digest.
    ///
    /// `CKR_MECHANISM_PARAM_INVALID` for a longer context and a hash function that FIPS 204 does not
    /// have, `CKR_DATA_LEN_RANGE` for a digest of the wrong length.
    pub(super) fn prefix(&self, input: &[u8]) -> Result<Vec<u8>> {
        let Ok(len) = u8::try_from(self.context.len()) else {
            return fail!(
                CKR_MECHANISM_PARAM_INVALID,
                "an ML-DSA context of {} bytes, more than {LONGEST_CONTEXT}",
                self.context.len()
            );
        };
        let mut prefix = vec![u8::from(self.prehash.is_some()), len];
        prefix.extend_from_slice(&self.context);
        let Some(hash) = self.prehash else {
            return Ok(prefix);
        };
        if input.len() != hash.len() {
            return fail!(
                CKR_DATA_LEN_RANGE,
                "a digest of {} bytes, not {}",
                input.len(),
                hash.len()
            );
        }
        prefix.extend_from_slice(b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02");
        prefix.push(match hash {
            Hash::Sha256 => 1,
            Hash::Sha384 => 2,
            Hash::Sha512 => 3,
            Hash::Sha224 => 4,
            Hash::Sha512_224 => 5,
            Hash::Sha512_256 => 6,
            Hash::Sha3_224 => 7,
            Hash::Sha3_256 => 8,
            Hash::Sha3_384 => 9,
            Hash::Sha3_512 => 10,
            Hash::Sha1 => {
                return fail!(
                    CKR_MECHANISM_PARAM_INVALID,
                    "HashML-DSA does not sign digests of SHA-1 (FIPS 204 5.4)"
                );
            }
        });
        Ok(prefix)
    }
}

/// `CKR_ATTRIBUTE_VALUE_INVALID` unless `value` has `len` bytes.
pub(super) fn check_len(value: &[u8], len: usize, what: &str) -> Result<()> {
    if value.len() == len {
        return Ok(());
    }
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "an {what} of {} bytes, not {len}",
        value.len()
    )
}

/// The signature over the message that is `parts` one after another, with `randomness` (FIPS 204
/// 6.2): zeros make it deterministic, which AWS-LC offers no way to ask for.
///
/// `expanded` has been checked: the crate trusts it.
pub(super) fn sign(
    set: MlDsaSet,
    expanded: &[u8],
    parts: &[&[u8]],
    randomness: &[u8; 32],
) -> Result<Vec<u8>> {
    match set {
        MlDsaSet::MlDsa44 => sign_as::<MlDsa44>(expanded, parts, randomness),
        MlDsaSet::MlDsa65 => sign_as::<MlDsa65>(expanded, parts, randomness),
        MlDsaSet::MlDsa87 => sign_as::<MlDsa87>(expanded, parts, randomness),
    }
}

fn sign_as<P: MlDsaParams>(
    expanded: &[u8],
    parts: &[&[u8]],
    randomness: &[u8; 32],
) -> Result<Vec<u8>> {
    let key = expanded_key::<P>(expanded)?;
    let signature = key.sign_internal(parts, &(*randomness).into());
    Ok(signature.encode().to_vec())
}

/// A key from its expanded form, which PKCS#11 keeps (CKA_VALUE) and FIPS 204 defines; the crate
/// would rather have seeds.
#[allow(deprecated)]
pub(super) fn expanded_key<P: MlDsaParams>(expanded: &[u8]) -> Result<Box<ExpandedSigningKey<P>>> {
    let expanded = expanded.try_into().map_err(|_| {
        Error::new(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an expanded ML-DSA key of the wrong length",
        )
    })?;
    Ok(Box::new(ExpandedSigningKey::from_expanded(expanded)))
}

/// Refuses, with `CKR_ATTRIBUTE_VALUE_INVALID`, an expanded key that its seed does not give.
pub(super) fn check_seed(given: &Secret, from_seed: &Secret) -> Result<()> {
    use subtle::ConstantTimeEq;
    if bool::from(given.ct_eq(from_seed)) {
        return Ok(());
    }
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "CKA_SEED and CKA_VALUE are not of one key"
    )
}
