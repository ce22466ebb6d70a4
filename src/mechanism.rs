//! The mechanisms: ONE table ([`MECHANISMS`]). C_GetMechanismList, C_GetMechanismInfo and every
//! C_*Init read it, so that they cannot disagree.

use crate::config::Policy;
use crate::crypto::kdf::{self, EcKdf, Format, Prf};
use crate::crypto::{CipherMode, CryptScheme, Hash};
use crate::error::{Result, fail};
use crate::operation::message::aead::Aead;
use cryptoki_sys::*;
use std::fmt;
use zeroize::Zeroizing;

/// One row: what a mechanism needs and how it is carried out. A token may offer less of it
/// ([`Token::offer`](crate::token::Token::offer)).
#[derive(Debug, Clone, Copy)]
pub struct Mechanism {
    /// CKM_….
    pub kind: CK_MECHANISM_TYPE,
    /// Its name, for messages.
    pub name: &'static str,
    /// The key types that it works with; empty: no key.
    pub key_types: &'static [CK_KEY_TYPE],
    /// Smallest and largest key, in the unit that the standard gives the mechanism.
    pub sizes: (CK_ULONG, CK_ULONG),
    /// CKF_SIGN, CKF_VERIFY, CKF_ENCRYPT, ….
    pub functions: CK_FLAGS,
    /// The form of its parameter.
    pub parameter: ParameterForm,
    /// How it is carried out.
    pub plan: Plan,
}

/// The C structure that a mechanism's parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterForm {
    /// None; a parameter is refused.
    None,
    /// CK_RSA_PKCS_PSS_PARAMS.
    Pss,
    /// CK_RSA_PKCS_OAEP_PARAMS.
    Oaep,
    /// Sixteen bytes of initialization vector.
    Iv,
    /// CK_AES_CTR_PARAMS.
    Ctr,
    /// CK_GCM_PARAMS.
    Gcm,
    /// CK_CCM_PARAMS.
    Ccm,
    /// CK_SALSA20_CHACHA20_POLY1305_PARAMS.
    ChaCha20Poly1305,
    /// Eight bytes of initial value, or nothing (RFC 3394).
    WrapIv,
    /// Four bytes of initial value, or nothing (RFC 5649).
    PaddedWrapIv,
    /// CK_RSA_AES_KEY_WRAP_PARAMS.
    RsaAesKeyWrap,
    /// CK_EDDSA_PARAMS or nothing.
    EdDsa,
    /// CK_SIGN_ADDITIONAL_CONTEXT or nothing.
    SignContext,
    /// CK_HASH_SIGN_ADDITIONAL_CONTEXT.
    HashSignContext,
    /// CK_MAC_GENERAL_PARAMS.
    Length,
    /// CK_ECDH1_DERIVE_PARAMS.
    Ecdh,
    /// CK_HKDF_PARAMS.
    Hkdf,
    /// CK_SP800_108_KDF_PARAMS.
    Sp800108,
    /// CK_SP800_108_FEEDBACK_KDF_PARAMS.
    Sp800108Feedback,
    /// CK_PKCS5_PBKD2_PARAMS2 or the older CK_PKCS5_PBKD2_PARAMS.
    Pbkdf2,
    /// CK_KEY_DERIVATION_STRING_DATA.
    StringData,
    /// CK_AES_CBC_ENCRYPT_DATA_PARAMS.
    CbcData,
}

/// A parameter, read and copied from the caller's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// No parameter.
    None,
    /// CK_RSA_PKCS_PSS_PARAMS.
    Pss {
        /// Hash of the message.
        hash: Hash,
        /// Hash of MGF1.
        mgf: Hash,
        /// Salt length in bytes.
        salt: usize,
    },
    /// CK_RSA_PKCS_OAEP_PARAMS.
    Oaep {
        /// Hash of the label.
        hash: Hash,
        /// Hash of MGF1.
        mgf: Hash,
        /// The label.
        label: Vec<u8>,
    },
    /// Initialization vector, 16 bytes; of AES Key Wrap 8, with padding 4.
    Iv(Vec<u8>),
    /// CK_AES_CTR_PARAMS.
    Counter {
        /// The first counter block.
        block: [u8; 16],
        /// How many of its last bits count, 1 to 128.
        bits: u32,
    },
    /// CK_GCM_PARAMS.
    Gcm {
        /// Nonce.
        iv: Vec<u8>,
        /// Additional authenticated data.
        aad: Vec<u8>,
        /// Tag length in bytes.
        tag: usize,
    },
    /// CK_CCM_PARAMS.
    Ccm {
        /// Length of the plaintext in bytes.
        len: usize,
        /// Nonce.
        nonce: Vec<u8>,
        /// Additional authenticated data.
        aad: Vec<u8>,
        /// Tag length in bytes.
        tag: usize,
    },
    /// CK_SALSA20_CHACHA20_POLY1305_PARAMS.
    ChaCha20Poly1305 {
        /// Nonce.
        nonce: Vec<u8>,
        /// Additional authenticated data.
        aad: Vec<u8>,
    },
    /// CK_RSA_AES_KEY_WRAP_PARAMS.
    RsaAesKeyWrap {
        /// Length of the key that is made for one use, in bytes.
        len: usize,
        /// How RSA encrypts it.
        scheme: CryptScheme,
    },
    /// CK_EDDSA_PARAMS.
    EdDsa {
        /// Ed25519ph.
        prehash: bool,
        /// Context of Ed25519ctx and Ed25519ph.
        context: Vec<u8>,
    },
    /// CK_SIGN_ADDITIONAL_CONTEXT, CK_HASH_SIGN_ADDITIONAL_CONTEXT.
    SignContext {
        /// CKH_HEDGE_PREFERRED, …: how to sign; verification does not look at it.
        hedge: CK_HEDGE_TYPE,
        /// The context.
        context: Vec<u8>,
        /// The hash function of the digest to be signed, where the mechanism leaves it open.
        hash: Option<Hash>,
    },
    /// CK_MAC_GENERAL_PARAMS: length of the MAC in bytes.
    Length(usize),
    /// CK_ECDH1_DERIVE_PARAMS.
    Ecdh {
        /// What is done with the secret.
        kdf: EcKdf,
        /// What both sides know besides.
        shared: Vec<u8>,
        /// The other side's public key: a point, or that in a DER OCTET STRING.
        peer: Vec<u8>,
    },
    /// CK_HKDF_PARAMS.
    Hkdf {
        /// Whether the first step is done, and with which salt.
        extract: Option<Salt>,
        /// Whether the second step is done, and with which info.
        expand: Option<Vec<u8>>,
        /// The hash function.
        hash: Hash,
    },
    /// CK_SP800_108_KDF_PARAMS and CK_SP800_108_FEEDBACK_KDF_PARAMS, without the templates of
    /// additional keys.
    Sp800108 {
        /// The pseudorandom function, as the mechanism that it is.
        prf: CK_MECHANISM_TYPE,
        /// What its input is composed of.
        fields: Vec<PrfField>,
        /// K(0) of the feedback mode.
        iv: Vec<u8>,
    },
    /// CK_PKCS5_PBKD2_PARAMS2.
    Pbkdf2 {
        /// Hash function of the HMAC.
        hash: Hash,
        /// The password.
        password: Password,
        /// The salt.
        salt: Vec<u8>,
        /// How often.
        iterations: u32,
    },
    /// CK_KEY_DERIVATION_STRING_DATA and CK_AES_CBC_ENCRYPT_DATA_PARAMS.
    Data {
        /// Initialization vector, empty where there is none.
        iv: Vec<u8>,
        /// What is encrypted.
        data: Vec<u8>,
    },
}

/// The salt of HKDF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Salt {
    /// Bytes; none are as many zeros as the digest has bytes.
    Bytes(Vec<u8>),
    /// The value of a key.
    Key(CK_OBJECT_HANDLE),
}

/// A CK_PRF_DATA_PARAM (6.42.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrfField {
    /// CK_SP800_108_ITERATION_VARIABLE; in counter mode with its form.
    Iteration(Option<Format>),
    /// CK_SP800_108_COUNTER.
    Counter(Format),
    /// CK_SP800_108_DKM_LENGTH.
    Length {
        /// CK_SP800_108_DKM_LENGTH_SUM_OF_SEGMENTS; else of keys.
        of_segments: bool,
        /// How it is written.
        format: Format,
    },
    /// CK_SP800_108_BYTE_ARRAY.
    Bytes(Vec<u8>),
    /// CK_SP800_108_KEY_HANDLE.
    Key(CK_OBJECT_HANDLE),
}

/// A password of PBKDF2: wiped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// How a mechanism is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// RSA key pair.
    RsaPair,
    /// Key pair on a named curve.
    EcPair,
    /// Ed25519 key pair.
    EdwardsPair,
    /// X25519 key pair.
    MontgomeryPair,
    /// ML-DSA key pair.
    MlDsaPair,
    /// ML-DSA of the message.
    MlDsa,
    /// HashML-DSA; with a hash: over its digest.
    HashMlDsa(Option<Hash>),
    /// ML-KEM key pair.
    MlKemPair,
    /// ML-KEM.
    MlKem,
    /// Random secret key of the row's key type.
    SecretKey,
    /// Hash function.
    Digest(Hash),
    /// RSASSA-PKCS1-v1_5 and RSAES-PKCS1-v1_5; with a hash: over its DigestInfo.
    RsaPkcs1(Option<Hash>),
    /// RSASSA-PSS; with a hash: over its digest.
    RsaPss(Option<Hash>),
    /// RSAES-OAEP.
    RsaOaep,
    /// The bare RSA operation.
    RsaRaw,
    /// ECDSA; with a hash: over its digest.
    Ecdsa(Option<Hash>),
    /// Ed25519.
    EdDsa,
    /// HMAC.
    Hmac(Hash),
    /// CMAC of AES.
    Cmac,
    /// AES in a mode, with PKCS#7 padding or without.
    Cipher {
        /// Which mode.
        mode: CipherMode,
        /// PKCS#7 padding (CKM_AES_CBC_PAD).
        padded: bool,
    },
    /// AES-GCM.
    Gcm,
    /// AES-CCM.
    Ccm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
    /// AES Key Wrap, with padding (KWP) or without.
    KeyWrap {
        /// RFC 5649 in place of RFC 3394.
        padded: bool,
    },
    /// AES Key Wrap (RFC 3394) of PKCS#7 padding up to its unit of eight bytes.
    KeyWrapPkcs7,
    /// A key that is made for one use, under RSAES-OAEP, and under it what is wrapped (KWP).
    RsaAesKeyWrap,
    /// ECDH.
    Ecdh,
    /// HKDF, to a key.
    Hkdf,
    /// HKDF, to a data object.
    HkdfData,
    /// SP 800-108.
    Sp800108(kdf::Mode),
    /// The key is what AES makes of data.
    CipherData(CipherMode),
    /// The public key of a private one.
    PublicOfPrivate,
    /// A key from a password.
    Pbkdf2,
}

/// Key sizes of RSA in bits. Which of them the private half works with, [`Mechanism::under`] says.
const RSA_BITS: (CK_ULONG, CK_ULONG) = (1024, 4096);
const EC_BITS: (CK_ULONG, CK_ULONG) = (256, 521);
const ED_BITS: (CK_ULONG, CK_ULONG) = (255, 255);
/// Lengths of public keys (FIPS 204 table 2, FIPS 203 table 3).
const ML_DSA_BYTES: (CK_ULONG, CK_ULONG) = (1312, 2592);
const ML_KEM_BYTES: (CK_ULONG, CK_ULONG) = (800, 1568);
const AES_BYTES: (CK_ULONG, CK_ULONG) = (16, 32);
const CHACHA_BYTES: (CK_ULONG, CK_ULONG) = (32, 32);
/// RFC 2104 takes keys of any length; SP 800-107 asks for 112 bits, older peers use less.
const MAC_BYTES: (CK_ULONG, CK_ULONG) = (1, 512);
const MAC_BITS: (CK_ULONG, CK_ULONG) = (8 * MAC_BYTES.0, 8 * MAC_BYTES.1);
/// Of X25519 and the NIST curves.
const AGREE_BITS: (CK_ULONG, CK_ULONG) = (ED_BITS.0, EC_BITS.1);
/// Of every kind of key pair.
const PAIR_BITS: (CK_ULONG, CK_ULONG) = (ED_BITS.0, RSA_BITS.1);
const NO_KEY: (CK_ULONG, CK_ULONG) = (0, 0);

const EC: CK_FLAGS = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
const PAIR: CK_FLAGS = CKF_GENERATE_KEY_PAIR;
const SIGN: CK_FLAGS = CKF_SIGN | CKF_VERIFY;
const DERIVE: CK_FLAGS = CKF_DERIVE;
const CRYPT: CK_FLAGS = CKF_ENCRYPT | CKF_DECRYPT;
const WRAP: CK_FLAGS = CKF_WRAP | CKF_UNWRAP;
const RECOVER: CK_FLAGS = CKF_SIGN_RECOVER | CKF_VERIFY_RECOVER;
const CAPSULE: CK_FLAGS = CKF_ENCAPSULATE | CKF_DECAPSULATE;

macro_rules! mechanisms {
    ($($kind:ident, [$($key_type:ident)*], $sizes:ident, $functions:expr, $parameter:ident, $plan:expr;)*) => {
        /// The table.
        pub static MECHANISMS: &[Mechanism] = &[$(Mechanism {
            kind: $kind,
            name: stringify!($kind),
            key_types: &[$($key_type),*],
            sizes: $sizes,
            functions: $functions,
            parameter: ParameterForm::$parameter,
            plan: $plan,
        }),*];
    };
}

use Hash::{Sha1, Sha3_224, Sha3_256, Sha3_384, Sha3_512};
use Hash::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use Plan::*;

mechanisms! {
    CKM_RSA_PKCS_KEY_PAIR_GEN,   [CKK_RSA], RSA_BITS, PAIR, None, RsaPair;
    CKM_RSA_PKCS,                [CKK_RSA], RSA_BITS, SIGN | CRYPT | WRAP | RECOVER, None, RsaPkcs1(Option::None);
    CKM_SHA1_RSA_PKCS,           [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha1));
    CKM_SHA224_RSA_PKCS,         [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha224));
    CKM_SHA256_RSA_PKCS,         [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha256));
    CKM_SHA384_RSA_PKCS,         [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha384));
    CKM_SHA512_RSA_PKCS,         [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha512));
    CKM_SHA3_224_RSA_PKCS,       [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha3_224));
    CKM_SHA3_256_RSA_PKCS,       [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha3_256));
    CKM_SHA3_384_RSA_PKCS,       [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha3_384));
    CKM_SHA3_512_RSA_PKCS,       [CKK_RSA], RSA_BITS, SIGN, None, RsaPkcs1(Some(Sha3_512));
    CKM_RSA_PKCS_PSS,            [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Option::None);
    CKM_SHA1_RSA_PKCS_PSS,       [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha1));
    CKM_SHA224_RSA_PKCS_PSS,     [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha224));
    CKM_SHA256_RSA_PKCS_PSS,     [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha256));
    CKM_SHA384_RSA_PKCS_PSS,     [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha384));
    CKM_SHA512_RSA_PKCS_PSS,     [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha512));
    CKM_SHA3_224_RSA_PKCS_PSS,   [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha3_224));
    CKM_SHA3_256_RSA_PKCS_PSS,   [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha3_256));
    CKM_SHA3_384_RSA_PKCS_PSS,   [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha3_384));
    CKM_SHA3_512_RSA_PKCS_PSS,   [CKK_RSA], RSA_BITS, SIGN, Pss, RsaPss(Some(Sha3_512));
    CKM_RSA_PKCS_OAEP,           [CKK_RSA], RSA_BITS, CRYPT | WRAP, Oaep, RsaOaep;
    CKM_RSA_X_509,               [CKK_RSA], RSA_BITS, SIGN | CRYPT | WRAP | RECOVER, None, RsaRaw;
    CKM_EC_KEY_PAIR_GEN,         [CKK_EC], EC_BITS, PAIR | EC, None, EcPair;
    CKM_ECDSA,                   [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Option::None);
    CKM_ECDSA_SHA1,              [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha1));
    CKM_ECDSA_SHA224,            [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha224));
    CKM_ECDSA_SHA256,            [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha256));
    CKM_ECDSA_SHA384,            [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha384));
    CKM_ECDSA_SHA512,            [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha512));
    CKM_ECDSA_SHA3_224,          [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha3_224));
    CKM_ECDSA_SHA3_256,          [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha3_256));
    CKM_ECDSA_SHA3_384,          [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha3_384));
    CKM_ECDSA_SHA3_512,          [CKK_EC], EC_BITS, SIGN | EC, None, Ecdsa(Some(Sha3_512));
    CKM_EC_EDWARDS_KEY_PAIR_GEN, [CKK_EC_EDWARDS], ED_BITS, PAIR | EC, None, EdwardsPair;
    CKM_EDDSA,                   [CKK_EC_EDWARDS], ED_BITS, SIGN | EC, EdDsa, Plan::EdDsa;
    CKM_EC_MONTGOMERY_KEY_PAIR_GEN, [CKK_EC_MONTGOMERY], ED_BITS, PAIR | EC, None, MontgomeryPair;
    CKM_ML_DSA_KEY_PAIR_GEN,     [CKK_ML_DSA], ML_DSA_BYTES, PAIR, None, MlDsaPair;
    CKM_ML_DSA,                  [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, Plan::MlDsa;
    CKM_HASH_ML_DSA,             [CKK_ML_DSA], ML_DSA_BYTES, SIGN, HashSignContext, HashMlDsa(Option::None);
    CKM_HASH_ML_DSA_SHA224,      [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Sha224));
    CKM_HASH_ML_DSA_SHA256,      [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Sha256));
    CKM_HASH_ML_DSA_SHA384,      [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Sha384));
    CKM_HASH_ML_DSA_SHA512,      [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Sha512));
    CKM_HASH_ML_DSA_SHA3_224,    [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Hash::Sha3_224));
    CKM_HASH_ML_DSA_SHA3_256,    [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Hash::Sha3_256));
    CKM_HASH_ML_DSA_SHA3_384,    [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Hash::Sha3_384));
    CKM_HASH_ML_DSA_SHA3_512,    [CKK_ML_DSA], ML_DSA_BYTES, SIGN, SignContext, HashMlDsa(Some(Hash::Sha3_512));
    CKM_ML_KEM_KEY_PAIR_GEN,     [CKK_ML_KEM], ML_KEM_BYTES, PAIR, None, MlKemPair;
    CKM_ML_KEM,                  [CKK_ML_KEM], ML_KEM_BYTES, CAPSULE, None, Plan::MlKem;
    CKM_AES_KEY_GEN,             [CKK_AES], AES_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_AES_ECB,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, None, Cipher { mode: CipherMode::Ecb, padded: false };
    CKM_AES_CBC,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Iv, Cipher { mode: CipherMode::Cbc, padded: false };
    CKM_AES_CBC_PAD,             [CKK_AES], AES_BYTES, CRYPT | WRAP, Iv, Cipher { mode: CipherMode::Cbc, padded: true };
    CKM_AES_CTR,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Ctr, Cipher { mode: CipherMode::Ctr, padded: false };
    CKM_AES_GCM,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Gcm, Plan::Gcm;
    CKM_AES_CCM,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Ccm, Plan::Ccm;
    CKM_AES_KEY_WRAP,            [CKK_AES], AES_BYTES, CRYPT | WRAP, WrapIv, KeyWrap { padded: false };
    CKM_AES_KEY_WRAP_KWP,        [CKK_AES], AES_BYTES, CRYPT | WRAP, PaddedWrapIv, KeyWrap { padded: true };
    CKM_AES_KEY_WRAP_PKCS7,      [CKK_AES], AES_BYTES, WRAP, WrapIv, KeyWrapPkcs7;
    CKM_RSA_AES_KEY_WRAP,        [CKK_RSA], RSA_BITS, WRAP, RsaAesKeyWrap, Plan::RsaAesKeyWrap;
    CKM_AES_CMAC,                [CKK_AES], AES_BYTES, SIGN, None, Cmac;
    CKM_AES_CMAC_GENERAL,        [CKK_AES], AES_BYTES, SIGN, Length, Cmac;
    CKM_CHACHA20_KEY_GEN,        [CKK_CHACHA20], CHACHA_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_CHACHA20_POLY1305,       [CKK_CHACHA20], CHACHA_BYTES, CRYPT, ChaCha20Poly1305, Plan::ChaCha20Poly1305;
    CKM_GENERIC_SECRET_KEY_GEN,  [CKK_GENERIC_SECRET], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA_1_KEY_GEN,           [CKK_SHA_1_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA224_KEY_GEN,          [CKK_SHA224_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA256_KEY_GEN,          [CKK_SHA256_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA384_KEY_GEN,          [CKK_SHA384_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA512_KEY_GEN,          [CKK_SHA512_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA512_224_KEY_GEN,      [CKK_SHA512_224_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA512_256_KEY_GEN,      [CKK_SHA512_256_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA3_224_KEY_GEN,        [CKK_SHA3_224_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA3_256_KEY_GEN,        [CKK_SHA3_256_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA3_384_KEY_GEN,        [CKK_SHA3_384_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA3_512_KEY_GEN,        [CKK_SHA3_512_HMAC], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_SHA_1_HMAC,              [CKK_GENERIC_SECRET CKK_SHA_1_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha1);
    CKM_SHA224_HMAC,             [CKK_GENERIC_SECRET CKK_SHA224_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha224);
    CKM_SHA256_HMAC,             [CKK_GENERIC_SECRET CKK_SHA256_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha256);
    CKM_SHA384_HMAC,             [CKK_GENERIC_SECRET CKK_SHA384_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha384);
    CKM_SHA512_HMAC,             [CKK_GENERIC_SECRET CKK_SHA512_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha512);
    CKM_SHA512_224_HMAC,         [CKK_GENERIC_SECRET CKK_SHA512_224_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha512_224);
    CKM_SHA512_256_HMAC,         [CKK_GENERIC_SECRET CKK_SHA512_256_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha512_256);
    CKM_SHA3_224_HMAC,           [CKK_GENERIC_SECRET CKK_SHA3_224_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha3_224);
    CKM_SHA3_256_HMAC,           [CKK_GENERIC_SECRET CKK_SHA3_256_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha3_256);
    CKM_SHA3_384_HMAC,           [CKK_GENERIC_SECRET CKK_SHA3_384_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha3_384);
    CKM_SHA3_512_HMAC,           [CKK_GENERIC_SECRET CKK_SHA3_512_HMAC], MAC_BYTES, SIGN, None, Hmac(Sha3_512);
    CKM_SHA_1_HMAC_GENERAL,      [CKK_GENERIC_SECRET CKK_SHA_1_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha1);
    CKM_SHA224_HMAC_GENERAL,     [CKK_GENERIC_SECRET CKK_SHA224_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha224);
    CKM_SHA256_HMAC_GENERAL,     [CKK_GENERIC_SECRET CKK_SHA256_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha256);
    CKM_SHA384_HMAC_GENERAL,     [CKK_GENERIC_SECRET CKK_SHA384_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha384);
    CKM_SHA512_HMAC_GENERAL,     [CKK_GENERIC_SECRET CKK_SHA512_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha512);
    CKM_SHA512_224_HMAC_GENERAL, [CKK_GENERIC_SECRET CKK_SHA512_224_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha512_224);
    CKM_SHA512_256_HMAC_GENERAL, [CKK_GENERIC_SECRET CKK_SHA512_256_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha512_256);
    CKM_SHA3_224_HMAC_GENERAL,   [CKK_GENERIC_SECRET CKK_SHA3_224_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha3_224);
    CKM_SHA3_256_HMAC_GENERAL,   [CKK_GENERIC_SECRET CKK_SHA3_256_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha3_256);
    CKM_SHA3_384_HMAC_GENERAL,   [CKK_GENERIC_SECRET CKK_SHA3_384_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha3_384);
    CKM_SHA3_512_HMAC_GENERAL,   [CKK_GENERIC_SECRET CKK_SHA3_512_HMAC], MAC_BYTES, SIGN, Length, Hmac(Sha3_512);
    // Derivation. No concatenation, XOR or extraction: they would give keys away piece by piece.
    CKM_ECDH1_DERIVE,            [CKK_EC CKK_EC_MONTGOMERY], AGREE_BITS, DERIVE | EC, Ecdh, Plan::Ecdh;
    CKM_ECDH1_COFACTOR_DERIVE,   [CKK_EC], EC_BITS, DERIVE | EC, Ecdh, Plan::Ecdh;
    CKM_PUB_KEY_FROM_PRIV_KEY,   [CKK_RSA CKK_EC CKK_EC_EDWARDS CKK_EC_MONTGOMERY], PAIR_BITS, DERIVE, None, PublicOfPrivate;
    CKM_HKDF_KEY_GEN,            [CKK_HKDF], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_HKDF_DERIVE,             [CKK_GENERIC_SECRET CKK_HKDF], MAC_BYTES, DERIVE, Hkdf, Plan::Hkdf;
    CKM_HKDF_DATA,               [CKK_GENERIC_SECRET CKK_HKDF], MAC_BYTES, DERIVE, Hkdf, HkdfData;
    CKM_SP800_108_COUNTER_KDF,   [CKK_GENERIC_SECRET CKK_AES CKK_SHA_1_HMAC CKK_SHA224_HMAC CKK_SHA256_HMAC CKK_SHA384_HMAC CKK_SHA512_HMAC CKK_SHA512_224_HMAC CKK_SHA512_256_HMAC CKK_SHA3_224_HMAC CKK_SHA3_256_HMAC CKK_SHA3_384_HMAC CKK_SHA3_512_HMAC], MAC_BITS, DERIVE, Sp800108, Plan::Sp800108(kdf::Mode::Counter);
    CKM_SP800_108_FEEDBACK_KDF,  [CKK_GENERIC_SECRET CKK_AES CKK_SHA_1_HMAC CKK_SHA224_HMAC CKK_SHA256_HMAC CKK_SHA384_HMAC CKK_SHA512_HMAC CKK_SHA512_224_HMAC CKK_SHA512_256_HMAC CKK_SHA3_224_HMAC CKK_SHA3_256_HMAC CKK_SHA3_384_HMAC CKK_SHA3_512_HMAC], MAC_BITS, DERIVE, Sp800108Feedback, Plan::Sp800108(kdf::Mode::Feedback);
    CKM_SP800_108_DOUBLE_PIPELINE_KDF, [CKK_GENERIC_SECRET CKK_AES CKK_SHA_1_HMAC CKK_SHA224_HMAC CKK_SHA256_HMAC CKK_SHA384_HMAC CKK_SHA512_HMAC CKK_SHA512_224_HMAC CKK_SHA512_256_HMAC CKK_SHA3_224_HMAC CKK_SHA3_256_HMAC CKK_SHA3_384_HMAC CKK_SHA3_512_HMAC], MAC_BITS, DERIVE, Sp800108, Plan::Sp800108(kdf::Mode::DoublePipeline);
    CKM_AES_ECB_ENCRYPT_DATA,    [CKK_AES], AES_BYTES, DERIVE, StringData, CipherData(CipherMode::Ecb);
    CKM_AES_CBC_ENCRYPT_DATA,    [CKK_AES], AES_BYTES, DERIVE, CbcData, CipherData(CipherMode::Cbc);
    CKM_PKCS5_PBKD2,             [], MAC_BYTES, CKF_GENERATE, Pbkdf2, Plan::Pbkdf2;
    CKM_SHA_1,                   [], NO_KEY, CKF_DIGEST, None, Digest(Sha1);
    CKM_SHA224,                  [], NO_KEY, CKF_DIGEST, None, Digest(Sha224);
    CKM_SHA256,                  [], NO_KEY, CKF_DIGEST, None, Digest(Sha256);
    CKM_SHA384,                  [], NO_KEY, CKF_DIGEST, None, Digest(Sha384);
    CKM_SHA512,                  [], NO_KEY, CKF_DIGEST, None, Digest(Sha512);
    CKM_SHA512_224,              [], NO_KEY, CKF_DIGEST, None, Digest(Sha512_224);
    CKM_SHA512_256,              [], NO_KEY, CKF_DIGEST, None, Digest(Sha512_256);
    CKM_SHA3_224,                [], NO_KEY, CKF_DIGEST, None, Digest(Sha3_224);
    CKM_SHA3_256,                [], NO_KEY, CKF_DIGEST, None, Digest(Sha3_256);
    CKM_SHA3_384,                [], NO_KEY, CKF_DIGEST, None, Digest(Sha3_384);
    CKM_SHA3_512,                [], NO_KEY, CKF_DIGEST, None, Digest(Sha3_512);
}

/// The row of a mechanism, whether or not a token offers it.
pub fn row(kind: CK_MECHANISM_TYPE) -> Option<&'static Mechanism> {
    MECHANISMS.iter().find(|row| row.kind == kind)
}

/// The row of a mechanism that serves `function` (one CKF_ flag). `CKR_MECHANISM_INVALID`.
pub fn serving(kind: CK_MECHANISM_TYPE, function: CK_FLAGS) -> Result<&'static Mechanism> {
    match row(kind) {
        Some(row) if row.with_messages().functions & function != 0 => Ok(row),
        Some(row) => fail!(
            CKR_MECHANISM_INVALID,
            "{} does not do what this function asks",
            row.name
        ),
        None => fail!(CKR_MECHANISM_INVALID, "mechanism {kind:#x} is not known"),
    }
}

/// What is done with the private half of a key pair, or makes something new that will be trusted.
const PRIVATE: CK_FLAGS = CKF_GENERATE_KEY_PAIR | CKF_SIGN | CKF_SIGN_RECOVER | CKF_DECRYPT | WRAP;
/// What is done with a key pair, of which the public half does what is not [`PRIVATE`].
const PUBLIC: CK_FLAGS = SIGN | CRYPT | RECOVER | CKF_MESSAGE_VERIFY;

impl Mechanism {
    /// The row as `[policy]` of the configuration leaves it, for `functions` of it: SHA-1 signs and RSA
    /// keys below `rsa_min_bits` work only where it says so (SP 800-131A 3, 9). What others have signed
    /// is verified, and what they can read encrypted, with any key.
    pub fn under(self, policy: &Policy, functions: CK_FLAGS) -> Self {
        let withheld = match self.plan {
            RsaPkcs1(Some(Sha1)) | RsaPss(Some(Sha1)) | Ecdsa(Some(Sha1)) if !policy.sha1_sign => {
                CKF_SIGN | CKF_MESSAGE_SIGN
            }
            _ => 0,
        };
        let with_public_half = functions & self.functions & !PRIVATE & PUBLIC != 0;
        let smallest = if self.key_types == [CKK_RSA] && !with_public_half {
            self.sizes.0.max(policy.rsa_min_bits)
        } else {
            self.sizes.0
        };
        Self {
            functions: self.functions & !withheld,
            sizes: (smallest, self.sizes.1),
            ..self
        }
    }

    /// The row with what the message functions do with it (5.9, 5.11, 5.14, 5.16): whatever signs a
    /// message signs many, and an AEAD takes nonce and tag with each.
    pub fn with_messages(mut self) -> Self {
        let aead = Aead::of(self.plan).is_some();
        for (one, many, takes_messages) in [
            (CKF_SIGN, CKF_MESSAGE_SIGN, true),
            (CKF_VERIFY, CKF_MESSAGE_VERIFY, true),
            (CKF_ENCRYPT, CKF_MESSAGE_ENCRYPT, aead),
            (CKF_DECRYPT, CKF_MESSAGE_DECRYPT, aead),
        ] {
            if takes_messages && self.functions & one != 0 {
                self.functions |= many | CKF_MULTI_MESSAGE;
            }
        }
        self
    }

    /// Whether the key's type and size fit. `CKR_KEY_TYPE_INCONSISTENT`, `CKR_KEY_SIZE_RANGE`.
    pub fn check_key(&self, key_type: Option<CK_KEY_TYPE>, size: usize) -> Result<()> {
        if !key_type.is_some_and(|key_type| self.key_types.contains(&key_type)) {
            return fail!(
                CKR_KEY_TYPE_INCONSISTENT,
                "{} does not work with this type of key",
                self.name
            );
        }
        let size = size as CK_ULONG;
        if size < self.sizes.0 || size > self.sizes.1 {
            return fail!(
                CKR_KEY_SIZE_RANGE,
                "{} takes keys of {} to {}, not {size}",
                self.name,
                self.sizes.0,
                self.sizes.1
            );
        }
        Ok(())
    }
}

/// Hash functions by the mechanism that names them (PSS and OAEP parameters).
pub fn hash_of(kind: CK_MECHANISM_TYPE) -> Option<Hash> {
    match row(kind)?.plan {
        Digest(hash) => Some(hash),
        _ => Option::None,
    }
}

/// What a pseudorandom function of SP 800-108 is, and the keys that it takes: those of the mechanism
/// that gives it its name.
pub fn prf_of(kind: CK_MECHANISM_TYPE) -> Option<(Prf, &'static [CK_KEY_TYPE])> {
    let row = row(kind)?;
    match row.plan {
        Hmac(hash) if row.parameter == ParameterForm::None => {
            Some((Prf::Hmac(hash), row.key_types))
        }
        Cmac if row.parameter == ParameterForm::None => Some((Prf::Cmac, row.key_types)),
        _ => Option::None,
    }
}

/// Key derivation functions of ECDH by their CKD_ number (6.3.16).
pub fn ec_kdf_of(kind: CK_EC_KDF_TYPE) -> Option<EcKdf> {
    let x963 = |hash| hash_of(hash).map(EcKdf::X963);
    let one_step = |hash| hash_of(hash).map(EcKdf::OneStep);
    match kind {
        CKD_NULL => Some(EcKdf::Null),
        CKD_SHA1_KDF => x963(CKM_SHA_1),
        CKD_SHA224_KDF => x963(CKM_SHA224),
        CKD_SHA256_KDF => x963(CKM_SHA256),
        CKD_SHA384_KDF => x963(CKM_SHA384),
        CKD_SHA512_KDF => x963(CKM_SHA512),
        CKD_SHA3_224_KDF => x963(CKM_SHA3_224),
        CKD_SHA3_256_KDF => x963(CKM_SHA3_256),
        CKD_SHA3_384_KDF => x963(CKM_SHA3_384),
        CKD_SHA3_512_KDF => x963(CKM_SHA3_512),
        CKD_SHA1_KDF_SP800 => one_step(CKM_SHA_1),
        CKD_SHA224_KDF_SP800 => one_step(CKM_SHA224),
        CKD_SHA256_KDF_SP800 => one_step(CKM_SHA256),
        CKD_SHA384_KDF_SP800 => one_step(CKM_SHA384),
        CKD_SHA512_KDF_SP800 => one_step(CKM_SHA512),
        CKD_SHA3_224_KDF_SP800 => one_step(CKM_SHA3_224),
        CKD_SHA3_256_KDF_SP800 => one_step(CKM_SHA3_256),
        CKD_SHA3_384_KDF_SP800 => one_step(CKM_SHA3_384),
        CKD_SHA3_512_KDF_SP800 => one_step(CKM_SHA3_512),
        _ => Option::None,
    }
}

/// Hash function of PBKDF2 by its CKP_ number (6.37.3).
pub fn pbkdf2_hash_of(prf: CK_PKCS5_PBKD2_PSEUDO_RANDOM_FUNCTION_TYPE) -> Option<Hash> {
    match prf {
        CKP_PKCS5_PBKD2_HMAC_SHA1 => Some(Sha1),
        CKP_PKCS5_PBKD2_HMAC_SHA224 => Some(Sha224),
        CKP_PKCS5_PBKD2_HMAC_SHA256 => Some(Sha256),
        CKP_PKCS5_PBKD2_HMAC_SHA384 => Some(Sha384),
        CKP_PKCS5_PBKD2_HMAC_SHA512 => Some(Sha512),
        _ => Option::None,
    }
}

/// Hash functions by the mask generation function that uses them.
pub fn hash_of_mgf(mgf: CK_RSA_PKCS_MGF_TYPE) -> Option<Hash> {
    match mgf {
        CKG_MGF1_SHA1 => Some(Sha1),
        CKG_MGF1_SHA224 => Some(Sha224),
        CKG_MGF1_SHA256 => Some(Sha256),
        CKG_MGF1_SHA384 => Some(Sha384),
        CKG_MGF1_SHA512 => Some(Sha512),
        CKG_MGF1_SHA3_224 => Some(Sha3_224),
        CKG_MGF1_SHA3_256 => Some(Sha3_256),
        CKG_MGF1_SHA3_384 => Some(Sha3_384),
        CKG_MGF1_SHA3_512 => Some(Sha3_512),
        _ => Option::None,
    }
}
