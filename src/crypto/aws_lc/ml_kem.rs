//! ML-KEM (FIPS 203).

use super::super::lattice::{self, ML_KEM_SEED, ML_KEM_SHARED, MlKemSet, check_len};
use super::super::{PrivateParts, PublicParts, SecretParts};
use super::ffi::{self, Pkey, PkeyOperation, check, refused};
use super::random;
use crate::error::{Result, fail};
use crate::memory::Secret;
use aws_lc_sys as c;
use cryptoki_sys::{CKR_ATTRIBUTE_VALUE_INVALID, CKR_GENERAL_ERROR, CKR_WRAPPED_KEY_LEN_RANGE};
use std::ffi::c_int;
use std::ptr;

/// An encapsulation key, or a pair.
pub struct Key {
    key: Pkey,
    set: MlKemSet,
}

// SAFETY: once a constructor has returned, the key is only read: its operations are contexts of
// their own, and AWS-LC counts references in an atomic (evp.h).
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

const fn nid(set: MlKemSet) -> c_int {
    match set {
        MlKemSet::MlKem512 => c::NID_MLKEM512,
        MlKemSet::MlKem768 => c::NID_MLKEM768,
        MlKemSet::MlKem1024 => c::NID_MLKEM1024,
    }
}

/// Makes a key pair.
pub fn generate(set: MlKemSet) -> Result<PrivateParts> {
    let mut seed = Secret::zeroed(ML_KEM_SEED)?;
    random(&mut seed)?;
    from_seed(set, seed)
}

/// The key pair of a seed d ‖ z (FIPS 203 6.1); `CKR_ATTRIBUTE_VALUE_INVALID` unless it has 64 bytes.
pub fn from_seed(set: MlKemSet, seed: Secret) -> Result<PrivateParts> {
    ffi::begin();
    check_len(&seed, ML_KEM_SEED, "ML-KEM seed")?;
    // SAFETY: the constructor has no preconditions; no engine is given.
    let operation = unsafe { c::EVP_PKEY_CTX_new_id(c::EVP_PKEY_KEM, ptr::null_mut()) };
    let operation = PkeyOperation::own(operation)?;
    let mut key = ptr::null_mut();
    let mut len = seed.len();
    // SAFETY: the operation is live; the seed is readable for `len` bytes; a null key asks for a new
    // one, which is ours.
    let done = unsafe {
        c::EVP_PKEY_CTX_kem_set_params(operation.as_ptr(), nid(set)) == 1
            && c::EVP_PKEY_keygen_init(operation.as_ptr()) == 1
            && c::EVP_PKEY_keygen_deterministic(
                operation.as_ptr(),
                &mut key,
                seed.as_ptr(),
                &mut len,
            ) == 1
    };
    check(
        done.into(),
        CKR_GENERAL_ERROR,
        "AWS-LC made no ML-KEM key pair",
    )?;
    let key = Pkey::own(key)?;
    let mut public = vec![0; set.public_len()];
    key.write(c::EVP_PKEY_get_raw_public_key, &mut public)?;
    let mut expanded = Secret::zeroed(set.expanded_len())?;
    key.write(c::EVP_PKEY_get_raw_private_key, &mut expanded)?;
    Ok(PrivateParts {
        public: PublicParts::MlKem { set, key: public },
        secret: SecretParts::MlKem {
            seed: Some(seed),
            expanded,
        },
    })
}

impl Key {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the three are of one key (FIPS 203 7.2, 7.3).
    pub fn private(
        set: MlKemSet,
        public: &[u8],
        seed: Option<&Secret>,
        expanded: &Secret,
    ) -> Result<Self> {
        check_len(public, set.public_len(), "ML-KEM public key")?;
        check_len(expanded, set.expanded_len(), "expanded ML-KEM key")?;
        if let Some(seed) = seed {
            let derived = from_seed(set, Secret::copy_of(seed)?)?;
            if let SecretParts::MlKem { expanded: one, .. } = &derived.secret {
                lattice::check_seed(expanded, one)?;
            }
        }
        // SAFETY: both halves are readable for their lengths.
        let key = Pkey::own(unsafe {
            c::EVP_PKEY_kem_new_raw_key(
                nid(set),
                public.as_ptr(),
                public.len(),
                expanded.as_ptr(),
                expanded.len(),
            )
        })?;
        // SAFETY: the key is live and has both halves.
        let done = unsafe { c::EVP_PKEY_kem_check_key(key.as_ptr()) };
        check(
            done,
            CKR_ATTRIBUTE_VALUE_INVALID,
            "the ML-KEM public key is not the one of the private key",
        )?;
        Ok(Self { key, set })
    }

    /// `CKR_ATTRIBUTE_VALUE_INVALID` for a key of the wrong length, or with a coefficient above the
    /// modulus (FIPS 203 7.2).
    pub fn public(set: MlKemSet, public: &[u8]) -> Result<Self> {
        check_len(public, set.public_len(), "ML-KEM public key")?;
        // SAFETY: `public` is readable for its length.
        let key = Pkey::own(unsafe {
            c::EVP_PKEY_kem_new_raw_public_key(nid(set), public.as_ptr(), public.len())
        })?;
        // SAFETY: the operation is live and has its key.
        let done = unsafe { c::EVP_PKEY_public_check(key.operation()?.as_ptr()) };
        check(
            done,
            CKR_ATTRIBUTE_VALUE_INVALID,
            "the ML-KEM public key has a coefficient above the modulus",
        )?;
        Ok(Self { key, set })
    }

    /// A new key and the ciphertext for it.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Secret)> {
        let operation = self.key.operation()?;
        let mut ciphertext = vec![0; self.set.ciphertext_len()];
        let mut shared = Secret::zeroed(ML_KEM_SHARED)?;
        let (mut ciphertext_len, mut shared_len) = (ciphertext.len(), shared.len());
        // SAFETY: the operation is live and has its key; both outputs are writable for the lengths
        // that are given with them.
        let done = unsafe {
            c::EVP_PKEY_encapsulate(
                operation.as_ptr(),
                ciphertext.as_mut_ptr(),
                &mut ciphertext_len,
                shared.as_mut_ptr(),
                &mut shared_len,
            )
        };
        check(done, CKR_GENERAL_ERROR, "AWS-LC encapsulated no key")?;
        Ok((ciphertext, shared))
    }

    /// The key that `ciphertext` is for.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret> {
        if ciphertext.len() != self.set.ciphertext_len() {
            return fail!(
                CKR_WRAPPED_KEY_LEN_RANGE,
                "an ML-KEM ciphertext of {} bytes, not {}",
                ciphertext.len(),
                self.set.ciphertext_len()
            );
        }
        let operation = self.key.operation()?;
        let mut shared = Secret::zeroed(ML_KEM_SHARED)?;
        let mut len = shared.len();
        // SAFETY: the operation is live and has its key; `shared` is writable for `len` bytes, the
        // ciphertext readable for its length.
        let done = unsafe {
            c::EVP_PKEY_decapsulate(
                operation.as_ptr(),
                shared.as_mut_ptr(),
                &mut len,
                ciphertext.as_ptr(),
                ciphertext.len(),
            )
        };
        match done {
            1 => Ok(shared),
            _ => Err(refused(CKR_GENERAL_ERROR, "AWS-LC found no ML-KEM key")),
        }
    }
}
