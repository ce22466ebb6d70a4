//! What the rest of the module may ask of cryptography, and the engine that answers.
//!
//! Two engines have the same face: [`aws_lc`] (default) and [`rustcrypto`]. The rest of the house
//! says `crypto::engine::…` and does not know which one it talks to. Where both are compiled
//! (`--all-features`), the tests let each check the other.
//!
//! Shapes: integers are unsigned big-endian bytes; EC points are uncompressed SEC 1
//! (`04 ‖ x ‖ y`); ECDSA signatures are `r ‖ s`, each as long as the order (PKCS#11 6.3.1); an
//! EC private value is as long as the order.

pub use lattice::{MlDsaScheme, MlDsaSet, MlKemSet};

use crate::error::{Result, fail};
use crate::memory::Secret;
use cryptoki_sys::{
    CK_RV, CKR_ATTRIBUTE_VALUE_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_MECHANISM_PARAM_INVALID,
};

#[cfg(feature = "aws-lc")]
pub mod aws_lc;
#[cfg(feature = "rustcrypto")]
pub mod rustcrypto;

mod edwards;
pub mod kdf;
mod keywrap;
pub mod lattice;
mod oaep;
pub mod pkcs1;

#[cfg(all(test, feature = "aws-lc", feature = "rustcrypto"))]
mod cross_tests;
#[cfg(test)]
mod tests;

#[cfg(feature = "aws-lc")]
pub use aws_lc as engine;
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc")))]
pub use rustcrypto as engine;
#[cfg(not(any(feature = "aws-lc", feature = "rustcrypto")))]
compile_error!("choose an engine: feature `aws-lc` (default) or `rustcrypto`");

/// Hash functions (FIPS 180-4, FIPS 202). SHA-1 serves OAEP and old peers, not new signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
    /// SHA-512/224, 28 bytes.
    Sha512_224,
    /// SHA-512/256, 32 bytes.
    Sha512_256,
    /// SHA3-224, 28 bytes.
    Sha3_224,
    /// SHA3-256, 32 bytes.
    Sha3_256,
    /// SHA3-384, 48 bytes.
    Sha3_384,
    /// SHA3-512, 64 bytes.
    Sha3_512,
}

impl Hash {
    /// Every hash function there is.
    pub const ALL: [Hash; 11] = [
        Hash::Sha1,
        Hash::Sha224,
        Hash::Sha256,
        Hash::Sha384,
        Hash::Sha512,
        Hash::Sha512_224,
        Hash::Sha512_256,
        Hash::Sha3_224,
        Hash::Sha3_256,
        Hash::Sha3_384,
        Hash::Sha3_512,
    ];

    /// Digest length in bytes.
    pub const fn len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha224 | Hash::Sha512_224 | Hash::Sha3_224 => 28,
            Hash::Sha256 | Hash::Sha512_256 | Hash::Sha3_256 => 32,
            Hash::Sha384 | Hash::Sha3_384 => 48,
            Hash::Sha512 | Hash::Sha3_512 => 64,
        }
    }
}

/// NIST prime curves (FIPS 186-5, SP 800-186).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    /// Every curve there is.
    pub const ALL: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    /// Length in bytes of a coordinate, of the order, and so of a private value and half a signature.
    pub const fn len(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    /// Size in bits of the field.
    pub const fn bits(self) -> usize {
        match self {
            Curve::P256 => 256,
            Curve::P384 => 384,
            Curve::P521 => 521,
        }
    }
}

/// What key pair to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySpec {
    /// RSA with a modulus of `bits` bits and the public exponent `exponent`.
    Rsa {
        /// Modulus length in bits.
        bits: usize,
        /// Public exponent, big-endian.
        exponent: Vec<u8>,
    },
    /// A point of a NIST curve.
    Ec(Curve),
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// X25519 (RFC 7748).
    X25519,
    /// ML-DSA (FIPS 204).
    MlDsa(MlDsaSet),
    /// ML-KEM (FIPS 203).
    MlKem(MlKemSet),
}

/// The public half of a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicParts {
    /// Modulus and public exponent, no leading zeros.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Public exponent.
        e: Vec<u8>,
    },
    /// Uncompressed point.
    Ec {
        /// Which curve.
        curve: Curve,
        /// `04 ‖ x ‖ y`.
        point: Vec<u8>,
    },
    /// The 32 bytes of RFC 8032.
    Ed25519(Vec<u8>),
    /// The u-coordinate of RFC 7748, 32 bytes, little-endian.
    X25519(Vec<u8>),
    /// Public key of FIPS 204.
    MlDsa {
        /// Parameter set.
        set: MlDsaSet,
        /// pk.
        key: Vec<u8>,
    },
    /// Encapsulation key of FIPS 203.
    MlKem {
        /// Parameter set.
        set: MlKemSet,
        /// ek.
        key: Vec<u8>,
    },
}

/// The private half of a key pair, with the public half that belongs to it.
#[derive(Debug)]
pub struct PrivateParts {
    /// The public half.
    pub public: PublicParts,
    /// The secret values.
    pub secret: SecretParts,
}

/// The secret values of a private key.
#[derive(Debug)]
pub enum SecretParts {
    /// Private exponent, and the Chinese-remainder values where they are known.
    Rsa {
        /// Private exponent.
        d: Secret,
        /// The five CRT values; absent on an imported key that came without.
        crt: Option<Crt>,
    },
    /// Private value, as long as the order.
    Ec {
        /// Private value.
        d: Secret,
    },
    /// Seed of RFC 8032, 32 bytes.
    Ed25519 {
        /// Seed.
        seed: Secret,
    },
    /// Scalar of RFC 7748 as it was drawn, 32 bytes; clamped where it is used.
    X25519 {
        /// Scalar.
        scalar: Secret,
    },
    /// Private key of FIPS 204.
    MlDsa {
        /// ξ; absent on a key that came without.
        seed: Option<Secret>,
        /// sk.
        expanded: Secret,
    },
    /// Decapsulation key of FIPS 203.
    MlKem {
        /// d ‖ z; absent on a key that came without.
        seed: Option<Secret>,
        /// dk.
        expanded: Secret,
    },
}

/// Chinese-remainder values of an RSA key (RFC 8017 3.2).
#[derive(Debug)]
pub struct Crt {
    /// First prime.
    pub p: Secret,
    /// Second prime.
    pub q: Secret,
    /// `d mod (p - 1)`.
    pub dp: Secret,
    /// `d mod (q - 1)`.
    pub dq: Secret,
    /// `q^-1 mod p`.
    pub qinv: Secret,
}

/// How a private key signs what it is given. Hashing has been done, where there is any to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignScheme {
    /// RSASSA-PKCS1-v1_5 over bytes that are already a DigestInfo, or anything (CKM_RSA_PKCS).
    RsaPkcs1,
    /// RSASSA-PSS over a digest of `hash` (its length is checked).
    RsaPss {
        /// Hash of the message.
        hash: Hash,
        /// Hash of MGF1.
        mgf: Hash,
        /// Salt length in bytes.
        salt: usize,
    },
    /// The RSA operation on an integer as long as the modulus (CKM_RSA_X_509).
    RsaRaw,
    /// ECDSA over a digest, cut to the order's length as FIPS 186-5 6.4 says.
    Ecdsa,
    /// Ed25519 over the message; with a context or prehashed as RFC 8032 5.1 says.
    EdDsa {
        /// Ed25519ph: the input is the message, hashed here with SHA-512.
        prehash: bool,
        /// Context, at most 255 bytes; `None` is plain Ed25519.
        context: Option<Vec<u8>>,
    },
    /// ML-DSA over the message, or over its digest.
    MlDsa(MlDsaScheme),
}

/// How an RSA key decrypts and encrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CryptScheme {
    /// RSAES-PKCS1-v1_5, with implicit rejection on decryption.
    RsaPkcs1,
    /// RSAES-OAEP.
    RsaOaep {
        /// Hash of the label.
        hash: Hash,
        /// Hash of MGF1.
        mgf: Hash,
        /// Label (encoding parameter), may be empty.
        label: Vec<u8>,
    },
    /// The RSA operation on an integer as long as the modulus (CKM_RSA_X_509).
    RsaRaw,
}

impl CryptScheme {
    /// The message in `block`, which the raw operation made of `ciphertext`; both are as long as the
    /// modulus. `rejection_key` is that of [`pkcs1::unpad_type2`].
    fn unpad(&self, block: Secret, ciphertext: &[u8], rejection_key: &[u8]) -> Result<Secret> {
        match self {
            CryptScheme::RsaRaw => Ok(block),
            CryptScheme::RsaPkcs1 => pkcs1::unpad_type2(&block, ciphertext, rejection_key),
            CryptScheme::RsaOaep { hash, mgf, label } => oaep::decode(*hash, *mgf, label, block),
        }
    }
}

/// Block and stream modes of AES (SP 800-38A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherMode {
    /// Electronic codebook; whole blocks only, no IV.
    Ecb,
    /// Cipher block chaining; whole blocks only; IV of 16 bytes. Padding is the caller's.
    Cbc,
    /// Counter mode over the whole 128-bit block; IV is the first counter block.
    Ctr,
}

/// Encrypt or decrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Plaintext to ciphertext.
    Encrypt,
    /// Ciphertext to plaintext.
    Decrypt,
}

impl PublicParts {
    /// Key size as PKCS#11 counts it: bits of the modulus, of the field, 255 for Ed25519 and X25519; bytes
    /// of the public key of ML-DSA and ML-KEM.
    pub fn bits(&self) -> usize {
        match self {
            PublicParts::Rsa { n, .. } => {
                let n = trim(n);
                let zeros = n.first().map_or(0, |first| first.leading_zeros());
                n.len() * 8 - zeros as usize
            }
            PublicParts::Ec { curve, .. } => curve.bits(),
            PublicParts::Ed25519(_) | PublicParts::X25519(_) => 255,
            PublicParts::MlDsa { key, .. } | PublicParts::MlKem { key, .. } => key.len(),
        }
    }

    /// What a key of this kind would be asked for.
    pub fn spec(&self) -> KeySpec {
        match self {
            PublicParts::Rsa { e, .. } => KeySpec::Rsa {
                bits: self.bits(),
                exponent: e.clone(),
            },
            PublicParts::Ec { curve, .. } => KeySpec::Ec(*curve),
            PublicParts::Ed25519(_) => KeySpec::Ed25519,
            PublicParts::X25519(_) => KeySpec::X25519,
            PublicParts::MlDsa { set, .. } => KeySpec::MlDsa(*set),
            PublicParts::MlKem { set, .. } => KeySpec::MlKem(*set),
        }
    }

    /// Refuses a ciphertext that is not as long as the RSA modulus. `CKR_ENCRYPTED_DATA_LEN_RANGE`.
    pub fn check_ciphertext(&self, ciphertext: &[u8]) -> Result<()> {
        let len = self.output_len();
        if ciphertext.len() == len {
            return Ok(());
        }
        fail!(
            CKR_ENCRYPTED_DATA_LEN_RANGE,
            "{} bytes for an RSA modulus of {len}",
            ciphertext.len()
        )
    }

    /// Refuses, as `refused`, a block as long as the RSA modulus that is not below it (RFC 8017 5.1.2).
    pub fn check_below_modulus(&self, block: &[u8], refused: CK_RV) -> Result<()> {
        match self {
            PublicParts::Rsa { n, .. } if block >= n.as_slice() => {
                fail!(refused, "the integer is not below the modulus")
            }
            _ => Ok(()),
        }
    }

    /// Length in bytes of what an operation with this key gives: a signature, an RSA block, a shared
    /// secret, a ciphertext that encapsulates one.
    pub fn output_len(&self) -> usize {
        match self {
            PublicParts::Rsa { .. } => self.bits().div_ceil(8),
            PublicParts::Ec { curve, .. } => 2 * curve.len(),
            PublicParts::Ed25519(_) => 64,
            PublicParts::X25519(_) => 32,
            PublicParts::MlDsa { set, .. } => set.signature_len(),
            PublicParts::MlKem { set, .. } => set.ciphertext_len(),
        }
    }
}

/// Refuses what AES-GCM does not take: an IV that has not 1 to 256 bytes (`CK_GCM_PARAMS`), a tag that has
/// not 12 to 16 (SP 800-38D 5.2.1.2). `CKR_MECHANISM_PARAM_INVALID`.
fn check_gcm(iv: &[u8], tag_len: usize) -> Result<()> {
    if (1..=256).contains(&iv.len()) && (12..=16).contains(&tag_len) {
        return Ok(());
    }
    fail!(
        CKR_MECHANISM_PARAM_INVALID,
        "AES-GCM takes an IV of 1 to 256 bytes and a tag of 12 to 16, not {} and {tag_len}",
        iv.len()
    )
}

/// The two parts of `ciphertext ‖ tag`. `CKR_ENCRYPTED_DATA_LEN_RANGE`.
fn split_tag(input: &[u8], tag_len: usize) -> Result<(&[u8], &[u8])> {
    match input
        .len()
        .checked_sub(tag_len)
        .and_then(|len| input.split_at_checked(len))
    {
        Some(parts) => Ok(parts),
        None => fail!(
            CKR_ENCRYPTED_DATA_LEN_RANGE,
            "the ciphertext of an AEAD is no shorter than its tag"
        ),
    }
}

/// Removes leading zeros, so that one integer has one form.
pub fn trim(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|b| **b == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

/// `integer` with leading zeros to `len` bytes; `CKR_ATTRIBUTE_VALUE_INVALID` when it is longer.
pub fn left_pad(integer: &[u8], len: usize) -> Result<Secret> {
    let integer = trim(integer);
    let Some(zeros) = len.checked_sub(integer.len()) else {
        return fail!(
            CKR_ATTRIBUTE_VALUE_INVALID,
            "an integer of {} bytes does not fit {len}",
            integer.len()
        );
    };
    let mut padded = Secret::zeroed(len)?;
    for (to, from) in padded.iter_mut().skip(zeros).zip(integer) {
        *to = *from;
    }
    Ok(padded)
}
