//! The default engine: AWS-LC through `aws-lc-sys`.
//!
//! Its symbols are prefixed, so they cannot clash with an OpenSSL of the process that loads us. It
//! blinds RSA, checks every RSA result against the public exponent before it releases it, and keeps
//! its random generator a thread and a fork apart.

mod aead;
mod ccm_gcm;
mod ec;
mod ed25519;
mod ffi;
mod hash;
mod kdf;
mod ml_dsa;
mod ml_kem;
mod rsa;
mod symmetric;
mod x25519;

pub use aead::{chacha_open, chacha_seal, gcm_open, gcm_seal};
pub use ccm_gcm::{GcmSealing, ccm_open, ccm_seal};
pub use ec::{agree, public_point};
pub use ed25519::public as ed25519_public;
pub use hash::{Cmac, Digest, Hmac, digest};
pub use kdf::{hkdf_expand, hkdf_extract, pbkdf2};
pub use ml_dsa::{from_seed as ml_dsa_from_seed, public_of as ml_dsa_public};
pub use ml_kem::from_seed as ml_kem_from_seed;
pub use symmetric::{Cipher, cfb, key_unwrap, key_wrap, tdes_block};
pub use x25519::{agree as x25519, public as x25519_public};

use super::{CryptScheme, KeySpec, PrivateParts, PublicParts, SecretParts, SignScheme};
use crate::error::{Error, Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_GENERAL_ERROR, CKR_KEY_TYPE_INCONSISTENT, CKR_RANDOM_NO_RNG,
};

/// Fills `out` with random bytes.
pub fn random(out: &mut [u8]) -> Result<()> {
    let _pass = ffi::begin_drawing();
    // SAFETY: `out` is writable for its length.
    let done = unsafe { aws_lc_sys::RAND_bytes(out.as_mut_ptr(), out.len()) };
    ffi::check(done, CKR_RANDOM_NO_RNG, "the random generator gave nothing")
}

/// Makes a key pair.
///
/// RSA: 1024 to 4096 bits in steps of 128, as AWS-LC makes no others, else
/// `CKR_ATTRIBUTE_VALUE_INVALID`; and an odd public exponent from 3 to 32 bits, else
/// `CKR_TEMPLATE_INCONSISTENT` (PKCS#11 6.1.4).
pub fn generate(spec: &KeySpec) -> Result<PrivateParts> {
    let _pass = ffi::begin_drawing();
    match spec {
        KeySpec::Rsa { bits, exponent } => rsa::generate(*bits, exponent),
        KeySpec::Ec(curve) => ec::generate(*curve),
        KeySpec::Ed25519 => ed25519::generate(),
        KeySpec::X25519 => x25519::generate(),
        KeySpec::MlDsa(set) => ml_dsa::generate(*set),
        KeySpec::MlKem(set) => ml_kem::generate(*set),
    }
}

/// A private key, ready to sign or decrypt on many threads at once.
pub struct PrivateKey(Private);

enum Private {
    Rsa(rsa::PrivateKey),
    Ec(ec::Key),
    Ed25519(ed25519::PrivateKey),
    X25519 { scalar: Secret },
    MlDsa(ml_dsa::PrivateKey),
    MlKem(ml_kem::Key),
}

impl PrivateKey {
    /// Takes the parts of a key and checks that they belong together;
    /// `CKR_ATTRIBUTE_VALUE_INVALID` when they do not.
    pub fn from_parts(parts: &PrivateParts) -> Result<Self> {
        let _pass = ffi::begin_drawing();
        Ok(Self(match (&parts.public, &parts.secret) {
            (PublicParts::Rsa { n, e }, SecretParts::Rsa { d, crt }) => {
                Private::Rsa(rsa::PrivateKey::new(n, e, d, crt.as_ref())?)
            }
            (PublicParts::Ec { curve, point }, SecretParts::Ec { d }) => {
                Private::Ec(ec::Key::private(*curve, point, d)?)
            }
            (PublicParts::Ed25519(public), SecretParts::Ed25519 { seed }) => {
                Private::Ed25519(ed25519::PrivateKey::new(public, seed)?)
            }
            (PublicParts::X25519(public), SecretParts::X25519 { scalar }) => {
                x25519::check_pair(public, scalar)?;
                Private::X25519 {
                    scalar: Secret::copy_of(scalar)?,
                }
            }
            (PublicParts::MlDsa { set, key }, SecretParts::MlDsa { seed, expanded }) => {
                Private::MlDsa(ml_dsa::PrivateKey::new(*set, key, seed.as_ref(), expanded)?)
            }
            (PublicParts::MlKem { set, key }, SecretParts::MlKem { seed, expanded }) => {
                Private::MlKem(ml_kem::Key::private(*set, key, seed.as_ref(), expanded)?)
            }
            _ => {
                return fail!(
                    CKR_ATTRIBUTE_VALUE_INVALID,
                    "the public and the secret half are of different key types"
                );
            }
        }))
    }

    /// Signs `input`.
    ///
    /// `CKR_KEY_TYPE_INCONSISTENT` when the scheme is not the key's, `CKR_DATA_LEN_RANGE` for a
    /// wrong length of `input`, `CKR_DATA_INVALID` for a raw RSA integer out of range,
    /// `CKR_MECHANISM_PARAM_INVALID` for a salt or context that does not fit.
    pub fn sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        let _pass = ffi::begin_drawing();
        match (&self.0, scheme) {
            (Private::Rsa(key), _) => key.sign(scheme, input),
            (Private::Ec(key), SignScheme::Ecdsa) => key.sign(input),
            (Private::Ed25519(key), SignScheme::EdDsa { prehash, context }) => {
                key.sign(*prehash, context.as_deref(), input)
            }
            (Private::MlDsa(key), SignScheme::MlDsa(scheme)) => key.sign(scheme, input),
            _ => Err(wrong_type()),
        }
    }

    /// Decrypts `ciphertext`.
    ///
    /// `CKR_KEY_TYPE_INCONSISTENT` when the key is not RSA, `CKR_ENCRYPTED_DATA_LEN_RANGE` for a
    /// wrong length, `CKR_ENCRYPTED_DATA_INVALID` for any other fault, the same for all.
    pub fn decrypt(&self, scheme: &CryptScheme, ciphertext: &[u8]) -> Result<Secret> {
        let _pass = ffi::begin_drawing();
        match &self.0 {
            Private::Rsa(key) => key.decrypt(scheme, ciphertext),
            _ => Err(wrong_type()),
        }
    }

    /// The key that `ciphertext` encapsulates; another one, that only this key knows, where nobody
    /// has encapsulated one in it (FIPS 203 6.3, implicit rejection).
    ///
    /// `CKR_KEY_TYPE_INCONSISTENT` when the key is not of ML-KEM, `CKR_WRAPPED_KEY_LEN_RANGE` for a
    /// ciphertext of the wrong length.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret> {
        let _pass = ffi::begin_drawing();
        match &self.0 {
            Private::MlKem(key) => key.decapsulate(ciphertext),
            _ => Err(wrong_type()),
        }
    }

    /// The secret shared with who has the private half of `peer`: of an EC key the x coordinate of
    /// the product, as long as the field (SP 800-56A 5.7.1.2), of X25519 that of RFC 7748 6.1.
    ///
    /// `CKR_KEY_TYPE_INCONSISTENT` for a key that does not agree, `CKR_ATTRIBUTE_VALUE_INVALID` for a
    /// peer that is no uncompressed point of the key's curve, or of small order.
    pub fn agree(&self, peer: &[u8]) -> Result<Secret> {
        let _pass = ffi::begin_drawing();
        match &self.0 {
            Private::Ec(key) => key.agree(peer),
            Private::X25519 { scalar } => x25519::agree(scalar, peer),
            _ => Err(wrong_type()),
        }
    }
}

/// A public key, ready to verify or encrypt on many threads at once.
pub struct PublicKey(Public);

enum Public {
    Rsa(rsa::PublicKey),
    Ec(ec::Key),
    Ed25519(ed25519::PublicKey),
    X25519,
    MlDsa(ml_dsa::PublicKey),
    MlKem(ml_kem::Key),
}

impl PublicKey {
    /// Takes the parts of a key and checks them; `CKR_ATTRIBUTE_VALUE_INVALID` when the point is
    /// not on the curve, or the modulus or the exponent cannot be one.
    pub fn from_parts(parts: &PublicParts) -> Result<Self> {
        ffi::begin();
        Ok(Self(match parts {
            PublicParts::Rsa { n, e } => Public::Rsa(rsa::PublicKey::new(n, e)?),
            PublicParts::Ec { curve, point } => Public::Ec(ec::Key::public(*curve, point)?),
            PublicParts::Ed25519(public) => Public::Ed25519(ed25519::PublicKey::new(public)?),
            PublicParts::X25519(public) => {
                x25519::check_public(public)?;
                Public::X25519
            }
            PublicParts::MlDsa { set, key } => Public::MlDsa(ml_dsa::PublicKey::new(*set, key)?),
            PublicParts::MlKem { set, key } => Public::MlKem(ml_kem::Key::public(*set, key)?),
        }))
    }

    /// Checks `signature` over `input`.
    ///
    /// `CKR_SIGNATURE_LEN_RANGE` for a signature of the wrong length, `CKR_SIGNATURE_INVALID` for
    /// any other; for the rest as [`PrivateKey::sign`].
    pub fn verify(&self, scheme: &SignScheme, input: &[u8], signature: &[u8]) -> Result<()> {
        match (&self.0, scheme) {
            (Public::Rsa(key), SignScheme::RsaPkcs1) => key.verify_pkcs1(input, signature),
            (Public::Rsa(key), SignScheme::RsaPss { hash, mgf, salt }) => {
                key.verify_pss(*hash, *mgf, *salt, input, signature)
            }
            (Public::Rsa(key), SignScheme::RsaRaw) => key.verify_raw(input, signature),
            (Public::Ec(key), SignScheme::Ecdsa) => key.verify(input, signature),
            (Public::Ed25519(key), SignScheme::EdDsa { prehash, context }) => {
                key.verify(*prehash, context.as_deref(), input, signature)
            }
            (Public::MlDsa(key), SignScheme::MlDsa(scheme)) => key.verify(scheme, input, signature),
            _ => Err(wrong_type()),
        }
    }

    /// Encrypts `plaintext`; `CKR_DATA_LEN_RANGE` when its length does not fit the key,
    /// `CKR_DATA_INVALID` for a raw integer out of range.
    pub fn encrypt(&self, scheme: &CryptScheme, plaintext: &[u8]) -> Result<Vec<u8>> {
        let _pass = ffi::begin_drawing();
        match &self.0 {
            Public::Rsa(key) => key.encrypt(scheme, plaintext),
            _ => Err(wrong_type()),
        }
    }

    /// Makes a key that only the private half can find again: the ciphertext for it, and the key
    /// (FIPS 203 6.2). `CKR_KEY_TYPE_INCONSISTENT` when the key is not of ML-KEM.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Secret)> {
        let _pass = ffi::begin_drawing();
        match &self.0 {
            Public::MlKem(key) => key.encapsulate(),
            _ => Err(wrong_type()),
        }
    }

    /// The block, as long as the modulus, of which the raw RSA operation makes the signature over
    /// `input`: the first half of [`PrivateKey::sign`], for a private half that lives elsewhere.
    ///
    /// Refuses what that refuses, but for a raw integer that is not below the modulus.
    pub fn pad_to_sign(&self, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
        let _pass = ffi::begin_drawing();
        match &self.0 {
            Public::Rsa(key) => Ok(key.pad_to_sign(scheme, input)?.into_owned()),
            _ => Err(wrong_type()),
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
            _ => Err(wrong_type()),
        }
    }
}

fn wrong_type() -> Error {
    Error::new(
        CKR_KEY_TYPE_INCONSISTENT,
        "the mechanism is not one of this key's type",
    )
}

fn internal(what: &'static str) -> Error {
    ffi::refused(CKR_GENERAL_ERROR, what)
}
