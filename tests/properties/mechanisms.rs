//! The mechanism table agrees with itself.

use cryptoki_sys::*;
use nodetoken::crypto::{CipherMode, Hash, kdf};
use nodetoken::error::rv_name;
use nodetoken::mechanism::{
    MECHANISMS, Mechanism, ParameterForm, Plan, hash_of, hash_of_mgf, row, serving,
};
use nodetoken::operation::derive::simple::Simple;

const FUNCTIONS: [CK_FLAGS; 14] = [
    CKF_ENCRYPT,
    CKF_DECRYPT,
    CKF_DIGEST,
    CKF_SIGN,
    CKF_VERIFY,
    CKF_GENERATE,
    CKF_GENERATE_KEY_PAIR,
    CKF_SIGN_RECOVER,
    CKF_VERIFY_RECOVER,
    CKF_WRAP,
    CKF_UNWRAP,
    CKF_DERIVE,
    CKF_ENCAPSULATE,
    CKF_DECAPSULATE,
];

/// The hash that a row's plan has.
fn planned_hash(row: &Mechanism) -> Option<Hash> {
    match row.plan {
        Plan::Digest(hash) | Plan::Hmac(hash) => Some(hash),
        Plan::RsaPkcs1(hash) | Plan::RsaPss(hash) | Plan::Ecdsa(hash) | Plan::HashMlDsa(hash) => {
            hash
        }
        _ => None,
    }
}

/// The hash that a row's name names.
fn named_hash(name: &str) -> Option<Hash> {
    let names = [
        ("SHA512_224", Hash::Sha512_224),
        ("SHA512_256", Hash::Sha512_256),
        ("SHA3_224", Hash::Sha3_224),
        ("SHA3_256", Hash::Sha3_256),
        ("SHA3_384", Hash::Sha3_384),
        ("SHA3_512", Hash::Sha3_512),
        ("SHA224", Hash::Sha224),
        ("SHA256", Hash::Sha256),
        ("SHA384", Hash::Sha384),
        ("SHA512", Hash::Sha512),
        ("SHA1", Hash::Sha1),
        ("SHA_1", Hash::Sha1),
    ];
    let found = names.into_iter().find(|(part, _)| name.contains(part));
    found.map(|(_, hash)| hash)
}

#[test]
fn each_mechanism_stands_once_and_is_found() {
    for (at, one) in MECHANISMS.iter().enumerate() {
        let same = MECHANISMS.iter().position(|other| other.kind == one.kind);
        assert_eq!(same, Some(at), "{}", one.name);
        assert!(std::ptr::eq(row(one.kind).unwrap(), one), "{}", one.name);
    }
}

#[test]
fn a_row_serves_the_functions_that_it_names_and_no_other() {
    let known = FUNCTIONS.iter().fold(0, |all, flag| all | flag);
    for row in MECHANISMS {
        assert_ne!(row.functions & known, 0, "{}", row.name);
        for function in FUNCTIONS {
            match serving(row.kind, function) {
                Ok(_) => assert_ne!(row.functions & function, 0, "{}", row.name),
                Err(refusal) => {
                    assert_eq!(row.functions & function, 0, "{}", row.name);
                    assert_eq!(rv_name(refusal.rv()), "CKR_MECHANISM_INVALID");
                }
            }
        }
    }
}

#[test]
fn keys_sizes_and_functions_fit_the_plan() {
    for row in MECHANISMS {
        let digests = matches!(row.plan, Plan::Digest(_));
        let no_key = digests || row.plan == Plan::Pbkdf2;
        assert_eq!(row.key_types.is_empty(), no_key, "{}", row.name);
        assert_eq!(row.functions == CKF_DIGEST, digests, "{}", row.name);
        assert!(row.sizes.0 <= row.sizes.1, "{}", row.name);
        assert_eq!(row.sizes == (0, 0), digests, "{}", row.name);

        let pair = matches!(
            row.plan,
            Plan::RsaPair
                | Plan::EcPair
                | Plan::EdwardsPair
                | Plan::MontgomeryPair
                | Plan::MlDsaPair
                | Plan::MlKemPair
        );
        let generates_pair = row.functions & CKF_GENERATE_KEY_PAIR != 0;
        assert_eq!(generates_pair, pair, "{}", row.name);
        let generates = row.functions & CKF_GENERATE != 0;
        let makes_secret = matches!(row.plan, Plan::SecretKey | Plan::Pbkdf2);
        assert_eq!(generates, makes_secret, "{}", row.name);
        if pair || row.plan == Plan::SecretKey {
            assert_eq!(row.key_types.len(), 1, "{}", row.name);
        }
        // What signs can be verified here; what encrypts, decrypted.
        if row.functions & CKF_SIGN != 0 {
            assert_ne!(row.functions & CKF_VERIFY, 0, "{}", row.name);
        }
        let crypts = row.functions & (CKF_ENCRYPT | CKF_DECRYPT);
        assert!(
            [0, CKF_ENCRYPT | CKF_DECRYPT].contains(&crypts),
            "{}",
            row.name
        );
    }
}

#[test]
fn name_hash_and_parameter_agree() {
    for row in MECHANISMS {
        // A key is random, whatever it is for.
        if row.plan != Plan::SecretKey {
            assert_eq!(planned_hash(row), named_hash(row.name), "{}", row.name);
        }
        let form = match row.plan {
            Plan::RsaPss(_) => ParameterForm::Pss,
            Plan::RsaOaep => ParameterForm::Oaep,
            Plan::Gcm => ParameterForm::Gcm,
            Plan::Ccm => ParameterForm::Ccm,
            Plan::ChaCha20Poly1305 => ParameterForm::ChaCha20Poly1305,
            Plan::KeyWrap { padded: false } => ParameterForm::WrapIv,
            Plan::KeyWrap { padded: true } => ParameterForm::PaddedWrapIv,
            Plan::EdDsa => ParameterForm::EdDsa,
            Plan::Hmac(_) | Plan::Cmac if row.name.ends_with("_GENERAL") => ParameterForm::Length,
            Plan::MlDsa | Plan::HashMlDsa(Some(_)) => ParameterForm::SignContext,
            Plan::HashMlDsa(None) => ParameterForm::HashSignContext,
            Plan::KeyWrapPkcs7 => ParameterForm::WrapIv,
            Plan::RsaAesKeyWrap => ParameterForm::RsaAesKeyWrap,
            Plan::EcdhAesKeyWrap { .. } => ParameterForm::EcdhAesKeyWrap,
            Plan::Ecdh => ParameterForm::Ecdh,
            Plan::Hkdf | Plan::HkdfData => ParameterForm::Hkdf,
            Plan::Sp800108(kdf::Mode::Feedback) => ParameterForm::Sp800108Feedback,
            Plan::Sp800108(_) => ParameterForm::Sp800108,
            Plan::Pbkdf2 => ParameterForm::Pbkdf2,
            Plan::CipherData(CipherMode::Ecb) => ParameterForm::StringData,
            Plan::CipherData(_) => ParameterForm::CbcData,
            Plan::Simple(Simple::BaseAndKey) => ParameterForm::Key,
            Plan::Simple(Simple::Extract) => ParameterForm::Bit,
            Plan::Simple(_) => ParameterForm::StringData,
            Plan::Cipher { .. } if row.kind == CKM_AES_CTR => ParameterForm::Ctr,
            Plan::Cipher { .. } if row.kind != CKM_AES_ECB => ParameterForm::Iv,
            _ => ParameterForm::None,
        };
        assert_eq!(row.parameter, form, "{}", row.name);
    }
}

#[test]
fn every_hash_is_named_by_a_digest_and_by_a_mask() {
    let digests = MECHANISMS.iter().filter_map(|row| hash_of(row.kind));
    assert!(Hash::ALL.into_iter().eq(digests));
    let masks = [
        CKG_MGF1_SHA1,
        CKG_MGF1_SHA224,
        CKG_MGF1_SHA256,
        CKG_MGF1_SHA384,
        CKG_MGF1_SHA512,
        CKG_MGF1_SHA3_224,
        CKG_MGF1_SHA3_256,
        CKG_MGF1_SHA3_384,
        CKG_MGF1_SHA3_512,
    ];
    // The standard has no masks of SHA-512 cut short (6.1.8).
    let cut = [Hash::Sha512_224, Hash::Sha512_256];
    assert!(
        Hash::ALL
            .into_iter()
            .filter(|hash| !cut.contains(hash))
            .eq(masks.into_iter().filter_map(hash_of_mgf))
    );
}
