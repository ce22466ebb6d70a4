//! Templates that make no object: incomplete, contradictory, or with a broken key in them
//! (PKCS#11 3.2, 4.1.1, 4.1.3). A refused call leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::{self, hex};
use common::*;

fn objects_in(session: Session) -> usize {
    session.find(&Template::new()).unwrap().len()
}

/// Refused creations: what is done to a good template, and the code. None leaves an object.
#[test]
fn templates_that_make_no_object() {
    let p256 = || ec_private_import(Curve::P256, vectors::P256_SCALAR);
    let point = || ec_public_import(Curve::P256, vectors::P256_POINT);
    let mut cases: Vec<(String, Template, CK_RV)> = Vec::new();
    // Footnote 1: must be given.
    for (what, template, needed) in [
        ("data", data("x"), &[CKA_CLASS][..]),
        (
            "certificate",
            certificate(),
            &[CKA_CLASS, CKA_CERTIFICATE_TYPE, CKA_SUBJECT, CKA_VALUE],
        ),
        (
            "RSA public key",
            rsa_public_import(),
            &[CKA_CLASS, CKA_KEY_TYPE, CKA_MODULUS, CKA_PUBLIC_EXPONENT],
        ),
        (
            "RSA private key",
            rsa_private_import(),
            &[CKA_CLASS, CKA_KEY_TYPE, CKA_MODULUS, CKA_PRIVATE_EXPONENT],
        ),
        (
            "EC public key",
            point(),
            &[CKA_CLASS, CKA_KEY_TYPE, CKA_EC_PARAMS, CKA_EC_POINT],
        ),
        (
            "EC private key",
            p256(),
            &[CKA_CLASS, CKA_KEY_TYPE, CKA_EC_PARAMS, CKA_VALUE],
        ),
        (
            "AES key",
            aes_template(&[1; 16]),
            &[CKA_CLASS, CKA_KEY_TYPE, CKA_VALUE],
        ),
    ] {
        for &attribute in needed {
            cases.push((
                format!("{what} without {attribute:#x}"),
                template.clone().without(attribute),
                CKR_TEMPLATE_INCOMPLETE,
            ));
        }
    }
    cases.push(("nothing".into(), Template::new(), CKR_TEMPLATE_INCOMPLETE));
    // Footnotes 2, 4 and 6: computed by the token.
    for attribute in [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE] {
        let template = aes_template(&[1; 16]).set(attribute, true);
        cases.push((
            format!("AES key with {attribute:#x}"),
            template,
            CKR_ATTRIBUTE_READ_ONLY,
        ));
    }
    let mut case = |what: &str, template: Template, code| cases.push((what.into(), template, code));
    case(
        "AES key with a generation mechanism",
        aes_template(&[1; 16]).set(CKA_KEY_GEN_MECHANISM, CKM_AES_KEY_GEN),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    case(
        "RSA public key with its bits",
        rsa_public_import().set(CKA_MODULUS_BITS, 2048),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    // Footnote 10: the security officer's alone.
    case(
        "trusted certificate",
        certificate().set(CKA_TRUSTED, true),
        CKR_ATTRIBUTE_READ_ONLY,
    );
    // 4.1.1: attributes that the object cannot have.
    case(
        "data with a modulus",
        data("x").set(CKA_MODULUS, "x"),
        CKR_ATTRIBUTE_TYPE_INVALID,
    );
    case(
        "data with an unknown one",
        data("x").set(CKA_VENDOR_DEFINED | 7, "x"),
        CKR_ATTRIBUTE_TYPE_INVALID,
    );
    case(
        "RSA key with a point",
        rsa_public_import().set(CKA_EC_POINT, "x"),
        CKR_ATTRIBUTE_TYPE_INVALID,
    );
    // Values that are none.
    case(
        "CKA_TOKEN of 2",
        data("x").set(CKA_TOKEN, &[2]),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    case(
        "CKA_PRIVATE of no byte",
        data("x").set(CKA_PRIVATE, ""),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    case(
        "CKA_TOKEN of 8 bytes",
        data("x").set(CKA_TOKEN, 1 as CK_ULONG),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    case(
        "CKA_CLASS of 1 byte",
        data("x").set(CKA_CLASS, &[0]),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    case(
        "an unknown class",
        data("x").set(CKA_CLASS, 99),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    case(
        "an unknown key type",
        aes_template(&[1; 16]).set(CKA_KEY_TYPE, 0x7777),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    case(
        "a 30th month",
        aes_template(&[1; 16]).set(CKA_START_DATE, "20263001"),
        CKR_ATTRIBUTE_VALUE_INVALID,
    );
    // The same attribute twice.
    case(
        "two labels",
        data("x").and(CKA_LABEL, "y"),
        CKR_TEMPLATE_INCONSISTENT,
    );
    case(
        "public and private",
        data("x").and(CKA_PRIVATE, true).and(CKA_PRIVATE, false),
        CKR_TEMPLATE_INCONSISTENT,
    );
    case(
        "two classes",
        data("x").and(CKA_CLASS, CKO_CERTIFICATE),
        CKR_TEMPLATE_INCONSISTENT,
    );
    isolated(|world| {
        let session = world.token().user();
        for (what, template, code) in cases {
            for on_token in [false, true] {
                let template = if template.types().contains(&CKA_TOKEN) {
                    template.clone()
                } else {
                    template.clone().set(CKA_TOKEN, on_token)
                };
                let before = objects_in(session);
                assert_eq!(session.create(&template), Err(Rv(code)), "{what}");
                assert_eq!(objects_in(session), before, "{what} left an object");
            }
        }
    });
}

/// THREATS.md: broken keys, points and curves are refused on import.
#[test]
fn broken_keys_are_refused() {
    let p256 =
        |value: Vec<u8>| ec_private_import(Curve::P256, vectors::P256_SCALAR).set(CKA_VALUE, value);
    let point = |value: &[u8]| {
        ec_public_import(Curve::P256, vectors::P256_POINT).set(CKA_EC_POINT, octet_string(value))
    };
    let mut off_curve = hex(vectors::P256_POINT);
    *off_curve.last_mut().unwrap() ^= 1;
    let flipped = |attribute, hexadecimal: &str| {
        let mut value = hex(hexadecimal);
        value[100] ^= 4;
        rsa_private_import().set(attribute, value)
    };
    // y with this lowest and this highest byte, and between them what the highest is.
    let edwards = |low: u8, high: u8| {
        let mut point = [if high == 0 { 0 } else { 0xff }; 32];
        (point[0], point[31]) = (low, high);
        let point = octet_string(&point);
        ec_public_import(Curve::ED25519, vectors::ED25519_POINT).set(CKA_EC_POINT, point)
    };
    let cases = [
        ("EC d = 0", p256(vec![0; 32])),
        ("EC d = n", p256(hex(vectors::P256_ORDER))),
        ("EC d above n", p256(vec![0xff; 32])),
        ("EC d too long", p256(vec![1; 33])),
        ("EC d of no byte", p256(vec![])),
        ("EC point off the curve", point(&off_curve)),
        ("EC point at infinity", point(&[0])),
        ("EC point cut", point(&hex(vectors::P256_POINT)[..64])),
        (
            "EC point of another curve",
            point(&hex(vectors::P384_POINT)),
        ),
        (
            "EC curve unknown",
            ec_private_import(Curve::P256, vectors::P256_SCALAR)
                .set(CKA_EC_PARAMS, &[6, 3, 1, 2, 3]),
        ),
        (
            "EC curve is rubbish",
            ec_private_import(Curve::P256, vectors::P256_SCALAR).set(CKA_EC_PARAMS, "rubbish"),
        ),
        (
            "Ed25519 seed cut",
            ec_private_import(Curve::ED25519, vectors::ED25519_SEED).set(CKA_VALUE, &[1; 31]),
        ),
        ("Ed25519 point off the curve", edwards(2, 0)),
        ("Ed25519 point of order 1", edwards(1, 0)),
        ("Ed25519 point of order 4", edwards(0, 0)),
        ("Ed25519 point above the prime", edwards(0xf0, 0x7f)),
        (
            "RSA p*q is not n",
            flipped(CKA_PRIME_1, vectors::RSA_PRIME_1),
        ),
        (
            "RSA d is another",
            flipped(CKA_PRIVATE_EXPONENT, vectors::RSA_PRIVATE_EXPONENT),
        ),
        (
            "RSA dp is another",
            flipped(CKA_EXPONENT_1, vectors::RSA_EXPONENT_1),
        ),
        (
            "RSA coefficient is another",
            flipped(CKA_COEFFICIENT, vectors::RSA_COEFFICIENT),
        ),
        ("RSA n = 0", rsa_public_import().set(CKA_MODULUS, &[0])),
        ("RSA n of no byte", rsa_public_import().set(CKA_MODULUS, "")),
        (
            "RSA n even",
            rsa_public_import().set(
                CKA_MODULUS,
                [hex(vectors::RSA_MODULUS), vec![0]].concat()[1..].to_vec(),
            ),
        ),
        (
            "RSA e = 1",
            rsa_public_import().set(CKA_PUBLIC_EXPONENT, &[1]),
        ),
        (
            "a day that does not exist",
            aes_template(&[1; 16]).set(CKA_START_DATE, "20300231"),
        ),
        (
            "an end before the beginning",
            aes_template(&[1; 16])
                .set(CKA_START_DATE, "20300201")
                .set(CKA_END_DATE, "20300131"),
        ),
        ("AES of 15 bytes", aes_template(&[1; 15])),
        ("AES of no byte", aes_template(&[])),
    ];
    isolated(|world| {
        let session = world.token().user();
        let before = objects_in(session);
        for (what, template) in cases {
            // 4.1.1 leaves to the token under which of these codes a value is invalid.
            let codes = [
                CKR_ATTRIBUTE_VALUE_INVALID,
                CKR_TEMPLATE_INCONSISTENT,
                CKR_CURVE_NOT_SUPPORTED,
                CKR_DOMAIN_PARAMS_INVALID,
                CKR_KEY_SIZE_RANGE,
                CKR_PUBLIC_KEY_INVALID,
            ];
            match session.create(&template) {
                Err(Rv(code)) if codes.contains(&code) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        assert_eq!(objects_in(session), before);
    });
}

#[test]
fn templates_of_generation() {
    let curve = || Template::new().set(CKA_EC_PARAMS, Curve::P256.params);
    isolated(|world| {
        let session = world.token().user();
        let none = Template::new();
        let before = objects_in(session);
        let ec = |public: Template, private: Template| {
            session.generate_key_pair(CKM_EC_KEY_PAIR_GEN, &public, &private)
        };
        let rsa =
            |public: Template| session.generate_key_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &public, &none);
        let aes = |template: Template| session.generate_key(CKM_AES_KEY_GEN, &template);
        ec(none.clone(), none.clone()).refused(CKR_TEMPLATE_INCOMPLETE);
        rsa(none.clone()).refused(CKR_TEMPLATE_INCOMPLETE);
        aes(none.clone()).refused(CKR_TEMPLATE_INCOMPLETE);
        ec(curve().set(CKA_CLASS, CKO_PRIVATE_KEY), none.clone())
            .refused(CKR_TEMPLATE_INCONSISTENT);
        ec(curve().set(CKA_KEY_TYPE, CKK_RSA), none.clone()).refused(CKR_TEMPLATE_INCONSISTENT);
        ec(curve(), none.clone().set(CKA_KEY_TYPE, CKK_RSA)).refused(CKR_TEMPLATE_INCONSISTENT);
        ec(
            curve(),
            none.clone().and(CKA_LABEL, "a").and(CKA_LABEL, "b"),
        )
        .refused(CKR_TEMPLATE_INCONSISTENT);
        ec(curve().set(CKA_EC_POINT, "x"), none.clone())
            .refused_with(&[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
        ec(curve(), none.clone().set(CKA_VALUE, &[1; 32]))
            .refused_with(&[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
        ec(curve(), none.clone().set(CKA_VENDOR_DEFINED, "x")).refused(CKR_ATTRIBUTE_TYPE_INVALID);
        let on = |params: &[u8]| ec(none.clone().set(CKA_EC_PARAMS, params), none.clone());
        on(b"rubbish").refused(CKR_DOMAIN_PARAMS_INVALID);
        on(Curve::ED25519.params).refused(CKR_CURVE_NOT_SUPPORTED);
        // A name of arcs beyond 32 bits is a name.
        on(b"\x06\x05\xde\xad\xbe\xef\x00").refused(CKR_CURVE_NOT_SUPPORTED);
        for bits in [0, 512, 1024, 2047, 16384, CK_ULONG::MAX] {
            rsa(rsa_public(bits)).refused_with(&[CKR_KEY_SIZE_RANGE, CKR_ATTRIBUTE_VALUE_INVALID]);
        }
        // 6.1.4: CKR_TEMPLATE_INCONSISTENT for an exponent that cannot be used.
        for exponent in [&[0][..], &[1], &[2], &[1, 0, 0], &[0xff; 600]] {
            rsa(rsa_public(2048).set(CKA_PUBLIC_EXPONENT, exponent))
                .refused(CKR_TEMPLATE_INCONSISTENT);
        }
        for length in [0, 15, 17, 33, CK_ULONG::MAX] {
            aes(none.clone().set(CKA_VALUE_LEN, length))
                .refused_with(&[CKR_KEY_SIZE_RANGE, CKR_ATTRIBUTE_VALUE_INVALID]);
        }
        aes(none.clone().set(CKA_VALUE_LEN, 16).set(CKA_VALUE, &[1; 16]))
            .refused_with(&[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
        // A private template may repeat what the public one says, not say otherwise.
        let other = none.clone().set(CKA_EC_PARAMS, Curve::P384.params);
        ec(curve(), other).refused_with(&[CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
        assert_eq!(objects_in(session), before, "refused calls left objects");
        ec(curve(), curve()).unwrap();
    });
}
