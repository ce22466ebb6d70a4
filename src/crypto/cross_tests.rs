//! The two engines check each other: what one makes the other takes, and both refuse alike.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use crate::memory::Secret;
use cryptoki_sys::*;
use std::sync::LazyLock;

/// The face of an engine, as far as keys go.
trait Engine {
    type Private;
    type Public;
    fn private(parts: &PrivateParts) -> Result<Self::Private>;
    fn public(parts: &PublicParts) -> Result<Self::Public>;
    fn sign(key: &Self::Private, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>>;
    fn verify(
        key: &Self::Public,
        scheme: &SignScheme,
        input: &[u8],
        signature: &[u8],
    ) -> Result<()>;
    fn encrypt(key: &Self::Public, scheme: &CryptScheme, plaintext: &[u8]) -> Result<Vec<u8>>;
    fn decrypt(key: &Self::Private, scheme: &CryptScheme, ciphertext: &[u8]) -> Result<Secret>;
}

macro_rules! engine {
    ($name:ident, $module:ident) => {
        struct $name;

        impl Engine for $name {
            type Private = $module::PrivateKey;
            type Public = $module::PublicKey;
            fn private(parts: &PrivateParts) -> Result<Self::Private> {
                $module::PrivateKey::from_parts(parts)
            }
            fn public(parts: &PublicParts) -> Result<Self::Public> {
                $module::PublicKey::from_parts(parts)
            }
            fn sign(key: &Self::Private, scheme: &SignScheme, input: &[u8]) -> Result<Vec<u8>> {
                key.sign(scheme, input)
            }
            fn verify(
                key: &Self::Public,
                scheme: &SignScheme,
                input: &[u8],
                signature: &[u8],
            ) -> Result<()> {
                key.verify(scheme, input, signature)
            }
            fn encrypt(
                key: &Self::Public,
                scheme: &CryptScheme,
                plaintext: &[u8],
            ) -> Result<Vec<u8>> {
                key.encrypt(scheme, plaintext)
            }
            fn decrypt(
                key: &Self::Private,
                scheme: &CryptScheme,
                ciphertext: &[u8],
            ) -> Result<Secret> {
                key.decrypt(scheme, ciphertext)
            }
        }
    };
}

engine!(AwsLc, aws_lc);
engine!(RustCrypto, rustcrypto);

/// The code of a refusal; a panic when there was none.
fn refusal<T>(result: Result<T>) -> CK_RV {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => error.rv(),
    }
}

/// Both engines give the same refusal for `$call`, in which `$engine` stands for either module.
macro_rules! both_refuse {
    ($rv:expr, $engine:ident => $call:expr) => {{
        let first = {
            use aws_lc as $engine;
            refusal($call)
        };
        let second = {
            use rustcrypto as $engine;
            refusal($call)
        };
        assert_eq!((first, second), ($rv, $rv), "{}", stringify!($call));
    }};
}

/// Both engines give the same bytes for `$call`, in which `$engine` stands for either module.
macro_rules! both_give {
    ($engine:ident => $call:expr) => {{
        let first = {
            use aws_lc as $engine;
            $call
        };
        let second = {
            use rustcrypto as $engine;
            $call
        };
        assert!(first == second, "{}", stringify!($call));
        first
    }};
}

mod ec;
mod kdf;
mod lattice;
mod rsa;
mod symmetric;
mod x25519;

/// `len` bytes without a pattern that a block or an integer could hide.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 167 + i / 251 + 13) as u8).collect()
}

fn rsa(bits: usize, exponent: &[u8]) -> KeySpec {
    KeySpec::Rsa {
        bits,
        exponent: exponent.to_vec(),
    }
}

fn duplicate(parts: &PrivateParts) -> PrivateParts {
    let copy = |secret: &Secret| Secret::copy_of(secret).unwrap();
    PrivateParts {
        public: parts.public.clone(),
        secret: match &parts.secret {
            SecretParts::Rsa { d, crt } => SecretParts::Rsa {
                d: copy(d),
                crt: crt.as_ref().map(|crt| Crt {
                    p: copy(&crt.p),
                    q: copy(&crt.q),
                    dp: copy(&crt.dp),
                    dq: copy(&crt.dq),
                    qinv: copy(&crt.qinv),
                }),
            },
            SecretParts::Ec { d } => SecretParts::Ec { d: copy(d) },
            SecretParts::Ed25519 { seed } => SecretParts::Ed25519 { seed: copy(seed) },
            SecretParts::X25519 { scalar } => SecretParts::X25519 {
                scalar: copy(scalar),
            },
            SecretParts::MlDsa { seed, expanded } => SecretParts::MlDsa {
                seed: seed.as_ref().map(copy),
                expanded: copy(expanded),
            },
            SecretParts::MlKem { seed, expanded } => SecretParts::MlKem {
                seed: seed.as_ref().map(copy),
                expanded: copy(expanded),
            },
        },
    }
}

static RSA_2048: LazyLock<PrivateParts> =
    LazyLock::new(|| aws_lc::generate(&rsa(2048, &[1, 0, 1])).unwrap());
static RSA_2056: LazyLock<PrivateParts> =
    LazyLock::new(|| rustcrypto::generate(&rsa(2056, &[1, 0, 1])).unwrap());
/// A modulus of a whole number of bytes and a bit: its PSS encoding is a byte shorter than it is.
static RSA_2041: LazyLock<PrivateParts> = LazyLock::new(|| {
    use ::rsa::traits::{PrivateKeyParts, PublicKeyParts};
    let key = ::rsa::PrivateKey::new(&mut getrandom::SysRng, 2041).unwrap();
    PrivateParts {
        public: PublicParts::Rsa {
            n: key.n_bytes().into_vec(),
            e: key.e_bytes().into_vec(),
        },
        secret: SecretParts::Rsa {
            d: Secret::copy_of(&key.d().to_be_bytes()).unwrap(),
            crt: None,
        },
    }
});

fn rsa_keys() -> [&'static PrivateParts; 3] {
    [&RSA_2048, &RSA_2056, &RSA_2041]
}

/// One key pair in both engines.
struct Pair {
    aws_lc: (aws_lc::PrivateKey, aws_lc::PublicKey),
    rustcrypto: (rustcrypto::PrivateKey, rustcrypto::PublicKey),
    output_len: usize,
}

impl Pair {
    fn new(parts: &PrivateParts) -> Self {
        Self {
            aws_lc: (
                AwsLc::private(parts).unwrap(),
                AwsLc::public(&parts.public).unwrap(),
            ),
            rustcrypto: (
                RustCrypto::private(parts).unwrap(),
                RustCrypto::public(&parts.public).unwrap(),
            ),
            output_len: parts.public.output_len(),
        }
    }

    /// Each engine signs and the other verifies; the two signatures.
    fn sign(&self, scheme: &SignScheme, input: &[u8]) -> [Vec<u8>; 2] {
        let signatures = [
            signs::<AwsLc, RustCrypto>(&self.aws_lc.0, &self.rustcrypto.1, scheme, input),
            signs::<RustCrypto, AwsLc>(&self.rustcrypto.0, &self.aws_lc.1, scheme, input),
        ];
        assert!(
            signatures
                .iter()
                .all(|signature| signature.len() == self.output_len)
        );
        signatures
    }

    /// Each engine encrypts and the other decrypts.
    fn encrypt(&self, scheme: &CryptScheme, plaintext: &[u8]) {
        encrypts::<AwsLc, RustCrypto>(&self.aws_lc.1, &self.rustcrypto.0, scheme, plaintext);
        encrypts::<RustCrypto, AwsLc>(&self.rustcrypto.1, &self.aws_lc.0, scheme, plaintext);
    }
}

/// `A` signs and `B` verifies, but neither another input nor another signature.
fn signs<A: Engine, B: Engine>(
    private: &A::Private,
    public: &B::Public,
    scheme: &SignScheme,
    input: &[u8],
) -> Vec<u8> {
    let signature = A::sign(private, scheme, input).unwrap();
    B::verify(public, scheme, input, &signature).unwrap();

    for position in [0, signature.len() / 2, signature.len() - 1] {
        let mut corrupt = signature.clone();
        corrupt[position] ^= 1;
        assert_eq!(
            refusal(B::verify(public, scheme, input, &corrupt)),
            CKR_SIGNATURE_INVALID,
            "{scheme:?}, byte {position} of the signature"
        );
    }
    if let Some(first) = input.first() {
        let mut other = input.to_vec();
        other[0] = first ^ 0x80;
        assert_eq!(
            refusal(B::verify(public, scheme, &other, &signature)),
            CKR_SIGNATURE_INVALID,
            "{scheme:?}, another input"
        );
    }
    for wrong in [&signature[1..], &[&[0], &signature[..]].concat()] {
        assert_eq!(
            refusal(B::verify(public, scheme, input, wrong)),
            CKR_SIGNATURE_LEN_RANGE
        );
    }
    signature
}

/// `A` encrypts and `B` decrypts.
fn encrypts<A: Engine, B: Engine>(
    public: &A::Public,
    private: &B::Private,
    scheme: &CryptScheme,
    plaintext: &[u8],
) {
    let ciphertext = A::encrypt(public, scheme, plaintext).unwrap();
    let decrypted = B::decrypt(private, scheme, &ciphertext).unwrap();
    assert!(*decrypted == *plaintext, "{scheme:?}");
}

#[test]
fn schemes_of_other_keys() {
    let eddsa = SignScheme::EdDsa {
        prehash: false,
        context: None,
    };
    let rsa_parts = duplicate(&RSA_2048);
    let ec = aws_lc::generate(&KeySpec::Ec(Curve::P256)).unwrap();
    let ed25519 = aws_lc::generate(&KeySpec::Ed25519).unwrap();
    for (parts, scheme) in [
        (&rsa_parts, &SignScheme::Ecdsa),
        (&rsa_parts, &eddsa),
        (&ec, &SignScheme::RsaPkcs1),
        (&ec, &eddsa),
        (&ed25519, &SignScheme::Ecdsa),
        (&ed25519, &SignScheme::RsaRaw),
    ] {
        both_refuse!(CKR_KEY_TYPE_INCONSISTENT, engine => {
            engine::PrivateKey::from_parts(parts).unwrap().sign(scheme, &[0; 32])
        });
        both_refuse!(CKR_KEY_TYPE_INCONSISTENT, engine => {
            engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .verify(scheme, &[0; 32], &[0; 64])
        });
    }
    for parts in [&ec, &ed25519] {
        both_refuse!(CKR_KEY_TYPE_INCONSISTENT, engine => {
            engine::PrivateKey::from_parts(parts)
                .unwrap()
                .decrypt(&CryptScheme::RsaPkcs1, &[0; 256])
        });
        both_refuse!(CKR_KEY_TYPE_INCONSISTENT, engine => {
            engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .encrypt(&CryptScheme::RsaPkcs1, b"")
        });
        both_refuse!(CKR_KEY_TYPE_INCONSISTENT, engine => {
            engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .pad_to_sign(&SignScheme::RsaPkcs1, b"")
        });
        both_refuse!(CKR_KEY_TYPE_INCONSISTENT, engine => {
            engine::PublicKey::from_parts(&parts.public)
                .unwrap()
                .unpad_decrypted(&CryptScheme::RsaRaw, &[0; 256], &[0; 256], b"")
        });
    }
}
