//! X25519 keys (PKCS#11 3.2, 6.3): generated, brought, read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::hex;
use common::*;

/// CKA_EC_PARAMS: id-X25519, and the curveName.
const OID: &[u8] = &[6, 3, 0x2b, 0x65, 0x6e];
const NAME: &[u8] = b"\x13\x0acurve25519";
/// SubjectPublicKeyInfo up to the key (RFC 8410 4).
const INFO: &str = "302a300506032b656e032100";
/// RFC 7748 6.1.
const SCALAR: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
const PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";

fn public(point: &[u8]) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_PUBLIC_KEY)
        .set(CKA_KEY_TYPE, CKK_EC_MONTGOMERY)
        .set(CKA_EC_PARAMS, OID)
        .set(CKA_EC_POINT, point)
}

fn private(scalar: &[u8]) -> Template {
    Template::new()
        .set(CKA_CLASS, CKO_PRIVATE_KEY)
        .set(CKA_KEY_TYPE, CKK_EC_MONTGOMERY)
        .set(CKA_EC_PARAMS, OID)
        .set(CKA_VALUE, scalar)
        .set(CKA_SENSITIVE, false)
        .set(CKA_EXTRACTABLE, true)
}

#[test]
fn generated() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        for params in [OID, NAME] {
            for on_token in [true, false] {
                let asked = on(on_token).set(CKA_EC_PARAMS, params);
                let pair = session.pair(CKM_EC_MONTGOMERY_KEY_PAIR_GEN, &asked, &on(on_token));
                let point = session.get(pair.public, CKA_EC_POINT).unwrap();
                assert_eq!(point.len(), 32, "the bare bytes (6.3.7)");
                for key in [pair.public, pair.private] {
                    assert_eq!(session.get(key, CKA_EC_PARAMS).unwrap(), OID);
                    assert_eq!(session.get(key, CKA_EC_POINT).unwrap(), point);
                    let info = session.get(key, CKA_PUBLIC_KEY_INFO).unwrap();
                    assert_eq!(info, [hex(INFO), point.clone()].concat());
                    assert_eq!(session.get(key, CKA_LOCAL).unwrap(), [CK_TRUE]);
                }
                assert_eq!(session.get(pair.private, CKA_DERIVE).unwrap(), [CK_TRUE]);
                assert_eq!(session.get(pair.private, CKA_SIGN).unwrap(), [CK_FALSE]);
                session
                    .get(pair.private, CKA_VALUE)
                    .refused(CKR_ATTRIBUTE_SENSITIVE);
            }
        }
        let edwards = Template::new().set(CKA_EC_PARAMS, Curve::ED25519.params);
        session
            .generate_key_pair(CKM_EC_MONTGOMERY_KEY_PAIR_GEN, &edwards, &Template::new())
            .refused(CKR_CURVE_NOT_SUPPORTED);
    });
}

#[test]
fn brought() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let point = hex(PUBLIC);
        // As 3.2 has it, and in an OCTET STRING as 3.0 had it.
        for given in [point.clone(), [&[4, 32], point.as_slice()].concat()] {
            let key = session.create(&public(&given)).unwrap();
            assert_eq!(session.get(key, CKA_EC_POINT).unwrap(), point);
        }
        let key = session.create(&private(&hex(SCALAR))).unwrap();
        assert_eq!(session.get(key, CKA_EC_POINT).unwrap(), point);
        assert_eq!(session.get(key, CKA_VALUE).unwrap(), hex(SCALAR));
        assert_eq!(session.get(key, CKA_LOCAL).unwrap(), [CK_FALSE]);
        let pair = private(&hex(SCALAR)).set(CKA_EC_POINT, point.as_slice());
        session.create(&pair).unwrap();
    });
}

#[test]
fn bad_ones_are_refused() {
    isolated_on(&[SOFTWARE], |world| {
        let session = world.token().user();
        let cases = [
            ("no point", public(&[])),
            ("a point cut", public(&hex(PUBLIC)[..31])),
            ("a point of order 1", public(&[0; 32])),
            ("a scalar cut", private(&hex(SCALAR)[..31])),
            (
                "another's point",
                private(&hex(SCALAR)).set(CKA_EC_POINT, &[9; 32]),
            ),
        ];
        for (name, template) in cases {
            assert_eq!(
                session.create(&template),
                Err(Rv(CKR_ATTRIBUTE_VALUE_INVALID)),
                "{name}"
            );
        }
        let key = session.create(&private(&hex(SCALAR))).unwrap();
        session
            .sign_init(CKM_EDDSA, key)
            .refused(CKR_KEY_TYPE_INCONSISTENT);
        session
            .create(&private(&hex(SCALAR)).set(CKA_EC_PARAMS, Curve::P256.params))
            .refused(CKR_CURVE_NOT_SUPPORTED);
    });
}
