//! The parameters of mechanisms: the C structures that there are, what is read from them, and the
//! numbers in them that stand for a function.

use super::{Plan, row};
use crate::crypto::kdf::{EcKdf, Format, Prf};
use crate::crypto::{CryptScheme, Hash};
use cryptoki_sys::*;
use std::fmt;
use zeroize::Zeroizing;

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
    /// CK_ECDH_AES_KEY_WRAP_PARAMS.
    EcdhAesKeyWrap,
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
    /// CK_OBJECT_HANDLE.
    Key,
    /// CK_EXTRACT_PARAMS.
    Bit,
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
    /// CK_ECDH_AES_KEY_WRAP_PARAMS.
    EcdhAesKeyWrap {
        /// Length of the key that is agreed on, in bytes.
        len: usize,
        /// What is done with the secret.
        kdf: EcKdf,
        /// What both sides know besides.
        shared: Vec<u8>,
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
        /// What is encrypted, or goes into the key.
        data: Vec<u8>,
    },
    /// The handle of another key.
    Key(CK_OBJECT_HANDLE),
    /// CK_EXTRACT_PARAMS: the bit of the key where to begin.
    Bit(usize),
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

/// Hash functions by the mechanism that names them (PSS and OAEP parameters).
pub fn hash_of(kind: CK_MECHANISM_TYPE) -> Option<Hash> {
    match row(kind)?.plan {
        Plan::Digest(hash) => Some(hash),
        _ => None,
    }
}

/// What a pseudorandom function of SP 800-108 is, and the keys that it takes: those of the mechanism
/// that gives it its name.
pub fn prf_of(kind: CK_MECHANISM_TYPE) -> Option<(Prf, &'static [CK_KEY_TYPE])> {
    let row = row(kind)?;
    match row.plan {
        Plan::Hmac(hash) if row.parameter == ParameterForm::None => {
            Some((Prf::Hmac(hash), row.key_types))
        }
        Plan::Cmac if row.parameter == ParameterForm::None => Some((Prf::Cmac, row.key_types)),
        _ => None,
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
        _ => None,
    }
}

/// Hash function of PBKDF2 by its CKP_ number (6.37.3).
pub fn pbkdf2_hash_of(prf: CK_PKCS5_PBKD2_PSEUDO_RANDOM_FUNCTION_TYPE) -> Option<Hash> {
    match prf {
        CKP_PKCS5_PBKD2_HMAC_SHA1 => Some(Hash::Sha1),
        CKP_PKCS5_PBKD2_HMAC_SHA224 => Some(Hash::Sha224),
        CKP_PKCS5_PBKD2_HMAC_SHA256 => Some(Hash::Sha256),
        CKP_PKCS5_PBKD2_HMAC_SHA384 => Some(Hash::Sha384),
        CKP_PKCS5_PBKD2_HMAC_SHA512 => Some(Hash::Sha512),
        _ => None,
    }
}

/// Hash functions by the mask generation function that uses them.
pub fn hash_of_mgf(mgf: CK_RSA_PKCS_MGF_TYPE) -> Option<Hash> {
    match mgf {
        CKG_MGF1_SHA1 => Some(Hash::Sha1),
        CKG_MGF1_SHA224 => Some(Hash::Sha224),
        CKG_MGF1_SHA256 => Some(Hash::Sha256),
        CKG_MGF1_SHA384 => Some(Hash::Sha384),
        CKG_MGF1_SHA512 => Some(Hash::Sha512),
        CKG_MGF1_SHA3_224 => Some(Hash::Sha3_224),
        CKG_MGF1_SHA3_256 => Some(Hash::Sha3_256),
        CKG_MGF1_SHA3_384 => Some(Hash::Sha3_384),
        CKG_MGF1_SHA3_512 => Some(Hash::Sha3_512),
        _ => None,
    }
}
