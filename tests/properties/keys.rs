//! A public key is the same as parts, as attributes and as SubjectPublicKeyInfo; bytes that are no key
//! are refused.

use cryptoki_sys::*;
use der::Decode;
use nodetoken::attribute::Attributes;
use nodetoken::crypto::{Curve, MlDsaSet, MlKemSet, PublicParts, engine};
use nodetoken::key::{
    private_parts, public_attributes, public_key_info, public_parts, public_parts_of_info, size,
    spec_of_params,
};
use nodetoken::memory::Secret;
use proptest::collection::vec;
use proptest::prelude::*;
use spki::SubjectPublicKeyInfoOwned;

/// An integer as RSA keys have them: no leading zero.
fn integer() -> impl Strategy<Value = Vec<u8>> {
    (1..=u8::MAX, vec(any::<u8>(), 0..64)).prop_map(|(first, rest)| [vec![first], rest].concat())
}

/// Public keys in form: whether a point is on its curve is for the engine to say.
fn parts() -> impl Strategy<Value = PublicParts> {
    prop_oneof![
        (integer(), integer()).prop_map(|(n, e)| PublicParts::Rsa { n, e }),
        proptest::sample::select(Curve::ALL.to_vec()).prop_flat_map(|curve| {
            vec(any::<u8>(), 2 * curve.len() + 1)
                .prop_map(move |point| PublicParts::Ec { curve, point })
        }),
        vec(any::<u8>(), 32).prop_map(PublicParts::Ed25519),
        vec(any::<u8>(), 32).prop_map(PublicParts::X25519),
        proptest::sample::select(MlDsaSet::ALL.to_vec()).prop_flat_map(|set| {
            vec(any::<u8>(), set.public_len()).prop_map(move |key| PublicParts::MlDsa { set, key })
        }),
        proptest::sample::select(MlKemSet::ALL.to_vec()).prop_flat_map(|set| {
            vec(any::<u8>(), set.public_len()).prop_map(move |key| PublicParts::MlKem { set, key })
        }),
    ]
}

fn key_type(parts: &PublicParts) -> CK_KEY_TYPE {
    match parts {
        PublicParts::Rsa { .. } => CKK_RSA,
        PublicParts::Ec { .. } => CKK_EC,
        PublicParts::Ed25519(_) => CKK_EC_EDWARDS,
        PublicParts::X25519(_) => CKK_EC_MONTGOMERY,
        PublicParts::MlDsa { .. } => CKK_ML_DSA,
        PublicParts::MlKem { .. } => CKK_ML_KEM,
    }
}

/// DER of the curves that exist here, so that what follows the curve is reached too.
fn params() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec()),
        Just(b"\x06\x05\x2b\x81\x04\x00\x22".to_vec()),
        Just(b"\x06\x03\x2b\x65\x70".to_vec()),
        Just(b"\x13\x0cedwards25519".to_vec()),
        vec(any::<u8>(), 0..16),
    ]
}

/// Attributes of a key, of any bytes.
fn attributes() -> impl Strategy<Value = Attributes> {
    let kinds = [
        CKA_MODULUS,
        CKA_PUBLIC_EXPONENT,
        CKA_EC_POINT,
        CKA_CLASS,
        CKA_VALUE_LEN,
        CKA_MODULUS_BITS,
        CKA_PARAMETER_SET,
        CKA_VALUE,
        CKA_PUBLIC_KEY_INFO,
    ];
    let given = vec(
        (
            proptest::sample::select(kinds.to_vec()),
            vec(any::<u8>(), 0..140),
        ),
        0..6,
    );
    let key_type = prop_oneof![
        Just(CKK_RSA),
        Just(CKK_EC),
        Just(CKK_EC_EDWARDS),
        Just(CKK_ML_DSA),
        Just(CKK_ML_KEM),
        any::<CK_KEY_TYPE>()
    ];
    (given, key_type, proptest::option::of(params())).prop_map(|(given, key_type, params)| {
        let mut attributes = Attributes::new();
        for (kind, value) in given {
            attributes.set(kind, value);
        }
        attributes.set_ulong(CKA_KEY_TYPE, key_type);
        if let Some(params) = params {
            attributes.set(CKA_EC_PARAMS, params);
        }
        attributes
    })
}

proptest! {
    #[test]
    fn attributes_and_back(parts in parts()) {
        let mut attributes = public_attributes(&parts).unwrap();
        attributes.set_ulong(CKA_KEY_TYPE, key_type(&parts));
        prop_assert_eq!(&public_parts(&attributes).unwrap(), &parts);
        let info = public_key_info(&parts).unwrap();
        prop_assert_eq!(attributes.get(CKA_PUBLIC_KEY_INFO), Some(&*info));
    }

    #[test]
    fn subject_public_key_info_and_back(parts in parts()) {
        let info = public_key_info(&parts).unwrap();
        let decoded = SubjectPublicKeyInfoOwned::from_der(&info).unwrap();
        prop_assert_eq!(public_parts_of_info(&decoded), Some(parts));
    }

    #[test]
    fn leading_zeros_are_no_part_of_an_integer(n in integer(), e in integer(), zeros in 0..8usize) {
        let mut attributes = Attributes::new();
        attributes.set_ulong(CKA_KEY_TYPE, CKK_RSA);
        attributes.set(CKA_MODULUS, [vec![0; zeros], n.clone()].concat());
        attributes.set(CKA_PUBLIC_EXPONENT, [vec![0; zeros], e.clone()].concat());
        prop_assert_eq!(public_parts(&attributes).unwrap(), PublicParts::Rsa { n, e });
    }

    #[test]
    fn a_point_may_stand_bare(parts in parts()) {
        let mut attributes = public_attributes(&parts).unwrap();
        attributes.set_ulong(CKA_KEY_TYPE, key_type(&parts));
        let (PublicParts::Ec { point, .. } | PublicParts::Ed25519(point)) = &parts else {
            return Ok(());
        };
        attributes.set(CKA_EC_POINT, point.clone());
        prop_assert_eq!(public_parts(&attributes).unwrap(), parts);
    }

    #[test]
    fn bytes_that_are_no_key_are_refused(attributes in attributes(), value in vec(any::<u8>(), 0..80)) {
        let (bits, output) = size(&attributes);
        if let Ok(parts) = public_parts(&attributes) {
            if attributes.class() != Some(CKO_SECRET_KEY) {
                prop_assert_eq!((bits, output), (parts.bits(), parts.output_len()));
            }
            // Random bytes are a key now and then (32 of them may be a point of Edwards25519); what
            // counts is that there is an answer.
            let _ = engine::PublicKey::from_parts(&parts);
            let _ = public_attributes(&parts);
        }
        let secret = |_| Secret::copy_of(&value).map(Some);
        if let Ok(parts) = private_parts(&attributes, &secret) {
            let _ = engine::PrivateKey::from_parts(&parts);
        }
    }

    #[test]
    fn a_curve_is_known_or_refused(key_type in any::<CK_KEY_TYPE>(), bytes in params()) {
        for key_type in [key_type, CKK_EC, CKK_EC_EDWARDS] {
            if let Err(refusal) = spec_of_params(key_type, &bytes) {
                prop_assert!([CKR_CURVE_NOT_SUPPORTED, CKR_DOMAIN_PARAMS_INVALID].contains(&refusal.rv()));
            }
        }
    }
}
