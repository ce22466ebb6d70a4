//! The second engine: RustCrypto. No C, no unsafe code of ours.
//!
//! It serves targets without a C toolchain and checks the first engine in the tests. Private
//! values pass through memory of the RustCrypto crates for the time of an operation; the crates
//! wipe what they keep, but not every intermediate integer of RSA.

mod aead;
mod cipher;
mod ec;
mod ed25519;
mod gcm;
mod hash;
mod kdf;
mod ml_dsa;
mod ml_kem;
mod padding;
mod rsa;
mod x25519;

pub use aead::{ccm_open, ccm_seal, chacha_open, chacha_seal};
pub use cipher::{Cipher, cfb, key_unwrap, key_wrap, tdes_block};
pub use ec::{agree, public_point};
pub use ed25519::public_key as ed25519_public;
pub use gcm::{GcmSealing, gcm_open, gcm_seal};
pub use hash::{Cmac, Digest, Hmac, digest};
pub use kdf::{hkdf_expand, hkdf_extract, pbkdf2};
pub use ml_dsa::{from_seed as ml_dsa_from_seed, public_of as ml_dsa_public};
pub use ml_kem::from_seed as ml_kem_from_seed;
pub use x25519::{agree as x25519, public as x25519_public};

use super::{
    CryptScheme, Curve, KeySpec, PrivateParts, PublicParts, SecretParts, SignScheme, edwards,
};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_KEY_TYPE_INCONSISTENT, CKR_RANDOM_NO_RNG,
    CKR_SIGNATURE_LEN_RANGE,
};

/// Fills `out` from the operating system's generator, at every call anew: nothing to share
/// after a fork.
pub fn random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|error| {
        Error::new(
            CKR_RANDOM_NO_RNG,
            format!("the operating system gives no random bytes: {error}"),
        )
    })
}

/// Makes a key pair. `CKR_ATTRIBUTE_VALUE_INVALID` for an RSA modulus that is not 1024 to 4096 bits in
/// steps of 8; `CKR_TEMPLATE_INCONSISTENT` for a public exponent that is even, below 3 or longer than 33
/// bits (PKCS#11 6.1.4).
pub fn generate(spec: &KeySpec) -> Result<PrivateParts> {
    match spec {
        KeySpec::Rsa { bits, exponent } => rsa::generate(*bits, exponent),
        KeySpec::Ec(curve) => {
            let (d, point) = ec::generate(*curve)?;
            Ok(PrivateParts {
                public: PublicParts::Ec {
                    curve: *curve,
                    point,
                },
                secret: SecretParts::Ec { d },
            })
        }
        KeySpec::Ed25519 => {
            let mut seed = Secret::zeroed(ed25519::LEN)?;
            random(&mut seed)?;
            Ok(PrivateParts {
                public: PublicParts::Ed25519(ed25519::public_key(&seed)?),
                secret: SecretParts::Ed25519 { seed },
            })
        }
        KeySpec::X25519 => x25519::generate(),
        KeySpec::MlDsa(set) => ml_dsa::generate(*set),
        KeySpec::MlKem(set) => ml_kem::generate(*set),
    }
}

enum Private {
    Rsa(Box<rsa::PrivateKey>),
    Ec { curve: Curve, d: Secret },
    Ed25519 { seed: Secret, public: Vec<u8> },
    X25519 { scalar: Secret },
    MlDsa(ml_dsa::PrivateKey),
    MlKem(ml_kem::PrivateKey),
}

/// A private key, checked and ready.
pub struct PrivateKey(Private);

impl PrivateKey {
    /// Checks that the private half belongs to the public half. `CKR_ATTRIBUTE_VALUE_INVALID`
    /// when it does not, or when a value is out of its range.
    pub fn from_parts(parts: &PrivateParts) -> Result<Self> {
        match (&parts.public, &parts.secret) {
            (PublicParts::Rsa { n, e }, SecretParts::Rsa { d, crt }) => {
                let key = rsa::PrivateKey::new(n, e, d, crt.as_ref())?;
                Ok(Self(Private::Rsa(Box::new(key))))
            }
            (PublicParts::Ec { curve, point }, SecretParts::Ec { d }) => {
                if ec::public_point(*curve, d)? != *point {
                    return unrelated();
                }
                Ok(Self(Private::Ec {
                    curve: *curve,
                    d: Secret::copy_of(d)?,
                }))
            }
            (PublicParts::Ed25519(public), SecretParts::Ed25519 { seed }) => {
                if ed25519::public_key(seed)? != *public {
                    return unrelated();
                }
                Ok(Self(Private::Ed25519 {
                    seed: Secret::copy_of(seed)?,
                    public: public.clone(),
                }))
            }
            (PublicParts::X25519(public), SecretParts::X25519 { scalar }) => {
                if x25519::public(scalar)? != *public {
                    return unrelated();
                }
                Ok(Self(Private::X25519 {
                    scalar: Secret::copy_of(scalar)?,
                }))
            }
            (PublicParts::MlDsa { set, key }, SecretParts::MlDsa { seed, expanded }) => {
                let key = ml_dsa::PrivateKey::new(*set, key, seed.as_ref(), expanded)?;
                Ok(Self(Private::MlDsa(key)))
            }
            (PublicParts::MlKem { set, key }, SecretParts::MlKem { seed, expanded }) => {
                let key = ml_kem::PrivateKey::new(*set, key, seed.as_ref(), expanded)?;
                Ok(Self(Private::MlKem(key)))
            }
            _ => unrelated(),
        }
    }

    /// Signs `input`: a digest, a DigestInfo or a message, as [`SignScheme`] says.
    ///
    /// `CKR_KEY_TYPE_INCONSISTENT` for a scheme of another key type, `CKR_DATA_LEN_RANGE` for an
    /// input of the wrong length, `CKR_DATA_INVALID` for a raw one that is not below the modulus,
    /// `CKR_MECHANISM_PARAM_INVALID` for a salt that does not fit or a context out of range.
    pub fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        match (&self.0, scheme) {
            (Private::Rsa(key), _) => key.sign(scheme, input),
            (Private::Ec { curve, d }, SignScheme::Ecdsa) => ec::sign(*curve, d, input),
            (Private::Ed25519 { seed, public }, SignScheme::EdDsa { prehash, context }) => {
                ed25519::sign(seed, public, *prehash, context.as_deref(), input)
            }
            (Private::MlDsa(key), SignScheme::MlDsa(scheme)) => key.sign(scheme, input),
            _ => inconsistent(),
        }
    }

    /// Decrypts `ciphertext`, which is as long as the modulus (else
    /// `CKR_ENCRYPTED_DATA_LEN_RANGE`).
    ///
    /// Whatever is wrong with OAEP is the same `CKR_ENCRYPTED_DATA_INVALID`; bad PKCS #1 v1.5
    /// padding is no error at all but another message (see [`super::pkcs1`]).
    pub fn decrypt(&self, scheme: &CryptScheme, ciphertext: &[u8]) -> Result<Secret> {
        match &self.0 {
            Private::Rsa(key) => key.decrypt(scheme, ciphertext),
            _ => inconsistent(),
        }
    }

    /// The key that `ciphertext` encapsulates; another one, that only this key knows, where nobody
    /// has encapsulated one in it (FIPS 203 6.3, implicit rejection).
    ///
    /// `CKR_KEY_TYPE_INCONSISTENT` when the key is not of ML-KEM, `CKR_WRAPPED_KEY_LEN_RANGE` for a
    /// ciphertext of the wrong length.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret> {
        match &self.0 {
            Private::MlKem(key) => key.decapsulate(ciphertext),
            _ => inconsistent(),
        }
    }

    /// The secret shared with who has the private half of `peer`: of an EC key the x coordinate of
    /// the product, as long as the field (SP 800-56A 5.7.1.2), of X25519 that of RFC 7748 6.1.
    ///
    /// `CKR_KEY_TYPE_INCONSISTENT` for a key that does not agree, `CKR_ATTRIBUTE_VALUE_INVALID` for a
    /// peer that is no uncompressed point of the key's curve, or of small order.
    pub fn agree(&self, peer: &[u8]) -> Result<Secret> {
        match &self.0 {
            Private::Ec { curve, d } => ec::agree(*curve, d, peer),
            Private::X25519 { scalar } => x25519::agree(scalar, peer),
            _ => inconsistent(),
        }
    }
}

enum Public {
    Rsa(Box<rsa::PublicKey>),
    Ec { curve: Curve, point: Vec<u8> },
    Ed25519(Vec<u8>),
    X25519,
    MlDsa(ml_dsa::PublicKey),
    MlKem(ml_kem::PublicKey),
}

/// A public key, checked and ready.
pub struct PublicKey(Public);

impl PublicKey {
    /// `CKR_ATTRIBUTE_VALUE_INVALID` for a point that is not on its curve or not uncompressed, and
    /// for an RSA modulus or exponent out of range.
    pub fn from_parts(parts: &PublicParts) -> Result<Self> {
        Ok(Self(match parts {
            PublicParts::Rsa { n, e } => Public::Rsa(Box::new(rsa::PublicKey::new(n, e)?)),
            PublicParts::Ec { curve, point } => {
                ec::check_point(*curve, point)?;
                Public::Ec {
                    curve: *curve,
                    point: point.clone(),
                }
            }
            PublicParts::Ed25519(public) => {
                edwards::point(public)?;
                Public::Ed25519(public.clone())
            }
            PublicParts::X25519(public) => {
                x25519::check_public(public)?;
                Public::X25519
            }
            PublicParts::MlDsa { set, key } => Public::MlDsa(ml_dsa::PublicKey::new(*set, key)?),
            PublicParts::MlKem { set, key } => Public::MlKem(ml_kem::PublicKey::new(*set, key)?),
        }))
    }

    /// Checks `signature` over `input`, which is what [`PrivateKey::sign`] was given.
    ///
    /// `CKR_SIGNATURE_LEN_RANGE` for one of another length than the key gives,
    /// `CKR_SIGNATURE_INVALID` for one that does not fit key and input.
    pub fn verify(&self, scheme: &SignScheme, input: &[u8], signature: &[u8]) -> Result<()> {
        match (&self.0, scheme) {
            (Public::Rsa(key), SignScheme::RsaPkcs1) => key.verify_pkcs1(input, signature),
            (Public::Rsa(key), SignScheme::RsaPss { hash, mgf, salt }) => {
                key.verify_pss(*hash, *mgf, *salt, input, signature)
            }
            (Public::Rsa(key), SignScheme::RsaRaw) => key.verify_raw(input, signature),
            (Public::Ec { curve, point }, SignScheme::Ecdsa) => {
                ec::verify(*curve, point, input, signature)
            }
            (Public::Ed25519(public), SignScheme::EdDsa { prehash, context }) => {
                ed25519::verify(public, *prehash, context.as_deref(), input, signature)
            }
            (Public::MlDsa(key), SignScheme::MlDsa(scheme)) => key.verify(scheme, input, signature),
            _ => inconsistent(),
        }
    }

    /// Encrypts `plaintext`. `CKR_DATA_LEN_RANGE` when it is too long for the padding,
    /// `CKR_DATA_INVALID` when it is raw and not below the modulus.
    pub fn encrypt(&self, scheme: &CryptScheme, plaintext: &[u8]) -> Result<Vec<u8>> {
        let Public::Rsa(key) = &self.0 else {
            return inconsistent();
        };
        match scheme {
            CryptScheme::RsaPkcs1 => key.encrypt_pkcs1(plaintext),
            CryptScheme::RsaOaep { hash, mgf, label } => {
                key.encrypt_oaep(*hash, *mgf, label, plaintext)
            }
            CryptScheme::RsaRaw => key.encrypt_raw(plaintext),
        }
    }

    /// Makes a key that only the private half can find again: the ciphertext for it, and the key
    /// (FIPS 203 6.2). `CKR_KEY_TYPE_INCONSISTENT` when the key is not of ML-KEM.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Secret)> {
        match &self.0 {
            Public::MlKem(key) => key.encapsulate(),
            _ => inconsistent(),
        }
    }

    /// The block, as long as the modulus, of which the raw RSA operation makes the signature over
    /// `input`: the first half of [`PrivateKey::sign`], for a private half that lives elsewhere.
    ///
    /// Refuses what that refuses, but for a raw integer that is not below the modulus.
    pub fn pad_to_sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        match &self.0 {
            Public::Rsa(key) => key.pad_to_sign(scheme, input),
            _ => inconsistent(),
        }
    }

    /// The message in `block`, which the raw RSA operation made of `ciphertext`: the second half of
    /// [`PrivateKey::decrypt`], for a private half that lives elsewhere. `rejection_key` is a secret
    /// of any length that stays with the key (see [`super::pkcs1`]).
    ///
    /// `CKR_ENCRYPTED_DATA_LEN_RANGE` unless block and ciphertext are as long as the modulus. A
    /// block that came without its leading zeros is to be given them back first: their number is
    /// secret.
    pub fn unpad_decrypted(
        &self,
        scheme: &CryptScheme,
        block: &[u8],
        ciphertext: &[u8],
        rejection_key: &[u8],
    ) -> Result<Secret> {
        match &self.0 {
            Public::Rsa(key) => key.unpad_decrypted(scheme, block, ciphertext, rejection_key),
            _ => inconsistent(),
        }
    }
}

fn unrelated<T>() -> Result<T> {
    fail!(
        CKR_ATTRIBUTE_VALUE_INVALID,
        "the private values do not belong to the public key"
    )
}

fn inconsistent<T>() -> Result<T> {
    fail!(
        CKR_KEY_TYPE_INCONSISTENT,
        "the mechanism is for another type of key"
    )
}

/// `CKR_SIGNATURE_LEN_RANGE` unless `signature` has the one length its key gives.
fn check_signature_len(signature: &[u8], len: usize) -> Result<()> {
    if signature.len() == len {
        return Ok(());
    }
    fail!(
        CKR_SIGNATURE_LEN_RANGE,
        "a signature of {} bytes where the key gives {len}",
        signature.len()
    )
}
