//! The mechanism table agrees with itself.

use cryptoki_sys::*;
use nodetoken::crypto::Hash;
use nodetoken::error::rv_name;
use nodetoken::mechanism::{
    MECHANISMS, Mechanism, ParameterForm, Plan, hash_of, hash_of_mgf, row, serving,
};

const FUNCTIONS: [CK_FLAGS; 7] = [
    CKF_ENCRYPT,
    CKF_DECRYPT,
    CKF_DIGEST,
    CKF_SIGN,
    CKF_VERIFY,
    CKF_GENERATE,
    CKF_GENERATE_KEY_PAIR,
];

/// The hash that a row's plan has.
fn planned_hash(row: &Mechanism) -> Option<Hash> {
    match row.plan {
        Plan::Digest(hash) | Plan::Hmac(hash) => Some(hash),
        Plan::RsaPkcs1(hash) | Plan::RsaPss(hash) | Plan::Ecdsa(hash) => hash,
        _ => None,
    }
}

/// The hash that a row's name names.
fn named_hash(name: &str) -> Option<Hash> {
    let names = [
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
        assert_eq!(row.key_types.is_empty(), digests, "{}", row.name);
        assert_eq!(row.functions == CKF_DIGEST, digests, "{}", row.name);
        assert!(row.sizes.0 <= row.sizes.1, "{}", row.name);
        assert_eq!(row.sizes == (0, 0), digests, "{}", row.name);

        let pair = matches!(row.plan, Plan::RsaPair | Plan::EcPair | Plan::EdwardsPair);
        let generates_pair = row.functions & CKF_GENERATE_KEY_PAIR != 0;
        assert_eq!(generates_pair, pair, "{}", row.name);
        let generates = row.functions & CKF_GENERATE != 0;
        assert_eq!(generates, row.plan == Plan::SecretKey, "{}", row.name);
        if pair || generates {
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
        assert_eq!(planned_hash(row), named_hash(row.name), "{}", row.name);
        let form = match row.plan {
            Plan::RsaPss(_) => ParameterForm::Pss,
            Plan::RsaOaep => ParameterForm::Oaep,
            Plan::Gcm => ParameterForm::Gcm,
            Plan::EdDsa => ParameterForm::EdDsa,
            Plan::MlDsa | Plan::HashMlDsa(Some(_)) => ParameterForm::SignContext,
            Plan::HashMlDsa(None) => ParameterForm::HashSignContext,
            Plan::Hmac(_) if row.name.ends_with("_GENERAL") => ParameterForm::Length,
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
    ];
    assert!(
        Hash::ALL
            .into_iter()
            .eq(masks.into_iter().filter_map(hash_of_mgf))
    );
}
