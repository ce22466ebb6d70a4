//! Signatures and MACs: every mechanism, known answers, parameters and lengths
//! (PKCS#11 3.2, 6.1, 6.3, 6.20).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::signing::{Case, HASHES, PSS, RSA, every_mechanism, pss};
use common::vectors::{self, hex};
use common::*;

#[test]
fn sign_and_verify() {
    isolated(|world| {
        let session = world.token().user();
        for case in every_mechanism(world.kind, session) {
            let Case {
                name,
                mechanism,
                signer,
                verifier,
                length,
                input,
                parts,
            } = &case;
            let signature = session
                .sign(mechanism.clone(), *signer, input)
                .unwrap_or_else(|rv| panic!("{name}: {rv:?}"));
            assert_eq!(signature.len(), *length, "{name}");
            session
                .verify(mechanism.clone(), *verifier, input, &signature)
                .unwrap_or_else(|rv| panic!("{name}: {rv:?}"));
            if *parts {
                let split = [&input[..1], &[], &input[1..9], &input[9..]];
                let other = session
                    .sign_parts(mechanism.clone(), *signer, &split)
                    .unwrap();
                session
                    .verify(mechanism.clone(), *verifier, input, &other)
                    .unwrap();
                session
                    .verify_parts(mechanism.clone(), *verifier, &split, &signature)
                    .unwrap();
                let nothing = session.sign_parts(mechanism.clone(), *signer, &[]).unwrap();
                session
                    .verify(mechanism.clone(), *verifier, b"", &nothing)
                    .unwrap();
            }
        }
    });
}

#[test]
fn known_answers() {
    let vector = |at: usize, vectors: [&str; 3]| hex(vectors[at]);
    isolated(|world| {
        let session = world.token().user();
        let private = session.create(&rsa_private_import()).unwrap();
        let public = session.create(&rsa_public_import()).unwrap();
        let message = vectors::MESSAGE;
        for at in 0..HASHES.len() {
            let expected = vector(
                at,
                [
                    vectors::RSA_PKCS_SHA256,
                    vectors::RSA_PKCS_SHA384,
                    vectors::RSA_PKCS_SHA512,
                ],
            );
            assert_eq!(session.sign(RSA[at], private, message).unwrap(), expected);
            session.verify(RSA[at], public, message, &expected).unwrap();
            let expected = vector(
                at,
                [
                    vectors::RSA_PSS_SHA256,
                    vectors::RSA_PSS_SHA384,
                    vectors::RSA_PSS_SHA512,
                ],
            );
            session
                .verify(pss(PSS[at], at), public, message, &expected)
                .unwrap();
        }
        for (curve, mechanism, scalar, point, signature) in [
            (
                Curve::P256,
                CKM_ECDSA_SHA256,
                vectors::P256_SCALAR,
                vectors::P256_POINT,
                vectors::P256_ECDSA,
            ),
            (
                Curve::P384,
                CKM_ECDSA_SHA384,
                vectors::P384_SCALAR,
                vectors::P384_POINT,
                vectors::P384_ECDSA,
            ),
            (
                Curve::P521,
                CKM_ECDSA_SHA512,
                vectors::P521_SCALAR,
                vectors::P521_POINT,
                vectors::P521_ECDSA,
            ),
        ] {
            if !world.kind.has(curve) {
                continue;
            }
            let private = session.create(&ec_private_import(curve, scalar)).unwrap();
            let public = session.create(&ec_public_import(curve, point)).unwrap();
            session
                .verify(mechanism, public, message, &hex(signature))
                .unwrap();
            let own = session.sign(mechanism, private, message).unwrap();
            session.verify(mechanism, public, message, &own).unwrap();
        }
        if world.kind.has(Curve::ED25519) {
            let seed = session
                .create(&ec_private_import(Curve::ED25519, vectors::ED25519_SEED))
                .unwrap();
            let point = session
                .create(&ec_public_import(Curve::ED25519, vectors::ED25519_POINT))
                .unwrap();
            for (data, signature) in [
                (message, vectors::ED25519_SIGNATURE),
                (b"", vectors::ED25519_SIGNATURE_OF_NOTHING),
            ] {
                assert_eq!(session.sign(CKM_EDDSA, seed, data).unwrap(), hex(signature));
                session
                    .verify(CKM_EDDSA, point, data, &hex(signature))
                    .unwrap();
            }
        }
        let secret = session
            .create(&generic_secret_template(&hex(vectors::AES_KEY)))
            .unwrap();
        for (mechanism, expected) in [
            (CKM_SHA_1_HMAC, vectors::HMAC_SHA1),
            (CKM_SHA224_HMAC, vectors::HMAC_SHA224),
            (CKM_SHA256_HMAC, vectors::HMAC_SHA256),
            (CKM_SHA384_HMAC, vectors::HMAC_SHA384),
            (CKM_SHA512_HMAC, vectors::HMAC_SHA512),
        ] {
            assert_eq!(
                session.sign(mechanism, secret, message).unwrap(),
                hex(expected)
            );
        }
    });
}

/// The raw mechanisms and those that hash are one: what is padded or hashed outside gives the same.
#[test]
fn raw_and_hashing_mechanisms_agree() {
    isolated(|world| {
        let session = world.token().user();
        let message = b"the same message";
        let digest = session.digest(CKM_SHA256, message).unwrap();
        let rsa = session.rsa(2048);
        let info = [&hex("3031300d060960864801650304020105000420")[..], &digest].concat();
        let signature = session
            .sign(CKM_SHA256_RSA_PKCS, rsa.private, message)
            .unwrap();
        assert_eq!(
            session.sign(CKM_RSA_PKCS, rsa.private, &info).unwrap(),
            signature
        );
        let block = [&[0, 1][..], &[0xff; 202], &[0], &info].concat();
        assert_eq!(
            session.sign(CKM_RSA_X_509, rsa.private, &block).unwrap(),
            signature
        );
        let raw = session
            .sign(pss(CKM_RSA_PKCS_PSS, 0), rsa.private, &digest)
            .unwrap();
        session
            .verify(pss(CKM_SHA256_RSA_PKCS_PSS, 0), rsa.public, message, &raw)
            .unwrap();
        for curve in world.kind.nist() {
            let pair = session.ec(curve);
            let raw = session.sign(CKM_ECDSA, pair.private, &digest).unwrap();
            session
                .verify(CKM_ECDSA_SHA256, pair.public, message, &raw)
                .unwrap();
            for length in [20, 28, 48, 64] {
                let digest = vec![0xc3; length];
                let raw = session.sign(CKM_ECDSA, pair.private, &digest).unwrap();
                session
                    .verify(CKM_ECDSA, pair.public, &digest, &raw)
                    .unwrap();
            }
        }
    });
}

#[test]
fn larger_rsa_keys() {
    isolated(|world| {
        let session = world.token().user();
        let keys = world.kind.keys(world.kind.works_on_token());
        for &bits in keys.rsa_bits.iter().filter(|bits| **bits > 2048) {
            let pair = session.rsa(bits);
            assert_eq!(
                session.get(pair.public, CKA_MODULUS).unwrap().len() as CK_ULONG,
                bits / 8
            );
            let signature = session
                .sign(pss(CKM_SHA384_RSA_PKCS_PSS, 1), pair.private, b"data")
                .unwrap();
            assert_eq!(signature.len() as CK_ULONG, bits / 8);
            session
                .verify(
                    pss(CKM_SHA384_RSA_PKCS_PSS, 1),
                    pair.public,
                    b"data",
                    &signature,
                )
                .unwrap();
        }
    });
}

#[test]
fn init_refuses_wrong_parameters() {
    isolated(|world| {
        let session = world.token().user();
        let (rsa, ec) = (session.any_rsa(), session.ec(Curve::P256));
        let secret = session.create(&generic_secret_template(&[9; 40])).unwrap();
        let sha256 = |hash, mgf, salt| Mech::pss(CKM_SHA256_RSA_PKCS_PSS, hash, mgf, salt);
        let general =
            |length: CK_ULONG| Mech::bytes(CKM_SHA256_HMAC_GENERAL, &length.to_ne_bytes());
        let mut cases = vec![
            ("PSS without", CKM_SHA256_RSA_PKCS_PSS.into(), rsa.private),
            ("raw PSS without", CKM_RSA_PKCS_PSS.into(), rsa.private),
            (
                "PSS cut",
                Mech::bytes(CKM_RSA_PKCS_PSS, &[0; 16]),
                rsa.private,
            ),
            (
                "PSS of another hash",
                sha256(CKM_SHA384, CKG_MGF1_SHA256, 32),
                rsa.private,
            ),
            (
                "PSS of no hash",
                sha256(CKM_AES_ECB, CKG_MGF1_SHA256, 32),
                rsa.private,
            ),
            (
                "PSS of unknown MGF",
                sha256(CKM_SHA256, 77, 32),
                rsa.private,
            ),
            (
                "PSS salt too long",
                sha256(CKM_SHA256, CKG_MGF1_SHA256, 223),
                rsa.private,
            ),
            (
                "PSS salt of 2^63",
                sha256(CKM_SHA256, CKG_MGF1_SHA256, 1 << 63),
                rsa.private,
            ),
            (
                "PSS salt of -1",
                sha256(CKM_SHA256, CKG_MGF1_SHA256, CK_ULONG::MAX),
                rsa.private,
            ),
            (
                "PKCS#1 with one",
                Mech::bytes(CKM_SHA256_RSA_PKCS, b"x"),
                rsa.private,
            ),
            (
                "ECDSA with one",
                Mech::bytes(CKM_ECDSA, &[0; 8]),
                ec.private,
            ),
            (
                "HMAC with one",
                Mech::bytes(CKM_SHA256_HMAC, &[1; 8]),
                secret,
            ),
            ("HMAC of 0 bytes", general(0), secret),
            ("HMAC of 33 bytes", general(33), secret),
            ("HMAC of -1 bytes", general(CK_ULONG::MAX), secret),
            (
                "general HMAC without",
                CKM_SHA256_HMAC_GENERAL.into(),
                secret,
            ),
        ];
        if world.kind.has(Curve::ED25519) {
            let ed = session.ed25519().private;
            let rubbish = Mech::bytes(CKM_EDDSA, &[1; 7]);
            cases.push(("Ed25519 with rubbish", rubbish, ed));
            let empty = Mech::eddsa(false, b"");
            cases.push(("Ed25519ctx without a context", empty, ed));
        }
        for (what, mechanism, key) in cases {
            assert_eq!(
                session.sign_init(mechanism, key),
                Err(Rv(CKR_MECHANISM_PARAM_INVALID)),
                "{what}"
            );
        }
        session
            .sign(
                sha256(CKM_SHA256, CKG_MGF1_SHA256, 222),
                rsa.private,
                b"the longest salt",
            )
            .unwrap();
        session
            .sign(
                sha256(CKM_SHA256, CKG_MGF1_SHA256, 0),
                rsa.private,
                b"no salt",
            )
            .unwrap();
    });
}

#[test]
fn input_lengths() {
    isolated(|world| {
        let session = world.token().user();
        let rsa = session.rsa(2048).private;
        session.sign(CKM_RSA_PKCS, rsa, &[1; 245]).unwrap();
        session
            .sign(CKM_RSA_PKCS, rsa, &[1; 246])
            .refused(CKR_DATA_LEN_RANGE);
        session
            .sign_rest(&[1; 245])
            .refused(CKR_OPERATION_NOT_INITIALIZED);
        session
            .sign(CKM_RSA_X_509, rsa, &[1; 257])
            .refused(CKR_DATA_LEN_RANGE);
        // 256 bytes above the modulus.
        session
            .sign(CKM_RSA_X_509, rsa, &[0xff; 256])
            .refused_with(&[CKR_DATA_INVALID, CKR_DATA_LEN_RANGE]);
        session
            .sign(pss(CKM_RSA_PKCS_PSS, 0), rsa, &[1; 31])
            .refused(CKR_DATA_LEN_RANGE);
        session
            .sign(pss(CKM_RSA_PKCS_PSS, 0), rsa, &[1; 33])
            .refused(CKR_DATA_LEN_RANGE);
        let ec = session.ec(Curve::P256).private;
        session.sign(CKM_ECDSA, ec, b"").refused(CKR_DATA_LEN_RANGE);
    });
}
