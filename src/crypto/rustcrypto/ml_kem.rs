//! ML-KEM (FIPS 203).

use super::super::lattice::{self, ML_KEM_SEED, MlKemSet, check_len};
use super::super::{PrivateParts, PublicParts, SecretParts};
use super::{random, unrelated};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{CKR_ATTRIBUTE_VALUE_INVALID, CKR_WRAPPED_KEY_LEN_RANGE};
#[allow(deprecated)]
use ml_kem::ExpandedKeyEncoding;
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{ml_kem_512, ml_kem_768, ml_kem_1024};
use zeroize::Zeroizing;

/// Runs a body with the types of a parameter set, in the module `$types`.
macro_rules! on_set {
    ($set:expr, $types:ident => $body:expr) => {
        match $set {
            MlKemSet::MlKem512 => {
                use ml_kem_512 as $types;
                $body
            }
            MlKemSet::MlKem768 => {
                use ml_kem_768 as $types;
                $body
            }
            MlKemSet::MlKem1024 => {
                use ml_kem_1024 as $types;
                $body
            }
        }
    };
}

/// A private key that has been checked.
pub struct PrivateKey {
    set: MlKemSet,
    expanded: Secret,
}

/// A public key that has been checked.
pub struct PublicKey {
    set: MlKemSet,
    key: Vec<u8>,
}

/// Makes a key pair.
pub fn generate(set: MlKemSet) -> Result<PrivateParts> {
    let mut seed = Secret::zeroed(ML_KEM_SEED)?;
    random(&mut seed)?;
    from_seed(set, seed)
}

/// The key pair of a seed d ‖ z (FIPS 203 6.1); `CKR_ATTRIBUTE_VALUE_INVALID` unless it has 64 bytes.
#[allow(deprecated)]
pub fn from_seed(set: MlKemSet, seed: Secret) -> Result<PrivateParts> {
    check_len(&seed, ML_KEM_SEED, "ML-KEM seed")?;
    let (key, expanded) = on_set!(set, types => {
        let bytes = (&*seed).try_into().map_err(|_| malformed())?;
        let key = types::DecapsulationKey::from_seed(bytes);
        let expanded = Zeroizing::new(key.to_expanded_bytes());
        (
            key.encapsulation_key().to_bytes().to_vec(),
            Secret::copy_of(&expanded)?,
        )
    });
    Ok(PrivateParts {
        public: PublicParts::MlKem { set, key },
        secret: SecretParts::MlKem {
            seed: Some(seed),
            expanded,
        },
    })
}

fn malformed() -> Error {
    Error::new(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "the ML-KEM key is not one of its parameter set",
    )
}

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the three are of one key (FIPS 203 7.2, 7.3).
    #[allow(deprecated)]
    pub fn new(
        set: MlKemSet,
        public: &[u8],
        seed: Option<&Secret>,
        expanded: &Secret,
    ) -> Result<Self> {
        if set.public_of(expanded)? != public {
            return unrelated();
        }
        if let Some(seed) = seed {
            let derived = from_seed(set, Secret::copy_of(seed)?)?;
            if let SecretParts::MlKem { expanded: one, .. } = &derived.secret {
                lattice::check_seed(expanded, one)?;
            }
        }
        let key = Self {
            set,
            expanded: Secret::copy_of(expanded)?,
        };
        // What belongs together finds again what the other half encapsulates.
        let (ciphertext, shared) = PublicKey::new(set, public)?.encapsulate()?;
        match *key.decapsulate(&ciphertext)? == *shared {
            true => Ok(key),
            false => unrelated(),
        }
    }

    /// The key that `ciphertext` is for.
    #[allow(deprecated)]
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret> {
        if ciphertext.len() != self.set.ciphertext_len() {
            return fail!(
                CKR_WRAPPED_KEY_LEN_RANGE,
                "an ML-KEM ciphertext of {} bytes, not {}",
                ciphertext.len(),
                self.set.ciphertext_len()
            );
        }
        on_set!(self.set, types => {
            let expanded = (&*self.expanded).try_into().map_err(|_| malformed())?;
            let key = types::DecapsulationKey::from_expanded(expanded).map_err(|_| malformed())?;
            let ciphertext = ciphertext.try_into().map_err(|_| malformed())?;
            Secret::copy_of(&Zeroizing::new(key.decapsulate(ciphertext)))
        })
    }
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` for a key of the wrong length, or with a coefficient above the
    /// modulus (FIPS 203 7.2).
    pub fn new(set: MlKemSet, public: &[u8]) -> Result<Self> {
        check_len(public, set.public_len(), "ML-KEM public key")?;
        on_set!(set, types => {
            let bytes = public.try_into().map_err(|_| malformed())?;
            types::EncapsulationKey::new(bytes).map(drop).map_err(|_| malformed())
        })?;
        let key = public.to_vec();
        Ok(Self { set, key })
    }

    /// A new key and the ciphertext for it.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Secret)> {
        let mut message = Zeroizing::new([0; 32]);
        random(&mut *message)?;
        on_set!(self.set, types => {
            let bytes = self.key.as_slice().try_into().map_err(|_| malformed())?;
            let key = types::EncapsulationKey::new(bytes).map_err(|_| malformed())?;
            let (ciphertext, shared) = key.encapsulate_deterministic(&(*message).into());
            Ok((ciphertext.to_vec(), Secret::copy_of(&Zeroizing::new(shared))?))
        })
    }
}
