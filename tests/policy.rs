//! `[policy]` sha1_sign and rsa_min_bits: the mechanism list, the mechanism info and every Init agree
//! (5.5.5, 5.5.6).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::vectors::MESSAGE;
use common::*;

const SHA1: [CK_MECHANISM_TYPE; 3] = [CKM_SHA1_RSA_PKCS, CKM_SHA1_RSA_PKCS_PSS, CKM_ECDSA_SHA1];

fn mechanism(kind: CK_MECHANISM_TYPE) -> Mech {
    match kind {
        CKM_SHA1_RSA_PKCS_PSS | CKM_RSA_PKCS_PSS => Mech::pss(kind, CKM_SHA_1, CKG_MGF1_SHA1, 20),
        kind => kind.into(),
    }
}

#[test]
fn sha1_verifies_only() {
    isolated(|world| {
        let token = world.token();
        let session = token.user();
        let (rsa, ec) = (session.any_rsa(), session.ec(Curve::P256));
        for kind in SHA1 {
            let info = token.module.mechanism_info(token.slot, kind).unwrap();
            assert_eq!(info.flags & (CKF_SIGN | CKF_VERIFY), CKF_VERIFY);
            let pair = if kind == CKM_ECDSA_SHA1 { ec } else { rsa };
            session
                .sign_init(mechanism(kind), pair.private)
                .refused(CKR_MECHANISM_INVALID);
            session.verify_init(mechanism(kind), pair.public).unwrap();
            session.cancel(CKF_VERIFY);
        }
        session
            .sign_init(mechanism(CKM_RSA_PKCS_PSS), rsa.private)
            .refused(CKR_MECHANISM_PARAM_INVALID);
        session
            .verify_init(mechanism(CKM_RSA_PKCS_PSS), rsa.public)
            .unwrap();
        session.cancel(CKF_VERIFY);
        // Bare bytes are signed, whatever they stand for (6.1.6).
        let info = [
            b"0!0\t\x06\x05+\x0e\x03\x02\x1a\x05\0\x04\x14".as_slice(),
            &[1; 20],
        ]
        .concat();
        session.sign(CKM_RSA_PKCS, rsa.private, &info).unwrap();
        session.sign(CKM_ECDSA, ec.private, &[1; 20]).unwrap();
    });
}

#[test]
fn sha1_signs_where_it_may() {
    isolated(|world| {
        world.configure("[policy]\nsha1_sign = true\n");
        let token = world.token();
        let session = token.user();
        let (rsa, ec) = (session.any_rsa(), session.ec(Curve::P256));
        for kind in SHA1.into_iter().chain([CKM_RSA_PKCS_PSS]) {
            let info = token.module.mechanism_info(token.slot, kind).unwrap();
            assert_eq!(info.flags & (CKF_SIGN | CKF_VERIFY), CKF_SIGN | CKF_VERIFY);
            let pair = if kind == CKM_ECDSA_SHA1 { ec } else { rsa };
            let message = match kind {
                CKM_RSA_PKCS_PSS => session.digest(CKM_SHA_1, MESSAGE).unwrap(),
                _ => MESSAGE.to_vec(),
            };
            let signature = session
                .sign(mechanism(kind), pair.private, &message)
                .unwrap();
            session
                .verify(mechanism(kind), pair.public, &message, &signature)
                .unwrap();
        }
    });
}

#[test]
fn short_rsa_keys() {
    isolated_on(&[SOFTWARE], |world| {
        world.configure("[policy]\nrsa_min_bits = 1024\n");
        let token = world.token();
        let session = token.user();
        let info = |kind| token.module.mechanism_info(token.slot, kind).unwrap();
        assert_eq!(info(CKM_RSA_PKCS_KEY_PAIR_GEN).ulMinKeySize, 1024);
        let both = on(true).set(CKA_ID, b"short");
        let pair = session.pair(
            CKM_RSA_PKCS_KEY_PAIR_GEN,
            &rsa_public(1024).with(&both),
            &both,
        );
        let signature = session
            .sign(CKM_SHA256_RSA_PKCS, pair.private, MESSAGE)
            .unwrap();
        assert_eq!(signature.len(), 128);
        let sealed = session
            .encrypt(CKM_RSA_PKCS, pair.public, b"secret")
            .unwrap();
        assert_eq!(
            session
                .decrypt(CKM_RSA_PKCS, pair.private, &sealed)
                .unwrap(),
            b"secret"
        );

        // The same token under the usual policy: the public half goes on, the private one is refused.
        token.module.finalize().unwrap();
        world.configure("[policy]\nrsa_min_bits = 2048\n");
        token.module.initialize().unwrap();
        let session = Token::find(token.module, "test token").user();
        assert_eq!(info(CKM_RSA_PKCS_KEY_PAIR_GEN).ulMinKeySize, 2048);
        let find =
            |class| session.find_one(&Template::new().set(CKA_CLASS, class).set(CKA_ID, b"short"));
        let (public, private) = (find(CKO_PUBLIC_KEY), find(CKO_PRIVATE_KEY));
        session
            .verify(CKM_SHA256_RSA_PKCS, public, MESSAGE, &signature)
            .unwrap();
        session.encrypt(CKM_RSA_PKCS, public, b"secret").unwrap();
        for kind in [CKM_RSA_PKCS, CKM_SHA256_RSA_PKCS, CKM_RSA_X_509] {
            session.sign_init(kind, private).refused(CKR_KEY_SIZE_RANGE);
        }
        session
            .decrypt_init(CKM_RSA_PKCS, private)
            .refused(CKR_KEY_SIZE_RANGE);
        session
            .generate_key_pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rsa_public(1024),
                &Template::new(),
            )
            .refused(CKR_KEY_SIZE_RANGE);
    });
}

#[test]
fn a_longer_limit() {
    isolated_on(&[SOFTWARE], |world| {
        world.configure("[policy]\nrsa_min_bits = 3072\n");
        let session = world.token().user();
        session
            .generate_key_pair(
                CKM_RSA_PKCS_KEY_PAIR_GEN,
                &rsa_public(2048),
                &Template::new(),
            )
            .refused(CKR_KEY_SIZE_RANGE);
    });
}
