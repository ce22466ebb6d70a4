//! Encryption with RSA: PKCS#1 v1.5, OAEP and the raw operation (PKCS#11 3.2, 6.1).

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

#[test]
fn rsa_known_answers() {
    isolated(|world| {
        let session = world.token().user();
        let private = session.create(&rsa_private_import()).unwrap();
        let sha256 = |label: &[u8]| Mech::oaep(CKM_SHA256, CKG_MGF1_SHA256, label);
        for (mechanism, sealed) in [
            (CKM_RSA_PKCS.into(), vectors::RSA_PKCS_CIPHERTEXT),
            (
                Mech::oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""),
                vectors::RSA_OAEP_SHA1,
            ),
            (sha256(b"label"), vectors::RSA_OAEP_SHA256_LABEL),
        ] {
            assert_eq!(
                session.decrypt(mechanism, private, &hex(sealed)).unwrap(),
                vectors::MESSAGE
            );
        }
        for wrong in [
            sha256(b""),
            sha256(b"other"),
            Mech::oaep(CKM_SHA384, CKG_MGF1_SHA384, b"label"),
        ] {
            session
                .decrypt(wrong, private, &hex(vectors::RSA_OAEP_SHA256_LABEL))
                .refused(CKR_ENCRYPTED_DATA_INVALID);
        }
        // The raw operation shows the padding of the other two.
        let block = session
            .decrypt(CKM_RSA_X_509, private, &hex(vectors::RSA_PKCS_CIPHERTEXT))
            .unwrap();
        assert_eq!(
            (block.len(), &block[..2], &block[251..]),
            (256, &[0, 2][..], &b"\0node"[..])
        );
    });
}

#[test]
fn rsa_lengths() {
    isolated(|world| {
        let session = world.token().user();
        let Pair { public, private } = session.rsa(2048);
        let oaep = |hash, mgf| Mech::oaep(hash, mgf, b"label");
        for (mechanism, longest) in [
            (Mech::from(CKM_RSA_PKCS), 245),
            (oaep(CKM_SHA_1, CKG_MGF1_SHA1), 214),
            (oaep(CKM_SHA256, CKG_MGF1_SHA256), 190),
            (oaep(CKM_SHA384, CKG_MGF1_SHA384), 158),
            (oaep(CKM_SHA512, CKG_MGF1_SHA512), 126),
        ] {
            for length in [1, 32, longest] {
                let text = vec![0x77; length];
                let sealed = session.encrypt(mechanism.clone(), public, &text).unwrap();
                assert_eq!(sealed.len(), 256);
                assert_ne!(
                    sealed,
                    session.encrypt(mechanism.clone(), public, &text).unwrap()
                );
                assert_eq!(
                    session
                        .decrypt(mechanism.clone(), private, &sealed)
                        .unwrap(),
                    text
                );
            }
            session
                .encrypt(mechanism.clone(), public, &vec![1; longest + 1])
                .refused(CKR_DATA_LEN_RANGE);
            for length in [0, 255, 257] {
                session
                    .decrypt(mechanism.clone(), private, &vec![1; length])
                    .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
            }
        }
        session
            .encrypt(CKM_RSA_X_509, public, &[1; 257])
            .refused(CKR_DATA_LEN_RANGE);
        let sealed = session.encrypt(CKM_RSA_X_509, public, &[1; 256]).unwrap();
        assert_eq!(
            session.decrypt(CKM_RSA_X_509, private, &sealed).unwrap(),
            [1; 256]
        );
        // An integer without its leading zeros.
        let sealed = session.encrypt(CKM_RSA_X_509, public, b"short").unwrap();
        let block = session.decrypt(CKM_RSA_X_509, private, &sealed).unwrap();
        assert_eq!(block, [&[0; 251][..], b"short"].concat());
        session.decrypt_init(CKM_RSA_PKCS, private).unwrap();
        session
            .decrypt_update(&[1; 257])
            .refused(CKR_ENCRYPTED_DATA_LEN_RANGE);
    });
}

/// THREATS.md 5: a bad PKCS#1 v1.5 padding cannot be told from a good one. Decryption succeeds, with
/// a message that is made from the key and the cipher text, the same each time.
#[test]
fn rsa_pkcs_has_no_padding_oracle() {
    isolated(|world| {
        let session = world.token().user();
        let Pair { public, private } = session.rsa(2048);
        for (what, start) in [
            ("no 0", &[9u8, 2][..]),
            ("no 2", &[0, 1]),
            ("a short padding", &[0, 2, 1, 0]),
        ] {
            let mut block = [0x11; 256];
            block[..start.len()].copy_from_slice(start);
            let sealed = session.encrypt(CKM_RSA_X_509, public, &block).unwrap();
            let made_up = session
                .decrypt(CKM_RSA_PKCS, private, &sealed)
                .unwrap_or_else(|rv| panic!("{what}: {rv:?}"));
            assert_eq!(
                session.decrypt(CKM_RSA_PKCS, private, &sealed).unwrap(),
                made_up,
                "{what}"
            );
            assert!(made_up.len() <= 245, "{what}");
        }
    });
}

#[test]
fn oaep_refuses_wrong_parameters() {
    let parameters = CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        source: CKZ_DATA_SPECIFIED,
        pSourceData: null_mut(),
        ulSourceDataLen: 0,
    };
    let with = |parameters| Mech::structure(CKM_RSA_PKCS_OAEP, parameters, vec![]);
    let cases = [
        ("none", CKM_RSA_PKCS_OAEP.into()),
        ("cut", Mech::bytes(CKM_RSA_PKCS_OAEP, &[0; 39])),
        (
            "no hash",
            with(CK_RSA_PKCS_OAEP_PARAMS {
                hashAlg: CKM_RSA_PKCS,
                ..parameters
            }),
        ),
        (
            "unknown MGF",
            with(CK_RSA_PKCS_OAEP_PARAMS {
                mgf: 0,
                ..parameters
            }),
        ),
        (
            "unknown source",
            with(CK_RSA_PKCS_OAEP_PARAMS {
                source: 9,
                ..parameters
            }),
        ),
        (
            "label NULL",
            with(CK_RSA_PKCS_OAEP_PARAMS {
                ulSourceDataLen: 4,
                ..parameters
            }),
        ),
        (
            "label of -1",
            with(CK_RSA_PKCS_OAEP_PARAMS {
                ulSourceDataLen: CK_ULONG::MAX,
                ..parameters
            }),
        ),
    ];
    isolated(|world| {
        let session = world.token().user();
        let Pair { public, private } = session.rsa(2048);
        for (what, mechanism) in cases {
            let invalid = Err(Rv(CKR_MECHANISM_PARAM_INVALID));
            assert_eq!(
                session.encrypt_init(mechanism.clone(), public),
                invalid,
                "{what}"
            );
            assert_eq!(session.decrypt_init(mechanism, private), invalid, "{what}");
        }
        // An empty label is given with source 0 by OpenSSL's engine and by PKCS#11 2.40's own text.
        session
            .encrypt(
                with(CK_RSA_PKCS_OAEP_PARAMS {
                    source: 0,
                    ..parameters
                }),
                public,
                b"text",
            )
            .unwrap();
    });
}
