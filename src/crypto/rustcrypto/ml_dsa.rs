//! ML-DSA (FIPS 204).

use super::super::lattice::{self, ML_DSA_SEED, MlDsaScheme, MlDsaSet, check_len, expanded_key};
use super::super::{PrivateParts, PublicParts, SecretParts};
use super::{check_signature_len, random, unrelated};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{CKR_ATTRIBUTE_VALUE_INVALID, CKR_SIGNATURE_INVALID};
use ml_dsa::{MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// Calls a function that is generic over the parameter set.
macro_rules! on_set {
    ($set:expr, $function:ident($($argument:expr),*)) => {
        match $set {
            MlDsaSet::MlDsa44 => $function::<MlDsa44>($($argument),*),
            MlDsaSet::MlDsa65 => $function::<MlDsa65>($($argument),*),
            MlDsaSet::MlDsa87 => $function::<MlDsa87>($($argument),*),
        }
    };
}

/// How many signatures a key that comes without a seed has to make before it is taken.
const TRIALS: u8 = 8;

/// A private key that has been checked.
pub struct PrivateKey {
    set: MlDsaSet,
    expanded: Secret,
}

/// A public key.
pub struct PublicKey {
    set: MlDsaSet,
    key: Vec<u8>,
}

/// Makes a key pair.
pub fn generate(set: MlDsaSet) -> Result<PrivateParts> {
    let mut seed = Secret::zeroed(ML_DSA_SEED)?;
    random(&mut seed)?;
    from_seed(set, seed)
}

/// The key pair of a seed (FIPS 204 6.1); `CKR_ATTRIBUTE_VALUE_INVALID` unless it has 32 bytes.
pub fn from_seed(set: MlDsaSet, seed: Secret) -> Result<PrivateParts> {
    check_len(&seed, ML_DSA_SEED, "ML-DSA seed")?;
    let (key, expanded) = on_set!(set, expand(&seed))?;
    Ok(PrivateParts {
        public: PublicParts::MlDsa { set, key },
        secret: SecretParts::MlDsa {
            seed: Some(seed),
            expanded,
        },
    })
}

/// The public key of an expanded private key; `CKR_ATTRIBUTE_VALUE_INVALID` for what cannot be one.
pub fn public_of(set: MlDsaSet, expanded: &[u8]) -> Result<Vec<u8>> {
    check_len(expanded, set.expanded_len(), "expanded ML-DSA key")?;
    if !has_short_vectors(set, expanded) {
        return malformed();
    }
    on_set!(set, public_key(set, expanded))
}

#[allow(deprecated)]
fn expand<P: MlDsaParams>(seed: &[u8]) -> Result<(Vec<u8>, Secret)> {
    let seed = seed.try_into().map_err(|_| {
        Error::new(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an ML-DSA seed of the wrong length",
        )
    })?;
    let key = Box::new(SigningKey::<P>::from_seed(&seed));
    let expanded = Zeroizing::new(key.expanded_key().to_expanded());
    let public = key.expanded_key().verifying_key().encode().to_vec();
    Ok((public, Secret::copy_of(&expanded)?))
}

/// Whether the coefficients of s1 and s2, which follow ρ, K and tr, are within ±η (FIPS 204 7.2,
/// algorithm 25): the crate trusts them to be.
fn has_short_vectors(set: MlDsaSet, expanded: &[u8]) -> bool {
    const START: usize = 32 + 32 + 64;
    let (polynomials, bits, largest) = match set {
        MlDsaSet::MlDsa44 => (4 + 4, 3, 2 * 2),
        MlDsaSet::MlDsa65 => (5 + 6, 4, 2 * 4),
        MlDsaSet::MlDsa87 => (7 + 8, 3, 2 * 2),
    };
    let vectors = expanded.iter().skip(START).take(polynomials * 32 * bits);
    let (mut pool, mut filled, mut good) = (0_u32, 0, true);
    for byte in vectors {
        pool |= u32::from(*byte) << filled;
        filled += 8;
        while filled >= bits {
            good &= (pool & ((1 << bits) - 1)) <= largest;
            pool >>= bits;
            filled -= bits;
        }
    }
    good
}

fn public_key<P: MlDsaParams>(set: MlDsaSet, expanded: &[u8]) -> Result<Vec<u8>> {
    let public = expanded_key::<P>(expanded)?
        .verifying_key()
        .encode()
        .to_vec();
    // The crate keeps the t0 that it computes to itself (its algebra is private), so that there is none
    // to compare. A wrong one, or a wrong tr, makes signatures that do not hold: a few are tried. A t0
    // that is off by little is taken so; it is no secret, and a signature of such a key may now and
    // then not hold. Where a seed comes along, and in AWS-LC, every bit is compared.
    for round in 0..TRIALS {
        let round = [round];
        let message = [round.as_slice()];
        let signature = lattice::sign(set, expanded, &message, &[0; 32])?;
        if !verify_as::<P>(&public, &message, &signature) {
            return malformed();
        }
    }
    Ok(public)
}

fn malformed<T>() -> Result<T> {
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "the ML-DSA private key is not one of its parameter set"
    )
}

fn verify_as<P: MlDsaParams>(public: &[u8], message: &[&[u8]], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (public.try_into(), Signature::<P>::try_from(signature))
    else {
        return false;
    };
    VerifyingKey::<P>::decode(public).verify_internal(&message.concat(), &signature)
}

impl PrivateKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` unless the three are of one key.
    pub fn new(
        set: MlDsaSet,
        public: &[u8],
        seed: Option<&Secret>,
        expanded: &Secret,
    ) -> Result<Self> {
        if public_of(set, expanded)? != public {
            return unrelated();
        }
        if let Some(seed) = seed {
            let derived = from_seed(set, Secret::copy_of(seed)?)?;
            if let SecretParts::MlDsa { expanded: one, .. } = &derived.secret {
                lattice::check_seed(expanded, one)?;
            }
        }
        Ok(Self {
            set,
            expanded: Secret::copy_of(expanded)?,
        })
    }

    /// Signs `input`.
    pub fn sign(&self, scheme: &MlDsaScheme, input: &[u8]) -> Result<Vec<u8>> {
        let prefix = scheme.prefix(input)?;
        let mut randomness = Zeroizing::new([0; 32]);
        if !scheme.deterministic {
            random(&mut *randomness)?;
        }
        lattice::sign(self.set, &self.expanded, &[&prefix, input], &randomness)
    }
}

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` for a key that has not the length of its set; FIPS 204 takes
    /// any bytes of that length.
    pub fn new(set: MlDsaSet, public: &[u8]) -> Result<Self> {
        check_len(public, set.public_len(), "ML-DSA public key")?;
        let key = public.to_vec();
        Ok(Self { set, key })
    }

    /// Checks `signature` over `input`.
    pub fn verify(&self, scheme: &MlDsaScheme, input: &[u8], signature: &[u8]) -> Result<()> {
        check_signature_len(signature, self.set.signature_len())?;
        let prefix = scheme.prefix(input)?;
        match on_set!(self.set, verify_as(&self.key, &[&prefix, input], signature)) {
            true => Ok(()),
            false => fail!(
                CKR_SIGNATURE_INVALID,
                "the ML-DSA signature does not fit the key and the message"
            ),
        }
    }
}
