//! The mechanisms: ONE table ([`MECHANISMS`]). C_GetMechanismList, C_GetMechanismInfo and every
//! C_*Init read it, so that they cannot disagree.

use crate::attribute::roles::Roles;
use crate::config::Policy;
use crate::crypto::kdf;
use crate::crypto::{CipherMode, Hash};
use crate::error::{Result, fail};
use crate::operation::derive::simple::Simple;
use crate::operation::message::aead::Aead;
use cryptoki_sys::*;

mod parameter;

pub use parameter::{
    Parameter, ParameterForm, Password, PrfField, Salt, ec_kdf_of, hash_of, hash_of_mgf,
    pbkdf2_hash_of, prf_of,
};

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
    /// A key that is agreed on with a pair made for one use, and under it what is wrapped (KWP).
    EcdhAesKeyWrap {
        /// The public half of that pair stands before it as a DER OCTET STRING.
        der: bool,
    },
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
    /// The key is made of the bytes of another.
    Simple(Simple),
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

/// Key types of which a public key can be told from the private one.
const PAIR_KEYS: &[CK_KEY_TYPE] = &[CKK_RSA, CKK_EC, CKK_EC_EDWARDS, CKK_EC_MONTGOMERY];
/// Key types of the MACs that SP 800-108 derives with.
const PRF_KEYS: &[CK_KEY_TYPE] = &[
    CKK_GENERIC_SECRET,
    CKK_AES,
    CKK_SHA_1_HMAC,
    CKK_SHA224_HMAC,
    CKK_SHA256_HMAC,
    CKK_SHA384_HMAC,
    CKK_SHA512_HMAC,
    CKK_SHA512_224_HMAC,
    CKK_SHA512_256_HMAC,
    CKK_SHA3_224_HMAC,
    CKK_SHA3_256_HMAC,
    CKK_SHA3_384_HMAC,
    CKK_SHA3_512_HMAC,
];
/// Key types of secret keys.
const SECRET_KEYS: &[CK_KEY_TYPE] = &[
    CKK_GENERIC_SECRET,
    CKK_AES,
    CKK_CHACHA20,
    CKK_HKDF,
    CKK_SHA_1_HMAC,
    CKK_SHA224_HMAC,
    CKK_SHA256_HMAC,
    CKK_SHA384_HMAC,
    CKK_SHA512_HMAC,
    CKK_SHA512_224_HMAC,
    CKK_SHA512_256_HMAC,
    CKK_SHA3_224_HMAC,
    CKK_SHA3_256_HMAC,
    CKK_SHA3_384_HMAC,
    CKK_SHA3_512_HMAC,
];

/// The key types of a row: `[…]`, or the name of a list.
macro_rules! key_types {
    ([$($key_type:ident)*]) => { &[$($key_type),*] };
    ($list:ident) => { $list };
}

/// A row: mechanism, key types, sizes of keys, functions, form of the parameter, plan.
macro_rules! mechanisms {
    ($($kind:ident, $key_types:tt, $sizes:ident, $functions:expr, $parameter:ident, $plan:expr;)*) => {
        /// The table.
        pub static MECHANISMS: &[Mechanism] = &[$(Mechanism {
            kind: $kind,
            name: stringify!($kind),
            key_types: key_types!($key_types),
            sizes: $sizes,
            functions: $functions,
            parameter: ParameterForm::$parameter,
            plan: $plan,
        }),*];

        /// The row of a mechanism, whether or not a token offers it. Every Init asks: the compiler makes
        /// a search tree of it.
        pub fn row(kind: CK_MECHANISM_TYPE) -> Option<&'static Mechanism> {
            #[allow(non_camel_case_types)]
            enum Place { $($kind),* }
            let place = match kind {
                $($kind => Place::$kind,)*
                _ => return Option::None,
            };
            MECHANISMS.get(place as usize)
        }
    };
}

use Hash::{Sha1, Sha3_224, Sha3_256, Sha3_384, Sha3_512};
use Hash::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use Plan::*;

mechanisms! {
    // RSA (6.1).
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
    CKM_RSA_PKCS_OAEP,           [CKK_RSA], RSA_BITS, CRYPT | WRAP | CAPSULE, Oaep, RsaOaep;
    CKM_RSA_X_509,               [CKK_RSA], RSA_BITS, SIGN | CRYPT | WRAP | RECOVER, None, RsaRaw;
    // Elliptic curves (6.3).
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
    CKM_ECDH_AES_KEY_WRAP,       [CKK_EC CKK_EC_MONTGOMERY], AGREE_BITS, WRAP | EC, EcdhAesKeyWrap, Plan::EcdhAesKeyWrap { der: false };
    CKM_ECDH_COF_AES_KEY_WRAP,   [CKK_EC], EC_BITS, WRAP | EC, EcdhAesKeyWrap, Plan::EcdhAesKeyWrap { der: true };
    CKM_ECDH_X_AES_KEY_WRAP,     [CKK_EC_MONTGOMERY], ED_BITS, WRAP | EC, EcdhAesKeyWrap, Plan::EcdhAesKeyWrap { der: false };
    // Lattices: ML-DSA (FIPS 204) and ML-KEM (FIPS 203).
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
    // AES (6.10 to 6.16, 6.66) and ChaCha20-Poly1305 (6.61).
    CKM_AES_KEY_GEN,             [CKK_AES], AES_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_AES_ECB,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, None, Cipher { mode: CipherMode::Ecb, padded: false };
    CKM_AES_CBC,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Iv, Cipher { mode: CipherMode::Cbc, padded: false };
    CKM_AES_CBC_PAD,             [CKK_AES], AES_BYTES, CRYPT | WRAP, Iv, Cipher { mode: CipherMode::Cbc, padded: true };
    CKM_AES_CTR,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Ctr, Cipher { mode: CipherMode::Ctr, padded: false };
    CKM_AES_GCM,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Gcm, Plan::Gcm;
    CKM_AES_CCM,                 [CKK_AES], AES_BYTES, CRYPT | WRAP, Ccm, Plan::Ccm;
    CKM_AES_KEY_WRAP,            [CKK_AES], AES_BYTES, CRYPT | WRAP, WrapIv, KeyWrap { padded: false };
    CKM_AES_KEY_WRAP_KWP,        [CKK_AES], AES_BYTES, CRYPT | WRAP, PaddedWrapIv, KeyWrap { padded: true };
    CKM_AES_KEY_WRAP_PKCS7,      [CKK_AES], AES_BYTES, CRYPT | WRAP, WrapIv, KeyWrapPkcs7;
    CKM_RSA_AES_KEY_WRAP,        [CKK_RSA], RSA_BITS, WRAP, RsaAesKeyWrap, Plan::RsaAesKeyWrap;
    CKM_AES_CMAC,                [CKK_AES], AES_BYTES, SIGN, None, Cmac;
    CKM_AES_CMAC_GENERAL,        [CKK_AES], AES_BYTES, SIGN, Length, Cmac;
    CKM_CHACHA20_KEY_GEN,        [CKK_CHACHA20], CHACHA_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_CHACHA20_POLY1305,       [CKK_CHACHA20], CHACHA_BYTES, CRYPT, ChaCha20Poly1305, Plan::ChaCha20Poly1305;
    // Secrets of any bytes (6.8), and MACs with them.
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
    // Derivation.
    CKM_ECDH1_DERIVE,            [CKK_EC CKK_EC_MONTGOMERY], AGREE_BITS, DERIVE | CAPSULE | EC, Ecdh, Plan::Ecdh;
    CKM_ECDH1_COFACTOR_DERIVE,   [CKK_EC], EC_BITS, DERIVE | CAPSULE | EC, Ecdh, Plan::Ecdh;
    CKM_PUB_KEY_FROM_PRIV_KEY,   PAIR_KEYS, PAIR_BITS, DERIVE, None, PublicOfPrivate;
    CKM_HKDF_KEY_GEN,            [CKK_HKDF], MAC_BYTES, CKF_GENERATE, None, SecretKey;
    CKM_HKDF_DERIVE,             [CKK_GENERIC_SECRET CKK_HKDF], MAC_BYTES, DERIVE, Hkdf, Plan::Hkdf;
    CKM_HKDF_DATA,               [CKK_GENERIC_SECRET CKK_HKDF], MAC_BYTES, DERIVE, Hkdf, HkdfData;
    CKM_SP800_108_COUNTER_KDF,   PRF_KEYS, MAC_BITS, DERIVE, Sp800108, Plan::Sp800108(kdf::Mode::Counter);
    CKM_SP800_108_FEEDBACK_KDF,  PRF_KEYS, MAC_BITS, DERIVE, Sp800108Feedback, Plan::Sp800108(kdf::Mode::Feedback);
    CKM_SP800_108_DOUBLE_PIPELINE_KDF, PRF_KEYS, MAC_BITS, DERIVE, Sp800108, Plan::Sp800108(kdf::Mode::DoublePipeline);
    CKM_AES_ECB_ENCRYPT_DATA,    [CKK_AES], AES_BYTES, DERIVE, StringData, CipherData(CipherMode::Ecb);
    CKM_AES_CBC_ENCRYPT_DATA,    [CKK_AES], AES_BYTES, DERIVE, CbcData, CipherData(CipherMode::Cbc);
    // Of these, `Mechanism::under` leaves none unless `[policy] roles` is open.
    CKM_CONCATENATE_BASE_AND_KEY,  SECRET_KEYS, MAC_BYTES, DERIVE, Key, Plan::Simple(Simple::BaseAndKey);
    CKM_CONCATENATE_BASE_AND_DATA, SECRET_KEYS, MAC_BYTES, DERIVE, StringData, Plan::Simple(Simple::BaseAndData);
    CKM_CONCATENATE_DATA_AND_BASE, SECRET_KEYS, MAC_BYTES, DERIVE, StringData, Plan::Simple(Simple::DataAndBase);
    CKM_XOR_BASE_AND_DATA,       SECRET_KEYS, MAC_BYTES, DERIVE, StringData, Plan::Simple(Simple::Xor);
    CKM_EXTRACT_KEY_FROM_KEY,    SECRET_KEYS, MAC_BYTES, DERIVE, Bit, Plan::Simple(Simple::Extract);
    CKM_PKCS5_PBKD2,             [], MAC_BYTES, CKF_GENERATE, Pbkdf2, Plan::Pbkdf2;
    // Hash functions.
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
    /// is verified, and what they can read encrypted, with any key. What brings keys out piece by piece
    /// (6.43) is there only where PKCS#11 alone decides.
    pub fn under(self, policy: &Policy, functions: CK_FLAGS) -> Self {
        let withheld = match self.plan {
            RsaPkcs1(Some(Sha1)) | RsaPss(Some(Sha1)) | Ecdsa(Some(Sha1)) if !policy.sha1_sign => {
                CKF_SIGN | CKF_MESSAGE_SIGN
            }
            Plan::Simple(_) if policy.roles != Roles::Open => CKF_DERIVE,
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
