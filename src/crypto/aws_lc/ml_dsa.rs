//! ML-DSA (FIPS 204).
//!
//! AWS-LC signs a message representative μ that is computed here, so that one way serves ML-DSA and
//! HashML-DSA.

use super::super::lattice::{self, ML_DSA_SEED, MlDsaScheme, MlDsaSet, check_len};
use super::super::{PrivateParts, PublicParts, SecretParts};
use super::ffi::{self, MdState, Pkey, check, refused};
use super::random;
use crate::error::{Result, fail};
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_GENERAL_ERROR, CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE,
};
use std::ffi::c_int;
use std::ptr;

/// Length in bytes of μ, and of the hash of a public key in it.
const REPRESENTATIVE: usize = 64;

/// A public key, and the hash of it that goes into each μ.
pub struct PublicKey {
    key: Pkey,
    set: MlDsaSet,
    hash: [u8; REPRESENTATIVE],
}

/// A private key, with its public half.
pub struct PrivateKey {
    pair: PublicKey,
    expanded: Secret,
}

// SAFETY: once a constructor has returned, the key is only read: its operations are contexts of
// their own, and AWS-LC counts references in an atomic (evp.h).
unsafe impl Send for PublicKey {}
// SAFETY: as above.
unsafe impl Sync for PublicKey {}

const fn nid(set: MlDsaSet) -> c_int {
    match set {
        MlDsaSet::MlDsa44 => c::NID_MLDSA44,
        MlDsaSet::MlDsa65 => c::NID_MLDSA65,
        MlDsaSet::MlDsa87 => c::NID_MLDSA87,
    }
}

/// Makes a key pair.
pub fn generate(set: MlDsaSet) -> Result<PrivateParts> {
    let mut seed = Secret::zeroed(ML_DSA_SEED)?;
    random(&mut seed)?;
    from_seed(set, seed)
}

/// The key pair of a seed (FIPS 204 6.1); `CKR_ATTRIBUTE_VALUE_INVALID` unless it has 32 bytes.
pub fn from_seed(set: MlDsaSet, seed: Secret) -> Result<PrivateParts> {
    ffi::begin();
    check_len(&seed, ML_DSA_SEED, "ML-DSA seed")?;
    let key = private(set, &seed)?;
    let mut expanded = Secret::zeroed(set.expanded_len())?;
    key.write(c::EVP_PKEY_get_raw_private_key, &mut expanded)?;
    Ok(PrivateParts {
        public: PublicParts::MlDsa {
            set,
            key: write_public(set, &key)?,
        },
        secret: SecretParts::MlDsa {
            seed: Some(seed),
            expanded,
        },
    })
}

/// The public key of an expanded private key; `CKR_ATTRIBUTE_VALUE_INVALID` for what cannot be one.
pub fn public_of(set: MlDsaSet, expanded: &[u8]) -> Result<Vec<u8>> {
    ffi::begin();
    check_len(expanded, set.expanded_len(), "expanded ML-DSA key")?;
    write_public(set, &private(set, expanded)?)
}

/// The key of a seed, or of an expanded private key, which AWS-LC tells by their lengths.
fn private(set: MlDsaSet, bytes: &[u8]) -> Result<Pkey> {
    // SAFETY: `bytes` is readable for its length.
    let key =
        unsafe { c::EVP_PKEY_pqdsa_new_raw_private_key(nid(set), bytes.as_ptr(), bytes.len()) };
    if key.is_null() {
        return Err(refused(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "the ML-DSA private key is not one of its parameter set",
        ));
    }
    Pkey::own(key)
}

fn write_public(set: MlDsaSet, key: &Pkey) -> Result<Vec<u8>> {
    let mut public = vec![0; set.public_len()];
    key.write(c::EVP_PKEY_get_raw_public_key, &mut public)?;
    Ok(public)
}

/// SHAKE256 of `parts` one after another, 64 bytes of it.
fn shake(parts: &[&[u8]]) -> Result<[u8; REPRESENTATIVE]> {
    // SAFETY: the constructor has no preconditions.
    let state = MdState::own(unsafe { c::EVP_MD_CTX_new() })?;
    let mut out = [0; REPRESENTATIVE];
    // SAFETY: the state is live, each part readable for its length, `out` writable for its own; a
    // null engine stands for AWS-LC itself.
    let done = unsafe {
        c::EVP_DigestInit_ex(state.as_ptr(), c::EVP_shake256(), ptr::null_mut()) == 1
            && parts.iter().all(|part| {
                c::EVP_DigestUpdate(state.as_ptr(), part.as_ptr().cast(), part.len()) == 1
            })
            && c::EVP_DigestFinalXOF(state.as_ptr(), out.as_mut_ptr(), out.len()) == 1
    };
    check(done.into(), CKR_GENERAL_ERROR, "AWS-LC gave no SHAKE256")?;
    Ok(out)
}

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the three are of one key.
    pub fn new(
        set: MlDsaSet,
        public: &[u8],
        seed: Option<&Secret>,
        expanded: &Secret,
    ) -> Result<Self> {
        check_len(expanded, set.expanded_len(), "expanded ML-DSA key")?;
        let key = private(set, expanded)?;
        if write_public(set, &key)? != public {
            return fail!(
                CKR_ATTRIBUTE_VALUE_INVALID,
                "the ML-DSA public key is not the one of the private key"
            );
        }
        if let Some(seed) = seed {
            let derived = from_seed(set, Secret::copy_of(seed)?)?;
            if let SecretParts::MlDsa { expanded: one, .. } = &derived.secret {
                lattice::check_seed(expanded, one)?;
            }
        }
        Ok(Self {
            pair: PublicKey {
                key,
                set,
                hash: shake(&[public])?,
            },
            expanded: Secret::copy_of(expanded)?,
        })
    }

    /// Signs `input`.
    pub fn sign(&self, scheme: &MlDsaScheme, input: &[u8]) -> Result<Vec<u8>> {
        let PublicKey { key, set, hash } = &self.pair;
        let prefix = scheme.prefix(input)?;
        if scheme.deterministic {
            return lattice::sign(*set, &self.expanded, &[&prefix, input], &[0; 32]);
        }
        let representative = shake(&[hash, &prefix, input])?;
        let operation = key.operation()?;
        let mut signature = vec![0; set.signature_len()];
        let mut len = signature.len();
        // SAFETY: the operation is live and has its key; `signature` is writable for `len` bytes,
        // and the representative readable for its length.
        let done = unsafe {
            c::EVP_PKEY_sign_init(operation.as_ptr()) == 1
                && c::EVP_PKEY_sign(
                    operation.as_ptr(),
                    signature.as_mut_ptr(),
                    &mut len,
                    representative.as_ptr(),
                    representative.len(),
                ) == 1
                && len == signature.len()
        };
        check(
            done.into(),
            CKR_GENERAL_ERROR,
            "AWS-LC gave no ML-DSA signature",
        )?;
        Ok(signature)
    }
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` for a key that has not the length of its set; FIPS 204 takes
    /// any bytes of that length.
    pub fn new(set: MlDsaSet, public: &[u8]) -> Result<Self> {
        check_len(public, set.public_len(), "ML-DSA public key")?;
        // SAFETY: `public` is readable for its length.
        let key = unsafe {
            c::EVP_PKEY_pqdsa_new_raw_public_key(nid(set), public.as_ptr(), public.len())
        };
        Ok(Self {
            key: Pkey::own(key)?,
            set,
            hash: shake(&[public])?,
        })
    }

    /// Checks `signature` over `input`.
    pub fn verify(&self, scheme: &MlDsaScheme, input: &[u8], signature: &[u8]) -> Result<()> {
        if signature.len() != self.set.signature_len() {
            return fail!(
                CKR_SIGNATURE_LEN_RANGE,
                "an ML-DSA signature of {} bytes, not {}",
                signature.len(),
                self.set.signature_len()
            );
        }
        let prefix = scheme.prefix(input)?;
        let representative = shake(&[&self.hash, &prefix, input])?;
        let operation = self.key.operation()?;
        // SAFETY: the operation is live and has its key; signature and representative are readable
        // for their lengths.
        let done = unsafe {
            c::EVP_PKEY_verify_init(operation.as_ptr()) == 1
                && c::EVP_PKEY_verify(
                    operation.as_ptr(),
                    signature.as_ptr(),
                    signature.len(),
                    representative.as_ptr(),
                    representative.len(),
                ) == 1
        };
        check(
            done.into(),
            CKR_SIGNATURE_INVALID,
            "the ML-DSA signature does not hold",
        )
    }
}
